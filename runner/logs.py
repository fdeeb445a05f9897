"""What steps print, as files in the home folder; `store.logs` keeps it as rows for distributed use.

A reader asks for bytes from an offset, so following a log is asking again; chunks are kept as they were
printed, by job, attempt and step, and never rewritten.
"""

import os
from pathlib import Path
from typing import Protocol

from runner.engine.ports import Logs


class LogReader(Protocol):
    def read(self, job: int, attempt: int, step: str, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes from `offset`; empty at the end, and where nothing was printed."""


class FileLogs(Logs):
    """One file for each step's attempt. What is appended survives the death of this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def append(self, job: int, attempt: int, step: str, chunk: bytes) -> None:
        path = self._path(job, attempt, step)
        try:
            file = path.open("ab")
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        with file:
            file.write(chunk)

    def flush(self, job: int) -> None:
        """Every append has reached the file already."""

    def read(self, job: int, attempt: int, step: str, offset: int, limit: int) -> bytes:
        try:
            with self._path(job, attempt, step).open("rb") as file:
                # No file system can be asked for a place beyond the largest of its files.
                if offset >= os.fstat(file.fileno()).st_size:
                    return b""
                file.seek(offset)
                return file.read(limit)
        except FileNotFoundError:
            return b""

    def _path(self, job: int, attempt: int, step: str) -> Path:
        # Step keys of every kind of program are safe as file names once their slashes are not.
        return self._folder / str(job // 1000) / str(job) / str(attempt) / f"{step.replace('/', '%2F')}.log"
