"""Which ref and commit an event is about, where it does not say so in full."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from runner.engine.ports import Workspaces
from runner.engine.pulls import PULL, NotMerged, head_of
from runner.errors import Rejected, Unavailable
from runner.model.source import Delivery, Event, Repository, Route
from runner.workflow.triggers import skip_word

HEAD = "HEAD"
UNWATCHED = ("schedule", "sync", "workflow_run")
PATIENCE = timedelta(hours=1)
"""How long an event that nobody looks at waits for a repository that does not answer."""
UNTIL_MERGED = timedelta(minutes=2)


def waits(delivery: Delivery, error: Unavailable, now: datetime) -> bool:
    """Whether a delivery is tried again, as what it needs may be there in a moment.

    The clock rings for it, at least once a minute.
    """
    age = now - delivery.received_at
    if isinstance(error, NotMerged):
        return age < UNTIL_MERGED
    return delivery.event.kind in UNWATCHED and age < PATIENCE


def check_on_ref(event: Event, route: Route, repository: Repository, workspaces: Workspaces) -> None:
    """Raises `Rejected` where somebody names a commit by hand that is not one of the ref that they name.

    What may deploy goes by the ref; a forge tells the commit that is there.
    """
    if event.commit is None or not event.payload.get("by_hand"):
        return
    newest = workspaces.resolve(repository, event.ref)
    if route.commit != newest and workspaces.parting(route, newest) != route.commit:
        raise Rejected(f"{event.ref} of {repository.name} has no commit {route.commit} in its history")


def skipped(event: Event, route: Route, workspaces: Workspaces) -> str | None:
    """Which words of its newest commit ask for no run; who starts it by hand means it all the same."""
    commit = route.commit if event.kind == "push" else head_of(event) if event.kind == PULL else None
    if commit is None or event.payload.get("by_hand"):
        return None
    word = skip_word(workspaces.message(replace(route, commit=commit)))
    return f"the message of {commit[:12]} says {word}" if word else None


def concerned(event: Event, files: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    """The workflows that an event can start: a schedule belongs to one of them."""
    mine = event.payload.get("workflow") if event.kind == "schedule" else None
    return sorted((path, text) for path, text in files.items() if mine in (None, path))


def named(event: Event, repository: Repository, workspaces: Workspaces) -> Event:
    """The event with a full ref: HEAD is the default branch, a short name a branch, else a tag."""
    if event.ref == HEAD:
        branch = workspaces.default_branch(repository)
        return replace(event, ref=f"refs/heads/{branch}") if branch else event
    if event.kind != "workflow_dispatch" or not event.ref or event.ref.startswith("refs/"):
        return event
    ref = f"refs/heads/{event.ref}"
    try:
        commit = workspaces.resolve(repository, ref)
    except Rejected as error:
        ref = f"refs/tags/{event.ref}"
        try:
            commit = workspaces.resolve(repository, ref)
        except Rejected:
            raise error from None
    return replace(event, ref=ref, commit=event.commit or commit)
