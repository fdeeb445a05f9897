"""What a workflow's steps wait for, and what the end of a wait means."""

import json
from dataclasses import replace
from datetime import datetime, timedelta

from runner.engine.conversation.asked import Asked
from runner.engine.conversation.bodies import failure, success
from runner.engine.conversation.children import child_ended, child_of
from runner.engine.conversation.sound import plain
from runner.engine.stage import Stage
from runner.model.step import Outcome, Result
from runner.model.waits import Answer, Awaited, Wait, Word, refusal
from runner.workflow.built_in import LONGEST_MESSAGE

AWAITED = {
    "sleep": Awaited.TIME,
    "until": Awaited.TIME,
    "event": Awaited.SIGNAL,
    "approve": Awaited.APPROVAL,
    "run": Awaited.RUN,
}
"""What each kind of steps that wait waits for."""
WAITS = tuple(AWAITED)


def wait_for(step: Asked, stage: Stage, now: datetime) -> tuple[Wait, timedelta | None] | None:
    """What a step waits for from now on, and for how long; None where that is over already.

    Raises `BrokenDefinition` where it cannot wait like that.
    """
    request = step.request
    length = timedelta(seconds=request["seconds"]) if request.get("seconds") is not None else None
    match step.kind:
        case "sleep":
            return (Wait(step.key, Awaited.TIME, since=now), length) if length else None
        case "until":
            due = datetime.fromisoformat(request["until"])
            return (Wait(step.key, Awaited.TIME, since=now, due=due), None) if due > now else None
        case "event":
            return Wait(step.key, Awaited.SIGNAL, since=now, name=str(request["type"])), length
        case "run":
            return child_of(step, stage, now), length
        case _:
            message, approvers = plain(request["message"], LONGEST_MESSAGE), tuple(request["approvers"])
            wait = Wait(step.key, Awaited.APPROVAL, since=now, message=message, approvers=approvers)
            return wait, length


def waited(wait: Wait, answer: Answer) -> Outcome:
    """What a wait comes to, with what the workflow is told of it."""
    if wait.awaited is Awaited.TIME:
        return success()
    if (reason := refusal(wait)) is not None:
        late = answer.word is Word.DUE
        told = {"kind": "timeout" if late else "rejected", "reason": reason}
        outcome = failure(reason, Result.TIMED_OUT if late else Result.FAILURE)
        return replace(outcome, value=json.dumps(told))
    if wait.awaited is Awaited.RUN:
        outcome, what = child_ended(wait, answer)
        return replace(outcome, value=json.dumps(what))
    at = answer.at.isoformat()
    if wait.awaited is Awaited.APPROVAL:
        return replace(success(), value=json.dumps({"by": answer.by, "comment": answer.comment, "at": at}))
    value = {"type": wait.name, "payload": answer.payload, "sender": answer.by, "at": at}
    return replace(success(), value=json.dumps(value))
