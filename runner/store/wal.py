"""SQLite's write-ahead log, and when the disk has it."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

# Where a system has only the slower one, that does as much.
_SYNC: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class WriteAheadLog:
    """The log beside a database's file, kept through a loss of power once for all who ask meanwhile.

    SQLite would do so within each commit, while everybody else who writes waits for the disk.
    """

    def __init__(self, database: Path, sync: Callable[[int], None] = _SYNC) -> None:
        self._file = database.with_name(f"{database.name}-wal")
        self._sync = sync
        self._syncing = threading.Lock()
        self._counting = threading.Lock()
        self.asked = 0
        """How often it was asked for."""
        self._kept = 0

    def keep(self) -> None:
        """Return once the disk has all that was committed before. Raises `OSError`."""
        with self._counting:
            self.asked += 1
            mine = self.asked
        with self._syncing:
            # Whoever began after this was asked for did it for this one too.
            if self._kept >= mine:
                return
            with self._counting:
                covered = self.asked
            self._write_through()
            self._kept = covered

    def _write_through(self) -> None:
        try:
            file = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # Whoever closes the last connection leaves all of it in the database, and that on the disk.
            return
        try:
            self._sync(file)
        finally:
            os.close(file)
