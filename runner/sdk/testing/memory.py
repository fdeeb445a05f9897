"""What outlives the crashes of a workflow that is played, and what its test is told of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Optional

from runner.sdk import wire
from runner.sdk.testing.answers import Answers, Asking, Outcome, Unplayable
from runner.sdk.told import value_of

LAW = "what a workflow does may depend on nothing but its event and its steps"


class Diverged(Unplayable):
    """Run again, the workflow asked for other steps, or came to another end."""


@dataclass(frozen=True)
class Asked:
    """A step that the workflow asked for."""

    name: str
    """ "name", or "name (2)" for the second of that name."""
    kind: str
    """`do`, `sh`, `sleep`, `until`, `event`, `approve` ..."""
    request: Mapping[str, Any]
    """What it was asked with, such as `command` of a `sh`."""
    line: str
    ok: Optional[bool] = None
    """None where nobody waited for its end."""
    value: Any = None
    """What the workflow got for it; of one that failed, the reason."""
    tried: int = 0


@dataclass(frozen=True)
class Failure:
    """Why the workflow failed, as a run shows it."""

    reason: str
    type: str
    traceback: str
    undo: tuple[str, ...] = ()
    """What went wrong while things were taken back."""


@dataclass(frozen=True)
class Played:
    """How a workflow went: `result` is success, failure or cancelled, `value` what it returned."""

    result: str
    value: Any
    failure: Optional[Failure]
    asked: tuple[Asked, ...]
    """The steps, in the order in which they were asked for."""
    took: timedelta
    """What it would have waited."""
    unused: tuple[str, ...]
    """Names of answers that no step took: a step's name was misspelt, or it was not asked for."""

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.asked]

    def __getitem__(self, name: str) -> Asked:
        for one in self.asked:
            if one.name == name:
                return one
        raise KeyError(f"no step {name!r} was asked for, but {', '.join(self.names) or 'none'}")


class Memory:
    """What outlives a crash."""

    def __init__(self, answers: Answers, started: datetime, cancel_at: Optional[str]) -> None:
        self.answers = answers
        self.started = self.now = started
        self.cancel_at = cancel_at
        self.cancelled = False
        self.asked: list[Asking] = []
        self.done: dict[str, tuple[Outcome, datetime]] = {}
        """How steps have ended, by what they are shown as, in that order."""
        self.due: dict[str, tuple[datetime, int, Optional[Outcome]]] = {}
        """When steps end that wait, or take time; without an outcome they are to be tried again then."""
        self.ran: dict[str, Outcome] = {}
        """How bodies have ended that nobody has written down."""
        self.tried: dict[str, int] = {}
        self.order = count()
        self.complete = False
        """Whether it has come to its end before."""

    def said(self) -> Iterator[wire.Message]:
        """How steps have ended, for a workflow that asks for them again."""
        named = {one.shown: one for one in self.asked}
        for shown, (outcome, at) in self.done.items():
            step = named[shown]
            yield {"name": step.name, "number": step.number, "at": at.isoformat(), **outcome.answer}

    def played(self, end: wire.Message) -> Played:
        if self.cancel_at is not None and not self.cancelled:
            names = ", ".join(one.shown for one in self.asked) or "none"
            raise Unplayable(f"cancel_at is {self.cancel_at!r}, and no such step began; there were {names}")
        value, failure = end["value"], None
        if isinstance(value, dict):
            reason, type, traceback = (str(value.get(key, "")) for key in ("reason", "type", "traceback"))
            failure = Failure(reason, type, traceback, tuple(value.get("undo", ())))
        asked = tuple(self._asked(one) for one in self.asked)
        given = json.loads(value) if isinstance(value, str) else None
        return Played(end["result"], given, failure, asked, self.now - self.started, self.answers.unused)

    def _asked(self, step: Asking) -> Asked:
        found = Asked(step.shown, step.kind, step.request, step.line)
        if step.shown not in self.done:
            return found
        outcome, _ = self.done[step.shown]
        value = value_of(step.kind, outcome.answer) if outcome.ok else outcome.value["reason"]
        tried = self.tried.get(step.shown, 0) + 1
        return replace(found, ok=outcome.ok, value=value, tried=tried)
