"""Pull requests: the commit that merges one, and what is held back of those that come from a fork.

The code of a fork is its author's, whom nobody here vouches for. So the workflows that it runs are the
base's, and nothing runs before somebody approves it; the approval is for one commit, as a delivery is.
"""

from dataclasses import replace

from runner.engine.definitions import OWN
from runner.engine.ports import Workspaces
from runner.engine.refs import MERGED, within
from runner.errors import Rejected, Unavailable
from runner.model.source import FULL_COMMIT_ID, Delivery, Event, Repository, Route
from runner.workflow.references import WORKFLOW_FOLDER

PULL, TARGET = "pull_request", "pull_request_target"
KINDS = (*MERGED, TARGET)


class NotMerged(Unavailable):
    """There is no commit yet that merges the pull request."""


def target_of(event: Event) -> Event:
    """The same as an event of the base branch, whose workflows a pull request cannot change."""
    base = within(event.payload, "pull_request", "base", "ref")
    return replace(event, kind=TARGET, ref=f"refs/heads/{base}", commit=None, before=None)


def head_of(event: Event) -> str | None:
    """The newest commit of the pull request itself."""
    head = within(event.payload, "pull_request", "head", "sha")
    return head if isinstance(head, str) and FULL_COMMIT_ID.fullmatch(head) else None


def merge_of(event: Event, keep: str, repository: Repository, workspaces: Workspaces) -> str:
    """The commit that merges the pull request into its base, as the forge keeps it. Raises `NotMerged`.

    Forges make it a moment after they tell of the pull request, and none where the two conflict. Of one
    that is closed there may be none any more: then it is the pull request's own.
    """
    head, about = head_of(event), f"pull request {within(event.payload, 'pull_request', 'number')}"
    closed = event.payload.get("action") == "closed"
    try:
        commit = workspaces.resolve(repository, event.ref)
    except Rejected:
        if closed and head is not None:
            return head
        base = within(event.payload, "pull_request", "base", "ref")
        raise NotMerged(f"nothing merges {about}: it conflicts with {base}, or is closed") from None
    route, held = Route(event.forge, event.repo, commit), f"{keep}-{commit}"
    try:
        workspaces.fetch(repository, route, keep=held)
        parents = workspaces.parents(route)
    finally:
        workspaces.release(route, held)
    if head is not None and head not in (commit, *parents) and not closed:
        raise NotMerged(
            f"{event.ref} does not merge {head[:12]}: {about} has moved on, or waits to be merged"
        )
    return commit


def held_back(delivery: Delivery, event: Event, route: Route, workspaces: Workspaces) -> str | None:
    """Why nothing of it runs, None where it may. Raises `Rejected` where no approval could help."""
    fork = event.fork
    if fork is None:
        return None
    base = _base(event, route, workspaces)
    if base is None or any(_is_callable(path) for path in workspaces.changed(route, base)):
        branch = within(event.payload, "pull_request", "base", "ref")
        raise Rejected(
            f"the pull request comes from {fork} and changes the workflows of {branch}, which only those may "
            "who can push here: have one of them take over the change"
        )
    if delivery.approved:
        return None
    return f"its code comes from {fork}: it runs once `runner deliveries approve {delivery.id}` lets it"


def _is_callable(path: str) -> bool:
    """Whether a file can be a workflow, or be called by one, or be a module that is kept with one."""
    folder = path.rpartition("/")[0]
    return f"{folder}/".startswith(f"{OWN}/") or WORKFLOW_FOLDER.fullmatch(folder) is not None


def _base(event: Event, route: Route, workspaces: Workspaces) -> str | None:
    # The parents of the pull request's own commit are its author's choice.
    parents = workspaces.parents(route) if route.commit != head_of(event) else ()
    base: object = parents[0] if len(parents) > 1 else within(event.payload, "pull_request", "base", "sha")
    if not isinstance(base, str) or not FULL_COMMIT_ID.fullmatch(base):
        return None
    return base
