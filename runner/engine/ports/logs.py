"""Ports to what jobs print."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from runner.model.log import Section, StoredLog


class Logs(Protocol):
    """What steps print, by job, attempt and step key."""

    def append(self, job: int, attempt: int, step: str, chunk: bytes) -> None: ...

    def flush(self, job: int) -> None:
        """Make everything appended so far visible to every reader, and durable as a checkpoint is."""


class KeptLogs(Logs, Protocol):
    """Logs as those see them who keep them for a while only."""

    def printed(self, job: int) -> Sequence[tuple[int, str]]:
        """Attempt and step of each log that a job has."""

    def remove(self, job: int) -> None:
        """Remove all that a job has printed."""


class LivingLogs(KeptLogs, Protocol):
    """Logs as they are while something may be added to them."""

    def read(self, job: int, attempt: int, step: str, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes from `offset`; empty at the end, and where nothing was printed."""

    def let_go(self, job: int, attempt: int) -> None:
        """Remove what an attempt has printed: each of its logs at once, or not at all."""


class ArchivedLogs(Protocol):
    """Which logs are kept in another way, by job and attempt. Every method is one transaction."""

    def due(self, settled: timedelta, most: int) -> Sequence[tuple[int, str, Sequence[int]]]:
        """Up to `most` jobs that ended at least so long ago, and of which not all attempts are settled.

        Each with the place of its objects, and these attempts in their order.
        """

    def add(self, job: int, attempt: int, stored: StoredLog) -> bool:
        """Say how a log is kept; False where that was said before, or it is removed."""

    def settle(self, job: int, attempt: int) -> None:
        """Say that nothing is left to do up to that attempt."""

    def of(self, job: int, attempt: int) -> StoredLog | None: ...

    def sections(self, job: int) -> Mapping[int, Sequence[Section]]:
        """What there is of a job, by attempt."""

    def forget(self, job: int) -> Sequence[str]:
        """Know of no log of a job any more, nor of any of its attempts so far; gives the keys of objects."""

    def known(self, keys: Collection[str]) -> Collection[str]:
        """Which of these are keys of objects that a log is in."""
