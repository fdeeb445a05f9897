"""Which ref and commit an event is about, where it does not say so in full."""

from dataclasses import replace

from runner.engine.ports import Workspaces
from runner.errors import Rejected
from runner.model.source import Event, Repository

HEAD = "HEAD"


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
