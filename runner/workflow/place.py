"""Where a character of a scalar's value stands in the file."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property

from runner.workflow.compose import Scalar
from runner.workflow.document import Pos

PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
HEADER = re.compile(r"[|>][^\n]*\n?")
ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\r\n|.)", re.DOTALL)
BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
PYTHON = "python"
"""The style of a value that is written in Python, where a text may have several parts."""
PYTHON_BREAK = re.compile(r"\r\n|[\n\r]")
PYTHON_QUOTES = re.compile(r"([rRuU]?)(\'\'\'|\"\"\"|'|\")")
PYTHON_COMMENT = re.compile(r"#[^\r\n]*")
PYTHON_ESCAPE = re.compile(
    r"\\(?:(\r\n|[\r\n])|([\\'\"abfnrtv])|([0-7]{1,3})"
    r"|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|N\{([^}]*)\}|.)",
    re.DOTALL,
)


class Source:
    """The text of a file, and where in it the characters of its values stand."""

    def __init__(self, text: str, breaks: re.Pattern[str] = BREAK) -> None:
        self._text, self._breaks = text, breaks
        self._scalar: Scalar | None = None
        self._visible: list[int] = []

    def locate(self, scalar: Scalar, offset: int) -> Pos:
        """The place of `scalar.text[offset]`.

        YAML folds lines, strips indentation and doubles quotes, yet it keeps every visible character
        in order: so the place is that of the character with as many visible ones before it.
        """
        if scalar is not self._scalar:
            self._scalar, self._visible = scalar, list(visible(self._text, scalar))
        before = sum(map(len, scalar.text[:offset].split()))
        if before >= len(self._visible):
            return scalar.pos
        index = self._visible[before]
        line = bisect_right(self._lines, index)
        return Pos(line, index - self._lines[line - 1] + 1)

    @cached_property
    def _lines(self) -> list[int]:
        """Where each line begins."""
        return [0, *(match.end() for match in self._breaks.finditer(self._text))]


def visible(source: str, scalar: Scalar) -> Iterator[int]:
    """The indices in the file at which the visible characters of the value stand."""
    if scalar.style == PYTHON:
        yield from visible_in_python(source, scalar)
        return
    properties = PROPERTIES.match(source, scalar.start, scalar.end)
    position = properties.end() if properties else scalar.start
    if scalar.style in ("|", ">"):
        header = HEADER.match(source, position)
        position = header.end() if header else position
    elif scalar.style:
        position += 1
    while position < scalar.end:
        character = source[position]
        step = 1
        if scalar.style == "'" and source.startswith("''", position):
            step = 2
        escape = ESCAPE.match(source, position) if scalar.style == '"' else None
        if escape is not None:
            step = len(escape[0])
        blank = character.isspace() if escape is None else is_blank(escape[0])
        if not blank:
            yield position
        position += step


def is_blank(escape: str) -> bool:
    """Whether an escape in double quotes stands for white space, or for nothing."""
    if escape[1] in "xuU" and len(escape) > 2:
        return chr(int(escape[2:], 16)).isspace()
    return escape[1] in "ntvfrNLP_" or escape[1].isspace()


def visible_in_python(source: str, scalar: Scalar) -> Iterator[int]:
    """Those of one or more texts in quotes, with white space and comments between them."""
    position = scalar.start
    while position < scalar.end:
        if (comment := PYTHON_COMMENT.match(source, position)) is not None:
            position = comment.end()
        elif (opening := PYTHON_QUOTES.match(source, position)) is not None:
            position = opening.end()
            raw, quotes = opening[1] in ("r", "R"), opening[2]
            while position < scalar.end and not source.startswith(quotes, position):
                escape = PYTHON_ESCAPE.match(source, position)
                length = len(escape[0]) if escape is not None else 1
                if escape is None or raw or escape.lastindex is None:
                    # A backslash that escapes nothing is a character like others.
                    yield from (at for at in range(position, position + length) if not source[at].isspace())
                elif not is_blank_in_python(escape):
                    yield position
                position += length
            position += len(quotes)
        else:
            position += 1


def is_blank_in_python(escape: re.Match[str]) -> bool:
    """Whether an escape stands for white space, or for nothing."""
    broken, letter, octal, *hexadecimal, name = escape.groups()
    if broken is not None:
        return True
    if letter is not None:
        return letter in "fnrtv"
    if name is not None:
        return unicodedata.lookup(name).isspace()
    return chr(int(octal, 8) if octal else int("".join(filter(None, hexadecimal)), 16)).isspace()
