"""Spans of time as people write them."""

import re
from datetime import timedelta
from typing import Union

Span = Union[str, int, float, timedelta]
"""Seconds as a number, a `timedelta`, or words such as "10 minutes", "1h 30m"."""

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
SHORT = {"s": "second", "sec": "second", "m": "minute", "min": "minute", "h": "hour", "d": "day", "w": "week"}
PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*(?:,|and)?", re.ASCII)
LONGEST = 365 * 86400.0
"""Seconds."""


def seconds(span: Span, what: str) -> float:
    """How long it is. Raises `ValueError`, which names `what` it was given for."""
    if isinstance(span, timedelta):
        found = span.total_seconds()
    elif isinstance(span, (int, float)) and not isinstance(span, bool):
        found = float(span)
    elif isinstance(span, str):
        found = _in_words(span, what)
    else:
        raise ValueError(f'{what} is a span of time such as "10 minutes", not {span!r}')
    if not 0 <= found <= LONGEST:
        raise ValueError(f"{what} is {span!r}; it can be from 0 to 365 days")
    return found


def _in_words(text: str, what: str) -> float:
    words, at, found = text.strip().lower(), 0, 0.0
    while at < len(words):
        part = PART.match(words, at)
        unit = part and (SHORT.get(part.group(2)) or part.group(2).rstrip("s"))
        if part is None or unit not in UNITS:
            break
        found, at = found + float(part.group(1)) * UNITS[unit], part.end()
    if not words or at < len(words):
        units = ", ".join(f"{unit}s" for unit in UNITS)
        raise ValueError(f'{what} is {text!r}, which is no span of time; write "10 minutes": {units}')
    return found


def spoken(length: float) -> str:
    """So many seconds, as people say it."""
    count, unit = (length, "second") if length < 60 else (length / 60, "minute")
    number = f"{count:.3g}"
    return f"{number} {unit}" if number == "1" else f"{number} {unit}s"
