"""What the newest commit of a default branch asks for: read again whenever the branch may have moved.

A push tells of one commit, and pushes may be heard of in another order than they happened. So a push that
changes nothing of what is stored is left at that, and where one seems to, the repository is asked what its
default branch has now.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfoNotFoundError

from runner.engine.definitions import BrokenFolder, definitions, parsed
from runner.engine.ports import Workspaces
from runner.engine.subject import HEAD
from runner.errors import Unavailable
from runner.model.source import Event, Repository, Route
from runner.model.standing import DueTimes, Follows, Missed, Scheduled, Standing
from runner.workflow.cron import LEAST_MINUTES, BadCron, parse_cron
from runner.workflow.document import InvalidWorkflow
from runner.workflow.times import next_after

log = logging.getLogger(__name__)
SYNC, SCHEDULE = "sync", "schedule"
ADOPTED = "the repository is new here"
ACTOR = "runner"
"""Who starts what nobody started."""
STAGES = ("requested", "in_progress", "completed")
"""What a run goes through, as workflow_run's types name it."""
TRIES = 10
LEAST = timedelta(minutes=LEAST_MINUTES)
MOMENT = timedelta(microseconds=1)
TOLERANCE = timedelta(minutes=5)
"""How late a due time may be and still count as met: a clock may be restarted, and a database too."""

Following = Callable[[Scheduled, datetime | None, datetime], datetime | None]


class Standings(Protocol):
    """What default branches ask for, as it was read last."""

    def standing(self, forge: str, repo: str) -> tuple[int, Standing]:
        """What is stored, and its revision; 0 where nothing is."""

    def stand(self, repository: Repository, revision: int, wanted: Standing, following: Following) -> bool:
        """Store what a default branch asks for; False where somebody did since that revision."""

    def due(self, forge: str, repo: str) -> DueTimes:
        """When each of a repository's schedules is due next."""

    def skipped(self, forge: str, repo: str) -> DueTimes:
        """The newest due time of each that was left out; None where none was."""

    def fire(self, following: Following) -> None:
        """Store an event for each schedule that is due, and one for each repository that is new here.

        However many due times one has missed it is one event, or none where its repository skips them.
        """


def following(one: Scheduled, since: datetime | None, now: datetime) -> datetime | None:
    """When a schedule is due after it was `since`, or for the first time; None for never.

    Times that have passed meanwhile are left out, and so is what comes too soon after the last one.
    """
    after = now if since is None else max(now, since + LEAST - MOMENT)
    try:
        return next_after(parse_cron(one.cron), one.timezone, after)
    except (ZoneInfoNotFoundError, BadCron, ValueError, OSError) as error:
        # One that this machine cannot calculate must not keep the clock from all others.
        log.error("a schedule is not due any more", extra={"schedule": str(one), "error": str(error)})
        return None


def left_out(missed: Missed, since: datetime, now: datetime) -> bool:
    """Whether what was due starts nothing, as its repository skips what it missed."""
    return missed == "skip" and now - since > TOLERANCE


def due_event(forge: str, repo: str, one: Scheduled) -> Event:
    said = {"schedule": one.cron, "workflow": one.workflow}
    return _own_event(SCHEDULE, forge, repo, said)


def sync_event(forge: str, repo: str, why: str) -> Event:
    """Have the default branch read again."""
    return _own_event(SYNC, forge, repo, {"reason": why})


def _own_event(kind: str, forge: str, repo: str, said: dict[str, str]) -> Event:
    payload = {**said, "repository": {"full_name": repo}, "sender": {"login": ACTOR}}
    return Event(kind, forge, repo, ref=HEAD, actor=ACTOR, payload=payload)


def keep_up(
    event: Event,
    route: Route,
    keep: str,
    repository: Repository,
    workspaces: Workspaces,
    standings: Standings,
) -> None:
    """Read again what the default branch asks for where the event, at its commit, gives a reason to.

    `keep` names what is held meanwhile. Raises what `workspaces` do.
    """
    if not _concerns(event):
        return
    _, stored = standings.standing(event.forge, event.repo)
    if event.kind != SYNC and read_standing(route, workspaces).same(stored):
        return
    for _ in range(TRIES):
        revision, stored = standings.standing(event.forge, event.repo)
        wanted = _newest(repository, keep, workspaces)
        if wanted == stored or standings.stand(repository, revision, wanted, following):
            return
    raise Unavailable(f"the default branch of {repository.name} changes faster than it can be read")


def _concerns(event: Event) -> bool:
    if event.kind != "push":
        return event.kind in (SYNC, SCHEDULE)
    moved = event.branch is not None and not event.payload.get("by_hand")
    return moved and event.default_branch in (None, event.branch)


def _newest(repository: Repository, keep: str, workspaces: Workspaces) -> Standing:
    branch = workspaces.default_branch(repository)
    if branch is None:
        return Standing()
    commit = workspaces.resolve(repository, f"refs/heads/{branch}")
    route = Route(repository.forge, repository.name, commit)
    held = f"{keep}-{commit}"
    try:
        workspaces.fetch(repository, route, keep=held)
        return read_standing(route, workspaces)
    finally:
        workspaces.release(route, held)


def read_standing(route: Route, workspaces: Workspaces) -> Standing:
    """What the workflows at a commit ask for; a file that cannot be run asks for nothing."""
    try:
        files = definitions(route, workspaces)
    except BrokenFolder:
        return Standing(route.commit)
    schedules: set[Scheduled] = set()
    follows: set[Follows] = set()
    for path, text in files.items():
        try:
            on = parsed(path, text).on
        except InvalidWorkflow:
            continue
        schedules |= {Scheduled(path, one.cron, one.timezone) for one in on.schedules}
        if (trigger := on.events.get("workflow_run")) is not None:
            stages = STAGES if trigger.types is None else trigger.types
            follows |= {Follows(stage, trigger.workflows) for stage in stages}
    return Standing(route.commit, frozenset(schedules), frozenset(follows))
