"""What steps print, as files in the home folder; `store.logs` keeps it as rows for distributed use.

A reader asks for bytes from an offset, so following a log is asking again; chunks are kept as they were
printed, by job, attempt and step, and never rewritten.
"""

import base64
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import quote
from xml.sax.saxutils import escape

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


MASKED = "***"
LEAST_PART = 6
"""Parts of a secret that are shorter are no secret: they would mask half of a log."""


class Mask:
    """Hides secrets in what is printed, also in the forms in which programs show them.

    The forms are GitHub's: base64 at each alignment, URI, XML, JSON, quoted for a shell or an
    expression, and the parts into which PowerShell breaks an argument at `&`.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Hide a value from now on; of several lines, each line too."""
        for value in (secret, *secret.splitlines()):
            if value.strip():
                self._values |= {form for form in (value, *forms(value)) if form.strip()}

    def hide(self, text: str) -> str:
        found = sorted(span for value in self._values for span in spans(value, text))
        pieces: list[str] = []
        end = 0
        for start, stop in found:
            if start > end or not pieces:
                pieces += [text[end:start], MASKED]
            end = max(end, stop)
        return "".join(pieces) + text[end:]


def spans(value: str, text: str) -> Iterator[tuple[int, int]]:
    start = text.find(value)
    while start >= 0:
        yield start, start + len(value)
        start = text.find(value, start + 1)


def forms(value: str) -> Iterator[str]:
    data = value.encode(errors="replace")
    for shift in range(min(3, len(data))):
        yield base64.b64encode(data[shift:]).decode()
    yield value.replace('"', '\\"')
    yield value.replace("'", "''")
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote(value, safe="")
    yield escape(value, {'"': "&quot;", "'": "&apos;"})
    if len(value) > 8 and value.startswith('"') and value.endswith('"'):
        yield value[1:-1]
    yield from (part for part in parts_of(value) if len(part) >= LEAST_PART)


def parts_of(value: str) -> tuple[str, ...]:
    if "&+" in value:
        before, _, after = value.partition("&+")
        return (f"{before}&+", after[1:])
    before, ampersand, after = value.rpartition("&")
    return (before + ampersand, after) if ampersand else ()
