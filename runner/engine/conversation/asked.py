"""A step as a workflow asked for it, and how it stands."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from hashlib import sha256
from typing import Any

from runner.engine.masks import Masks
from runner.engine.output import StepOutput
from runner.model.step import named_key
from runner.model.waits import Wait
from runner.workflow.document import Retry

SHOWN_LETTERS = 1000
"""Of what a step was asked to do, for people to compare."""


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
    stands: Stands = Stands.ASKED
    began: datetime | None = None
    until: float = float("inf")
    """A reading of `time.monotonic()`."""
    limit: float = float("inf")
    told_to_end: bool = False
    runs: bool = False
    """Whether its body does, also where nobody waits for it any more."""
    slot: int = 0
    output: StepOutput | None = None
    wait: tuple[Wait, timedelta | None] | None = None
    """What it waits for, and for how long from when that begins, unless it is until an instant."""

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


def asked(message: Mapping[str, Any], count: int, masks: Masks) -> Asked:
    """What a message asks for: the step that is the `count`th of its name."""
    name, kind, request = str(message["name"]), str(message["kind"]), dict(message["request"])
    return Asked(
        int(message["id"]),
        named_key(name, count),
        name,
        kind,
        request,
        fingerprint(kind, name, request),
        masks.hide_text(shown(kind, name, request)),
        masks.hide_text(str(message.get("line", "")))[:SHOWN_LETTERS],
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
    text = f"{kind} {name}: {what}" if what else f"{kind} {name}"
    return text if len(text) <= SHOWN_LETTERS else f"{text[: SHOWN_LETTERS - 1]}…"
