"""The actions that no repository has: the engine itself does what they do.

`actions/checkout` and those of artifacts and caches as on GitHub, and the waits: written as steps, so that
files stay valid for every editor.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from runner.workflow.checks import amount_of_time, seconds_of
from runner.workflow.words import cut, meant

ACTION = re.compile(
    r"(actions/checkout|actions/upload-artifact(?:/merge)?|actions/download-artifact"
    r"|actions/cache(?:/restore|/save)?)@(.+)",
    re.IGNORECASE,
)
WAIT = re.compile(r"runner/(sleep|wait|approve)@(.+)", re.IGNORECASE)
VERSION = "v1"
INPUTS = {
    "sleep": ("for", "until"),
    "wait": ("signal", "timeout"),
    "approve": ("message", "approvers", "timeout"),
}
"""What each wait is given."""
LONGEST_NAME = 255
LONGEST_MESSAGE = 1000
MOST_APPROVERS = 100
LONGEST = timedelta(days=365)


class BadWait(ValueError):
    """It cannot be waited like that; the message says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a step waits for: `kind` is sleep, wait or approve; `length` in time from now on."""

    kind: str
    until: datetime | None = None
    length: timedelta | None = None
    signal: str = ""
    message: str = ""
    approvers: tuple[str, ...] = ()


def is_built_in(uses: str) -> bool:
    return ACTION.fullmatch(uses) is not None or WAIT.fullmatch(uses) is not None


def action_named(uses: str) -> str | None:
    """Which action a step uses, in small letters and without a version, that is no wait; None for others."""
    found = ACTION.fullmatch(uses)
    return found[1].lower() if found else None


def action_version(uses: str) -> str:
    """Which version of such an action a step names."""
    found = ACTION.fullmatch(uses)
    return found[2] if found else ""


def is_wait(uses: str) -> bool:
    return WAIT.fullmatch(uses) is not None


def wait_named(uses: str) -> str | None:
    """Which wait a step uses; None where it is none. Raises `BadWait` for a version that there is not."""
    found = WAIT.fullmatch(uses)
    if found is None:
        return None
    kind = found[1].lower()
    if found[2] != VERSION:
        raise BadWait(f"there is no version {cut(found[2])} of it; write runner/{kind}@{VERSION}")
    return kind


def check_given(kind: str, names: Iterable[str]) -> None:
    """Whether a wait has the inputs that it needs and no others. Raises `BadWait`."""
    there = {name.lower() for name in names}
    for name in sorted(there - set(INPUTS[kind])):
        raise BadWait(f'runner/{kind} has no input "{cut(name)}"{meant(name, INPUTS[kind])}')
    if kind == "sleep" and len(there) != 1:
        raise BadWait("runner/sleep needs `for`, such as 10m, or `until`, such as 2030-01-31T09:00:00Z")
    if kind == "wait" and "signal" not in there:
        raise BadWait("runner/wait needs `signal`, the name of the signal that it waits for")


def asked_for(kind: str, given: Mapping[str, str]) -> Asked:
    """What a wait means by its inputs. Raises `BadWait`."""
    check_given(kind, given)
    inputs = {name.lower(): text.strip() for name, text in given.items()}
    if kind == "sleep":
        if "until" in inputs:
            return Asked(kind, until=instant(inputs["until"]))
        return Asked(kind, length=amount("for", inputs["for"]))
    length = amount("timeout", inputs["timeout"]) if inputs.get("timeout") else None
    if kind == "wait":
        return Asked(kind, length=length, signal=signal_name(inputs["signal"]))
    people = tuple(filter(None, dict.fromkeys(re.split(r"[\s,]+", inputs.get("approvers", "")))))
    if len(people) > MOST_APPROVERS or any(len(one) > LONGEST_NAME for one in people):
        raise BadWait(f"`approvers` are at most {MOST_APPROVERS}, each of at most {LONGEST_NAME} letters")
    # It is shown wherever the run is, and an output may be part of it.
    message = inputs.get("message", "")
    message = message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}…"
    return Asked(kind, length=length, message=message, approvers=people)


def amount(name: str, text: str) -> timedelta:
    """Raises `BadWait`."""
    if (problem := amount_of_time(text)) is not None:
        raise BadWait(f"`{name}`: {problem}")
    return timedelta(seconds=seconds_of(text) or 0.0)


def instant(text: str) -> datetime:
    """Raises `BadWait`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadWait(f'`until`: "{cut(text)}" is no time; write 2030-01-31T09:00:00+01:00') from None
    if found.tzinfo is None:
        raise BadWait(f'`until`: "{cut(text)}" says no time zone; add Z for UTC, or such as +01:00')
    try:
        found = found.astimezone(UTC)
    except OverflowError:
        raise BadWait(f'`until`: "{cut(text)}" is no time that can come') from None
    if found > datetime.now(UTC) + LONGEST:
        raise BadWait(f'`until`: "{cut(text)}" is more than {LONGEST.days} days from now')
    return found


def signal_name(text: str) -> str:
    """Raises `BadWait`."""
    if not text or len(text) > LONGEST_NAME or not text.isprintable():
        raise BadWait(f'"{cut(text)}" cannot be the name of a signal; it has 1 to {LONGEST_NAME} letters')
    return text
