"""Artifacts of runs, at GitHub's addresses and at those of their runs.

Whoever wrote what is in them is a stranger: they are handed out as files to be saved, and nothing in them is
ever shown in the name of this server.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from runner.engine.leftovers import remove
from runner.errors import NotFound
from runner.model.access import Actor
from runner.store.read_models import ArtifactView
from runner.web.access import Acting
from runner.web.audit import about
from runner.web.site import Site

PIECE = 256 * 1024
HEADERS = {
    "content-security-policy": "sandbox; default-src 'none'",
    "x-content-type-options": "nosniff",
}
Name = Annotated[str | None, Query(description="Only those of this name.")]


@dataclass(frozen=True, slots=True)
class ArtifactList:
    total_count: int
    artifacts: list[ArtifactView]


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["artifacts"])

    @router.get("/repos/{name:path}/actions/artifacts")
    def list_artifacts(
        name: str,
        named: Annotated[str | None, Query(alias="name", description="Only those of this name.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 30,
        before: Annotated[int | None, Query(description="Only those older than this id.")] = None,
    ) -> ArtifactList:
        """Those of a repository that have not expired, newest first."""
        found = site.repositories.named(name)
        return ArtifactList(
            site.artifacts.count(found, named), site.artifacts.shown(found, named, limit, before)
        )

    @router.get("/repos/{name:path}/actions/artifacts/{artifact_id}/zip", response_model=None)
    def download_artifact(name: str, artifact_id: int, actor: Acting) -> StreamingResponse:
        return _zip(site, _of_repository(site, name, artifact_id, actor))

    @router.get("/repos/{name:path}/actions/artifacts/{artifact_id}")
    def show_artifact(name: str, artifact_id: int, actor: Acting) -> ArtifactView:
        return _of_repository(site, name, artifact_id, actor)

    @router.delete("/repos/{name:path}/actions/artifacts/{artifact_id}", status_code=204)
    def remove_artifact(name: str, artifact_id: int, actor: Acting) -> None:
        found = site.repositories.named(name)
        shown = _of_repository(site, name, artifact_id, actor)
        said = {"artifact": shown.id, "name": shown.name, "run": shown.run}
        act = about(actor, "remove-artifact", found, **said)
        remove(site.objects, [site.artifacts.remove(found, artifact_id, act)])

    @router.get("/repos/{name:path}/actions/runs/{run_id}/artifacts")
    def list_artifacts_at_its_repository(
        name: str, run_id: int, actor: Acting, named: Annotated[str | None, Query(alias="name")] = None
    ) -> ArtifactList:
        """As of `/runs/{run_id}/artifacts`."""
        found, of = site.repositories.named(name, actor.scope), site.views.run_of(run_id, actor.scope)
        if (of.forge, of.repo) != (found.forge, found.name):
            raise NotFound(f"{name} has no run {run_id}")
        return _of_run(site, run_id, named)

    @router.get("/runs/{run_id}/artifacts")
    def list_artifacts_of_run(run_id: int, name: Name = None) -> ArtifactList:
        """Those of all its attempts that have not expired, newest first: of a name the first one counts."""
        return _of_run(site, run_id, name)

    @router.get("/runs/{run_id}/artifacts/{artifact_id}/zip", response_model=None)
    def download_artifact_of_run(run_id: int, artifact_id: int, actor: Acting) -> StreamingResponse:
        found, _ = site.artifacts.one(artifact_id, actor.scope)
        if found.run != run_id:
            raise NotFound(f"run {run_id} has no artifact {artifact_id}")
        return _zip(site, found)

    return router


def _of_run(site: Site, run_id: int, name: str | None) -> ArtifactList:
    site.views.run_of(run_id, None)
    found = site.artifacts.shown_of(run_id, name)
    return ArtifactList(len(found), found)


def _of_repository(site: Site, name: str, artifact_id: int, actor: Actor) -> ArtifactView:
    of = site.repositories.named(name, actor.scope)
    found, _ = site.artifacts.one(artifact_id, actor.scope)
    if (found.forge, found.repo) != (of.forge, of.name):
        raise NotFound(f"{name} has no artifact {artifact_id}; `runner artifacts list -R {name}` shows them")
    return found


def _zip(site: Site, found: ArtifactView) -> StreamingResponse:
    _, blob = site.artifacts.one(found.id, None)
    opened = ExitStack()
    # What is missing or damaged is said before anything is sent.
    file = opened.enter_context(site.objects.open(blob))
    headers = HEADERS | {
        "content-length": str(blob.size),
        "content-disposition": f'attachment; filename="artifact-{found.id}.zip"; '
        f"filename*=UTF-8''{quote(found.name, safe='')}.zip",
    }
    return StreamingResponse(_pieces(opened, file), media_type="application/zip", headers=headers)


def _pieces(opened: ExitStack, file: BinaryIO) -> Iterator[bytes]:
    with opened:
        while piece := file.read(PIECE):
            yield piece
