"""What a workflow's process says is checked before anything is done about it.

It is the repository's own process: our package in it says only what is sound, anything else may say anything.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from runner.errors import BrokenDefinition
from runner.sdk.spans import LONGEST
from runner.sdk.terms import LONGEST_NAME
from runner.workflow.built_in import BadWait, instant, signal_name

REQUEST_BYTES = 1024 * 1024
"""Of what one step is to do."""
OPEN_BYTES = 64 * 1024 * 1024
"""Of what all steps together are to do that are asked for and not answered yet."""
LINE_LETTERS = 1000

Check = Callable[[Any], bool]


class Unsound(BrokenDefinition):
    """What no workflow says that asks by way of our package."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the workflow's process says what is no part of the conversation: {what}")


def check_ask(message: Mapping[str, Any], number: int) -> int:
    """Check what a step is asked for with, of which `number` is the next; gives how many bytes it has.

    Raises `Unsound`.
    """
    if type(message.get("id")) is not int or message["id"] != number:
        raise Unsound(
            f"the step after {number - 1} others is asked for with the number {_cut(message.get('id'))}"
        )
    name, kind, request = message.get("name"), message.get("kind"), message.get("request")
    if not _is_name(name):
        raise Unsound(f"step {number} has no name of 1 to {LONGEST_NAME} letters in one line")
    if not isinstance(kind, str) or not isinstance(request, Mapping) or not _is_text(message.get("line", "")):
        raise Unsound(f"step {name} is asked for without a kind, a request or a line")
    try:
        size = len(json.dumps(request, allow_nan=False))
    except (ValueError, RecursionError):
        raise Unsound(f"step {name} asks for what is no JSON") from None
    if size > REQUEST_BYTES:
        raise BrokenDefinition(
            f"step {name} asks for {size} bytes; {REQUEST_BYTES} are the most: have it read them from a file"
        )
    if request.get("takes-back", True) is not True:
        raise Unsound(f"step {name} ({kind}) has takes-back: {_cut(request['takes-back'])}")
    for key, is_sound in KINDS.get(kind, {}).items():
        if key not in request or not is_sound(request[key]):
            raise Unsound(f"step {name} ({kind}) has {key}: {_cut(request.get(key))}")
    return size


def _cut(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return (
        isinstance(value, str) and bool(value.strip()) and len(value) <= LONGEST_NAME and value.isprintable()
    )


def _is_script(value: Any) -> bool:
    """Text that a file can have, with the bytes that are none in the way of Python's file names."""
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _is_span(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= LONGEST


def _is_instant(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(instant(value))
    except BadWait:
        return False


def _is_signal(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(signal_name(value))
    except BadWait:
        return False


def _is_retry(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    most, codes = value.get("max-attempts"), value.get("on-exit-codes")
    return (
        type(most) is int
        and 1 <= most <= 100
        and _is_span(value.get("delay"))
        and value.get("backoff") in ("constant", "linear", "exponential")
        and _or_none(_is_span)(value.get("max-delay"))
        and isinstance(value.get("jitter"), bool)
        and isinstance(codes, list)
        and all(type(code) is int for code in codes)
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_is_script(one) for pair in value.items() for one in pair)


def _is_inputs(value: Any) -> bool:
    return isinstance(value, Mapping) and all(type(one) in (str, bool, int, float) for one in value.values())


def _is_people(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 100 and all(_is_name(one) for one in value)


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


TERMS: Mapping[str, Check] = {
    "retry": _or_none(_is_retry),
    "timeout": _or_none(_is_span),
    "on-lost": lambda value: value in (None, "retry", "fail", "ask"),
}
KINDS: Mapping[str, Mapping[str, Check]] = {
    "do": TERMS,
    "sh": {
        **TERMS,
        "command": _is_script,
        "env": _is_texts,
        "shell": _or_none(_is_script),
        "folder": _is_script,
    },
    "sleep": {"seconds": _is_span},
    "until": {"until": _is_instant},
    "event": {"type": _is_signal, "seconds": _or_none(_is_span)},
    "run": {"workflow": _is_script, "inputs": _is_inputs, "seconds": _or_none(_is_span)},
    "uses": {**TERMS, "action": _is_script, "with": _is_texts},
    "approve": {"message": _is_text, "approvers": _is_people, "seconds": _or_none(_is_span)},
}
"""What each kind of step is asked for with."""


def plain(value: object, most: int) -> str:
    """Text that can be stored and shown, and no more of it than so many letters."""
    text = value if isinstance(value, str) else str(value) if value is not None else ""
    text = text[:most].encode("utf-8", "replace").decode().replace("\0", "�")
    return text if len(text) < most else f"{text[: most - 1]}…"


def given(value: object) -> str | None:
    """What the body of a step gave, as JSON in ASCII; None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        return json.dumps(json.loads(value), allow_nan=False)
    except (ValueError, RecursionError):
        return None
