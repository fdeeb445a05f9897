"""Which files of a job some lines mean, as actions are given them: paths, patterns, and `!` in front."""

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from runner.engine.commands import FOLDER
from runner.engine.errands.patterns import fixed, literal, outermost, read, taken
from runner.engine.ports import BOX_TEMP, BOX_WORKSPACE, Entry, Folder, Sandbox
from runner.errors import BrokenDefinition
from runner.expr.hashing import Pattern

WORKSPACE, HOME, TEMP = "workspace", "home", "temp"
"""What of a job is called by a name of its own, so that another job finds it in its own."""


@dataclass(frozen=True, slots=True)
class Line:
    """`root` is one of those names, and `pattern` is of a path below it."""

    root: str
    pattern: Pattern

    def __str__(self) -> str:
        return f"{'!' if self.pattern.negative else ''}{self.root}/{'/'.join(self.pattern.segments)}"


def read_line(text: str, sandbox: Sandbox) -> Line:
    """Raises `BrokenDefinition` for a path that is in no folder of the job."""
    pattern = read(text, sandbox)
    # HOME is within the temporary folder.
    for root, inside in (
        (HOME, sandbox.home),
        (WORKSPACE, sandbox.workspace),
        (WORKSPACE, BOX_WORKSPACE),
        (TEMP, sandbox.temp),
        (TEMP, BOX_TEMP),
    ):
        above = literal(inside)
        if pattern.segments[: len(above)] == above:
            return Line(root, Pattern(pattern.negative, pattern.segments[len(above) :]))
    raise BrokenDefinition(
        f"{text[:200]!a} is in no folder of the job; give a path in the workspace, in RUNNER_TEMP or in ~"
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
        bases = [fixed(one) for one in patterns if not one.negative]
        simple = [len(one.segments) for one in patterns] == [len(base) for base in bases]
        for base in sorted(outermost(bases)):
            for path, entry in _below(folder, above, "/".join(base)):
                check()
                # Our own files are no job's.
                if root == TEMP and path.startswith(FOLDER):
                    continue
                if simple or taken(patterns, path.split("/")):
                    yield root, path, folder, entry


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
