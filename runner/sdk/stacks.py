"""Where the repository's code is, without our own frames and those of asyncio."""

import os
import selectors
import threading
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any, Optional

OURS = os.path.dirname(os.path.abspath(__file__))
BEGINNING = "_runner_sdk.py"
"""The file that a workflow's process begins with."""
MOST_FRAMES = 100


def strip(found: Any) -> None:
    """Leave our own frames out, also of the exceptions behind it and in it."""
    todo, seen = [found], set()
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.stack = traceback.StackSummary.from_list(theirs(one.stack))
        todo += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]


def awaiting(coroutine: Any) -> list[traceback.FrameSummary]:
    """Where a coroutine is, from the outermost to what it waits for."""
    stack: list[traceback.FrameSummary] = []
    while coroutine is not None and len(stack) < MOST_FRAMES:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is not None:
            stack += traceback.extract_stack(frame, limit=1)
        coroutine = getattr(coroutine, "cr_await", None)
    return stack


def theirs(stack: Sequence[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    return [one for one in stack if not is_ours(one.filename)]


def is_ours(filename: str) -> bool:
    return (
        filename.startswith((OURS, "<frozen "))
        or f"{os.sep}asyncio{os.sep}" in filename
        or filename in (threading.__file__, selectors.__file__)
        or os.path.basename(filename) == BEGINNING
    )


def line_of(frame: Optional[FrameType]) -> str:
    while frame is not None and is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
