"""Removing a folder that a step owned, whatever its processes still do in it."""

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from runner.errors import Unavailable
from runner.workspaces.scanning import readable

_DEEP = 50
_ROUNDS = 1000
"""How often a folder is emptied that does not stay empty, or that is very deep; each round must remove
something."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Trash:
    """Where folders go to be removed, and where what could not be removed yet stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._going: set[str] = set()

    def remove(self, folder: Path) -> None:
        """Take a folder away: its name is free at once, even where something in it cannot be removed yet."""
        name = secrets.token_hex(8)
        self._going.add(name)
        try:
            with suppress(FileNotFoundError):
                self._aside(folder, name)
                _remove(self._folder / name)
        finally:
            self._going.discard(name)

    def empty(self) -> None:
        """Remove what earlier removals left."""
        with suppress(FileNotFoundError):
            for left in list(self._folder.iterdir()):
                # Two that empty one folder only get into each other's way.
                if left.name not in self._going:
                    _remove(left)

    def _aside(self, folder: Path, name: str) -> None:
        # Only who may write in a folder may move it elsewhere.
        with readable(str(folder), None):
            try:
                folder.rename(self._folder / name)
            except FileNotFoundError:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                folder.rename(self._folder / name)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                # By a process that was root, say, where this one is not.
                raise Unavailable(f"something is mounted at {folder}; umount it") from error


def _remove(path: Path) -> None:
    with suppress(OSError):
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return
        for _ in range(_ROUNDS):
            progress = _empty(str(path), None, 0, None)
            with suppress(OSError):
                path.rmdir()
                return
            if not progress:
                return


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
