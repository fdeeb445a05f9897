"""A folder layer as a stream: a line of JSON for each thing in it, files followed by what is in them.

The same folder gives the same stream on every machine. What overlayfs notes for one machine is left out.
Where there is no overlay a stream becomes what it changes.
"""

import json
import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from runner.errors import SnapshotGone
from runner.workspaces.folders import File, Link
from runner.workspaces.layers import SMALL_BYTES, LayerWriter, Stored, write_all
from runner.workspaces.looking import entries
from runner.workspaces.merging import OPAQUE, OVERLAY, REDIRECT, Change, Gone, Lowers, of_anybody

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE_BYTES = 1 << 20
_END = {"end": True}


class Source(Protocol):
    """What a stream is read from."""

    def line(self) -> bytes: ...

    def take(self, size: int) -> bytes:
        """So many bytes; fewer where there are no more."""

    def copy(self, descriptor: int, size: int) -> None:
        """Write so many bytes to a new file."""


def write_folder_layer(files: Path, put: Callable[[bytes], object]) -> None:
    names: dict[tuple[int, int], str] = {}
    put(_line(_about("", files.lstat(), _attributes(files))))
    for path, status, parent in entries(files):
        there, about = files / path, _about(path, status, {})
        if stat.S_ISLNK(status.st_mode):
            put(_line(about | {"target": os.readlink(path.rpartition("/")[2], dir_fd=parent)}))
            continue
        about["attributes"] = _attributes(there)
        if not stat.S_ISREG(status.st_mode):
            put(_line(about))
            continue
        first = names.setdefault((status.st_dev, status.st_ino), path)
        if first != path:
            put(_line({"path": path, "like": first}))
            continue
        descriptor = os.open(path.rpartition("/")[2], _FILE, dir_fd=parent)
        try:
            put(_line(about | {"size": status.st_size}))
            while piece := os.read(descriptor, _PIECE_BYTES):
                put(piece)
        finally:
            os.close(descriptor)
    put(_line(_END))


def read_folder_layer(source: Source, files: Path) -> None:
    """Have all of it in an empty folder, in which nobody else is. Raises `SnapshotGone`."""
    folders: list[tuple[str, Mapping[str, Any]]] = []
    # Of many small files most time would go into paths that are taken apart and put together again.
    root = f"{files}/"
    for path, about in _things(source):
        here = root + path
        if "like" in about:
            os.link(root + str(about["like"]), here, follow_symlinks=False)
            continue
        mode = int(about["mode"])
        if stat.S_ISDIR(mode):
            if path:
                os.mkdir(here, 0o700)  # noqa: PTH102
            folders.append((here, about))
        elif stat.S_ISREG(mode):
            _read_file(source, here, about)
        else:
            if stat.S_ISLNK(mode):
                os.symlink(str(about["target"]), here)  # noqa: PTH211
            else:
                os.mknod(here, stat.S_IFMT(mode) | 0o600, int(about["device"]))
            _make_like(here, about)
    for here, about in reversed(folders):
        _make_like(here, about)


def _read_file(source: Source, here: str, about: Mapping[str, Any]) -> None:
    size = int(about["size"])
    descriptor = os.open(here, _NEW, 0o600)
    try:
        if size <= SMALL_BYTES:
            write_all(descriptor, source.take(size))
        else:
            source.copy(descriptor, size)
        os.fchown(descriptor, *about["owner"])
        for name, value in about["attributes"].items():
            os.setxattr(descriptor, name, b64decode(value))
        os.fchmod(descriptor, stat.S_IMODE(about["mode"]))
        os.utime(descriptor, ns=(about["mtime"], about["mtime"]))
    finally:
        os.close(descriptor)


def read_changes(source: Source, layer: LayerWriter) -> dict[str, Change]:
    """What it changes, with the contents of its files in another layer. Raises `SnapshotGone`."""
    lowers, found = Lowers(), dict[str, Change]()
    for path, about in _things(source):
        if "like" in about:
            found[path] = found[str(about["like"])]
            continue
        mode, mtime = int(about["mode"]), int(about["mtime"])
        said = {name: b64decode(value) for name, value in about["attributes"].items()}
        if stat.S_ISLNK(mode):
            found[path] = Link(str(about["target"]), mtime)
        elif stat.S_ISREG(mode):
            stored = _stored(source, int(about["size"]), layer)
            found[path] = File(stat.S_IMODE(mode), mtime, stored, of_anybody(said))
        elif not stat.S_ISDIR(mode):
            found[path] = Gone()
        elif path:
            found[path] = lowers.merged(path, mode, said)
    return found


def _stored(source: Source, size: int, layer: LayerWriter) -> Stored:
    if not size:
        return Stored(layer.path, 0, 0, "")
    return layer.add(source.take(size)) if size <= SMALL_BYTES else layer.add_from(source.copy, size)


def _things(source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    """What there is, a folder before what is in it. Raises `SnapshotGone` where any of it leads elsewhere."""
    there, files = {""}, set[str]()
    while (about := _read(source.line())) != _END:
        path = str(about["path"])
        above, _, name = path.rpartition("/")
        if path and (above not in there or name in ("", ".", "..") or "\0" in name):
            raise SnapshotGone(f"a layer in the store leads elsewhere: {path[:100]!a}")
        if "like" in about:
            if about["like"] not in files:
                raise SnapshotGone(f"a layer in the store leads elsewhere: {str(about['like'])[:100]!a}")
        elif stat.S_ISDIR(int(about["mode"])):
            there.add(path)
        else:
            files.add(path)
        yield path, about


def _about(path: str, status: os.stat_result, attributes: Mapping[str, str]) -> dict[str, Any]:
    about = {
        "path": path,
        "mode": status.st_mode,
        "owner": [status.st_uid, status.st_gid],
        "mtime": status.st_mtime_ns,
        "attributes": attributes,
    }
    return about | ({"device": status.st_rdev} if not _is_plain(status.st_mode) else {})


def _is_plain(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _attributes(path: Path) -> dict[str, str]:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return {
        name: b64encode(os.getxattr(path, name, follow_symlinks=False)).decode()
        for name in names
        if not name.startswith(OVERLAY) or name in (OPAQUE, REDIRECT)
    }


def _make_like(here: str, about: Mapping[str, Any]) -> None:
    uid, gid = about["owner"]
    os.chown(here, uid, gid, follow_symlinks=False)
    for name, value in about["attributes"].items():
        os.setxattr(here, name, b64decode(value), follow_symlinks=False)
    if not stat.S_ISLNK(about["mode"]):
        os.chmod(here, stat.S_IMODE(about["mode"]))  # noqa: PTH101
    os.utime(here, ns=(about["mtime"], about["mtime"]), follow_symlinks=False)


def _line(said: Mapping[str, Any]) -> bytes:
    # Names that are no text stay what they are: JSON escapes what stands for their bytes.
    return json.dumps(said, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def _read(line: bytes) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads(line)
    except ValueError:
        raise SnapshotGone("a layer in the store ends in the middle") from None
    return said
