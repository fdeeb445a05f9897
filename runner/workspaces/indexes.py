"""Git's index, written as `gitformat-index` has it: which files a checkout has, and how they look.

Only what `core.checkStat=minimal` looks at is filled in, so that it fits wherever the files are copied to.
"""

import hashlib
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

from runner.workspaces.looking import inside
from runner.workspaces.trees import GITLINK

_HEAD = struct.Struct(">8xI12xI8xI20sH")
"""The times of change, the device, the inode and the owner stay zero."""
KEPT = 20
"""How many indexes are kept for each mirror."""
_ABSENT = 0x4000
_EXTENDED = 0x4000
_LONGEST = 0xFFF


class Tracked(NamedTuple):
    """One file of a checkout. `time`: when it was changed, in seconds. `absent`: it is not checked out."""

    path: bytes
    mode: int
    id: str
    size: int
    time: int
    absent: bool = False


def index_of(files: Iterable[Tracked]) -> bytes:
    """What `.git/index` holds for these files."""
    parts, count, version = [], 0, 2
    for path, mode, id, size, time, absent in sorted(files):
        flags = min(len(path), _LONGEST)
        kind = mode if mode == GITLINK else 0o120000 if mode & 0o170000 == 0o120000 else _file(mode)
        extra = b""
        if absent:
            version, flags, extra = 3, flags | _EXTENDED, struct.pack(">H", _ABSENT)
        head = _HEAD.pack(time & 0xFFFFFFFF, kind, size & 0xFFFFFFFF, bytes.fromhex(id), flags)
        entry = head + extra + path
        parts.append(entry + b"\0" * (8 - len(entry) % 8))
        count += 1
    content = struct.pack(">4sII", b"DIRC", version, count) + b"".join(parts)
    return content + hashlib.sha1(content, usedforsecurity=False).digest()


def sizes_in(index: bytes) -> dict[str, int]:
    """How long the files are that an index names, by their ids."""
    sizes = {}
    version, count = struct.unpack_from(">II", index, 4)
    at = 12
    for _ in range(count if version == 2 else 0):
        _, _, size, id, flags = _HEAD.unpack_from(index, at)
        sizes[id.hex()] = size
        length = flags & _LONGEST
        if length == _LONGEST:
            length = index.index(b"\0", at + _HEAD.size) - at - _HEAD.size
        at += (_HEAD.size + length) // 8 * 8 + 8
    return sizes


def newest_index(folder: Path) -> bytes | None:
    """The one that was used last of those that are kept there."""
    for path in _newest_first(folder):
        if not path.name.startswith("."):
            with suppress(FileNotFoundError):
                return path.read_bytes()
    return None


def keep_index(path: Path, index: bytes) -> None:
    """Keep an index for the next one who needs it, with those that were used last."""
    path.parent.mkdir(exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}-{token_hex(4)}")
    aside.write_bytes(index)
    # Where others have kept as many newer ones meanwhile, they have removed it.
    with suppress(FileNotFoundError):
        aside.rename(path)
    for old in _newest_first(path.parent)[KEPT:]:
        old.unlink(missing_ok=True)


def _newest_first(folder: Path) -> list[Path]:
    """What is kept there. Other jobs of the repository may keep theirs just now."""
    found: list[tuple[float, Path]] = []
    for path in inside(folder):
        with suppress(FileNotFoundError):
            found.append((path.lstat().st_mtime, path))
    return [path for _, path in sorted(found, reverse=True)]


def _file(mode: int) -> int:
    return 0o100755 if mode & 0o100 else 0o100644
