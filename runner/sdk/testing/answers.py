"""What a test says of a workflow's steps, and how these end by it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime, timedelta
from typing import Any, Optional

from runner.sdk import wire
from runner.sdk.errors import NonRetryable
from runner.sdk.spans import LONGEST, Span, seconds, spoken
from runner.sdk.told import told
from runner.sdk.values import Approval, Received

WITH_OUTPUTS = ("sh", "uses", "run")
"""Kinds of steps that others do, and that give outputs."""


class Unplayable(Exception):
    """The workflow cannot go on with what the test says, or the test says what makes no sense."""


@dataclass(frozen=True)
class Fail:
    """A step fails. `type` is the name of the exception that its body would raise."""

    reason: str = ""
    type: str = ""
    exit_code: Optional[int] = None
    final: bool = False
    """Whether it is not tried again, as after `NonRetryable`."""


@dataclass(frozen=True)
class Reject:
    """A person says no."""

    by: str = "somebody"
    comment: str = ""


@dataclass(frozen=True)
class After:
    """The answer comes after a while: an event that is late, a body that takes longer than its timeout."""

    span: Span
    answer: Any = None


class Tries:
    """One answer for each time that a step with `retry` is tried; the last one for all that follow."""

    def __init__(self, *answers: Any) -> None:
        if not answers:
            raise ValueError("Tries() needs the answers, one for each time that the step is tried")
        self.answers = answers


@dataclass
class Asking:
    """A step as it was asked for, in one attempt."""

    id: int
    kind: str
    name: str
    number: int
    """Among those of that name, from 1."""
    request: Mapping[str, Any]
    line: str
    stands: str = "asked"
    """asked, waits, runs."""

    @property
    def shown(self) -> str:
        return self.name if self.number == 1 else f"{self.name} ({self.number})"

    @property
    def wanted(self) -> tuple[str, str, Any]:
        """What has to be the same each time: whatever is said of its failure may change."""
        said = {
            key: value for key, value in self.request.items() if key not in ("retry", "timeout", "on-lost")
        }
        return self.kind, self.name, said

    def __str__(self) -> str:
        told = ("command", "until", "type", "message")
        what = ", ".join(str(self.request[key]) for key in told if self.request.get(key))
        if self.kind == "sleep":
            what = f"{self.request['seconds']:g} seconds"
        return f"`{self.kind} {self.shown}{f': {what}' if what else ''}` ({self.line})"


@dataclass(frozen=True)
class Outcome:
    """How a step ends. `value` is what the host is told of it."""

    ok: bool
    value: Any = None
    final: bool = False
    lasts: float = 0.0
    """Seconds."""

    @property
    def exit_code(self) -> Optional[int]:
        return self.value.get("exit_code") if isinstance(self.value, dict) else None

    @property
    def answer(self) -> wire.Message:
        """As the host is told it."""
        outputs = self.value.get("outputs") if isinstance(self.value, dict) else None
        said = {"ok": self.ok, "value": self.value, "exit_code": self.exit_code or 0}
        return {**said, "outputs": outputs if isinstance(outputs, dict) else {}}


class Answers:
    """What the test says of each step, by its name."""

    def __init__(self, *groups: Mapping[str, Any]) -> None:
        self._said: dict[str, Any] = {}
        for group in groups:
            for name, answer in group.items():
                if name in self._said:
                    raise Unplayable(f"two answers are given for the step {name!r}")
                self._said[name] = answer
        self._taken: set[str] = set()

    @property
    def unused(self) -> tuple[str, ...]:
        return tuple(name for name in self._said if name not in self._taken)

    def of(self, step: Asking, tried: int, now: datetime) -> Optional[Outcome]:
        """How a step ends that was tried so often before; None where the test says nothing of it."""
        name = next((one for one in (step.shown, step.name) if one in self._said), None)
        if name is None:
            return None
        if step.kind in ("sleep", "until"):
            raise Unplayable(f"step {step.shown} sleeps, and needs no answer: the clock is put forward")
        self._taken.add(name)
        return _outcome(step, self._said[name], tried, now, 0.0)


def _outcome(step: Asking, answer: Any, tried: int, now: datetime, lasts: float) -> Outcome:
    what = f"the answer for the step {step.shown}"
    if isinstance(answer, Tries):
        one = answer.answers[min(tried, len(answer.answers) - 1)]
        return _outcome(step, one, tried, now, lasts)
    if isinstance(answer, After):
        return _outcome(step, answer.answer, tried, now, lasts + seconds(answer.span, what))
    if isinstance(answer, Fail):
        code = answer.exit_code if answer.exit_code is not None or step.kind != "sh" else 1
        reason = answer.reason or (
            "it failed" if code is None else f"the command ended with exit code {code}"
        )
        value = {"reason": reason, "type": answer.type, "exit_code": code}
        return Outcome(False, value, answer.final, lasts)
    if isinstance(answer, BaseException):
        return Outcome(False, told(answer), isinstance(answer, NonRetryable), lasts)
    if step.kind == "approve":
        return _approved(answer, now + timedelta(seconds=lasts), lasts, what)
    if step.kind in WITH_OUTPUTS:
        return Outcome(True, _outputs(step.kind, {} if answer is None else answer, what), lasts=lasts)
    if step.kind == "event":
        at = (now + timedelta(seconds=lasts)).isoformat()
        if not isinstance(answer, Received):
            answer = Received(step.request["type"], answer, "somebody", at)
        return Outcome(True, json.loads(as_json(asdict(answer), what)), lasts=lasts)
    return Outcome(True, json.loads(as_json(answer, what)), lasts=lasts)


def _outputs(kind: str, answer: Any, what: str) -> dict[str, Any]:
    """Of what ends with outputs: a command, an action, another run."""
    if is_dataclass(answer) and not isinstance(answer, type):
        return asdict(answer)
    if not isinstance(answer, Mapping):
        raise Unplayable(f"{what} is {answer!r}; write its outputs by their names, {{...}}, or Fail(...)")
    outputs = {str(name): str(one) for name, one in answer.items()}
    rest = {"run": 2, "number": 1, "result": "success"} if kind == "run" else {"exit_code": 0}
    return {"outputs": outputs, **rest}


def _approved(answer: Any, at: datetime, lasts: float, what: str) -> Outcome:
    if isinstance(answer, Reject):
        comment = f": {answer.comment}" if answer.comment else ""
        return Outcome(
            False, {"kind": "rejected", "reason": f"{answer.by} rejected it{comment}"}, True, lasts
        )
    if isinstance(answer, str):
        answer = Approval(answer, "", at.isoformat())
    if not isinstance(answer, Approval):
        raise Unplayable(
            f"{what} is {answer!r}; say who approves it, as a text, Approval(...) or Reject(...)"
        )
    return Outcome(True, asdict(answer), lasts=lasts)


def as_json(value: Any, what: str) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Unplayable(f"{what} is nothing that JSON knows: {error}") from None


def timed(step: Asking, outcome: Optional[Outcome], now: datetime) -> Optional[tuple[datetime, Outcome]]:
    """When a step ends, and how; None where it never does. Raises `Unplayable` for what nobody can know."""
    request = step.request
    if step.kind == "sleep":
        return now + timedelta(seconds=request["seconds"]), Outcome(True)
    if step.kind == "until":
        return max(now, datetime.fromisoformat(request["until"])), Outcome(True)
    if step.kind in ("event", "approve"):
        limit = request["seconds"]
    else:
        limit = request.get("seconds" if step.kind == "run" else "timeout")
        if outcome is None and step.kind not in WITH_OUTPUTS:
            raise Unplayable(f"nobody says what the step {step.shown} gives; play(..., results={{...}}) can")
        outcome = outcome or Outcome(True, _outputs(step.kind, {}, step.shown))
    if outcome is not None and (limit is None or outcome.lasts <= limit):
        return now + timedelta(seconds=outcome.lasts), outcome
    if limit is None:
        return None
    due = now + timedelta(seconds=limit)
    reason = f"the step was stopped after {spoken(limit)}"
    if step.kind == "event":
        reason = f'no signal "{request["type"]}" came by {due:%Y-%m-%d %H:%M:%S} UTC'
    elif step.kind == "approve":
        reason = f"nobody approved it by {due:%Y-%m-%d %H:%M:%S} UTC"
    return due, Outcome(False, {"kind": "timeout", "reason": reason})


def delay(retry: Mapping[str, Any], failed: int) -> float:
    """Seconds before what has failed so often is tried again, without jitter."""
    grown = {"linear": float(failed), "exponential": 2.0 ** min(failed - 1, 64)}.get(retry["backoff"], 1.0)
    most = retry.get("max-delay")
    return float(min(retry["delay"] * grown, LONGEST if most is None else most))
