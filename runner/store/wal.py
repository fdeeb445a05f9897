"""SQLite's write-ahead log, and when the disk has it."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

# Where a system has only the slower one, that does as much.
_SYNC: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)

log = logging.getLogger(__name__)


class WriteAheadLog:
    """The log beside a database's file, kept through a loss of power once for all who ask meanwhile.

    SQLite would do so within each commit, while everybody else who writes waits for the disk. `empty` has it
    put all that is in the log into the database, by way of the disk, and begin the log anew; it may raise.
    """

    def __init__(
        self, database: Path, empty: Callable[[], None], sync: Callable[[int], None] = _SYNC
    ) -> None:
        self._file = database.with_name(f"{database.name}-wal")
        self._empty = empty
        self._sync = sync
        self._torn = False
        self._syncing = threading.Lock()
        self._counting = threading.Lock()
        self.asked = 0
        """How often it was asked for."""
        self._kept = 0

    def keep(self) -> None:
        """Return once the disk has all that was committed before. Raises `OSError`, or what `empty` does."""
        with self._counting:
            self.asked += 1
            mine = self.asked
        with self._syncing:
            # Whoever began after this was asked for did it for this one too.
            if self._kept >= mine:
                return
            with self._counting:
                covered = self.asked
            if not self._torn:
                self._write_through()
            if self._torn:
                # What the disk did not take once it may never get: asked again, Linux says that all is well.
                # And of a log nothing counts that comes after a gap.
                self._empty()
                self._torn = False
                self._write_through()
            if self._torn:
                raise OSError("it does not keep what is written")
            self._kept = covered

    def _write_through(self) -> None:
        try:
            file = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # Whoever closes the last connection leaves all of it in the database, and that on the disk.
            return
        try:
            self._sync(file)
        except OSError:
            log.exception("the disk does not keep the database's log")
            self._torn = True
        finally:
            os.close(file)
