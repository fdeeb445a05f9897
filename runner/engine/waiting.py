"""The steps of a job that wait: what each begins to wait for, and what its end means."""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from runner.errors import BrokenDefinition, RunnerError
from runner.model.limits import shown
from runner.model.run import Job
from runner.model.step import Checkpoint, Outcome, Result, is_named
from runner.model.waits import Answer, Awaited, Wait, Word, refusal, said_of
from runner.workflow.built_in import Asked, BadWait, asked_for

AWAITED = {"sleep": Awaited.TIME, "wait": Awaited.SIGNAL, "approve": Awaited.APPROVAL}


class Suspend(RunnerError):
    """The job waits, without a worker; `length`: how long from now on, unless it is until an instant."""

    def __init__(self, wait: Wait, length: timedelta | None = None) -> None:
        super().__init__(said_of(wait) + (f", for {_long(length)}" if length is not None else ""))
        self.wait = wait
        self.length = length


def _long(length: timedelta) -> str:
    return f"{length.total_seconds():g}s" if length.microseconds else shown(length)


def wait_of(job: Job, key: str) -> Wait | None:
    """What the job has waited for under that key."""
    return next((wait for wait in job.waits if wait.key == key), None)


def heard(job: Job, done: Collection[str]) -> frozenset[str]:
    """The keys of signals that the job still has the payloads of, though steps that are `done` have them."""
    return frozenset(
        wait.key
        for wait in job.waits
        if wait.awaited is Awaited.SIGNAL
        and wait.answer is not None
        and wait.answer.payload is not None
        and wait.key in done
    )


def unheard(job: Job, undone: Mapping[str, Checkpoint]) -> Job:
    """The job with the payloads again that it had its steps keep, which are `undone`: they hear them anew."""
    found = []
    for wait in job.waits:
        if is_named(wait.key) and wait.key in undone and wait.awaited is Awaited.SIGNAL:
            answer, value = wait.answer, undone[wait.key].outcome.value
            if answer is not None and answer.word is Word.SENT and value is not None:
                payload = json.loads(value)["payload"]
                found.append(replace(wait, answer=replace(answer, payload=payload)))
    return job.with_waits(found)


def await_step(
    kind: str, key: str, inputs: Mapping[str, str], limit: float, over: Result | None, job: Job
) -> Outcome:
    """What became of a step's wait. Raises `Suspend` where it begins, `BrokenDefinition` where it cannot.

    `limit`: the seconds that the step may take; `over`: how the job ends, if it does.
    """
    found = wait_of(job, key)
    if found is None:
        wanted = _wanted(kind, inputs, limit)
        wait = Wait(
            key,
            AWAITED[kind],
            since=datetime.now(UTC),
            due=wanted.until,
            name=wanted.signal,
            message=wanted.message,
            approvers=wanted.approvers,
        )
        if over is not None:
            return Outcome(over, over, reason=_ended(over))
        if wanted.until is None or wanted.until > datetime.now(UTC):
            raise Suspend(wait, wanted.length)
        return Outcome(Result.SUCCESS, Result.SUCCESS, reason="")
    if found.answer is None:
        # It only gets a worker with its wait open where it has come to its end.
        over = over or Result.CANCELLED
        return Outcome(over, over, reason=_ended(over))
    return _outcome(found, found.answer)


def _wanted(kind: str, inputs: Mapping[str, str], limit: float) -> Asked:
    try:
        wanted = asked_for(kind, inputs)
    except BadWait as error:
        raise BrokenDefinition(str(error)) from None
    if kind != "sleep" and limit < (wanted.length.total_seconds() if wanted.length else float("inf")):
        return Asked(kind, None, timedelta(seconds=limit), wanted.signal, wanted.message, wanted.approvers)
    return wanted


def _ended(over: Result) -> str:
    return "cancelled" if over is Result.CANCELLED else "the job ran longer than its timeout-minutes"


def _outcome(wait: Wait, answer: Answer) -> Outcome:
    if (reason := refusal(wait)) is not None:
        result = Result.TIMED_OUT if answer.word is Word.DUE else Result.FAILURE
        return Outcome(result, result, outputs=_outputs(wait, answer), reason=reason)
    return Outcome(Result.SUCCESS, Result.SUCCESS, outputs=_outputs(wait, answer))


def _outputs(wait: Wait, answer: Answer) -> dict[str, str]:
    """What the steps after it can see of how it ended."""
    if wait.awaited is Awaited.TIME:
        return {}
    found = {"timed-out": str(answer.word is Word.DUE).lower()}
    if wait.awaited is Awaited.APPROVAL:
        approved = str(answer.word is Word.APPROVED).lower()
        return found | {"approved": approved, "by": answer.by, "comment": answer.comment}
    if answer.word is Word.DUE:
        return found
    own = answer.payload if isinstance(answer.payload, Mapping) else {}
    return {
        **{str(name): _text(value) for name, value in own.items()},
        **found,
        "payload": json.dumps(answer.payload, ensure_ascii=False),
        "sender": answer.by,
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
