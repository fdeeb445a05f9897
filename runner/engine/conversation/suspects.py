"""Bodies that may have run when a worker was lost: what becomes of them, as `on-lost` says."""

from dataclasses import replace
from datetime import UTC, datetime

from runner.engine.conversation.asked import Asked
from runner.engine.conversation.bodies import failure, success
from runner.engine.retries import MAY_HAVE_RUN
from runner.model.run import Job
from runner.model.step import Outcome
from runner.model.waits import LOSS, Awaited, Wait, Word


def asked_of(step: Asked, job: Job) -> Wait | None:
    """What a person was asked last about a step."""
    prefix = f"{step.key}{LOSS}"
    found = [wait for wait in job.waits if wait.key.startswith(prefix)]
    return max(found, key=lambda wait: int(wait.key.removeprefix(prefix)), default=None)


def becomes(step: Asked, job: Job, on_lost: str, ending: bool) -> Outcome | Wait | None:
    """What becomes of a body whose worker was lost while it may have run: how it ended, or whom to ask.

    None where it is run. `step.suspect`: the worker was lost in the attempt before; else it was in an earlier
    one, and a person may have been asked since.
    """
    on_lost = step.request.get("on-lost") or on_lost
    if on_lost == "fail":
        return _given_up("on-lost is fail") if step.suspect else None
    if on_lost == "retry":
        return None
    wait = asked_of(step, job)
    key = f"{step.key}{LOSS}{job.lost[-1]}" if job.lost else ""
    if step.suspect and (wait is None or wait.key != key):
        if ending:
            return _given_up("the job was cancelled before anybody said what becomes of it")
        message = f"{MAY_HAVE_RUN}: step {step.name}"
        return Wait(key, Awaited.RESUMPTION, since=datetime.now(UTC), message=message)
    if wait is None:
        return None
    if wait.answer is None:
        return _given_up("the job was cancelled before anybody said what becomes of it") if ending else wait
    match wait.answer.word:
        case Word.AGAIN:
            return None
        case Word.DONE:
            return replace(success(), reason=f"{wait.answer.by} said that it is done")
        case Word.FAILED:
            return _given_up(f"{wait.answer.by} said that it failed")
    return _given_up("nobody said what becomes of it")


def _given_up(why: str) -> Outcome:
    return replace(failure(f"{MAY_HAVE_RUN}, and {why}", code=1), given_up=True)
