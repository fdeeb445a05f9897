"""/api/v1/repos/NAME/actions/caches, at GitHub's addresses: what a repository's jobs keep for later runs."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from runner.store.read_models import CacheFilter, CacheUsage, CacheView
from runner.web.access import Acting
from runner.web.audit import about
from runner.web.site import Site

LARGEST_PAGE = 10**6


@dataclass(frozen=True, slots=True)
class CacheList:
    total_count: int
    actions_caches: list[CacheView]


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["caches"])

    @router.get("/repos/{name:path}/actions/caches")
    def list_caches(
        name: str,
        key: Annotated[str | None, Query(description="How the key begins.")] = None,
        ref: Annotated[str | None, Query(description="Such as refs/heads/main.")] = None,
        sort: Literal["created_at", "last_accessed_at", "size_in_bytes"] = "last_accessed_at",
        direction: Literal["asc", "desc"] = "desc",
        per_page: Annotated[int, Query(ge=1, le=100)] = 30,
        page: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 1,
    ) -> CacheList:
        wanted = CacheFilter(key, ref, sort, direction == "asc", per_page, (page - 1) * per_page)
        return CacheList(*site.caches.all(site.repositories.named(name), wanted))

    @router.delete("/repos/{name:path}/actions/caches")
    def remove_caches(name: str, key: str, actor: Acting, ref: str | None = None) -> CacheList:
        """Remove all with exactly that key, of one ref or of any."""
        found = site.repositories.named(name)
        act = about(actor, "remove-caches", found, key=key, ref=ref)
        gone, blobs = site.caches.remove(found, act, key=key, ref=ref)
        site.discard(blobs)
        return CacheList(len(gone), gone)

    @router.delete("/repos/{name:path}/actions/caches/{cache_id}", status_code=204)
    def remove_cache(name: str, cache_id: int, actor: Acting) -> None:
        found = site.repositories.named(name)
        act = about(actor, "remove-caches", found, cache=cache_id)
        _, blobs = site.caches.remove(found, act, id=cache_id)
        site.discard(blobs)

    @router.get("/repos/{name:path}/actions/cache/usage")
    def show_usage(name: str) -> CacheUsage:
        return site.caches.usage(site.repositories.named(name))

    return router
