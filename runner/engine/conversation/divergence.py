"""Whether a workflow asks again for what it has asked for in earlier attempts."""

from collections.abc import Mapping

from runner.engine.conversation.asked import Asked, Roll
from runner.engine.conversation.waits import AWAITED
from runner.engine.ledger import Diverged
from runner.engine.waiting import wait_of
from runner.model.run import Job
from runner.model.step import TRY, Checkpoint, name_in
from runner.model.waits import said_of

MOST_NAMED = 5
"""Steps that an error speaks of."""


def check_same(step: Asked, checkpoints: Mapping[str, Checkpoint], job: Job) -> None:
    """Raises `Diverged` where the workflow has asked for something else under the same name before."""
    found = checkpoints.get(step.key) or checkpoints.get(f"{step.key}{TRY}1")
    if found is not None and found.fingerprint != step.fingerprint:
        raise _diverged(
            f"{step.line} asks for `{step.shown}`, where attempt {found.attempt} had asked for "
            f"{_shown(found)} under the same name"
        )
    # To look for its wait among thousands takes long, for each of thousands of steps.
    wait = wait_of(job, step.key) if found is None else None
    if wait is not None and AWAITED.get(step.kind) is not wait.awaited:
        raise _diverged(
            f"{step.line} asks for `{step.shown}`, where an earlier attempt had waited ({said_of(wait)}) "
            "under the same name"
        )


def check_all_asked(steps: Roll, checkpoints: Mapping[str, Checkpoint]) -> None:
    """Raises `Diverged` where steps of earlier attempts are not asked for any more."""
    missing = list(steps.places)
    if not missing:
        return
    before = ", ".join(_shown(checkpoints[key]) for key in missing[:MOST_NAMED])
    more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    now = ", ".join(f"`{one.shown}` ({one.line})" for one in list(steps.asked.values())[:MOST_NAMED])
    raise _diverged(
        f"it asks no more for what attempt {checkpoints[missing[0]].attempt} had asked for: {before}{more}; "
        f"instead it asks for {now or 'nothing'}"
    )


def _shown(done: Checkpoint) -> str:
    return f"`{done.outcome.request or name_in(done.key)}` ({done.outcome.line})"


def _diverged(what: str) -> Diverged:
    return Diverged(
        f"the workflow diverged: {what}; what a workflow asks for may depend on nothing but its event and "
        "its steps. Rerun the run to start afresh"
    )
