"""Bodies that may have run when a worker was lost: what becomes of them, as they said when they began."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from runner.engine.conversation.asked import Asked
from runner.engine.conversation.bodies import failure, success
from runner.engine.retries import MAY_HAVE_RUN, lost_since_tried
from runner.engine.waiting import wait_of
from runner.model.run import UNNOTED, Begun, Job
from runner.model.step import TRY, Checkpoint, Outcome
from runner.model.waits import LOSS, Awaited, Wait, Word

CANCELLED = "the job was cancelled before anybody said what becomes of it"


def becomes(
    step: Asked, job: Job, checkpoints: Mapping[str, Checkpoint], on_lost: str, ending: bool
) -> Outcome | Wait | None:
    """What becomes of a body that may have run when its worker was lost: how it ended, or whom to ask.

    None where it is run. However many attempts there were since, and whatever they did, it is the same.
    `on_lost` is what it says now.
    """
    begun = _lost(step, job, checkpoints, on_lost)
    if begun is None:
        return None
    if begun.on_lost == "fail":
        return _given_up("on-lost is fail")
    key = f"{step.key}{LOSS}{begun.attempt}"
    wait = wait_of(job, key)
    if wait is None or wait.answer is None:
        if ending:
            return _given_up(CANCELLED)
        message = f"{MAY_HAVE_RUN}: step {step.name}"
        return wait or Wait(key, Awaited.RESUMPTION, since=datetime.now(UTC), message=message)
    match wait.answer.word:
        case Word.AGAIN:
            return None
        case Word.DONE:
            return replace(success(), reason=f"{wait.answer.by} said that it is done")
        case Word.FAILED:
            return _given_up(f"{wait.answer.by} said that it failed")
    return _given_up("nobody said what becomes of it")


def _lost(step: Asked, job: Job, checkpoints: Mapping[str, Checkpoint], on_lost: str) -> Begun | None:
    """How a try of it began whose worker was lost, and that nobody has written down the end of."""
    lost = lost_since_tried(job)
    mine = {key: begun for key, begun in job.begun.items() if key.partition(TRY)[0] == step.key}
    if not mine:
        return _unnoted(step, job, checkpoints, on_lost)
    found = (begun for key, begun in mine.items() if key not in checkpoints and begun.attempt in lost)
    return next(found, None)


def _unnoted(step: Asked, job: Job, checkpoints: Mapping[str, Checkpoint], on_lost: str) -> Begun | None:
    """How it may have begun with a worker of a former version, which noted nothing, but asked people."""
    prefix, lost = f"{step.key}{LOSS}", lost_since_tried(job)
    asked = [int(wait.key.removeprefix(prefix)) for wait in job.waits if wait.key.startswith(prefix)]
    if UNNOTED in job.begun and on_lost != "retry":
        since = list(checkpoints.values())[-1].attempt if checkpoints else job.base
        suspect = [one for one in lost if since <= one <= job.begun[UNNOTED].attempt]
        if suspect and suspect[-1] not in asked:
            return Begun(suspect[-1], on_lost)
    return Begun(max(asked), "ask") if asked and max(asked) in lost else None


def _given_up(why: str) -> Outcome:
    return replace(failure(f"{MAY_HAVE_RUN}, and {why}", code=1), given_up=True)
