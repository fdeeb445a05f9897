"""What each route of the API needs: one table, and whoever is not in it gets nowhere.

A token of some repositories sees nothing of the others: what is theirs is answered as what does not exist.
"""

import logging
import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from runner.errors import Forbidden, NotFound
from runner.model.access import Actor, Role
from runner.web.site import Site

log = logging.getLogger(__name__)
_ID = re.compile(r"[0-9]{1,1000}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Need:
    """`own`: a role below will do for a run that the actor itself has started."""

    role: Role
    own: Role | None = None


READS, WRITES = Need(Role.VIEWER), Need(Role.WRITER)
MAINTAINS, ADMINISTERS = Need(Role.MAINTAINER), Need(Role.ADMIN)
OWN = Need(Role.MAINTAINER, own=Role.WRITER)

NEEDS: dict[tuple[str, str], Need] = {
    ("GET", "/runs"): READS,
    ("GET", "/runs/{run_id}"): READS,
    ("GET", "/runs/{run_id}/annotations"): READS,
    ("GET", "/runs/{run_id}/log"): READS,
    ("POST", "/runs/{run_id}/cancel"): OWN,
    ("POST", "/runs/{run_id}/force-cancel"): OWN,
    ("POST", "/runs/{run_id}/rerun"): MAINTAINS,
    ("POST", "/runs/{run_id}/signal"): WRITES,
    ("POST", "/runs/{run_id}/approve"): MAINTAINS,
    ("POST", "/runs/{run_id}/reject"): MAINTAINS,
    ("POST", "/runs/{run_id}/resume"): MAINTAINS,
    ("POST", "/runs/{run_id}/pause"): MAINTAINS,
    ("POST", "/runs/{run_id}/unpause"): MAINTAINS,
    ("GET", "/deliveries"): READS,
    ("GET", "/deliveries/{delivery_id}"): READS,
    ("POST", "/deliveries/{delivery_id}/replay"): MAINTAINS,
    ("POST", "/deliveries/{delivery_id}/approve"): MAINTAINS,
    ("GET", "/repos"): READS,
    ("POST", "/repos"): ADMINISTERS,
    ("GET", "/repos/{name:path}"): READS,
    ("PATCH", "/repos/{name:path}"): ADMINISTERS,
    ("DELETE", "/repos/{name:path}"): ADMINISTERS,
    ("GET", "/repos/{name:path}/hook"): MAINTAINS,
    ("GET", "/repos/{name:path}/schedules"): READS,
    ("POST", "/repos/{name:path}/sync"): WRITES,
    ("POST", "/repos/{name:path}/trigger"): WRITES,
    ("POST", "/repos/{name:path}/dispatches"): WRITES,
    ("POST", "/repos/{name:path}/actions/workflows/{workflow}/dispatches"): WRITES,
    ("GET", "/repos/{name:path}/actions/secrets"): MAINTAINS,
    ("GET", "/repos/{name:path}/actions/secrets/{secret}"): MAINTAINS,
    ("PUT", "/repos/{name:path}/actions/secrets/{secret}"): MAINTAINS,
    ("DELETE", "/repos/{name:path}/actions/secrets/{secret}"): MAINTAINS,
    ("GET", "/repos/{name:path}/actions/variables"): MAINTAINS,
    ("GET", "/repos/{name:path}/actions/variables/{variable}"): MAINTAINS,
    ("PUT", "/repos/{name:path}/actions/variables/{variable}"): MAINTAINS,
    ("DELETE", "/repos/{name:path}/actions/variables/{variable}"): MAINTAINS,
    ("GET", "/runs/{run_id}/artifacts"): READS,
    ("GET", "/runs/{run_id}/artifacts/{artifact_id}/zip"): READS,
    ("GET", "/repos/{name:path}/actions/artifacts"): READS,
    ("GET", "/repos/{name:path}/actions/artifacts/{artifact_id}"): READS,
    ("GET", "/repos/{name:path}/actions/artifacts/{artifact_id}/zip"): READS,
    ("DELETE", "/repos/{name:path}/actions/artifacts/{artifact_id}"): MAINTAINS,
    ("GET", "/repos/{name:path}/actions/runs/{run_id}/artifacts"): READS,
    ("GET", "/repos/{name:path}/actions/caches"): READS,
    ("DELETE", "/repos/{name:path}/actions/caches"): WRITES,
    ("DELETE", "/repos/{name:path}/actions/caches/{cache_id}"): WRITES,
    ("GET", "/repos/{name:path}/actions/cache/usage"): READS,
    ("GET", "/repos/{name:path}/environments"): READS,
    ("GET", "/repos/{name:path}/environments/{environment:path}"): READS,
    ("PUT", "/repos/{name:path}/environments/{environment:path}"): MAINTAINS,
    ("DELETE", "/repos/{name:path}/environments/{environment:path}"): MAINTAINS,
    ("GET", "/repos/{name:path}/stops"): READS,
    ("POST", "/repos/{name:path}/pause"): MAINTAINS,
    ("POST", "/repos/{name:path}/unpause"): MAINTAINS,
    ("POST", "/repos/{name:path}/block"): MAINTAINS,
    ("POST", "/repos/{name:path}/unblock"): MAINTAINS,
    ("POST", "/repos/{name:path}/actions/runs/cancel"): MAINTAINS,
    ("POST", "/repos/{name:path}/actions/runs/pause"): MAINTAINS,
    ("POST", "/repos/{name:path}/actions/runs/unpause"): MAINTAINS,
    ("GET", "/audit"): MAINTAINS,
    ("GET", "/tokens"): ADMINISTERS,
    ("POST", "/tokens"): ADMINISTERS,
    ("DELETE", "/tokens/{token}"): ADMINISTERS,
}


async def acting(request: Request) -> Actor:
    """Who asks, as the guard in front has found out."""
    actor: Actor = request.scope["actor"]
    return actor


Acting = Annotated[Actor, Depends(acting)]


class Access:
    """Stands before every route. Errors: `Forbidden`, and `NotFound` for what the actor does not see."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def __call__(self, request: Request) -> None:
        actor: Actor = request.scope["actor"]
        route = request.scope["route"].path
        # HEAD is no route's own.
        need = NEEDS.get((request.method, route))
        if need is None:
            raise Forbidden(f"{request.method} {route} is open to nobody: the server does not say who may")
        least = need.own or need.role
        if not actor.role.covers(least):
            log.warning(
                "refused", extra={"actor": actor.name, "act": f"{request.method} {request.url.path[:200]}"}
            )
            raise _forbidden(actor, need.role if need.own is None else least)
        if actor.scope is None and actor.role.covers(need.role):
            return
        started_by = self._started_by(actor, request.path_params)
        if not actor.role.covers(need.role) and not actor.is_called(started_by):
            log.warning(
                "refused", extra={"actor": actor.name, "act": f"{request.method} {request.url.path[:200]}"}
            )
            raise Forbidden(
                f"the token {actor.name} is {_a(actor.role)}'s, who acts on runs that it started itself; "
                f"this one was started by {started_by or 'somebody else'}, and needs {_a(need.role)}'s"
            )

    def _started_by(self, actor: Actor, given: dict[str, object]) -> str:
        """Who brought about what the path names. Raises `NotFound` where the actor does not see that."""
        match given:
            case {"run_id": run}:
                return self._site.views.run_of(_id(str(run)), actor.scope).actor
            case {"delivery_id": delivery}:
                return self._site.views.delivery_of(str(delivery), actor.scope).actor
            case {"name": name}:
                self._site.repositories.named(str(name), actor.scope)
        return ""


def _told(request: Request, actor: Actor) -> None:
    log.warning("refused", extra={"actor": actor.name, "act": f"{request.method} {request.url.path[:200]}"})


def _forbidden(actor: Actor, needed: Role) -> Forbidden:
    return Forbidden(
        f"the token {actor.name} is {_a(actor.role)}'s, and this needs {_a(needed)}'s; `runner token create "
        f"--role {needed}` makes one"
    )


def _a(role: Role) -> str:
    return f"an {role}" if role is Role.ADMIN else f"a {role}"


def _id(said: str) -> int:
    """The id in a path. What the route would take for a number besides must not get past the look at it."""
    if not _ID.fullmatch(said):
        raise NotFound(f"no run {said[:100]!a}; `runner runs list` shows the newest")
    return int(said)
