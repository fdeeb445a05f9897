"""Whether a tree that was unpacked still is what git says, byte for byte: told by reading it again.

What is written to a disk may be read back as something else years later, with the same size and times.
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from runner.workspaces.looking import entries
from runner.workspaces.trees import Entry

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE_BYTES = 1 << 20


class Differs(Exception):
    """What lies there is not what git has; the message says what."""


def reread(files: Path, tree: Mapping[str, Entry], done: int, most: int) -> int | None:
    """Compare what is in a folder with a tree: all of it has a place there, and the content of that.

    `done` is how many paths were compared before. Gives how many that are once `most` bytes are read, None
    when that is all of them. Raises `Differs`.
    """
    for path, status, parent in islice(entries(files), done, None):
        if most <= 0:
            return done
        done += 1
        most -= max(status.st_size, 4096)
        name, entry = path.rpartition("/")[2], tree.get(path)
        if stat.S_ISDIR(status.st_mode):
            continue
        if stat.S_ISLNK(status.st_mode):
            found = _id_of(os.fsencode(os.readlink(name, dir_fd=parent)))
        elif stat.S_ISREG(status.st_mode):
            found = _id_in(name, parent, status.st_size)
        else:
            # The mark of what the tree has no more.
            found = None
        if found != (entry.id if entry is not None else None):
            raise Differs(f"{path[:200]!a} is not as it was unpacked")
    return None


def _id_of(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _id_in(name: str, folder: int, size: int) -> str:
    whole = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    descriptor = os.open(name, _FILE, dir_fd=folder)
    try:
        while piece := os.read(descriptor, _PIECE_BYTES):
            whole.update(piece)
    finally:
        os.close(descriptor)
    return whole.hexdigest()
