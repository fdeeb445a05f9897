"""What an overlay's layer changes, put on files as values: for where there is no overlay.

A file system keeps more than is restored so: owners, times of folders, several names of one file, fifos and
the like are left out, and of attributes all but those that anybody may set.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import SnapshotGone
from runner.workspaces.folders import Attributes, File, Folder, Link, Node
from runner.workspaces.layers import Stored
from runner.workspaces.looking import entries
from runner.workspaces.trees import TREE_ENTRIES

OVERLAY = "trusted.overlay."
OPAQUE, REDIRECT = f"{OVERLAY}opaque", f"{OVERLAY}redirect"
"""What overlayfs says of a folder that is so on every machine: that it is new, or what it was called."""
_ANYBODYS = "user."


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing is there any more, nor below."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A folder with what was below `source` before the layer; None is nothing."""

    folder: Folder
    source: str | None


Change = Gone | Merged | File | Link


def of_anybody(attributes: Mapping[str, bytes]) -> Attributes:
    return tuple(sorted((name, value) for name, value in attributes.items() if name.startswith(_ANYBODYS)))


class Lowers:
    """Where the folders of a layer are in what lies below it; asked for each in turn, from the top."""

    def __init__(self) -> None:
        self._found: dict[str, str | None] = {"": ""}

    def merged(self, path: str, mode: int, attributes: Mapping[str, bytes]) -> Merged:
        above, _, name = path.rpartition("/")
        below, moved = self._found[above], attributes.get(REDIRECT)
        if attributes.get(OPAQUE) == b"y":
            source = None
        elif moved is not None and moved.startswith(b"/"):
            source = os.fsdecode(moved).strip("/")
        else:
            name = name if moved is None else os.fsdecode(moved)
            source = None if below is None else f"{below}/{name}".lstrip("/")
        self._found[path] = source
        # What is below a folder that was moved has come along with it.
        stays = source is not None and moved is None
        folder = Folder(stat.S_IMODE(mode), attributes=of_anybody(attributes))
        return Merged(folder, path if stays else source)


def changes_in(files: Path) -> Iterator[tuple[str, Change]]:
    """What a layer changes, a folder before what is in it."""
    lowers = Lowers()
    for path, status, parent in entries(files):
        mode, here = status.st_mode, files / path
        if stat.S_ISLNK(mode):
            yield path, Link(os.readlink(path.rpartition("/")[2], dir_fd=parent), status.st_mtime_ns)
        elif stat.S_ISDIR(mode):
            yield path, lowers.merged(path, mode, attributes_of(here))
        elif stat.S_ISREG(mode):
            stored = Stored(here, 0, status.st_size, "")
            said = of_anybody(attributes_of(here))
            yield path, File(stat.S_IMODE(mode), status.st_mtime_ns, stored, said)
        else:
            yield path, Gone()


def attributes_of(path: Path) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


@dataclass(slots=True)
class _Place:
    node: Node
    below: "_Places" = field(default_factory=dict)


_Places = dict[str, _Place]


class Tree:
    """Files by their paths, as one layer after another changes them."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._top: _Places = {}
        # A folder comes before what is in it.
        for path in sorted(nodes):
            self._put(path, _Place(nodes[path]))

    def apply(self, changes: Iterable[tuple[str, Change]]) -> None:
        """Raises `SnapshotGone` where they are of something else than these files."""
        changes = list(changes)
        sources = {
            change.source
            for path, change in changes
            if isinstance(change, Merged) and change.source not in (None, path)
        }
        # As they were below the layer, whatever becomes of them in it.
        moved = {source: self._copied(source) for source in sources if source is not None}
        for path, change in changes:
            match change:
                case Gone():
                    self._remove(path)
                case Merged(folder, None):
                    self._put(path, _Place(folder))
                case Merged(folder, source) if source == path:
                    found = self._found(path)
                    self._put(path, _Place(folder, found.below if found else {}))
                case Merged(folder, str() as source):
                    self._put(path, _Place(folder, moved[source]))
                case File() | Link():
                    self._put(path, _Place(change))

    def nodes(self) -> dict[str, Node]:
        found: dict[str, Node] = {}
        ahead = [("", self._top)]
        while ahead:
            prefix, places = ahead.pop()
            for name, place in places.items():
                found[prefix + name] = place.node
                if place.below:
                    ahead.append((f"{prefix}{name}/", place.below))
        return found

    def _remove(self, path: str) -> None:
        above, _, name = path.rpartition("/")
        place = self._found(above) if above else None
        # What it was in may be gone already.
        (place.below if place else {} if above else self._top).pop(name, None)

    def _put(self, path: str, place: _Place) -> None:
        above, _, name = path.rpartition("/")
        self._folder(above, path)[name] = place

    def _folder(self, path: str, wanted: str) -> _Places:
        if not path:
            return self._top
        place = self._found(path)
        if place is None or not isinstance(place.node, Folder):
            raise SnapshotGone(f"a layer has {wanted[:100]!a} where there is no folder")
        return place.below

    def _found(self, path: str) -> _Place | None:
        place, places = None, self._top
        for name in path.split("/"):
            place = places.get(name)
            if place is None:
                return None
            places = place.below
        return place

    def _copied(self, path: str) -> _Places:
        """What is below a folder, as other places."""
        found, count = self._found(path), 0
        copied: _Places = {}
        ahead = [(found.below if found else {}, copied)]
        while ahead:
            places, into = ahead.pop()
            count += len(places)
            if count > TREE_ENTRIES:
                raise SnapshotGone(f"a layer holds more than {TREE_ENTRIES} files and folders")
            for name, place in places.items():
                into[name] = _Place(place.node)
                if place.below:
                    ahead.append((place.below, into[name].below))
        return copied
