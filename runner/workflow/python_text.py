"""The text of a Python file -> its syntax tree, whatever the text is, and where in it what stands.

Python's own parser never runs what it reads, yet some texts of a few kilobytes cost it minutes, gigabytes
or its stack. Those are told by counting, before it sees them; what it then makes is as deep as we say.
"""

import ast
import re
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from threading import Lock

from runner.workflow.compose import position
from runner.workflow.document import Pos, Problem, problem_at
from runner.workflow.place import PYTHON_BREAK

MAX_WORDS = 60_000
MAX_DOTS = 100
MAX_DEPTH = 500
"""How deep expressions and blocks may stand in each other: Python's own limit depends on who asks it."""

MAX_COPIED = 10**9
"""Bytes that are looked at again for each expression in a text: those of the whole text, at the most."""

MAX_MESSAGE = 200

# All that is not ASCII may be part of a name.
WORD = re.compile(r"([0-9A-Za-z_\x80-\U0010ffff]+)|[!-/:-@[\]^`{-~]")
CODING = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
BLANK = re.compile(r"[ \t\f]*(?:#.*)?")
FORMATTED = re.compile(r"(?<!\w)[bru]?[ft][bru]?[\"']", re.IGNORECASE)
UTF_8 = ("utf-8", "utf8")

_quiet = Lock()


Nodes = Sequence[ast.AST]
"""Those of a file: its module, then all that is in it, in no order."""


def parse(path: str, text: str, problems: list[Problem]) -> Nodes | None:
    """All nodes of a Python file, None where it cannot be read; adds what is wrong to `problems`."""
    refused = _refused(text)
    if refused is not None:
        problems.append(problem_at(path, *refused))
        return None
    try:
        module = _parsed(text)
    except SyntaxError as error:
        problems.append(problem_at(path, _place(text, error), f"not valid Python: {error.msg[:MAX_MESSAGE]}"))
        return None
    except (RecursionError, MemoryError, ValueError):
        problems.append(problem_at(path, Pos(1, 1), "the code is nested too deep to be read"))
        return None
    found: list[ast.AST] = []
    for node, depth in _walk(module):
        found.append(node)
        if depth > MAX_DEPTH:
            where = Lines(text).pos(node) if isinstance(node, ast.expr | ast.stmt) else Pos(1, 1)
            what = f"the code is more than {MAX_DEPTH} levels deep here"
            problems.append(problem_at(path, where, what))
            return None
    return found


def _parsed(text: str) -> ast.Module:
    # What Python would rather see written in another way is between it and whoever runs the file.
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def _walk(module: ast.Module) -> Iterator[tuple[ast.AST, int]]:
    """Every node with how deep it stands, each after the one it stands in."""
    waiting: list[tuple[ast.AST, int]] = [(module, 0)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        waiting.extend((child, depth + 1) for child in ast.iter_child_nodes(node))


def _refused(text: str) -> tuple[Pos, str] | None:
    """Where, and why, it is not even given to Python's parser."""
    if (nul := text.find("\0")) >= 0:
        return position(text, nul), "the character U+0000 cannot stand in a workflow file"
    if (coding := _coding(text)) is not None and coding.lower().replace("_", "-") not in UTF_8:
        return Pos(1, 1), f'the file says that it is in "{coding[:60]}"; save it as UTF-8 and leave that out'
    if FORMATTED.search(text) and text.count("{") * len(text.encode()) > MAX_COPIED:
        return Pos(1, 1), "the file has too many { for its size; put its texts into files of their own"
    dots, last = 0, ""
    for number, match in enumerate(WORD.finditer(text)):
        if number == MAX_WORDS:
            what = f"the file has more than {MAX_WORDS} words and signs; put some into modules of their own"
            return position(text, match.start()), what
        one = "name" if match[1] else match[0]
        if one == ".":
            dots = dots + 1 if last == "name" else 0
        elif one != "name" or last != ".":
            dots = 0
        # Of the name of a module Python keeps its beginning up to each dot, at once.
        if dots > MAX_DOTS:
            return position(text, match.start()), f"a name has more than {MAX_DOTS} dots"
        last = one
    return None


def _coding(text: str) -> str | None:
    """The encoding that one of the first two lines names."""
    for line in PYTHON_BREAK.split(text, maxsplit=2)[:2]:
        if (found := CODING.match(line)) is not None:
            return found[1]
        if BLANK.fullmatch(line) is None:
            return None
    return None


def _place(text: str, error: SyntaxError) -> Pos:
    """Where in the file it is: Python also names places after its end, or in no line."""
    lines = PYTHON_BREAK.split(text)
    line = min(max(error.lineno or 1, 1), len(lines))
    return Pos(line, min(max(error.offset or 1, 1), len(lines[line - 1]) + 1))


class Lines:
    """Where the nodes of a tree stand: Python counts the bytes of a line, and we its characters."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(match.end() for match in PYTHON_BREAK.finditer(text)), len(text)]
        self._bytes: dict[int, list[int]] = {}

    def pos(self, node: ast.expr | ast.stmt | ast.keyword) -> Pos:
        return Pos(node.lineno, self._characters(node.lineno, node.col_offset) + 1)

    def start(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        return self._starts[node.lineno - 1] + self._characters(node.lineno, node.col_offset)

    def end(self, node: ast.expr) -> int:
        line = node.end_lineno or node.lineno
        return self._starts[line - 1] + self._characters(line, node.end_col_offset or 0)

    def at(self, index: int, line: int) -> Pos:
        """The place of a character that stands in `line` or after it."""
        while self._starts[line] <= index and line < len(self._starts) - 1:
            line += 1
        return Pos(line, index - self._starts[line - 1] + 1)

    def _characters(self, line: int, count: int) -> int:
        """How many characters so many bytes of a line are."""
        if line not in self._bytes:
            text = self._text[self._starts[line - 1] : self._starts[line]]
            sizes = () if text.isascii() else accumulate(len(one.encode()) for one in text)
            self._bytes[line] = [0, *sizes]
        known = self._bytes[line]
        return count if len(known) == 1 else bisect_left(known, count)
