"""Problem matchers: patterns by which what a tool prints becomes annotations.

https://github.com/actions/toolkit/blob/main/docs/problem-matchers.md
"""

import json
import posixpath
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import regex

from runner.errors import BrokenDefinition
from runner.model.step import Annotation

MOST_MATCHERS = 50
MOST_PATTERNS = 10
LONGEST_LINE = 4096
"""Letters of a line that are looked at."""

LONGEST_EXPRESSION = 2000
SECONDS = 0.2
"""For one pattern on one line: a repository's patterns run in our process."""
ALL_SECONDS = 10.0
"""For all patterns on all lines of a job."""
MOST_REPETITIONS = 100_000
"""All numbers of repetitions in an expression, multiplied: it is written out as often before it runs."""
_REPEATED = regex.compile(r"\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")

PARTS = ("file", "fromPath", "line", "column", "severity", "code", "message")
_COLOURS = regex.compile(r"\x1b\[[0-9;]*m?")


class BadMatcher(BrokenDefinition):
    """A problem matcher that cannot be used; says what about it."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of a problem; `groups` say which part of it is in which group of the expression."""

    expression: "regex.Pattern[str]"
    groups: Mapping[str, int]
    loop: bool = False


@dataclass(slots=True)
class Matcher:
    """The lines of one kind of problem, and the problems that are only partly seen yet, by line."""

    owner: str
    severity: str
    patterns: tuple[Pattern, ...]
    partial: dict[int, Mapping[str, str]] = field(default_factory=dict)

    def heard(self, line: str) -> Mapping[str, str] | None:
        """The parts of the problem that this line completes."""
        last = len(self.patterns) - 1
        for index in range(last, -1, -1):
            before = self.partial.get(index - 1) if index else {}
            if before is None:
                continue
            pattern = self.patterns[index]
            found = pattern.expression.search(line, timeout=SECONDS, concurrent=True)
            if found is None:
                if index and (pattern.loop or index == last):
                    self.partial.pop(index - 1, None)
                continue
            said = {name: found[group] for name, group in pattern.groups.items() if found[group] is not None}
            parts = {**before, **said}
            if index and not (index == last and pattern.loop):
                self.partial.pop(index - 1, None)
            if index == last:
                return parts
            self.partial[index] = parts
            return None
        return None


class Matchers:
    """The problem matchers of a job. One that takes too long is let go of."""

    def __init__(self) -> None:
        self._of: dict[str, Matcher] = {}
        self._left = ALL_SECONDS
        self.added: list[str] = []
        """What was changed, in its order: a file that was given, or whose matcher is not used any more."""

    def __bool__(self) -> bool:
        return bool(self._of)

    def add(self, text: bytes) -> None:
        """Use what a file says; of two with one owner the later counts. Raises `BadMatcher`."""
        found = _read(text)
        if len(self._of | {matcher.owner: matcher for matcher in found}) > MOST_MATCHERS:
            raise BadMatcher(f"a job can have {MOST_MATCHERS} problem matchers, and no more")
        for matcher in found:
            # The newest is asked first.
            self._of = {matcher.owner: matcher} | {
                owner: one for owner, one in self._of.items() if owner != matcher.owner
            }
        self.added.append(text.decode(errors="replace"))

    def remove(self, owner: str) -> None:
        if self._of.pop(owner, None) is not None:
            self.added.append(json.dumps({"remove": owner}))

    def restore(self, change: str) -> None:
        """Do once more what is in `added`."""
        said = json.loads(change)
        if "remove" in said and "problemMatcher" not in said:
            self.remove(said["remove"])
        else:
            self.add(change.encode())

    def pause(self) -> None:
        """A step has ended: what it told in part is told no further."""
        for matcher in self._of.values():
            matcher.partial.clear()

    def match(self, line: str) -> Annotation | None:
        """What a line says; the first matcher that takes it has it for itself."""
        began = time.monotonic()
        try:
            return self._match(_COLOURS.sub("", line[:LONGEST_LINE]))
        finally:
            self._left -= time.monotonic() - began

    def _match(self, shown: str) -> Annotation | None:
        if self._left < 0:
            for owner in list(self._of):
                self.remove(owner)
            return Annotation("warning", "the problem matchers took too long and are not used any more")
        for matcher in list(self._of.values()):
            try:
                parts = matcher.heard(shown)
            except TimeoutError:
                self.remove(matcher.owner)
                what = f"the problem matcher {matcher.owner} took too long and is not used any more"
                return Annotation("warning", what)
            if parts is not None:
                for other in self._of.values():
                    if other is not matcher:
                        other.partial.clear()
                return _annotation(parts, matcher.severity)
        return None


