"""Removing a folder that a step owned, whatever its processes still do in it."""

import errno
import secrets
from contextlib import suppress
from pathlib import Path

from runner.engine.remove import readable, remove
from runner.errors import Unavailable


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
                remove(self._folder / name)
        finally:
            self._going.discard(name)

    def empty(self) -> None:
        """Remove what earlier removals left."""
        with suppress(FileNotFoundError):
            for left in list(self._folder.iterdir()):
                # Two that empty one folder only get into each other's way.
                if left.name not in self._going:
                    remove(left)

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
