"""Which paths an event changed, as GitHub compares: what a filter on paths is about."""

from collections.abc import Sequence
from dataclasses import replace

from runner.engine import pulls
from runner.engine.ports import Workspaces
from runner.engine.refs import within
from runner.errors import Rejected
from runner.model.source import FULL_COMMIT_ID, Event, Repository, Route


def changed(
    event: Event, route: Route, keep: str, repository: Repository, workspaces: Workspaces
) -> Sequence[str] | None:
    """The paths that differ; None where that cannot be known.

    A push to a branch is compared with the commit that the branch had; a new branch with the parent of the
    oldest commit that came with it, else with where it left the default branch; a pull request with where
    it left its base.
    """
    if event.kind in pulls.KINDS:
        return _of_pull(event, route, keep, repository, workspaces)
    before = event.before
    if before is None and event.kind == "push" and not event.payload.get("by_hand"):
        before = _before_new_branch(event, route, repository, workspaces)
    return workspaces.changed(route, before)


def _before_new_branch(
    event: Event, route: Route, repository: Repository, workspaces: Workspaces
) -> str | None:
    came = event.payload.get("commits")
    oldest = within(came[0], "id") if isinstance(came, list) and came else None
    if isinstance(oldest, str) and FULL_COMMIT_ID.fullmatch(oldest):
        parents = workspaces.parents(replace(route, commit=oldest))
        return parents[0] if parents else None
    if event.default_branch is None or event.branch == event.default_branch:
        return None
    try:
        main = workspaces.resolve(repository, f"refs/heads/{event.default_branch}")
    except Rejected:
        return None
    return workspaces.parting(route, main)


def _of_pull(
    event: Event, route: Route, keep: str, repository: Repository, workspaces: Workspaces
) -> Sequence[str] | None:
    head = pulls.head_of(event)
    if head is None:
        return None
    own, held = replace(route, commit=head), f"{keep}-{head}"
    try:
        workspaces.fetch(repository, own, keep=held)
        parents = workspaces.parents(route)
        base = parents[0] if head in parents[1:] else within(event.payload, "pull_request", "base", "sha")
        if not isinstance(base, str) or not FULL_COMMIT_ID.fullmatch(base):
            return None
        return workspaces.changed(own, workspaces.parting(own, base))
    except Rejected:
        # A forge may have forgotten the commit of a pull request that was deleted.
        return None
    finally:
        workspaces.release(own, held)
