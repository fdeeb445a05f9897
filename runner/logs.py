"""What steps print, as files in the home folder; `store.logs` keeps it as rows for distributed use.

A reader asks for bytes from an offset, so following a log is asking again; chunks are kept as they were
printed, by job, attempt and step, and never rewritten.
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from runner.engine.ports import LivingLogs

ORDER = "order"
"""The file that names the logs of an attempt in the order in which they began."""
LONGEST_NAME = 200
"""Bytes of a step's key that can be part of a file's name."""


class LogReader(Protocol):
    def read(self, job: int, attempt: int, step: str, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes from `offset`; empty at the end, and where nothing was printed."""

    def printed(self, job: int) -> Sequence[tuple[int, str]]:
        """Attempt and step of each log that a job has: by attempt, then in the order in which it began."""


class FileLogs(LivingLogs):
    """One file for each step's attempt. What is appended survives the death of this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def append(self, job: int, attempt: int, step: str, chunk: bytes) -> None:
        path = self._path(job, attempt, step)
        while (file := _appending(path)) is None:
            # Whoever lets go of the job's last other attempt may take its folder away meanwhile.
            with suppress(FileExistsError, FileNotFoundError):
                path.parent.mkdir(parents=True)
        with file:
            if not file.tell():
                # Before the file: whoever finds a log begun reads all of those before it.
                with (path.parent / ORDER).open("a", encoding="utf-8") as order:
                    order.write(f"{_written(step)}.log\n")
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

    def printed(self, job: int) -> Sequence[tuple[int, str]]:
        folder = self._path(job, 0, "").parents[1]
        attempts = sorted(map(int, _names_in(folder)))
        return [(attempt, step) for attempt in attempts for step in _in_order(folder / str(attempt))]

    def remove(self, job: int) -> None:
        shutil.rmtree(self._path(job, 0, "").parents[1], ignore_errors=True)

    def let_go(self, job: int, attempt: int) -> None:
        folder = self._path(job, attempt, "").parent
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()

    def _path(self, job: int, attempt: int, step: str) -> Path:
        # Step keys of every kind of program are safe as file names once their slashes are not.
        name = _written(step)
        if len(name.encode()) > LONGEST_NAME:
            # No key begins so.
            name = f"%{hashlib.sha256(name.encode()).hexdigest()}"
        return self._folder / str(job // 1000) / str(job) / str(attempt) / f"{name}.log"


def _appending(path: Path) -> BinaryIO | None:
    try:
        return path.open("ab")
    except FileNotFoundError:
        return None


def _names_in(folder: Path) -> list[str]:
    """None where it is gone, by now too."""
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def _written(step: str) -> str:
    return step.replace("/", "%2F")


def _in_order(folder: Path) -> list[str]:
    try:
        names = (folder / ORDER).read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        # As older versions left it, or somebody lets go of it just now.
        found: list[tuple[int, str]] = []
        for name in _names_in(folder):
            with suppress(FileNotFoundError):
                found.append(((folder / name).stat().st_mtime_ns, name))
        names = [name for _, name in sorted(found) if name.endswith(".log")]
    return [name.removesuffix(".log").replace("%2F", "/") for name in dict.fromkeys(names)]
