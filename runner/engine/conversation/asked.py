"""A step as a workflow asked for it, and how it stands."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from hashlib import sha256
from heapq import heappop, heappush
from typing import Any

from runner.engine.conversation.sound import LINE_LETTERS, check_ask, plain
from runner.engine.masks import Masks
from runner.engine.output import StepOutput
from runner.model.step import Outcome, named_key
from runner.model.waits import Wait
from runner.workflow.document import Retry

SHOWN_LETTERS = 1000
"""Of what a step was asked to do, for people to compare."""
ENDING_SECONDS = 15.0
"""That a body has to end in once it was told to: a command is killed before. Then nobody waits for it."""


class Stands(Enum):
    """How a step stands, once it is asked for."""

    ASKED = "asked"
    WAITS = "waits"
    RUNS = "runs"
    ANSWERED = "answered"
    LEFT = "left"
    """Nobody waits for it any more."""


@dataclass(slots=True)
class Asked:
    """A step as the workflow asked for it."""

    number: int
    key: str
    name: str
    kind: str
    request: Mapping[str, Any]
    fingerprint: str
    shown: str
    line: str
    size: int
    """In bytes, of what it is asked to do."""
    stands: Stands = Stands.ASKED
    began: datetime | None = None
    until: float = float("inf")
    """A reading of `time.monotonic()`."""
    limit: float = float("inf")
    told_to_end: bool = False
    runs: bool = False
    """Whether its body does, also where nobody waits for it any more."""
    of: int = 0
    """The message that its body was begun with."""
    stuck: bool = False
    """Whether its body did not end when it was told to; it may do so yet."""
    slot: int = 0
    output: StepOutput | None = None
    wait: tuple[Wait, timedelta | None] | None = None
    """What it waits for, and for how long from when that begins, unless it is until an instant."""

    def said_of(self, outcome: Outcome) -> Outcome:
        """An outcome with what was asked for."""
        return replace(outcome, request=self.shown, line=self.line, takes_back="takes-back" in self.request)

    @property
    def retry(self) -> Retry | None:
        said = self.request.get("retry")
        if not said:
            return None
        return Retry(
            int(said["max-attempts"]),
            float(said["delay"]),
            str(said["backoff"]),
            said.get("max-delay"),
            bool(said["jitter"]),
            tuple(said["on-exit-codes"]),
        )


@dataclass(slots=True)
class Roll:
    """The steps of a conversation by how they stand: what is done for one does not look at all of them.

    `places`: what has a checkpoint from before, by the order in which it ended.
    """

    places: dict[str, int]
    asked: dict[int, Asked] = field(default_factory=dict)
    waiting: dict[int, Asked] = field(default_factory=dict)
    running: dict[int, Asked] = field(default_factory=dict)
    """Those whose bodies run, also where nobody waits for them any more."""
    size: int = 0
    """In bytes, of what those are asked to do that have got no answer."""
    _all: dict[int, Asked] = field(default_factory=dict)
    _known: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._all)

    def get(self, number: object) -> Asked | None:
        return self._all.get(number) if isinstance(number, int) else None

    def add(self, step: Asked) -> None:
        self._all[step.number] = self.asked[step.number] = step
        self.size += step.size
        if step.key in self.places:
            heappush(self._known, (self.places[step.key], step.number))

    def put(self, step: Asked, stands: Stands) -> None:
        step.stands = stands
        for kind, steps in ((Stands.ASKED, self.asked), (Stands.WAITS, self.waiting)):
            if stands is kind:
                steps[step.number] = step
            else:
                steps.pop(step.number, None)
        if stands is Stands.RUNS:
            step.runs = True
            self.running[step.number] = step
        elif stands in (Stands.ANSWERED, Stands.LEFT):
            self.size, step.size, step.request = self.size - step.size, 0, {}
            if stands is Stands.ANSWERED:
                self.places.pop(step.key, None)

    def ended(self, step: Asked) -> None:
        """The body of a step runs no more."""
        step.runs = False
        self.running.pop(step.number, None)

    def recalled(self) -> Asked | None:
        """The first to be answered of those that have been asked for and have a checkpoint."""
        while self._known:
            step = self._all[self._known[0][1]]
            if step.stands is Stands.ASKED:
                return step
            heappop(self._known)
        return None


def asked(message: Mapping[str, Any], number: int, named: dict[str, int], masks: Masks) -> Asked:
    """What a message asks for that is to ask for step `number`; counts it in `named`.

    Raises `Unsound`, and `BrokenDefinition` for more than a step can be asked for.
    """
    size = check_ask(message, number)
    name, kind, request = message["name"], message["kind"], message["request"]
    named[name] = named.get(name, 0) + 1
    return Asked(
        number,
        named_key(name, named[name]),
        name,
        kind,
        request,
        fingerprint(kind, name, request),
        plain(masks.hide_text(shown(kind, name, request)), SHOWN_LETTERS),
        plain(masks.hide_text(message.get("line", "")), LINE_LETTERS),
        size,
    )


def fingerprint(kind: str, name: str, request: Mapping[str, Any]) -> str:
    """SHA-256 over what a step is to do, whatever is said of its failure."""
    said = {key: value for key, value in request.items() if key not in ("retry", "timeout", "on-lost")}
    return sha256(json.dumps([kind, name, said], sort_keys=True).encode()).hexdigest()


def shown(kind: str, name: str, request: Mapping[str, Any]) -> str:
    match kind:
        case "sh":
            what = str(request.get("command"))
        case "sleep":
            what = f"{request.get('seconds'):g} seconds"
        case "do":
            what = ""
        case _:
            told = ("until", "type", "message", "action", "workflow")
            what = ", ".join(str(request[key]) for key in told if request.get(key))
    return f"{kind} {name}: {what}" if what else f"{kind} {name}"
