"""What a snapshot holds: the commit's files, then what each layer of its chain changed."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from runner.errors import SnapshotGone
from runner.model.snapshot import BASE
from runner.workspaces.folders import File, Folder, Link, Node
from runner.workspaces.layers import Stored, read_manifest

Line = Sequence[tuple[str, Mapping[str, Any]]]
"""The layers of a snapshot, the first one first: their names, and what they say."""

_NAME = re.compile(r"[0-9]+\.[0-9]+")


def restored(folder: Path, layers: Line, nodes: dict[str, Node]) -> dict[str, Node]:
    """The commit's `nodes` with the layers of a chain on top. Raises `SnapshotGone`."""
    for _, layer in layers:
        for path in layer["gone"]:
            nodes.pop(path, None)
        nodes.update({path: _node(folder, fields) for path, fields in layer["nodes"].items()})
    return nodes


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
