"""An artifact as one zip file, as people and forges have it.

A file keeps the permissions that it had, in the place where zip tools for Unix look for them.
"""

import posixpath
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo
from zlib import error as ZlibError

from runner.engine.ports import Folder
from runner.errors import BrokenDefinition
from runner.model.artifact import MOST_BYTES, MOST_FILES, checked_path

DEFAULT_LEVEL = 6
_PIECE = 1024 * 1024
_FIRST_YEAR, _LAST_YEAR = 1980, 2107


@dataclass(frozen=True, slots=True)
class Packing:
    """A zip file that is being written. `check` is called between the pieces of long work."""

    archive: ZipFile
    check: Callable[[], None]
    left: list[int]

    def add(self, path: str, source: IO[bytes], mode: int, at: datetime) -> None:
        """Put a file in. Raises `BrokenDefinition` where the artifact would become too large."""
        with self.archive.open(checked_path(path), "w", force_zip64=True) as sink:
            while piece := source.read(_PIECE):
                self.check()
                self.left[0] -= len(piece)
                if self.left[0] < 0:
                    raise BrokenDefinition(
                        f"the files are more than {MOST_BYTES} bytes together, which is the most of an "
                        "artifact; upload them as several"
                    )
                sink.write(piece)
        # Both are said at the end of the archive, which is where they are looked for.
        found = self.archive.getinfo(path)
        found.external_attr = (stat.S_IFREG | stat.S_IMODE(mode)) << 16
        found.date_time = _dos(at)


@contextmanager
def packing(target: BinaryIO, level: int, check: Callable[[], None]) -> Iterator[Packing]:
    """A new zip file; `level` is zlib's, from 0 for stored files."""
    method = ZIP_DEFLATED if level else ZIP_STORED
    with ZipFile(target, "w", method, compresslevel=level or None) as archive:
        yield Packing(archive, check, [MOST_BYTES])


def repack(
    source: BinaryIO,
    into: Packing,
    below: str = "",
    leaving_out: Collection[str] = (),
) -> list[str]:
    """Put what is in one zip file into another, in a folder of it; gives the paths there."""
    added = []
    with _opened(source) as archive:
        for entry in _files(archive):
            path = posixpath.join(below, entry.filename)
            if path in leaving_out:
                continue
            with archive.open(entry) as file:
                into.add(path, file, entry.external_attr >> 16, _utc(entry))
            added.append(path)
    return added


def unpack(source: BinaryIO, folder: Folder, below: str, check: Callable[[], None]) -> int:
    """Write the files of a zip file below a folder, over what is there; gives how many there were.

    Nothing is written elsewhere, whatever the archive says. Raises `BrokenDefinition`.
    """
    count, left = 0, MOST_BYTES
    with _opened(source) as archive, folder.held() as held:
        for entry in _files(archive):
            check()
            mode = 0o755 if (entry.external_attr >> 16) & 0o111 else 0o644
            path = posixpath.join(below, entry.filename)
            count += 1
            if entry.file_size <= _PIECE:
                # Whatever it says itself, no more than this is unpacked of it at once.
                with archive.open(entry) as file:
                    held.put(path, file.read(_PIECE), mode)
                continue
            with archive.open(entry) as file, held.writing(path, mode) as sink:
                while piece := file.read(_PIECE):
                    check()
                    left -= len(piece)
                    if left < 0:
                        raise BrokenDefinition(f"its files are more than {MOST_BYTES} bytes together")
                    sink.write(piece)
    return count


@contextmanager
def _opened(source: BinaryIO) -> Iterator[ZipFile]:
    try:
        with ZipFile(source) as archive:
            yield archive
    except (BadZipFile, ZlibError, EOFError, NotImplementedError) as error:
        raise BrokenDefinition(f"it is no zip file that can be unpacked: {error}") from error


def _files(archive: ZipFile) -> Iterator[ZipInfo]:
    """Its files, all of them checked before the first one is given."""
    found = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(found) > MOST_FILES:
        raise BrokenDefinition(f"it has more than {MOST_FILES} files")
    if sum(entry.file_size for entry in found) > MOST_BYTES:
        raise BrokenDefinition(f"its files are more than {MOST_BYTES} bytes together")
    for entry in found:
        names = entry.filename.split("/")
        kind, encrypted = stat.S_IFMT(entry.external_attr >> 16), entry.flag_bits & 1
        if encrypted or kind not in (0, stat.S_IFREG) or not all(names) or {".", ".."} & set(names):
            raise BrokenDefinition(f"{entry.filename[:200]!a} is no file that can be unpacked")
        checked_path(entry.filename)
    return iter(found)


def _dos(at: datetime) -> tuple[int, int, int, int, int, int]:
    year = min(max(at.year, _FIRST_YEAR), _LAST_YEAR)
    return year, at.month, at.day, at.hour, at.minute, at.second


def _utc(entry: ZipInfo) -> datetime:
    try:
        return datetime(*entry.date_time, tzinfo=UTC)
    except ValueError:
        return datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC)
