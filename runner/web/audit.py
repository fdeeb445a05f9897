"""/api/v1/audit: what people did through the API, and on whose runs."""

from typing import Annotated

from fastapi import APIRouter, Query

from runner.model.access import Actor
from runner.model.audit import Act
from runner.model.source import Repository
from runner.store.read_models import AuditView, RepositoryView
from runner.web.access import Acting
from runner.web.site import Site


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["audit"])

    @router.get("/audit")
    def list_acts(
        asking: Acting,
        repo: str | None = None,
        run: int | None = None,
        actor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 30,
        before: Annotated[int | None, Query(description="Only acts older than this id.")] = None,
    ) -> list[AuditView]:
        """Newest first; what is about no repository only for those who see all of them."""
        forge, name = (None, repo) if repo is None or ":" not in repo else tuple(repo.split(":", 1))
        return site.audit.acts(asking.scope, forge, name, run, actor, limit, before)

    return router


def about(actor: Actor, verb: str, repository: Repository | RepositoryView, **details: object) -> Act:
    """What somebody does to a repository."""
    return Act(actor.name, verb, repository.forge, repository.name, details=details)
