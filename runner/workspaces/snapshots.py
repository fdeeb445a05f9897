"""What a snapshot holds: the commit's files, then what each layer of its chain changed."""

import os
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.errors import SnapshotGone
from runner.model.snapshot import BASE
from runner.workspaces.folders import Attributes, File, Folder, Link, Node
from runner.workspaces.layers import Stored, read_manifest
from runner.workspaces.merging import Change, Gone, Merged, Tree, changes_in
from runner.workspaces.pool import FOLDER

Line = Sequence[tuple[str, Mapping[str, Any]]]
"""The layers of a snapshot, the first one first: their names, and what they say."""

_NAME = re.compile(r"[0-9]+\.[0-9]+")
_MERGED = ""
"""The node by which a layer is known that was an overlay's."""


def restored(
    folder: Path, layers: Line, nodes: dict[str, Node], files: Callable[[Mapping[str, Any], str], Path]
) -> dict[str, Node]:
    """The commit's `nodes` with the layers of a chain on top; `files` finds those of a folder layer.

    Raises `SnapshotGone`.
    """
    if any(_is_merged(layer) for _, layer in layers):
        tree = Tree(nodes)
        for name, layer in layers:
            tree.apply(_changes(folder, name, layer, files))
        return tree.nodes()
    for _, layer in layers:
        for path in layer["gone"]:
            nodes.pop(path, None)
        nodes.update({path: _node(folder, fields) for path, fields in layer["nodes"].items()})
    return nodes


def _is_merged(layer: Mapping[str, Any]) -> bool:
    """Whether it has been an overlay's."""
    return FOLDER in layer or _MERGED in layer["nodes"]


def _changes(
    folder: Path, name: str, layer: Mapping[str, Any], files: Callable[[Mapping[str, Any], str], Path]
) -> Iterator[tuple[str, Change]]:
    if FOLDER in layer:
        yield from changes_in(files(layer, str(folder / name)))
        return
    for path in layer["gone"]:
        yield path, Gone()
    for path, fields in layer["nodes"].items():
        if path != _MERGED:
            yield path, _change(folder, path, fields)


def inherit(folder: Path, others: Sequence[Path], snapshot: str) -> None:
    """Link the layers of a snapshot into `folder` from the first that has all of them; raises `SnapshotGone`.

    The newest layer comes last: a folder that has it has them all.
    """
    if snapshot == BASE or (folder / _checked(folder, snapshot)).exists():
        return
    gone: SnapshotGone | None = None
    for other in others:
        try:
            names = _layers_of(other, snapshot)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in names:
                with suppress(FileExistsError):
                    os.link(other / name, folder / name)
            return
        except SnapshotGone as error:
            gone = gone or error
        except FileNotFoundError:
            # It is being removed.
            gone = gone or SnapshotGone(f"the snapshot {other / snapshot} is not on this machine")
    raise gone or SnapshotGone(f"there is no snapshot {snapshot[:100]!a} for {folder}")


def _layers_of(folder: Path, snapshot: str) -> list[str]:
    """The names of a snapshot's layers, the first one first."""
    names: list[str] = []
    while snapshot != BASE:
        names.append(_checked(folder, snapshot))
        snapshot = read_manifest(folder / snapshot)["parent"]
    return names[::-1]


def last_number(folder: Path, attempt: int) -> int:
    """The highest number that this attempt has given to a layer, 0 for none."""
    numbers = [path.name.split(".")[1] for path in folder.glob(f"{attempt}.*") if _NAME.fullmatch(path.name)]
    return max(map(int, numbers), default=0)


def manifest_of(commit: str, parent: str, gone: list[str], nodes: Mapping[str, Node]) -> dict[str, Any]:
    fields = {path: _fields(node) for path, node in nodes.items()}
    return {"commit": commit, "parent": parent, "gone": gone, "nodes": fields}


def merged_manifest(commit: str, parent: str, changes: Mapping[str, Change]) -> dict[str, Any]:
    """As `manifest_of`, of what was an overlay's layer."""
    # Who does not know what merging is does not know the first node either, and leaves it alone.
    nodes: dict[str, list[Any]] = {_MERGED: ["merged"]}
    nodes |= {path: _change_fields(change) for path, change in changes.items()}
    return {"commit": commit, "parent": parent, "gone": [], "nodes": nodes}


def chain(folder: Path, snapshot: str, commit: str) -> Line:
    """The layers of a snapshot. Raises `SnapshotGone`."""
    layers: list[tuple[str, dict[str, Any]]] = []
    while snapshot != BASE:
        layer = read_manifest(folder / _checked(folder, snapshot))
        if layer["commit"] != commit:
            raise SnapshotGone(f"the snapshot {folder / snapshot} is one of commit {layer['commit']}")
        layers.append((snapshot, layer))
        snapshot = layer["parent"]
    return layers[::-1]


def _checked(folder: Path, snapshot: str) -> str:
    if not _NAME.fullmatch(snapshot):
        raise SnapshotGone(f"there is no snapshot {snapshot[:100]!a} in {folder}")
    return snapshot


def _fields(node: Node) -> list[Any]:
    match node:
        case Folder(mode):
            return ["folder", mode]
        case Link(str() as target, mtime_ns):
            return ["link", target, mtime_ns]
        case File(mode, mtime_ns, Stored(layer, offset, size, digest)):
            return ["file", mode, mtime_ns, layer.name, offset, size, digest]
        case _:
            raise TypeError(f"a layer holds what it stores itself, not {node}")


def _change_fields(change: Change) -> list[Any]:
    match change:
        case Gone():
            return ["gone"]
        case Merged(folder, source):
            return ["folder", folder.mode, source, _written(folder.attributes)]
        case File():
            return [*_fields(change), _written(change.attributes)]
        case Link():
            return _fields(change)


def _change(folder: Path, path: str, fields: list[Any]) -> Change:
    match fields:
        case ["gone"]:
            return Gone()
        case ["folder", mode, source, attributes]:
            return Merged(Folder(mode, attributes=_read(attributes)), source)
        case ["file", *known, attributes] if isinstance(attributes, list):
            file = _node(folder, ["file", *known])
            return replace(file, attributes=_read(attributes)) if isinstance(file, File) else Gone()
    node = _node(folder, fields)
    return Merged(node, path) if isinstance(node, Folder) else node


def _written(attributes: Attributes) -> list[list[str]]:
    return [[name, b64encode(value).decode()] for name, value in attributes]


def _read(attributes: list[list[str]]) -> Attributes:
    return tuple((name, b64decode(value)) for name, value in attributes)


def _node(folder: Path, fields: list[Any]) -> Node:
    match fields:
        case ["folder", mode]:
            return Folder(mode)
        case ["link", target, mtime_ns]:
            return Link(target, mtime_ns)
        case ["file", mode, mtime_ns, layer, offset, size, digest]:
            return File(mode, mtime_ns, Stored(folder / layer, offset, size, digest))
        case _:
            raise SnapshotGone(f"a snapshot in {folder} was written by another version of runner")
