"""Which ref and commit an event is about, where it does not say so in full."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from runner.engine.ports import Workspaces
from runner.errors import Rejected
from runner.model.source import Delivery, Event, Repository

HEAD = "HEAD"
UNWATCHED = ("schedule", "sync", "workflow_run")
PATIENCE = timedelta(hours=1)


def waits(delivery: Delivery, now: datetime) -> bool:
    """Whether an event that nobody looks at is tried again, as the repository does not answer now.

    The clock rings for it, at least once a minute.
    """
    return delivery.event.kind in UNWATCHED and now - delivery.received_at < PATIENCE


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
