"""What a job waits for without a worker: an instant, a signal, a person."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

LOSS = "!"
"""Between a step's key and an attempt that was lost: the key of the wait for what becomes of the step."""


class Awaited(StrEnum):
    TIME = "time"
    SIGNAL = "signal"
    APPROVAL = "approval"
    RESUMPTION = "resumption"
    """What becomes of a step that may have run, which a person has to say."""
    RUN = "run"
    """The end of a run that the step has started."""


class Word(StrEnum):
    """How a wait ended."""

    DUE = "due"
    """Its time has come."""
    SENT = "sent"
    """There was a signal."""
    APPROVED = "approved"
    REJECTED = "rejected"
    AGAIN = "again"
    """The step that may have run runs again."""
    DONE = "done"
    """It counts as done."""
    FAILED = "failed"
    """It counts as failed."""
    ENDED = "ended"
    """The run has; what came of it is with the answer."""
    LEFT = "left"
    """Nobody waits for it any more."""


@dataclass(frozen=True, slots=True)
class Answer:
    word: Word
    at: datetime
    by: str = ""
    """Who gave it; empty where it was time."""
    comment: str = ""
    payload: Any = None
    """A signal's, as JSON knows it; of a run, what came of it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """One of a job's waits, which stays with the job when it is over: no try of a step waits again for it.

    `key` is unique among those of the job: for a step's own, the step's. `due` is when it is over by itself.
    """

    key: str
    awaited: Awaited
    since: datetime
    due: datetime | None = None
    shifts: bool = False
    """Whether it lasts an amount of time, which stands still while the run is paused."""
    name: str = ""
    """Of the signal, or of the environment that is to be approved; of a run, its delivery."""
    message: str = ""
    approvers: tuple[str, ...] = ()
    """Who may approve; empty for all who may at all."""
    answer: Answer | None = None
    barred: tuple[str, ...] = ()
    """Who may not approve, whatever else they may."""
    joint: bool = False
    """Whether it is one of several that are waited for at once, of which the end of one is enough."""

    def over(self, at: datetime, paused: datetime | None = None) -> "Wait":
        """The wait as time has it: answered where it was due by then, or by when its run was `paused`."""
        at = min(at, paused) if paused is not None and self.shifts else at
        if self.answer is not None or self.due is None or self.due > at:
            return self
        return replace(self, answer=Answer(Word.DUE, self.due))

    def shifted(self, since: datetime, now: datetime) -> "Wait":
        """The wait after a pause: one that lasts an amount of time, and began before, is that much longer."""
        if not self.shifts or self.due is None or self.answer is not None:
            return self
        return replace(self, due=self.due + (now - max(since, self.since)))

    def begun(self, at: datetime) -> "Wait":
        """The wait beginning only now: what it lasts counts from here."""
        if self.answer is not None:
            return self
        return replace(self, since=at, due=None if self.due is None else at + (self.due - self.since))

    def left(self, at: datetime) -> "Wait":
        """The wait once nobody waits for it: what it was answered stays, and another answer does not come."""
        return replace(self, joint=False, answer=self.answer or Answer(Word.LEFT, at))

    def bars(self, name: str) -> bool:
        return name.casefold() in map(str.casefold, self.barred)


def opened(waits: Iterable[Wait]) -> tuple[Wait, ...]:
    """Those that are not over."""
    return tuple(wait for wait in waits if wait.answer is None)


def refusal(wait: Wait) -> str | None:
    """Why what waited does not go on; None where it does, or waits still."""
    answer = wait.answer
    comment = f": {answer.comment}" if answer is not None and answer.comment else ""
    match wait.awaited, answer.word if answer is not None else None:
        case Awaited.APPROVAL, Word.REJECTED if answer is not None and not answer.by:
            return answer.comment
        case Awaited.APPROVAL, Word.REJECTED if answer is not None:
            return f"{answer.by} rejected it{comment}"
        case Awaited.APPROVAL, Word.DUE if wait.due is not None:
            return f"nobody approved it by {wait.due:%Y-%m-%d %H:%M:%S} UTC"
        case Awaited.SIGNAL, Word.DUE if wait.due is not None:
            return f'no signal "{wait.name}" came by {wait.due:%Y-%m-%d %H:%M:%S} UTC'
        case Awaited.RUN, Word.DUE if wait.due is not None:
            return f"the run of {wait.message} had not ended by {wait.due:%Y-%m-%d %H:%M:%S} UTC"
        case Awaited.RUN, Word.FAILED if answer is not None:
            return f"{wait.message} did not start: {answer.comment}"
        case _, Word.LEFT:
            return "nobody waits for it any more"
        case _:
            return None


def said_of(wait: Wait) -> str:
    """What is waited for, in words."""
    match wait.awaited:
        case Awaited.TIME:
            about = f"waits for the timer of environment {wait.name}" if wait.name else "sleeps"
        case Awaited.SIGNAL:
            about = f'waits for the signal "{wait.name}"'
        case Awaited.APPROVAL:
            whose = f" by {', '.join(wait.approvers)}" if wait.approvers else ""
            about = f"waits for approval{whose}"
        case Awaited.RESUMPTION:
            about = "waits for a person"
        case Awaited.RUN:
            about = "waits for the end of a run"
    place = f"environment {wait.name}" if wait.awaited is Awaited.APPROVAL and wait.name else ""
    message = f": {wait.message or place}" if wait.message or place else ""
    until = f", until {wait.due:%Y-%m-%d %H:%M:%S} UTC" if wait.due is not None else ""
    return about + message + until


def subject_of(wait: Wait, step: str) -> str:
    """What an answer was about, in words; `step` is what people call the step that waited, empty for none."""
    match wait.awaited:
        case Awaited.SIGNAL:
            return f'signal "{wait.name}"' + (f" of {step}" if step else "")
        case Awaited.APPROVAL:
            return f"approval of {step or f'environment {wait.name}'}"
        case Awaited.RESUMPTION:
            return f"{step}, which may have run"
        case Awaited.TIME | Awaited.RUN:
            return step or f"environment {wait.name}"


@dataclass(frozen=True, slots=True)
class Signal:
    """What somebody has to say to one attempt of a run.

    `key` makes copies of it known: of one name and key, the first one counts. `number` is its place in the
    order in which the signals arrived.
    """

    name: str
    key: str
    sender: str = ""
    payload: Any = None
    number: int = 0
    repeatable: bool = True
    """Whether one of the same name and key that went to an earlier attempt of the run is another one."""
