"""What a workflow's steps give: as the workflow gets it, however long, and as people see it."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO

from runner.engine.conversation.asked import Asked
from runner.engine.conversation.bodies import failure
from runner.engine.errands.shelf import reaching
from runner.engine.masks import HIDDEN, SHORTEST_PART, Masks
from runner.engine.matchers import Matchers
from runner.engine.ports import Objects
from runner.errors import BrokenDefinition, Damaged, NotFound
from runner.model.step import Outcome
from runner.sdk.wire import LONGEST_VALUE, PART

PLACE = "values"
MOST_INLINE = 64 * 1024 * 1024
"""Bytes of values in the checkpoints of a job, all of which a worker has in memory: others are objects."""
SMALL = 4096
"""Bytes of a value that is in its checkpoint, however many there are."""
SHOWN_LETTERS = 2000
"""Of a value; what is longer is cut for people."""
LOOKED_THROUGH = 64 * SHOWN_LETTERS
"""Letters in which secrets are looked for that may be among those: a secret may begin there."""


@dataclass(slots=True)
class _Coming:
    """A value that is told in parts."""

    file: IO[bytes]
    size: int = 0


@dataclass(slots=True)
class Values:
    """`job` is the id of the job, `temp` a folder of ours, `inline` the bytes of values in its checkpoints.

    A value that is longer than a checkpoint's own is an object, written whole before the checkpoint that
    names it; it stays as long as that.
    """

    objects: Objects
    job: int
    temp: Path
    inline: int = 0
    _coming: dict[int, _Coming] = field(default_factory=dict)

    def part(self, step: Asked, text: str) -> None:
        """Take the next part of a step's value. Raises `BrokenDefinition`."""
        if step.kind != "do" or not step.runs or len(text) > PART or not text.isascii():
            raise BrokenDefinition("the workflow's process tells a value that is no part of the conversation")
        coming = self._coming.get(step.number)
        if coming is None:
            coming = self._coming[step.number] = _Coming(
                TemporaryFile(dir=self.temp)  # noqa: SIM115 - it is closed with the value
            )
        coming.size += len(text)
        # What is too long is counted, and not kept.
        if coming.size <= LONGEST_VALUE:
            coming.file.write(text.encode())

    def drop(self, step: Asked) -> None:
        """Let go of what has come of a value that nobody waits for."""
        if (coming := self._coming.pop(step.number, None)) is not None:
            coming.file.close()

    def close(self) -> None:
        for coming in self._coming.values():
            coming.file.close()

    def whole(self, step: Asked, outcome: Outcome) -> Outcome:
        """The outcome of a step with its value, if that came in parts, as an object."""
        coming = self._coming.pop(step.number, None)
        if coming is None:
            return self._bounded(outcome)
        with coming.file as file:
            if not outcome.result.ok:
                return outcome
            if coming.size > LONGEST_VALUE:
                return failure(too_long(coming.size))
            file.seek(0)
            with reaching():
                blob = self.objects.put(f"{PLACE}/{self.job}", lambda target: _copy(file, target))
            file.seek(0)
            return replace(outcome, value=None, blob=blob, shown=file.read(LOOKED_THROUGH).decode())

    def _bounded(self, outcome: Outcome) -> Outcome:
        """The outcome with a value of which there is room in its checkpoint, or with an object."""
        value = outcome.value or ""
        if len(value) <= SMALL or not outcome.result.ok or self.inline + len(value) <= MOST_INLINE:
            self.inline += len(value)
            return outcome
        with reaching():
            blob = self.objects.put(f"{PLACE}/{self.job}", lambda target: _write(target, value))
        return replace(outcome, value=None, blob=blob, shown=value[:LOOKED_THROUGH])

    def parts(self, step: Asked, outcome: Outcome) -> Iterator[str]:
        """The value again, as it was written. Raises `BrokenDefinition` where it is not there any more."""
        blob, text = outcome.blob, outcome.value or ""
        if blob is None:
            yield from (text[at : at + PART] for at in range(0, len(text), PART))
            return
        try:
            with reaching(), self.objects.open(blob) as file:
                while part := file.read(PART):
                    yield part.decode("ascii")
        except (NotFound, Damaged) as error:
            raise BrokenDefinition(
                f"the value of step {step.name}, of {blob.size} bytes, is lost: {error}; rerun the run to "
                "start afresh"
            ) from None


def _copy(source: IO[bytes], target: BinaryIO) -> None:
    while part := source.read(PART):
        target.write(part)


def _write(target: BinaryIO, value: str) -> None:
    target.write(value.encode())


def too_long(size: int) -> str:
    return f"the step's value has {size} bytes as JSON; the limit is {LONGEST_VALUE}"


@dataclass(slots=True)
class Shown:
    """What people see of the steps of a job: all that is written down to be shown goes through here.

    The workflow gets its values as they are. What steps have asked to hide is written down with the step that
    did, so that it stays hidden in the next attempt.
    """

    masks: Masks
    matchers: Matchers
    _masks: int = field(init=False)
    _matchers: int = field(init=False)

    def __post_init__(self) -> None:
        self._masks, self._matchers = len(self.masks.added), len(self.matchers.added)

    def of(self, outcome: Outcome) -> Outcome:
        hide = self.masks.hide_text
        masks, matchers = self.masks.added[self._masks :], self.matchers.added[self._matchers :]
        self._masks, self._matchers = len(self.masks.added), len(self.matchers.added)
        return replace(
            outcome,
            reason=hide(outcome.reason),
            summary=hide(outcome.summary),
            shown=self._value(outcome),
            masks=tuple(masks),
            matchers=tuple(matchers),
        )

    def _value(self, outcome: Outcome) -> str | None:
        """None where the value itself can be shown."""
        text = outcome.shown if outcome.shown is not None else outcome.value
        if text is None:
            return None
        hidden = self.masks.hide_text(text[:LOOKED_THROUGH])
        if len(text) > SHOWN_LETTERS:
            return f"{hidden[:SHOWN_LETTERS]}…"
        return hidden if hidden != text or outcome.blob is not None else None

    def refused(self, what: str, text: str) -> None:
        """Raises `BrokenDefinition` where there is a secret in what is shown to all as it is.

        A few letters that happen to be a secret too are no reason.
        """
        left = self.masks.hide_text(text).replace(HIDDEN.decode(), "")
        if not self.masks.withheld and len(text) - len(left) >= SHORTEST_PART:
            raise BrokenDefinition(f"{what} has a secret in it, and is shown to all who read runs")
