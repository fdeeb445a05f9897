"""Files as one compressed stream: a tar as `tar --zstd` reads and writes it, of files, folders and symlinks.

Written by hand, for tarfile takes ten times as long for a file that is small, and reads headers of any size.
"""

import io
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple
from zlib import adler32

from zstandard import ZstdCompressor, ZstdDecompressor, ZstdError

from runner.engine.ports import Entry, Folder
from runner.errors import BrokenDefinition, Damaged, NotFound

MOST_ENTRIES = 1_000_000
MOST_BYTES = 10 * 1024**3
"""Of an archive, as on GitHub."""
MOST_UNPACKED = 100 * 1024**3
LEVEL = 3
RIGHTS = 0o777
"""What of a mode is kept: no file becomes another user's program by being unpacked."""
_BLOCK = 512
_CHUNK = 1024**2
_LONGEST_RECORDS = 64 * 1024
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_FIELDS = struct.Struct("100s8s16x12s12s8sc100s255x")
_END = bytes(_BLOCK)
_PRIME = 65521
_MAGIC = b"ustar\x0000"
_LARGEST = 0o77777777777
_LATEST = 10**12
"""In seconds: no file system goes that far."""
_SHORT = 100
_FILE, _LINK, _FOLDER, _RECORDS = b"0", b"2", b"5", b"x"
_KINDS = {_FILE: stat.S_IFREG, _LINK: stat.S_IFLNK, _FOLDER: stat.S_IFDIR}
_TYPES = {kind: word for word, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class Member:
    """What goes into an archive: an entry of a folder, and its path in the archive."""

    path: str
    folder: Folder
    entry: Entry


@dataclass
class Packed:
    """What came of it. `left_out` are files that went away meanwhile, and what is neither file nor link."""

    entries: int = 0
    size: int = 0
    compressed: int = 0
    left_out: list[str] = field(default_factory=list)


# --- packing ---------------------------------------------------------------------------------


def pack(members: Iterable[Member], file: BinaryIO, most: int, check: Callable[[], None]) -> Packed:
    """Write an archive of up to `most` bytes; `check` ends it by raising.

    A file that changes meanwhile has the size that it was listed with. Raises `BrokenDefinition`.
    """
    packed = Packed()
    compressor = ZstdCompressor(level=LEVEL, threads=-1)
    bounded = _Bounded(file, most)
    with (
        compressor.stream_writer(bounded, closefd=False) as compressed,
        io.BufferedWriter(compressed, _CHUNK) as stream,  # type: ignore[type-var]
    ):
        for member in members:
            check()
            if packed.entries >= MOST_ENTRIES:
                raise BrokenDefinition(f"there are more than {MOST_ENTRIES} files and folders")
            if _add(member, stream, check):
                packed.entries += 1
                packed.size += member.entry.size if stat.S_ISREG(member.entry.mode) else 0
            else:
                packed.left_out.append(member.entry.path)
        stream.write(bytes(2 * _BLOCK))
    packed.compressed = bounded.written
    return packed


class _Bounded(io.BytesIO):
    """Hands on what is written, up to a limit."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        super().__init__()
        self._file = file
        self._most = most
        self.written = 0

    def write(self, chunk: Any) -> int:
        self.written += len(chunk)
        if self.written > self._most:
            raise BrokenDefinition(f"it is larger than {self._most} bytes, compressed")
        return self._file.write(chunk)


def _add(member: Member, stream: BinaryIO, check: Callable[[], None]) -> bool:
    entry, kind = member.entry, _TYPES.get(stat.S_IFMT(member.entry.mode))
    try:
        if kind == _FILE and entry.size <= _CHUNK:
            content = member.folder.read(entry.path, entry.size)
            content += bytes(entry.size - len(content) + -entry.size % _BLOCK)
            stream.write(_headers(member.path, kind, entry, "") + content)
            return True
        if kind == _FILE:
            with member.folder.reading(entry.path) as file:
                stream.write(_headers(member.path, kind, entry, ""))
                _copy(file, stream, entry.size, check)
            return True
        if kind is None:
            return False
        target = member.folder.target(entry.path) if kind == _LINK else ""
    except NotFound:
        return False
    stream.write(_headers(member.path, kind, entry, target))
    return True


def _copy(file: BinaryIO, stream: BinaryIO, size: int, check: Callable[[], None]) -> None:
    left = size
    while left and (chunk := file.read(min(left, _CHUNK))):
        stream.write(chunk)
        left -= len(chunk)
        check()
    while left:
        stream.write(bytes(min(left, _CHUNK)))
        left -= min(left, _CHUNK)
        check()
    stream.write(bytes(-size % _BLOCK))


def _headers(path: str, kind: bytes, entry: Entry, target: str) -> bytes:
    name, link = os.fsencode(path), os.fsencode(target)
    size = entry.size if kind == _FILE else 0
    seconds, rest = divmod(entry.mtime_ns, 10**9)
    records = []
    if rest or not 0 <= seconds <= _LARGEST:
        # Digits, for a fraction of floating point is another time.
        records.append(_record(b"mtime", b"%s%d.%09d" % _signed(entry.mtime_ns)))
    if len(name) > _SHORT or not name.isascii():
        records.append(_record(b"path", name))
    if len(link) > _SHORT or not link.isascii():
        records.append(_record(b"linkpath", link))
    if size > _LARGEST:
        records.append(_record(b"size", b"%d" % size))
    mode = stat.S_IMODE(entry.mode) & RIGHTS
    block = _block(name[:_SHORT], kind, mode, min(size, _LARGEST), seconds, link[:_SHORT])
    if not records:
        return block
    more = b"".join(records)
    return b"".join((_announced(len(more)), more, bytes(-len(more) % _BLOCK), block))


@lru_cache(256)
def _announced(length: int) -> bytes:
    """What comes before so many bytes of records."""
    return _block(b"records", _RECORDS, 0o644, length, 0, b"")


def _signed(at: int) -> tuple[bytes, int, int]:
    return (b"-" if at < 0 else b"", *divmod(abs(at), 10**9))


def _record(key: bytes, value: bytes) -> bytes:
    """A line that begins with its own length."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _block(name: bytes, kind: bytes, mode: int, size: int, mtime: int, link: bytes) -> bytes:
    numbers = b"%07o\0" % mode, b"0000000\0", b"0000000\0", b"%011o\0" % size
    at = b"%011o\0" % min(max(mtime, 0), _LARGEST)
    rest = kind, link, _MAGIC, b"", b"", b"", b"", b""
    empty = _HEADER.pack(name, *numbers, at, b" " * 8, *rest)
    return empty[:148] + b"%06o\0 " % _sum(empty) + empty[156:]


# --- unpacking -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """What is in an archive: a file with its content in pieces, a folder, or a symlink with its target."""

    entry: Entry
    target: str
    content: Iterable[bytes]


def unpack(
    file: BinaryIO,
    place: Callable[[str], tuple[Folder, str]],
    check: Callable[[], None],
    most: int = MOST_UNPACKED,
) -> int:
    """Put what is in an archive where `place` says; gives how many there were.

    What is not named in it stays as it is. Errors: `Damaged`, and those of `Folder`.
    """
    folders: list[tuple[Folder, str, Entry]] = []
    count = 0
    for found in members(file, check, most):
        entry = found.entry
        folder, path = place(entry.path)
        count += 1
        if stat.S_ISDIR(entry.mode):
            if path:
                folder.make(path)
                folders.append((folder, path, entry))
        elif stat.S_ISLNK(entry.mode):
            folder.link(path, found.target)
        else:
            if entry.size <= _CHUNK:
                folder.put(path, b"".join(found.content), stat.S_IMODE(entry.mode), entry.mtime_ns)
                continue
            with folder.writing(path, stat.S_IMODE(entry.mode), entry.mtime_ns) as to:
                for chunk in found.content:
                    to.write(chunk)
    # What is in a folder changes its time, and may not be allowed to come into it.
    for folder, path, entry in reversed(folders):
        check()
        folder.settle(path, stat.S_IMODE(entry.mode), entry.mtime_ns)
    return count


def members(file: BinaryIO, check: Callable[[], None], most: int = MOST_UNPACKED) -> Iterator[Found]:
    """What is in an archive, one after the other; what is not read of one by then is passed over.

    Raises `Damaged`.
    """
    with _decompressed(file) as stream:
        left = most
        for number in range(MOST_ENTRIES + 1):
            check()
            found = _next(stream)
            if found is None:
                return
            entry, target = found
            left -= entry.size
            if number == MOST_ENTRIES or left < 0:
                raise Damaged("there is more in the archive than any cache may hold")
            if entry.size <= _CHUNK:
                content = _padded(stream, entry.size)
                yield Found(entry, target, (content,))
                continue
            pieces = _pieces(stream, entry.size, check)
            yield Found(entry, target, pieces)
            for _ in pieces:
                pass


@contextmanager
def _decompressed(file: BinaryIO) -> Iterator[BinaryIO]:
    with ExitStack() as opened:
        raw = opened.enter_context(ZstdDecompressor().stream_reader(file, closefd=False))
        try:
            yield io.BufferedReader(raw, _CHUNK)
        except ZstdError as error:
            raise Damaged(f"the archive is damaged: {error}") from error


def _pieces(stream: BinaryIO, size: int, check: Callable[[], None]) -> Iterator[bytes]:
    left = size
    while left:
        chunk = _exactly(stream, min(left, _CHUNK))
        left -= len(chunk)
        yield chunk
        check()
    _exactly(stream, -size % _BLOCK)


def _padded(stream: BinaryIO, size: int) -> bytes:
    return _exactly(stream, size + -size % _BLOCK)[:size]


def _exactly(stream: BinaryIO, size: int) -> bytes:
    chunk = stream.read(size)
    if len(chunk) != size:
        raise Damaged("the archive ends before its end")
    return chunk


def _next(stream: BinaryIO) -> tuple[Entry, str] | None:
    """The header of the next member, with the records that may come before it; None at the end."""
    header, records = _header(stream), {}
    if header is not None and header.kind == _RECORDS:
        length = _number(header.size)
        if length > _LONGEST_RECORDS:
            raise Damaged("the archive has a header that is too long")
        records = _read_records(_padded(stream, length))
        header = _header(stream)
    if header is None:
        return None
    if header.kind not in _KINDS:
        raise Damaged(f"the archive has a member of a kind that none has: {header.kind!r}")
    path = records.get(b"path") or header.name.partition(b"\0")[0]
    target = b""
    if header.kind == _LINK:
        target = records.get(b"linkpath") or header.link.partition(b"\0")[0]
    if b"\0" in path or b"\0" in target:
        raise Damaged("the archive has a name that none can be")
    # Whatever else the header says: only files have content.
    length = 0
    if header.kind == _FILE:
        length = _number(records[b"size"], 10) if b"size" in records else _number(header.size)
    at = _nanoseconds(records[b"mtime"]) if b"mtime" in records else _number(header.mtime) * 10**9
    mode = _KINDS[header.kind] | (_number(header.mode) & RIGHTS)
    return Entry(os.fsdecode(path), mode, length, at), os.fsdecode(target)


class _Header(NamedTuple):
    name: bytes
    mode: bytes
    size: bytes
    mtime: bytes
    sum: bytes
    kind: bytes
    link: bytes


def _header(stream: BinaryIO) -> _Header | None:
    block = _exactly(stream, _BLOCK)
    if block == _END:
        return None
    header = _Header._make(_FIELDS.unpack(block))
    # The sum is of the block with blanks in its own place.
    if (_sum(block) - sum(header.sum) + len(header.sum) * 32 - _number(header.sum)) % _PRIME:
        raise Damaged("the archive has a header that is damaged")
    return header


def _sum(block: bytes) -> int:
    """Of all bytes, modulo a prime that is more than this is for a block of names and digits.

    Adler's checksum has it, and takes a tenth of the time.
    """
    return (adler32(block) & 0xFFFF) - 1


def _read_records(text: bytes) -> dict[bytes, bytes]:
    found = {}
    while text:
        digits, space, _ = text.partition(b" ")
        length = _number(digits, 10)
        line = text[len(digits) + 1 : length - 1]
        key, equals, value = line.partition(b"=")
        if not (space and equals) or text[length - 1 : length] != b"\n":
            raise Damaged("the archive has a header that cannot be read")
        found[key], text = value, text[length:]
    return found


def _number(text: bytes, base: int = 8) -> int:
    digits = text.strip(b"\0 ")
    if not digits.isdigit() or len(digits) > 20:
        raise Damaged("the archive has a number that is none")
    try:
        return int(digits, base)
    except ValueError:
        raise Damaged("the archive has a number that is none") from None


def _nanoseconds(text: bytes) -> int:
    whole, _, fraction = text.removeprefix(b"-").partition(b".")
    if (seconds := _number(whole, 10)) > _LATEST:
        raise Damaged("the archive has a time that is none")
    at = seconds * 10**9 + (_number(fraction[:9].ljust(9, b"0"), 10) if fraction else 0)
    return -at if text.startswith(b"-") else at