def _annotation(parts: Mapping[str, str], severity: str) -> Annotation | None:
    said = parts.get("severity", "").lower() or severity
    level = {"error": "error", "warning": "warning", "notice": "notice"}.get(said)
    message = parts.get("message", "").strip()
    if level is None or not message:
        return None
    file = parts.get("file", "").strip()
    if file and not posixpath.isabs(file) and (base := parts.get("fromPath", "").strip()):
        file = posixpath.normpath(posixpath.join(posixpath.dirname(base), file))
    code = parts.get("code", "").strip()
    return Annotation(
        level, message, code, file, line=_number(parts.get("line")), col=_number(parts.get("column"))
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


def _read(text: bytes) -> list[Matcher]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadMatcher(f"a problem matcher is a JSON file: {error}") from None
    listed = said.get("problemMatcher") if isinstance(said, dict) else None
    if not isinstance(listed, list) or not listed:
        raise BadMatcher('a problem matcher is {"problemMatcher": [{"owner": ..., "pattern": [...]}]}')
    return [_matcher(one) for one in listed]


def _matcher(said: Any) -> Matcher:
    owner = said.get("owner") if isinstance(said, dict) else None
    if not isinstance(owner, str) or not owner:
        raise BadMatcher("a problem matcher needs an owner, which is a text")
    severity = str(said.get("severity") or "error").lower()
    if severity not in ("error", "warning", "notice"):
        raise BadMatcher(f"problem matcher {owner}: severity is error, warning or notice, not {severity!r}")
    listed = said.get("pattern")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_PATTERNS:
        raise BadMatcher(f"problem matcher {owner} needs a list of 1 to {MOST_PATTERNS} patterns")
    patterns = tuple(_pattern(owner, one, index == len(listed) - 1) for index, one in enumerate(listed))
    if "message" not in {part for pattern in patterns for part in pattern.groups}:
        raise BadMatcher(f"problem matcher {owner}: no pattern says which group is the message")
    if patterns[0].loop and len(patterns) == 1:
        raise BadMatcher(f"problem matcher {owner}: only the last of several patterns can loop")
    return Matcher(owner, severity, patterns)


def _pattern(owner: str, said: Any, last: bool) -> Pattern:
    text = said.get("regexp") if isinstance(said, dict) else None
    if not isinstance(text, str) or len(text) > LONGEST_EXPRESSION:
        what = f"a regexp, a text of {LONGEST_EXPRESSION} letters at most"
        raise BadMatcher(f"problem matcher {owner}: a pattern needs {what}")
    repetitions = prod(
        max(1, *(int(n[:9]) for n in found if n)) for found in _REPEATED.findall(text) if any(found)
    )
    if repetitions > MOST_REPETITIONS:
        raise BadMatcher(f"problem matcher {owner}: {text!r} repeats too much; write * or + for a number")
    try:
        expression = regex.compile(text)
    except regex.error as error:
        raise BadMatcher(f"problem matcher {owner}: {text!r} is no regular expression: {error}") from None
    groups = {part: said[part] for part in PARTS if said.get(part) is not None}
    for part, group in groups.items():
        if not isinstance(group, int) or isinstance(group, bool) or not 0 <= group <= expression.groups:
            raise BadMatcher(f"problem matcher {owner}: {part} is no group of {text!r}: {group!r}")
    loop = said.get("loop") is True
    if loop and not last:
        raise BadMatcher(f"problem matcher {owner}: only the last of several patterns can loop")
    return Pattern(expression, groups, loop)
