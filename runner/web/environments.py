"""/api/v1/repos/NAME/environments, at GitHub's addresses: what a job that deploys there waits for."""

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from runner.engine.gates import check_patterns
from runner.model.environment import Environment
from runner.store.read_models import EnvironmentView
from runner.web.access import Acting
from runner.web.audit import about
from runner.web.bodies import Asked
from runner.web.secrets import SET
from runner.web.site import Site


class Rules(Asked):
    """The protection rules of an environment; what is not said is as if there were no such rule.

    `wait_timer` is in minutes. `branches` are patterns of branches, or of tags as `refs/tags/v*`.
    """

    reviewers: tuple[str, ...] = ()
    wait_timer: int = 0
    branches: tuple[str, ...] = ()
    prevent_self_review: bool = False


@dataclass(frozen=True, slots=True)
class EnvironmentList:
    total_count: int
    environments: list[EnvironmentView]


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["environments"])

    @router.get("/repos/{name:path}/environments")
    def list_environments(name: str) -> EnvironmentList:
        found = site.environments.all(site.repositories.named(name))
        return EnvironmentList(len(found), found)

    @router.get("/repos/{name:path}/environments/{environment:path}")
    def show_environment(name: str, environment: str) -> EnvironmentView:
        return site.environments.named(site.repositories.named(name), environment)

    @router.put("/repos/{name:path}/environments/{environment:path}", status_code=204, responses=SET)
    def set_environment(name: str, environment: str, actor: Acting, wanted: Rules | None = None) -> Response:
        """Rules in the place of all former ones."""
        given = wanted or Rules()
        rules = Environment(
            environment,
            tuple(dict.fromkeys(given.reviewers)),
            given.wait_timer,
            tuple(dict.fromkeys(given.branches)),
            given.prevent_self_review,
        )
        check_patterns(rules.branches)
        found = site.repositories.named(name)
        act = about(actor, "set-environment", found, environment=rules.name, **given.model_dump())
        new = site.environments.keep(found, rules, act)
        return Response(status_code=201 if new else 204)

    @router.delete("/repos/{name:path}/environments/{environment:path}", status_code=204)
    def remove_environment(name: str, environment: str, actor: Acting) -> None:
        found = site.repositories.named(name)
        act = about(actor, "remove-environment", found, environment=environment)
        site.environments.remove(found, environment, act)

    return router
