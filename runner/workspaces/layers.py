"""A snapshot's layer: one file with all that changed since the layer before it.

    contents of the changed files | manifest (JSON) | its length | its SHA-256 | MAGIC

One file is one rename and one fsync, however many files a step left. It is written under another name
and renamed when it is on the disk: a layer that has its name is whole.
"""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import SnapshotGone

SMALL_BYTES = 1 << 20
"""Larger files are copied by the kernel, which shares their blocks where the file system can."""

FICLONE = 0x40049409
"""The ioctl by which a file gets the blocks of another, for itself as soon as one of them is written to."""
_MAGIC = b"runner.1"
_LENGTH = 8
_FOOTER = _LENGTH + 32 + len(_MAGIC)
_BLOCK = 4096
_CHUNK = 1 << 26


def nothing() -> None:
    """What is checked where nobody can want it to end."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Content that a layer holds. `digest` is empty where it was copied without being read."""

    layer: Path
    offset: int
    size: int
    digest: str

    def copy(self, layer: int, target: int) -> None:
        """Write it to another file."""
        if not self.digest:
            if copy_range(layer, target, self.size, self.offset) != self.size:
                raise SnapshotGone(f"the snapshot {self.layer} is damaged")
            return
        content = os.pread(layer, self.size, self.offset)
        if digest(content) != self.digest:
            raise SnapshotGone(f"the snapshot {self.layer} is damaged")
        write_all(target, content)


class LayerWriter:
    """Where a layer's contents go, in the order they are added."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self.path = path
        self._at = 0

    def add(self, content: bytes) -> Stored:
        write_all(self._descriptor, content)
        stored = Stored(self.path, self._at, len(content), digest(content))
        self._at += len(content)
        return stored

    def add_file(self, source: int, size: int, check: Callable[[], None] = nothing) -> Stored:
        """A large file, or as much of it as there still is; begins where blocks can be shared."""
        self._at = os.lseek(self._descriptor, -(-self._at // _BLOCK) * _BLOCK, os.SEEK_SET)
        copied = copy_range(source, self._descriptor, size, 0, check)
        stored = Stored(self.path, self._at, copied, "")
        self._at += copied
        return stored if copied > SMALL_BYTES else self._as_small(stored)

    def add_from(self, copy: Callable[[int, int], None], size: int) -> Stored:
        """What `copy` writes, given a file and how many bytes that is: more than are read at once."""
        self._at = os.lseek(self._descriptor, -(-self._at // _BLOCK) * _BLOCK, os.SEEK_SET)
        copy(self._descriptor, size)
        written = os.lseek(self._descriptor, 0, os.SEEK_CUR) - self._at
        stored = Stored(self.path, self._at, written, "")
        self._at += written
        return stored

    def _as_small(self, stored: Stored) -> Stored:
        content = os.pread(self._descriptor, stored.size, stored.offset)
        return Stored(self.path, stored.offset, stored.size, digest(content))

    def end(self, manifest: dict[str, Any]) -> None:
        text = json.dumps(manifest, separators=(",", ":")).encode()
        footer = len(text).to_bytes(_LENGTH, "big") + hashlib.sha256(text).digest() + _MAGIC
        write_all(self._descriptor, text + footer)


@contextmanager
def new_layer(path: Path, durable: bool = True) -> Iterator[LayerWriter]:
    """Write a layer that appears under `path` when the block ends, and not at all where it fails.

    `durable`: whether it is on the disk by then.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield LayerWriter(descriptor, path)
        if durable:
            os.fsync(descriptor)
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    if durable:
        _sync_folder(path.parent)


def read_manifest(path: Path) -> dict[str, Any]:
    """Raises `SnapshotGone` where the layer is missing or damaged."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _FOOTER))
            footer = file.read()
            length = int.from_bytes(footer[:_LENGTH], "big")
            if footer[-len(_MAGIC) :] != _MAGIC or length > size - _FOOTER:
                raise SnapshotGone(f"the snapshot {path} is damaged")
            file.seek(size - _FOOTER - length)
            text = file.read(length)
    except FileNotFoundError:
        raise SnapshotGone(f"the snapshot {path} is not on this machine") from None
    if hashlib.sha256(text).digest() != footer[_LENGTH : -len(_MAGIC)]:
        raise SnapshotGone(f"the snapshot {path} is damaged")
    manifest: dict[str, Any] = json.loads(text)
    return manifest


def copy_range(source: int, target: int, size: int, offset: int, check: Callable[[], None] = nothing) -> int:
    """Copy by the kernel to where `target` stands, holes as holes; how much there was to copy.

    `check` is called now and then, and ends it by raising.
    """
    at, end = offset, offset + size
    while at < end:
        check()
        data, hole = _next_data(source, at, end)
        if data > at:
            os.lseek(target, data - at, os.SEEK_CUR)
            at = data
            continue
        size = min(hole - at, _CHUNK)
        try:
            count = os.copy_file_range(source, target, size, at)
        except OSError:
            # Not every file system, nor every pair of them, can do it; sendfile can.
            count = os.sendfile(target, source, at, size)
        if not count:
            break
        at += count
    reached = os.lseek(target, 0, os.SEEK_CUR)
    if os.fstat(target).st_size < reached:
        os.ftruncate(target, reached)
    return at - offset


def _next_data(source: int, at: int, end: int) -> tuple[int, int]:
    """Where the next data in a file begins and ends, from `at` on."""
    try:
        data = os.lseek(source, at, os.SEEK_DATA)
        return min(data, end), min(os.lseek(source, data, os.SEEK_HOLE), end)
    except OSError as error:
        if error.errno == errno.ENXIO:
            # Nothing but a hole, as far as the file goes.
            return max(at, min(end, os.fstat(source).st_size)), end
        return at, end


def write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
