"""`hashFiles`: which files its patterns mean, and one digest of them all."""

import hashlib
import posixpath
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from runner.expr.values import ExpressionError, shown

MAX_PATTERN = 1_000
MOST_ENTRIES = 1_000_000
"""Files and folders that are looked at; folders that link to each other make many of few."""
MOST_BYTES = 16 * 1024**3
MOST_SECONDS = 120.0
"""As on GitHub."""
Spend = Callable[[int, int], None]
"""Takes how many files and folders are looked at next, and how many bytes are read."""


class HashingTooMuch(ExpressionError):
    """`hashFiles` would have to look at more than it may."""

    def __init__(self, limit: str) -> None:
        super().__init__(
            f"hashFiles ended at its limit of {limit}; what is behind a link to a folder counts each way "
            "that leads there",
            0,
        )


class Files(Protocol):
    """A workspace as `hashFiles` sees it, with paths relative to its root.

    `spend` is called before each piece of work, and raises where it is too much.
    """

    def paths(self, spend: Spend) -> Iterable[str]:
        """Every file, also those behind links to folders, each folder in the order of its names."""

    def digest(self, path: str, spend: Spend) -> bytes:
        """The SHA-256 of a file's content."""


class _Budget:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = clock() + MOST_SECONDS
        self._entries = self._bytes = 0

    def spend(self, entries: int, read: int) -> None:
        self._entries += entries
        self._bytes += read
        if self._entries > MOST_ENTRIES:
            raise HashingTooMuch(f"{MOST_ENTRIES} files and folders")
        if self._bytes > MOST_BYTES:
            raise HashingTooMuch(f"{MOST_BYTES} bytes")
        if self._clock() > self._until:
            raise HashingTooMuch(f"{MOST_SECONDS:g} seconds")


def hash_files(files: Files, patterns: Sequence[str], clock: Callable[[], float] = time.monotonic) -> str:
    """SHA-256 over the digests of all files that the patterns take in; empty where there are none.

    A pattern that names a folder means all that is in it; one with `!` takes out again. Raises
    `HashingTooMuch`.
    """
    if patterns and patterns[0].lower() == "--follow-symbolic-links":
        patterns = patterns[1:]
    wanted = [read_pattern(line) for text in patterns for line in text.splitlines() if is_pattern(line)]
    if not any(not pattern.negative for pattern in wanted):
        return ""
    whole, found, budget = hashlib.sha256(), False, _Budget(clock)
    for path in files.paths(budget.spend):
        parts = path.split("/")
        taken = False
        for pattern in wanted:
            if pattern.takes(parts):
                taken = not pattern.negative
        if taken:
            whole.update(files.digest(path, budget.spend))
            found = True
    return whole.hexdigest() if found else ""


def is_pattern(line: str) -> bool:
    return bool(line.strip()) and not line.strip().startswith("#")


@dataclass(frozen=True, slots=True)
class Pattern:
    negative: bool
    segments: tuple[str, ...]

    def takes(self, parts: Sequence[str]) -> bool:
        """Whether it matches the path or a folder above it."""
        at = frozenset({0})
        for part in parts:
            at = frozenset(after for position in at for after in self._after(position, part))
            if not at:
                return False
            if len(self.segments) in self._skipping(at):
                return True
        return False

    def _skipping(self, at: frozenset[int]) -> frozenset[int]:
        """The positions where it can be before another name, `**` standing for none as well."""
        found = set(at)
        for position in at:
            while position < len(self.segments) and self.segments[position] == "**":
                position += 1
                found.add(position)
        return frozenset(found)

    def _after(self, start: int, part: str) -> Iterator[int]:
        for position in self._skipping(frozenset({start})):
            if position == len(self.segments):
                continue
            if self.segments[position] == "**":
                yield position
            elif name_matches(self.segments[position], part):
                yield position + 1


def read_pattern(line: str) -> Pattern:
    text = line.strip()
    negative = False
    while text.startswith("!"):
        negative, text = not negative, text[1:].strip()
    if len(text) > MAX_PATTERN:
        raise ExpressionError(f"hashFiles takes patterns of up to {MAX_PATTERN} characters", 0)
    path = posixpath.normpath(text)
    if path.startswith(("/", "../")) or path == "..":
        raise ExpressionError(f"hashFiles looks inside the workspace only, not at {shown(line)}", 0)
    return Pattern(negative, () if path == "." else tuple(path.split("/")))


@lru_cache(maxsize=4096)
def name_matches(pattern: str, name: str) -> bool:
    """Whether a name without slashes matches `*`, `?` and `[]`, in time linear in both."""
    at = {0}
    marks = tuple(read_name(pattern))
    for character in name:
        at = {after for position in stars(at, marks) for after in step(position, character, marks)}
        if not at:
            return False
    return len(marks) in stars(at, marks)


def stars(at: set[int], marks: tuple[str, ...]) -> set[int]:
    found = set(at)
    for position in at:
        while position < len(marks) and marks[position] == "*":
            position += 1
            found.add(position)
    return found


def step(position: int, character: str, marks: tuple[str, ...]) -> Iterator[int]:
    mark = marks[position] if position < len(marks) else ""
    if mark == "*":
        yield position
    elif (
        mark == "?"
        or (mark.startswith("\\") and mark[1] == character)
        or (mark.startswith("[") and in_set(character, mark[1:-1]))
    ):
        yield position + 1


def read_name(pattern: str) -> Iterator[str]:
    """A pattern's pieces: `*`, `?`, a set in brackets, or a character after a backslash."""
    position = 0
    while position < len(pattern):
        character = pattern[position]
        end = pattern.find("]", position + 2) if character == "[" else -1
        if character in "*?":
            yield character
        elif end > 0:
            yield pattern[position : end + 1]
            position = end
        elif character == "\\" and position + 1 < len(pattern):
            position += 1
            yield f"\\{pattern[position]}"
        else:
            yield f"\\{character}"
        position += 1


def in_set(character: str, members: str) -> bool:
    negative = members[0] in "!^"
    found, rest = False, members[negative:]
    while rest:
        spans = len(rest) > 2 and rest[1] == "-"
        found = found or rest[0] <= character <= rest[2 if spans else 0]
        rest = rest[3 if spans else 1 :]
    return found is not negative
