"""Git trees as values: what a commit holds, and what differs between two."""

import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from runner.errors import BrokenDefinition
from runner.workspaces.reading import MissingObject, Reader

TREE_ENTRIES = 1_000_000
"""A tree can name one subtree many times over and so unfold to more paths than there are atoms."""
PATH_BYTES = 3000
FOLDER_DEPTH = 200
GITLINK = 0o160000

_PARENT = re.compile(rb"^parent ([0-9a-f]{40})$", re.MULTILINE)
_COMMITTER = re.compile(rb"^committer [^\n]*> (\d{1,10}) [+-]\d+$", re.MULTILINE)


class HostileTree(BrokenDefinition):
    """A commit holds something that no file system should be asked to hold."""


@dataclass(frozen=True, slots=True)
class Commit:
    tree: str
    time: int
    """When it was committed, in seconds since 1970; 0 where the commit does not say so."""
    message: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a tree, its mode as git writes it."""

    mode: int
    id: str

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)


def read_commit(reader: Reader, id: str) -> Commit:
    """Raises `MissingObject`, also where the object is something else than a commit."""
    kind, text = reader.one(id)
    header, _, message = text.partition(b"\n\n")
    if kind != "commit" or not header.startswith(b"tree "):
        raise MissingObject(id)
    time = _COMMITTER.search(header)
    parents = tuple(parent.decode() for parent in _PARENT.findall(header))
    said = message.decode(errors="replace")
    return Commit(header[5:45].decode(), int(time[1]) if time else 0, said, parents)


def walk(reader: Reader, tree: str) -> Iterator[tuple[str, Entry]]:
    """Every path in a tree with its entry, a folder before what is in it."""
    level, seen = [("", tree)], 0
    while level:
        deeper: list[tuple[str, str]] = []
        trees = _read_trees(reader, {id for _, id in level})
        seen = _counted(seen + sum(len(trees[id]) for _, id in level))
        for prefix, id in level:
            for name, entry in trees[id].items():
                path = _checked_path(prefix + name)
                yield path, entry
                if entry.is_folder:
                    deeper.append((path + "/", entry.id))
        level = deeper


def differences(reader: Reader, before: str | None, after: str) -> list[str]:
    """The paths of everything but folders that differ between two trees, sorted."""
    level: list[tuple[str, str | None, str | None]] = [("", before, after)]
    paths: list[str] = []
    seen = 0
    while level:
        deeper: list[tuple[str, str | None, str | None]] = []
        trees = _read_trees(reader, {id for _, *pair in level for id in pair if id})
        seen = _counted(seen + sum(len(trees[id]) for _, *pair in level for id in pair if id))
        for prefix, left, right in level:
            old, new = trees[left] if left else {}, trees[right] if right else {}
            for name in {**old, **new}:
                was, now = old.get(name), new.get(name)
                if was == now:
                    continue
                path = _checked_path(prefix + name)
                folders = [entry.id if entry and entry.is_folder else None for entry in (was, now)]
                if any(folders):
                    deeper.append((path + "/", folders[0], folders[1]))
                if any(entry and not entry.is_folder for entry in (was, now)):
                    paths.append(path)
        level = deeper
    return sorted(paths)


def changes(reader: Reader, before: str, after: str) -> tuple[dict[str, Entry], list[str]]:
    """What makes one tree of another: the paths that it adds or changes, and those that it has no more.

    A folder that is new is named with all that is in it; one that is gone by itself alone.
    """
    level, seen = [("", before, after)], 0
    made: dict[str, Entry] = {}
    gone: list[str] = []
    while level:
        deeper: list[tuple[str, str, str]] = []
        trees = _read_trees(reader, {id for _, *pair in level for id in pair})
        seen = _counted(seen + sum(len(trees[id]) for _, *pair in level for id in pair))
        for prefix, left, right in level:
            old, new = trees[left], trees[right]
            gone += [_checked_path(prefix + name) for name in old.keys() - new.keys()]
            for name, now in new.items():
                was, path = old.get(name), _checked_path(prefix + name)
                if was == now:
                    continue
                if was is not None and was.is_folder and now.is_folder:
                    deeper.append((f"{path}/", was.id, now.id))
                    continue
                made[path] = now
                if now.is_folder:
                    inner = {f"{path}/{name}": entry for name, entry in walk(reader, now.id)}
                    seen = _counted(seen + len(inner))
                    made |= {_checked_path(path): entry for path, entry in inner.items()}
        level = deeper
    return made, sorted(gone)


def folder_in(reader: Reader, tree: str, folder: str) -> Mapping[str, Entry]:
    """What is directly in a folder; empty where there is no such folder."""
    names = [name for name in folder.split("/") if name not in ("", ".")]
    entries = _read_trees(reader, {tree})[tree]
    for depth, name in enumerate(names, start=1):
        entry = entries.get(name)
        if entry is not None and stat.S_ISLNK(entry.mode):
            raise BrokenDefinition(f"{'/'.join(names[:depth])} is a symlink; put a folder there")
        if entry is None or not entry.is_folder:
            return {}
        entries = _read_trees(reader, {entry.id})[entry.id]
    return entries


def _read_trees(reader: Reader, ids: Iterable[str]) -> dict[str, dict[str, Entry]]:
    return {content.id: _entries(content.whole()) for content in reader.contents(list(ids))}


def _entries(tree: bytes) -> dict[str, Entry]:
    """Parse a tree object: `mode name NUL id`, again and again."""
    entries: dict[str, Entry] = {}
    at = 0
    while at < len(tree):
        space = tree.index(b" ", at)
        end = tree.index(b"\0", space)
        name = tree[space + 1 : end]
        if name in (b"", b".", b"..") or b"/" in name or name.lower() == b".git" or len(name) > 255:
            raise HostileTree(f"the commit holds a file named {name[:100]!r}, which cannot be checked out")
        text = name.decode(errors="surrogateescape")
        if text in entries:
            raise HostileTree(f"the commit holds two files named {text!a} in one folder")
        entries[text] = Entry(int(tree[at:space], 8), tree[end + 1 : end + 21].hex())
        at = end + 21
    return entries


def _checked_path(path: str) -> str:
    if len(path) > PATH_BYTES // 4 and len(path.encode(errors="surrogateescape")) > PATH_BYTES:
        raise HostileTree(f"the commit holds a path of more than {PATH_BYTES} bytes: {path[:100]!a}...")
    if path.count("/") > FOLDER_DEPTH:
        raise HostileTree(f"the commit holds folders more than {FOLDER_DEPTH} deep: {path[:100]!a}...")
    return path


def _counted(seen: int) -> int:
    if seen > TREE_ENTRIES:
        raise HostileTree(f"the commit holds more than {TREE_ENTRIES} paths")
    return seen


def printable(paths: Sequence[str]) -> list[str]:
    """Paths as text that can be stored and shown: bytes that are no UTF-8 become U+FFFD."""
    return [path.encode(errors="surrogateescape").decode(errors="replace") for path in paths]
