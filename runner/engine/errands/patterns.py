"""Paths and patterns, as steps write them in lines: with `*`, `?`, `[]`, `**`, `~`, and `!` in front."""

import posixpath
import re
from collections.abc import Iterable, Sequence

from runner.engine.ports import Sandbox
from runner.errors import BrokenDefinition
from runner.expr.hashing import MAX_PATTERN, Pattern, read_name

MOST_LINES = 1_000
"""Of one input: each file is held against each of them."""
_SPECIAL = re.compile(r"([\\*?\[])")


def lines_of(text: str) -> tuple[str, ...]:
    """An input of several lines: those that are not empty. Raises `BrokenDefinition`."""
    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(found) > MOST_LINES:
        raise BrokenDefinition(f"an input has at most {MOST_LINES} lines, not {len(found)}")
    return found


def read(line: str, sandbox: Sandbox) -> Pattern:
    """A line as a pattern of absolute paths, as a step sees them. Raises `BrokenDefinition`."""
    text, negative = line.strip(), False
    while text.startswith("!"):
        negative, text = not negative, text[1:].strip()
    if len(text) > MAX_PATTERN or "\0" in text:
        raise BrokenDefinition(
            f"{text[:50]!a}... is no path: one has up to {MAX_PATTERN} characters, and no NUL"
        )
    if text == "~" or text.startswith("~/"):
        text = sandbox.home + text[1:]
    # What they are called is no pattern, whatever is in it.
    for ours in (sandbox.home, sandbox.workspace, sandbox.temp):
        if f"{text}/".startswith(f"{ours}/"):
            text = f"/{'/'.join(literal(ours))}{text[len(ours) :]}"
            break
    path = posixpath.normpath(posixpath.join("/", *literal(sandbox.workspace), text))
    return Pattern(negative, tuple(filter(None, path.split("/"))))


def literal(path: str) -> tuple[str, ...]:
    """The segments of a pattern that means that very path."""
    return tuple(_SPECIAL.sub(r"\\\1", name) for name in path.split("/") if name)


def fixed(pattern: Pattern) -> tuple[str, ...]:
    """The names of a pattern up to its first wildcard."""
    names = []
    for segment in pattern.segments:
        marks = list(read_name(segment))
        if not all(mark.startswith("\\") for mark in marks):
            break
        names.append("".join(mark[1] for mark in marks))
    return tuple(names)


def outermost(paths: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Paths by their names, each once, without those that are below another one of them."""
    found = dict.fromkeys(paths)
    return [path for path in found if not any(path[:count] in found for count in range(len(path)))]


def taken(patterns: Iterable[Pattern], parts: Sequence[str]) -> bool:
    """Whether a path is meant: the last pattern that matches it, or a folder above it, says."""
    found = False
    for pattern in patterns:
        if found is pattern.negative and (not pattern.segments or pattern.takes(parts)):
            found = not pattern.negative
    return found
