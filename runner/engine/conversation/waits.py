"""What a workflow's steps wait for, and what the end of a wait means."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from runner.engine.conversation.asked import Asked
from runner.engine.conversation.bodies import failure, success
from runner.engine.conversation.children import child_ended, child_of, given_by
from runner.engine.conversation.sound import plain
from runner.engine.conversation.talk import Talk
from runner.engine.conversation.values import Shown
from runner.engine.stage import Stage
from runner.engine.waiting import heard, wait_of
from runner.errors import RunnerError
from runner.model.leasing import begin_waits, fix_answer, forget_payloads
from runner.model.step import Outcome, Result
from runner.model.waits import Answer, Awaited, Wait, Word, opened, refusal
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


class Rest(RunnerError):
    """Every branch of the workflow waits: `waits` begin now, and one of those in `open` has to be over.

    `heard`: the keys of those whose payloads need not be carried on.
    """

    def __init__(
        self, waits: list[tuple[Wait, timedelta | None]], open: frozenset[str], heard: frozenset[str]
    ) -> None:
        super().__init__(f"waits for {', '.join(sorted(open))}")
        self.waits = waits
        self.open = open
        self.heard = heard


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


@dataclass(slots=True)
class Waits:
    """Those of the steps of a workflow."""

    talk: Talk
    shown: Shown

    def wait_for(self, step: Asked) -> tuple[Wait, timedelta | None] | None:
        """As it is shown to all who read runs. Raises `BrokenDefinition`."""
        begun = wait_for(step, self.talk.stage, datetime.now(UTC))
        if begun is None:
            return None
        wait, length = begun
        self.shown.refused("the type of an event", wait.name)
        for approver in wait.approvers:
            self.shown.refused("who may approve", approver)
        return replace(wait, message=self.talk.stage.masks.hide_text(wait.message)), length

    def first_over(self) -> tuple[Asked, Wait, Answer] | None:
        """The step whose wait was over first, of those that are over."""
        steps = self.talk.steps
        waiting = [*steps.waiting.values(), *steps.asked.values()] if self.talk.job.waits else []
        if not waiting:
            return None
        job = self.talk.job.over(datetime.now(UTC))
        over: list[tuple[Answer, Asked, Wait]] = []
        for step in waiting:
            key = step.wait[0].key if step.wait is not None else step.key
            found = wait_of(job, key)
            if found is not None and found.answer is not None:
                over.append((found.answer, step, found))
        if not over:
            return None
        answer, step, wait = min(over, key=lambda one: (one[0].at, one[1].number))
        return step, wait, self._fixed(wait, answer)

    def _fixed(self, wait: Wait, answer: Answer) -> Answer:
        """The answer with what is found out only here, written down so that no later attempt differs."""
        payload = given_by(answer, self.talk.stage.station) if wait.awaited is Awaited.RUN else None
        if payload is None:
            return answer
        lease = self.talk.ledger.hold.lease
        self.talk.change(lambda job, _now: fix_answer(job, lease, wait.key, payload))
        return replace(answer, payload=payload)

    def begin(self, waiting: list[Asked]) -> None:
        """Have what waits do so while other branches run: from now on, and not from when these end."""
        new = [
            one.wait
            for one in waiting
            if one.wait is not None and wait_of(self.talk.job, one.wait[0].key) is None
        ]
        if new:
            lease, done = self.talk.ledger.hold.lease, heard(self.talk.job, self.talk.ledger.checkpoints)
            self.talk.change(lambda job, now: begin_waits(forget_payloads(job, lease, done), lease, now, new))

    def rest(self, waiting: list[Asked]) -> NoReturn:
        waits = [one.wait for one in waiting if one.wait is not None]
        done = heard(self.talk.job, self.talk.ledger.checkpoints)
        # Where the job has gone back, a person may be asked about a step that it has not come to yet.
        asked = {wait.key for wait in opened(self.talk.job.waits) if wait.awaited is Awaited.RESUMPTION}
        raise Rest(waits, frozenset({wait.key for wait, _ in waits} | asked), done)
