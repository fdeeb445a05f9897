"""Which files of a job some lines mean, as actions are given them: paths, patterns, and `!` in front."""

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from runner.engine.commands import FOLDER
from runner.engine.ports import BOX_TEMP, BOX_WORKSPACE, Entry, Folder, Sandbox
from runner.errors import BrokenDefinition
from runner.expr.hashing import MAX_PATTERN, Pattern

WORKSPACE, HOME, TEMP = "workspace", "home", "temp"
"""What of a job is called by a name of its own, so that another job finds it in its own."""
MAGIC = "*?["


@dataclass(frozen=True, slots=True)
class Line:
    """`root` is one of those names, and `pattern` is of a path below it."""

    root: str
    pattern: Pattern

    def __str__(self) -> str:
        return f"{'!' if self.pattern.negative else ''}{self.root}/{'/'.join(self.pattern.segments)}"

    @property
    def base(self) -> str:
        """The path above which nothing is meant."""
        names: list[str] = []
        for name in self.pattern.segments:
            if any(mark in name for mark in MAGIC):
                break
            names.append(name)
        return "/".join(names)

    @property
    def literal(self) -> bool:
        return len(self.base.split("/")) == len(self.pattern.segments) or not self.pattern.segments


def lines_of(text: str) -> tuple[str, ...]:
    """An input of several lines: those that are not empty."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def read_line(text: str, sandbox: Sandbox) -> Line:
    """Raises `BrokenDefinition` for a path that is in no folder of the job."""
    body = text.strip()
    negative = body.startswith("!")
    body = body[negative:].strip()
    if len(body) > MAX_PATTERN or "\0" in body:
        raise BrokenDefinition(
            f"{body[:50]!a}... is no path: one has up to {MAX_PATTERN} characters, and no NUL"
        )
    if body == "~" or body.startswith("~/"):
        body = sandbox.home + body[1:]
    path = posixpath.normpath(posixpath.join(sandbox.workspace, body))
    # HOME is within the temporary folder.
    for root, inside in (
        (HOME, sandbox.home),
        (WORKSPACE, sandbox.workspace),
        (WORKSPACE, BOX_WORKSPACE),
        (TEMP, sandbox.temp),
        (TEMP, BOX_TEMP),
    ):
        if path == inside or path.startswith(f"{inside}/"):
            rest = path[len(inside) :].strip("/")
            return Line(root, Pattern(negative, tuple(rest.split("/")) if rest else ()))
    raise BrokenDefinition(
        f"{body[:200]!a} is in no folder of the job; give a path in the workspace, in RUNNER_TEMP or in ~"
    )


def chosen(
    lines: Sequence[Line],
    places: Mapping[str, tuple[Folder, str]],
    check: Callable[[], None],
) -> Iterator[tuple[str, str, Folder, Entry]]:
    """Each file, folder and link that the lines mean, with its root and its path below that, once.

    A folder means all that is in it, but for what a line with `!` takes out. `places` are the folders that
    the roots are in, and where. Raises `BrokenDefinition`.
    """
    for root, (folder, above) in places.items():
        its = [line for line in lines if line.root == root]
        patterns = [line.pattern for line in its]
        simple = all(line.literal and not line.pattern.negative for line in its)
        bases = {line.base for line in its if not line.pattern.negative}
        for base in sorted(one for one in bases if not _within(one, bases)):
            for path, entry in _below(folder, above, base):
                check()
                # Our own files are no job's.
                if root == TEMP and path.startswith(FOLDER):
                    continue
                if simple or _taken(patterns, path):
                    yield root, path, folder, entry


def _taken(patterns: Sequence[Pattern], path: str) -> bool:
    """The last pattern that matches it, or a folder above it, says."""
    parts, taken = path.split("/") if path else [], False
    for pattern in patterns:
        if not pattern.segments or pattern.takes(parts):
            taken = not pattern.negative
    return taken


def _within(base: str, bases: set[str]) -> bool:
    """Whether it is below another one of them."""
    return any(base != other and (not other or base.startswith(f"{other}/")) for other in bases)


def _below(folder: Folder, above: str, base: str) -> Iterator[tuple[str, Entry]]:
    """What is at a base and below it, by its path below `above`."""
    whole = posixpath.join(above, base) if above else base
    if whole:
        entry = folder.look(whole)
        if entry is None:
            return
        if base:
            yield base, entry
        if entry.mode & 0o170000 != 0o040000:
            return
    cut = len(above) + 1 if above else 0
    for entry in folder.walk(whole):
        yield entry.path[cut:], entry
