"""Which files of a job the patterns of a step mean, as `@actions/glob` reads them.

Links are followed as long as they stay in the job's folders: what a step sees through them is what is found,
under the path by which it sees it.
"""

import posixpath
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from runner.engine.errands.errand import Errand
from runner.engine.errands.patterns import fixed, lines_of, outermost, read, taken
from runner.engine.ports import Entry, Folder
from runner.errors import BrokenDefinition
from runner.expr.hashing import Pattern, is_pattern
from runner.model.artifact import MOST_FILES

Place = tuple[str, Folder, str, Entry | None]
"""A path without a link on the way, as a step sees it and as it is; a whole folder of a job has no entry."""
MOST_ENTRIES = 1_000_000
"""Files and folders that are looked at; folders that link to each other make many of few."""
_MOST_LINKS = 40
_LATEST = 2**32
"""In seconds, which is as far as zip files go; some file systems go on for longer than years have names."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file by its path as the step sees it, and where it is. `root` is above all that were found."""

    path: str
    folder: Folder
    place: str
    mode: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Finds:
    """The files in the order of their paths; `root`: what is left out of these in an artifact."""

    root: str
    files: Sequence[Found]

    def named(self) -> Iterator[tuple[str, Found]]:
        return ((posixpath.relpath(one.path, self.root), one) for one in self.files)


def search(errand: Errand, text: str, hidden: bool) -> Finds:
    """The files that the patterns in the lines of `text` mean, later ones over earlier ones.

    `hidden`: also those whose names, or whose folders' names, begin with a dot. Raises `BrokenDefinition`.
    """
    sandbox = errand.stage.scene.sandbox
    patterns = [read(line, sandbox) for line in lines_of(text) if is_pattern(line)]
    paths = [f"/{'/'.join(names)}" for names in outermost(fixed(one) for one in patterns if not one.negative)]
    if not paths:
        raise BrokenDefinition("`path` names no file; give a file, a folder or a pattern such as dist/**")
    found = _Search(errand, patterns, hidden)
    files = {one.path: one for path in paths for one in found.at(path)}
    ordered = tuple(files[path] for path in sorted(files))
    if len(paths) > 1:
        errand.say("Multiple search paths detected. Calculating the least common ancestor of all paths")
        root = posixpath.commonpath(paths)
        errand.say(f"The least common ancestor is {root}. This will be the root directory of the artifact")
        return Finds(root, ordered)
    single = len(ordered) == 1 and ordered[0].path == paths[0]
    return Finds(posixpath.dirname(paths[0]) if single else paths[0], ordered)


def followed(errand: Errand, path: str) -> Place | None:
    """What a path leads to, as a step sees it; None for nothing. Raises `BrokenDefinition` if it is out."""
    for _ in range(_MOST_LINKS):
        folder, place = errand.place(path)
        path = posixpath.normpath(path)
        root = path[: len(path) - len(place)].rstrip("/")
        entry, names = None, place.split("/") if place else []
        for count in range(1, len(names) + 1):
            here = "/".join(names[:count])
            entry = folder.look(here)
            if entry is None:
                return None
            if stat.S_ISLNK(entry.mode):
                above = posixpath.join(root, posixpath.dirname(here))
                path = posixpath.join(above, folder.target(here), *names[count:])
                break
        else:
            return path, folder, place, entry
    return None


@dataclass
class _Search:
    errand: Errand
    patterns: Sequence[Pattern]
    hidden: bool
    looked: int = 0
    found: int = 0

    def at(self, path: str) -> Iterator[Found]:
        if self._is_hidden(posixpath.basename(path)):
            return
        if (there := followed(self.errand, path)) is not None:
            yield from self._from(path, there, ())

    def _from(self, path: str, there: Place, chain: tuple[str, ...]) -> Iterator[Found]:
        """What a path led to, and what is below it. `chain`: in which folders the links are on the way."""
        real, folder, place, entry = there
        if entry is None or stat.S_ISDIR(entry.mode):
            if not any(f"{above}/".startswith(f"{real}/") for above in chain):
                yield from self._below(path, real, folder, place, chain)
        elif stat.S_ISREG(entry.mode) and self._wanted(path):
            yield self._file(path, folder, place, entry)

    def _below(
        self, path: str, real: str, folder: Folder, place: str, chain: tuple[str, ...]
    ) -> Iterator[Found]:
        inside = f"{place}/" if place else ""
        for entry in folder.walk(place):
            self._look()
            if not entry.path.startswith(inside):
                raise BrokenDefinition(f"{path[:200]!a} was replaced while it was read")
            below = entry.path[len(inside) :]
            seen = f"{path}/{below}"
            if any(map(self._is_hidden, below.split("/"))):
                continue
            if stat.S_ISREG(entry.mode):
                if self._wanted(seen):
                    yield self._file(seen, folder, entry.path, entry)
            elif stat.S_ISLNK(entry.mode):
                try:
                    there = followed(self.errand, seen)
                except BrokenDefinition as out:
                    self.errand.say(
                        f"##[warning]{seen[:200]!a} is left out, as it is a link that leads out: {out}"
                    )
                    continue
                if there is not None:
                    yield from self._from(seen, there, (*chain, posixpath.dirname(f"{real}/{below}")))

    def _look(self) -> None:
        self.looked += 1
        if self.looked > MOST_ENTRIES:
            raise BrokenDefinition(f"the patterns lead to more than {MOST_ENTRIES} files and folders")
        if self.looked % 100 == 0:
            self.errand.check()

    def _is_hidden(self, name: str) -> bool:
        return name.startswith(".") and not self.hidden

    def _wanted(self, path: str) -> bool:
        return taken(self.patterns, path.strip("/").split("/"))

    def _file(self, path: str, folder: Folder, place: str, entry: Entry) -> Found:
        self.found += 1
        if self.found > MOST_FILES:
            raise BrokenDefinition(
                f"there are more than {MOST_FILES} files, which are the most of an artifact"
            )
        seconds = min(max(entry.mtime_ns // 10**9, 0), _LATEST)
        return Found(path, folder, place, entry.mode, datetime.fromtimestamp(seconds, UTC))
