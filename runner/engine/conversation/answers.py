"""What a workflow is told of a step that has ended: when it does, and again in every later attempt."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
