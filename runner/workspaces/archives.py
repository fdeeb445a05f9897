"""Layers as streams: what another machine makes the same layer of.

First comes a line that says of which kind the layer is; then its one file, or what it says and all that is in
its folder.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Sequence
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import BinaryIO

from zstandard import ZstdCompressor, ZstdDecompressor, ZstdError

from runner.engine.ports import Layers
from runner.errors import SnapshotGone, Unavailable
from runner.model.snapshot import BASE, Layer
from runner.workspaces import pool
from runner.workspaces.carrying import read_changes, read_folder_layer, write_folder_layer
from runner.workspaces.layers import new_layer, read_manifest, write_all
from runner.workspaces.names import file_name
from runner.workspaces.removal import Trash
from runner.workspaces.snapshots import merged_manifest

PIECE_BYTES = 1 << 20
_FILE, _FOLDER = b"layer 1: file\n", b"layer 1: folder\n"
_NAME = re.compile(r"[0-9]+\.[0-9]+")
_LEVEL = 3
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class GitLayers(Layers):
    """The layers that `GitWorkspaces` keeps in the same home; `hindrance` says why none is an overlay's."""

    def __init__(self, home: Path, hindrance: Callable[[], str | None] = lambda: None) -> None:
        home = home.absolute()
        self._snapshots = home / "snapshots"
        # It gets to the disk when the workspaces next look around. Till then it can be had again.
        self._hindrance = hindrance
        self._pool = pool.Layers(home / "layers", Trash(home / "workspaces" / ".trash"), syncing=None)

    def chain(self, name: str, snapshot: str, above: str = BASE) -> Sequence[Layer]:
        layers: list[Layer] = []
        while snapshot not in (BASE, above):
            parent = read_manifest(self._file(name, snapshot))["parent"]
            layers.append(Layer(snapshot, parent))
            snapshot = parent
        return layers[::-1]

    def content(self, name: str, layer: str) -> str:
        whole = hashlib.sha256()
        self._write(name, layer, whole.update)
        return whole.hexdigest()

    def pack(self, name: str, layer: str, file: BinaryIO) -> None:
        with ZstdCompressor(level=_LEVEL).stream_writer(file, closefd=False) as packed:
            self._write(name, layer, packed.write)

    def unpack(self, name: str, layer: str, content: str, file: BinaryIO, check: Callable[[], None]) -> None:
        path = self._file(name, layer)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with ZstdDecompressor().stream_reader(file, PIECE_BYTES, closefd=False) as unpacked:
                read = Read(unpacked, check)
                kind = read.line()
                if kind == _FILE:
                    self._unpack_file(path, content, read)
                elif kind == _FOLDER and self._hindrance() is not None:
                    self._unpack_changes(path, content, read)
                elif kind == _FOLDER:
                    self._unpack_folder(path, content, read)
                else:
                    raise SnapshotGone(f"a layer in the store was written by another version: {kind[:40]!a}")
        except ZstdError as error:
            raise SnapshotGone(f"the layer {layer} in the store cannot be unpacked: {error}") from None
        except PermissionError as error:
            raise SnapshotGone(f"cannot make {path}, which is one of an overlay: {error.strerror}") from error
        except OSError as error:
            raise Unavailable(f"cannot make {path}: {error.strerror}") from error

    def _write(self, name: str, layer: str, put: Callable[[bytes], object]) -> None:
        path = self._file(name, layer)
        about = read_manifest(path)
        if pool.FOLDER in about:
            if not self._pool.shows_marks:
                raise SnapshotGone(f"the snapshot {path} is one of an overlay, of which not all can be seen")
            put(_FOLDER)
            put(json.dumps({key: about[key] for key in ("commit", "parent")}).encode() + b"\n")
            write_folder_layer(self._pool.files(about, str(path)), put)
            return
        try:
            with path.open("rb") as file:
                put(_FILE)
                while piece := file.read(PIECE_BYTES):
                    put(piece)
        except FileNotFoundError:
            raise SnapshotGone(f"the snapshot {path} is not on this machine") from None

    def _unpack_file(self, path: Path, content: str, read: "Read") -> None:
        aside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        descriptor = os.open(aside, _NEW, 0o600)
        try:
            read.copy(descriptor)
            read.end(content)
            os.fsync(descriptor)
            aside.rename(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def _unpack_folder(self, path: Path, content: str, read: "Read") -> None:
        about = json.loads(read.line())
        begun = self._pool.begin(path.parent)
        try:
            read_folder_layer(read, begun.files)
            read.end(content)
        except BaseException:
            self._pool.discard(begun)
            raise
        path.unlink(missing_ok=True)
        self._pool.seal(begun, path, about["commit"], about["parent"])

    def _unpack_changes(self, path: Path, content: str, read: "Read") -> None:
        about = json.loads(read.line())
        with new_layer(path) as layer:
            changes = read_changes(read, layer)
            read.end(content)
            layer.end(merged_manifest(about["commit"], about["parent"], changes))

    def _file(self, name: str, layer: str) -> Path:
        if not _NAME.fullmatch(layer):
            raise SnapshotGone(f"there is no snapshot {layer[:100]!a} of {name}")
        return self._snapshots / file_name(name) / layer


class Read:
    """A stream as it is read, with the SHA-256 of all of it. `check` is called for each piece."""

    def __init__(self, source: RawIOBase | BinaryIO, check: Callable[[], None]) -> None:
        self._source = BufferedReader(source, PIECE_BYTES)  # type: ignore[type-var]
        self._check = check
        self._whole = hashlib.sha256()

    def line(self) -> bytes:
        line = self._source.readline(PIECE_BYTES)
        self._whole.update(line)
        return line

    def take(self, size: int) -> bytes:
        self._check()
        piece = self._source.read(size)
        self._whole.update(piece)
        return piece

    def copy(self, descriptor: int, size: int | None = None) -> None:
        """Write so many bytes, or all that are left, to a new file: what is nothing but zeros as a hole."""
        while size is None or size:
            self._check()
            piece = self._source.read(PIECE_BYTES if size is None else min(size, PIECE_BYTES))
            if not piece:
                break
            self._whole.update(piece)
            size = None if size is None else size - len(piece)
            if piece.count(0) == len(piece):
                os.lseek(descriptor, len(piece), os.SEEK_CUR)
            else:
                write_all(descriptor, piece)
        os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR))

    def end(self, content: str) -> None:
        """Raises `SnapshotGone` where that was not all, or something else than was packed."""
        if self._source.read(1) or self._whole.hexdigest() != content:
            raise SnapshotGone("a layer in the store is not what was put there")
