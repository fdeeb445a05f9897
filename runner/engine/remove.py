"""Removing what steps could write to: however deep it is, and whatever they took their own right to.

A step's ten thousand nested folders are more than `shutil.rmtree` has stack for.
"""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_DEEP = 50
_ROUNDS = 1000
"""How often a folder is emptied that does not stay empty, or that is very deep; each round must remove
something."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: Path | str, parent: int | None = None) -> bool:
    """Remove a file or a folder, as far as that can be done; whether all of it is gone.

    `parent`: an open folder that the path begins in. No link is followed.
    """
    try:
        if not stat.S_ISDIR(os.stat(path, dir_fd=parent, follow_symlinks=False).st_mode):
            os.unlink(path, dir_fd=parent)
            return True
        for _ in range(_ROUNDS):
            progress = _empty(str(path), parent, 0, None)
            with suppress(OSError):
                os.rmdir(path, dir_fd=parent)
                return True
            if not progress:
                return False
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def readable(name: str, parent: int | None) -> Iterator[None]:
    """Give ourselves every right to a file or folder of ours for a moment.

    The mode goes through a descriptor: a symlink that takes the name's place cannot lead it elsewhere.
    """
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISLNK(mode):
            yield
            return
        os.chmod(f"/proc/self/fd/{handle}", stat.S_IMODE(mode) | 0o700)  # noqa: PTH101
        try:
            yield
        finally:
            os.chmod(f"/proc/self/fd/{handle}", stat.S_IMODE(mode))  # noqa: PTH101
    finally:
        os.close(handle)


def _empty(name: str, parent: int | None, depth: int, top: int | None) -> int:
    """Remove what is in a folder; how many entries that took away from it.

    A folder deep inside is moved up to `top` for the next round, so that a step's ten thousand nested
    folders take no ten thousand descriptors.
    """
    with readable(name, parent):
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
        try:
            with os.scandir(descriptor) as entries:
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            progress = 0
            for child, is_folder in found:
                with suppress(OSError):
                    _remove_entry(child, is_folder, descriptor, depth, descriptor if top is None else top)
                    progress += 1
            return progress
        finally:
            os.close(descriptor)


def _remove_entry(name: str, is_folder: bool, parent: int, depth: int, top: int) -> None:
    if not is_folder:
        os.unlink(name, dir_fd=parent)
    elif depth >= _DEEP:
        with readable(name, parent):
            os.rename(name, secrets.token_hex(8), src_dir_fd=parent, dst_dir_fd=top)
    else:
        _empty(name, parent, depth + 1, top)
        os.rmdir(name, dir_fd=parent)
