"""What the engine is told of an exception, and what the workflow is told of a step that has ended."""

import traceback
from typing import Any

from runner.sdk.errors import NonRetryable, Rejected, StepFailed, TimedOut
from runner.sdk.stacks import MOST_FRAMES, strip
from runner.sdk.values import Approval, Child, Received, Shell, Used
from runner.sdk.wire import Message

MOST_LETTERS = 64 * 1024
"""Of what is told of an exception."""


def told(error: BaseException) -> dict[str, Any]:
    """An exception, with the traceback of the repository's own code."""
    about: dict[str, Any] = {"reason": said(error)[:MOST_LETTERS], "type": type(error).__name__}
    try:
        found = traceback.TracebackException.from_exception(error, limit=-MOST_FRAMES)
        strip(found)
        about["traceback"] = "".join(found.format())[-MOST_LETTERS:]
    except Exception as odd:  # noqa: BLE001 - exceptions are the repository's, and may be anything
        about["traceback"] = f"{about['reason']}\n(its traceback cannot be shown: {type(odd).__name__})\n"
    if isinstance(error, NonRetryable):
        about["final"] = True
    if isinstance(error, StepFailed) and error.exit_code is not None:
        about["exit_code"] = error.exit_code
    return about


def said(error: BaseException) -> str:
    """In one line, if its author wrote no more."""
    try:
        if isinstance(error, StepFailed):
            return str(error)
        if isinstance(error, SyntaxError):
            return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
        inner = getattr(error, "exceptions", None)
        more = f": {said(inner[0])}" if isinstance(inner, tuple) and inner else ""
        return "".join(traceback.format_exception_only(type(error), error)).strip() + more
    except Exception:  # noqa: BLE001 - exceptions are the repository's, and may be anything
        return type(error).__name__


def value_of(kind: str, answer: Message) -> Any:
    value = answer["value"]
    if kind == "sh":
        return Shell(answer["outputs"], answer["exit_code"])
    if kind == "event":
        return Received(**value)
    if kind == "approve":
        return Approval(**value)
    if kind == "uses":
        return Used(answer["outputs"])
    if kind == "run":
        return Child(**value)
    return value


def failure_of(name: str, value: dict[str, Any]) -> StepFailed:
    kinds = {"timeout": TimedOut, "rejected": Rejected}
    return kinds.get(value.get("kind", ""), StepFailed)(
        name,
        value.get("reason") or "it failed",
        value.get("type", ""),
        value.get("exit_code"),
        value.get("traceback", ""),
    )
