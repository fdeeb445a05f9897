"""Pausing runs and repositories, blocking commits and workflows, and acts on many runs at once."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter
from pydantic import Field

from runner.engine import control
from runner.errors import NotFound, Rejected
from runner.model.access import Actor
from runner.model.audit import Act
from runner.model.source import Repository
from runner.store.read_models import RunView, StopView
from runner.web.access import Acting
from runner.web.answers import Conflict
from runner.web.audit import about
from runner.web.bodies import Asked
from runner.web.site import Site

BATCH = 200
"""How many runs one request acts on at the most."""
SECONDS = 10.0
"""How long it takes at the most; the rest is left for the next one."""
LONGEST = 1000


class Pause(Asked):
    """`reason` is shown wherever something waits for it."""

    reason: str = Field(default="", max_length=LONGEST)


class What(Asked):
    """A commit by its id or its first digits, or a workflow by its file."""

    commit: str | None = None
    workflow: str | None = None


class Block(What):
    """What no run may be of; `reason` is shown wherever something waits for it."""

    reason: str = Field(default="", max_length=LONGEST)


class Cancelling(What):
    """Of which runs, all if not given; `force` ends them whatever an `if` says."""

    force: bool = False


@dataclass(frozen=True, slots=True)
class Stopped:
    """What is stopped of the repository now."""

    stops: list[StopView]


@dataclass(frozen=True, slots=True)
class Done:
    """How many runs this request acted on, and how many are left for others like it."""

    done: int
    left: int


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["stops"])

    @router.post("/runs/{run_id}/pause")
    def pause_run(run_id: int, actor: Acting, wanted: Pause | None = None) -> RunView:
        """Steps that run end; then nothing of it goes on."""
        reason = _reason(wanted or Pause())
        act = Act(actor.name, "pause", details={"reason": reason})
        try:
            control.pause(run_id, reason, store=site.store, dispatcher=site.dispatcher, act=act)
        except NotFound:
            raise
        except Rejected as error:
            raise Conflict(str(error)) from None
        return site.views.run(run_id)

    @router.post("/runs/{run_id}/unpause")
    def unpause_run(run_id: int, actor: Acting) -> RunView:
        act = Act(actor.name, "unpause")
        control.unpause(run_id, store=site.store, dispatcher=site.dispatcher, act=act)
        return site.views.run(run_id)

    # Before what is shorter, which would take a part of these for a repository's name.

    @router.post("/repos/{name:path}/actions/runs/cancel")
    def cancel_runs(name: str, wanted: Cancelling, actor: Acting) -> Done:
        """End the unfinished runs of a repository, some with each request: again until none is left."""
        verb, word = control.cancel, "cancel"
        if wanted.force:
            verb, word = control.force_cancel, "force-cancel"
        return _all_of(site, name, wanted, word, verb, actor)

    @router.post("/repos/{name:path}/actions/runs/pause")
    def pause_runs(name: str, wanted: Block, actor: Acting) -> Done:
        """Pause the unfinished runs of a repository, some with each request: again until none is left."""
        reason = _reason(wanted)
        return _all_of(site, name, wanted, "pause", partial(control.pause, reason=reason), actor, reason)

    @router.post("/repos/{name:path}/actions/runs/unpause")
    def unpause_runs(name: str, wanted: What, actor: Acting) -> Done:
        """Have paused runs of a repository go on, some with each request: again until none is left."""
        return _all_of(site, name, wanted, "unpause", control.unpause, actor)

    @router.get("/repos/{name:path}/stops")
    def list_stops(name: str) -> list[StopView]:
        """What is blocked of a repository, and whether it is paused."""
        return site.stops.all(site.repositories.named(name))

    @router.post("/repos/{name:path}/pause")
    def pause_repository(name: str, actor: Acting, wanted: Pause | None = None) -> Stopped:
        """Nothing of it goes on. Its deliveries are admitted, and their runs wait."""
        found, reason = site.repositories.named(name), _reason(wanted or Pause())
        site.stops.put(found, about(actor, "pause-repository", found, reason=reason), reason, None, None)
        return Stopped(site.stops.all(found))

    @router.post("/repos/{name:path}/unpause")
    def unpause_repository(name: str, actor: Acting) -> Stopped:
        found = site.repositories.named(name)
        site.stops.lift(found, about(actor, "unpause-repository", found), None, None)
        return Stopped(site.stops.all(found))

    @router.post("/repos/{name:path}/block")
    def block(name: str, wanted: Block, actor: Acting) -> Stopped:
        """Nothing of a commit or a workflow goes on, and no run of it is created."""
        found, reason = site.repositories.named(name), _reason(wanted)
        commit, workflow = _one_of(site, found, wanted)
        act = about(actor, "block", found, commit=commit, workflow=workflow, reason=reason)
        site.stops.put(found, act, reason, commit, workflow)
        return Stopped(site.stops.all(found))

    @router.post("/repos/{name:path}/unblock")
    def unblock(name: str, wanted: What, actor: Acting) -> Stopped:
        """Its runs go on. What was refused meanwhile is replayed as a delivery."""
        found = site.repositories.named(name)
        commit, workflow = _one_of(site, found, wanted)
        site.stops.lift(
            found, about(actor, "unblock", found, commit=commit, workflow=workflow), commit, workflow
        )
        return Stopped(site.stops.all(found))

    return router


def _reason(wanted: Pause | Block) -> str:
    if not wanted.reason.isprintable():
        raise Rejected("a reason is one line of printable text")
    return wanted.reason


def _resolved(site: Site, found: Repository, wanted: What) -> tuple[str | None, str | None]:
    commit = None if wanted.commit is None else site.stops.commit(found, wanted.commit)
    return commit, None if wanted.workflow is None else site.stops.workflow(found, wanted.workflow)


def _one_of(site: Site, found: Repository, wanted: What) -> tuple[str | None, str | None]:
    if (wanted.commit is None) == (wanted.workflow is None):
        raise Rejected("give commit or workflow; `runner repo pause` stops all of a repository")
    return _resolved(site, found, wanted)


def _all_of(
    site: Site,
    name: str,
    wanted: What,
    word: str,
    verb: Callable[..., object],
    actor: Actor,
    reason: str = "",
) -> Done:
    found = site.repositories.named(name)
    commit, workflow = _resolved(site, found, wanted)
    runs, _ = site.stops.matching(found, commit, workflow, word, BATCH)
    until, done = time.monotonic() + SECONDS, 0
    act = Act(actor.name, word, details={"of": {"commit": commit, "workflow": workflow}, "reason": reason})
    for run in runs:
        if time.monotonic() > until:
            break
        try:
            verb(run, store=site.store, dispatcher=site.dispatcher, act=act)
            done += 1
        except Rejected:
            # It has ended meanwhile.
            continue
    _, left = site.stops.matching(found, commit, workflow, word, 1)
    return Done(done, left)
