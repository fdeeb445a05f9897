"""What a workflow's process says."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import Any

from runner.engine.conversation.answers import Answers
from runner.engine.conversation.asked import Asked, Stands, asked
from runner.engine.conversation.bodies import REASON_LETTERS
from runner.engine.conversation.divergence import check_same
from runner.engine.conversation.errands import Errands
from runner.engine.conversation.sound import OPEN_BYTES, Unsound, plain
from runner.engine.conversation.sources import source_of
from runner.engine.conversation.talk import Talk
from runner.engine.conversation.values import Shown, Values
from runner.engine.conversation.watch import Watch
from runner.engine.output import StepOutput
from runner.engine.waiting import wait_of
from runner.errors import BrokenDefinition
from runner.model.leasing import leave_waits
from runner.model.step import Outcome

MOST_STEPS = 10_000


@dataclass
class Printed:
    """What the workflow prints itself: of our thread, and of one that reads what goes past our package."""

    output: StepOutput
    _lock: Lock = field(default_factory=Lock)

    def __call__(self, data: bytes) -> None:
        with self._lock:
            self.output(data)

    def end(self) -> None:
        with self._lock:
            self.output.end()


@dataclass
class Hearing:
    """`path` is the workflow's file; `printed` takes what it prints itself."""

    talk: Talk
    path: str
    printed: Printed
    answers: Answers
    errands: Errands
    shown: Shown
    values: Values
    watch: Watch
    _named: dict[str, int] = field(default_factory=dict)

    def hear(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"is": "ask"}:
                self.talk.busy()
                self._ask(message)
            case {"is": "print", "id": number, "text": str(text)}:
                self._print(number, text)
            case {"is": "took", "id": number} if (step := self.talk.steps.get(number)) is not None:
                self._take(step)
            case {"is": "part", "id": number, "text": str(text)} if (
                step := self.talk.steps.get(number)
            ) is not None:
                self.talk.busy()
                if message.get("of") == step.of and not step.stuck:
                    self.values.part(step, text)
            case {"is": "tell", "id": number} if (step := self._told_by(number)) is not None:
                self._tell(step, message)
            case {"is": "drop", "id": number} if (step := self.talk.steps.get(number)) is not None:
                self.talk.busy()
                self._leave(step)
            case {"is": "idle", "seen": seen}:
                self.talk.idle, self.talk.later = seen == self.talk.sent, message.get("later") is True
            case {"is": "find", "module": str(module)}:
                beside, station = posixpath.dirname(self.path), self.talk.stage.station
                route = self.talk.stage.scene.asked.run.route
                self.talk.channel.send(source_of(module, beside, route, station.workspaces))
            case {"is": "stack", "text": str(text)} if self.watch.stuck:
                self.watch.halt(text)
            case {"is": "end", "result": "success" | "failure" | "cancelled"}:
                self.talk.end = message
            case _:
                raise Unsound(
                    f"a message of the kind {ascii(message['is'])[:100]} with what does not belong to it"
                )

    def _print(self, number: object, text: str) -> None:
        try:
            data = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            data = text.encode(errors="replace")
        step = self.talk.steps.get(number)
        if step is not None and step.output is not None:
            step.output(data)
        elif step is None and self.talk.live:
            # Up to where it had come before, it says again what it has said.
            self.printed(data)

    def _ask(self, message: Mapping[str, Any]) -> None:
        if len(self.talk.steps) >= MOST_STEPS:
            where = plain(message.get("line"), REASON_LETTERS)
            raise BrokenDefinition(f"the workflow asks for more than {MOST_STEPS} steps: {where}")
        step = asked(message, len(self.talk.steps) + 1, self._named, self.talk.stage.masks)
        self.shown.refused("the name of a step", step.name)
        check_same(step, self.talk.ledger.checkpoints, self.talk.job)
        self.talk.steps.add(step)
        if self.talk.steps.size > OPEN_BYTES:
            raise BrokenDefinition(
                f"step {step.name}: what the workflow asks for at once is longer than {OPEN_BYTES} bytes"
            )

    def _told_by(self, number: object) -> Asked | None:
        """The step of which the workflow's process says how it ended: what we do for it ourselves is none."""
        step = self.talk.steps.get(number)
        return step if step is not None and step.kind != "uses" else None

    def _take(self, step: Asked) -> None:
        """The workflow has had the answer that it was told ahead."""
        if step.stands is not Stands.ASKED or not self.answers.was_ahead(step):
            raise Unsound(f"nothing was said ahead about the step {step.name}")
        self.talk.busy()
        self.answers.take(step)

    def _tell(self, step: Asked, message: Mapping[str, Any]) -> None:
        if step.stuck or message.get("of") != step.of:
            # It has ended at last, and counts as ended since long.
            return
        if not step.runs:
            raise Unsound(f"step {step.name} has ended, which does not run")
        self.talk.busy()
        self.over_with(step, message)

    def over_with(self, step: Asked, message: Mapping[str, Any] | Outcome) -> None:
        self.talk.steps.ended(step)
        if step.stands is Stands.RUNS:
            self.talk.told.append((step, message))
        else:
            self.values.drop(step)
            if step.output is not None:
                step.output.end()

    def _leave(self, step: Asked) -> None:
        if step.stands is Stands.LEFT:
            raise Unsound(f"step {step.name} is given up twice")
        if step.stands is Stands.ANSWERED:
            # Its answer was on the way.
            return
        waited, key = step.stands is Stands.WAITS, step.wait[0].key if step.wait is not None else step.key
        self.talk.steps.put(step, Stands.LEFT)
        self.errands.leave(step)
        if step.runs and not step.told_to_end:
            step.told_to_end, step.until = True, monotonic()
        if waited and wait_of(self.talk.job, key) is not None:
            self.talk.change(lambda job, now: leave_waits(job, self.talk.ledger.hold.lease, now, {key}))
