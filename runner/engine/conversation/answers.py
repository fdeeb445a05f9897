"""What a workflow is told of a step that has ended: when it does, and again in every later attempt."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runner.engine.conversation.asked import Asked, Stands
from runner.engine.conversation.talk import Talk
from runner.engine.conversation.values import Values
from runner.model.forks import POST
from runner.model.step import Checkpoint, Exports, Outcome, is_named, named_in

BYTES_AHEAD = 256 * 1024
"""Of values that are said before anybody has asked for them."""
STEPS_AHEAD = 1000


def is_long(outcome: Outcome) -> bool:
    """Whether a value is said in parts: its own text, which nobody has to read on the way."""
    return outcome.blob is not None or len(outcome.value or "") > BYTES_AHEAD


@dataclass(slots=True)
class Told:
    """What the commands so far have exported. `path` is where programs are looked for without them."""

    path: str
    exports: Exports = field(default_factory=Exports)

    def hear(self, outcome: Outcome) -> None:
        self.exports = self.exports.then(outcome.exports)

    def answer(self, done: Checkpoint) -> Mapping[str, Any]:
        """What is said of a step, as the newest of those so far."""
        outcome = done.outcome
        self.hear(outcome)
        value = None if outcome.value is None or is_long(outcome) else json.loads(outcome.value)
        answer: dict[str, Any] = {"at": done.finished.isoformat(), "ok": outcome.result.ok}
        answer["value"] = value if outcome.result.ok else value or {"reason": outcome.reason}
        answer["outputs"], answer["exit_code"] = dict(outcome.outputs), outcome.exit_code or 0
        if outcome.exports.env or outcome.exports.path:
            path = ":".join((*reversed(self.exports.path), self.path))
            answer["env"] = {**outcome.exports.env, "PATH": path}
        return answer


@dataclass(slots=True)
class Ahead:
    """How the steps of earlier attempts ended, in that order: said before the workflow asks for them again.

    It needs no word of ours then to come to where it was: what it asks for is compared all the same.
    """

    keys: list[str]
    checkpoints: Mapping[str, Checkpoint]
    told: Told
    said: int = 0
    """How many of them the workflow's process knows."""

    def more(self) -> list[Mapping[str, Any]]:
        """The next of them that are to be said; empty where all have been."""
        found: list[Mapping[str, Any]] = []
        size = 0
        while self.said < len(self.keys) and len(found) < STEPS_AHEAD and size < BYTES_AHEAD:
            key = self.keys[self.said]
            self.said += 1
            if is_named(key) and not key.endswith(POST):
                name, number = named_in(key)
                done = self.checkpoints[key]
                # A long value is only said to who asks for it, in its turn.
                long = is_long(done.outcome)
                found.append({**self.told.answer(done), "name": name, "number": number, "long": long})
                size += 0 if long else len(done.outcome.value or "")
                size += sum(map(len, done.outcome.outputs.values()))
        return found


@dataclass(slots=True)
class Answers:
    """Gives them, in the order in which the steps ended."""

    talk: Talk
    said: Told
    ahead: Ahead
    values: Values
    left: list[Asked] = field(default_factory=list)
    """Steps that have left something to be done at the end of the job, as they were asked for."""

    def say_ahead(self) -> bool:
        """Say how the next steps of earlier attempts ended; whether there are any that were not said yet."""
        more = self.ahead.more()
        if more:
            self.talk.send({"is": "memory", "steps": more})
        return bool(more)

    def was_ahead(self, step: Asked) -> bool:
        place = self.talk.steps.places.get(step.key)
        return place is not None and place < self.ahead.said

    def take(self, step: Asked) -> None:
        """The workflow has had the answer that it was told ahead."""
        done = self.talk.ledger.checkpoints[step.key]
        self._note_posts(step, done)
        self.talk.steps.put(step, Stands.ANSWERED)
        self.said.hear(done.outcome)

    def answer(self, step: Asked, done: Checkpoint) -> None:
        self._note_posts(step, done)
        self.talk.steps.put(step, Stands.ANSWERED)
        if is_long(done.outcome):
            for part in self.values.parts(step, done.outcome):
                self.talk.channel.send({"is": "part", "id": step.number, "text": part})
        self.talk.send({"is": "recall", "id": step.number, **self.said.answer(done)})

    def _note_posts(self, step: Asked, done: Checkpoint) -> None:
        """Know what a step has left to be done at the end of the job, though it is answered."""
        if done.outcome.posts:
            self.left.append(replace(step))
