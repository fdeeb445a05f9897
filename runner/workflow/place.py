"""Where a character of a scalar's value stands in the file."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property

from runner.workflow.compose import Scalar
from runner.workflow.document import Pos

PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
HEADER = re.compile(r"[|>][^\n]*\n?")
ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\r\n|.)", re.DOTALL)
BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")


class Source:
    """The text of a file, and where in it the characters of its values stand."""

    def __init__(self, text: str) -> None:
        self._text = text
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
        return [0, *(match.end() for match in BREAK.finditer(self._text))]


def visible(source: str, scalar: Scalar) -> Iterator[int]:
    """The indices in the file at which the visible characters of the value stand."""
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
