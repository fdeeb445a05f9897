"""When the steps of a job began that a program asks for: written down as a log of its own.

Such steps are known by nothing else while they run. What begins is a line of a log that nobody is shown, so
that it is written with what steps print, and none is a transaction.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

BEGUN = "begun"
"""The key of that log, beside those of the steps."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Beginning:
    """A step began. `key` has no line breaks, as `named_key` makes it."""

    key: str
    at: datetime

    @property
    def line(self) -> bytes:
        return f"{(self.at - _EPOCH) // _MICROSECOND} {self.key}\n".encode()


def beginnings_in(text: bytes) -> Iterator[Beginning]:
    """What was written down, in its order; a line at the end may not have been written whole yet."""
    for line in text.split(b"\n")[:-1]:
        at, _, key = line.decode(errors="replace").partition(" ")
        # Where the log is lost, it says that instead.
        if at.isdecimal():
            yield Beginning(key, _EPOCH + int(at) * _MICROSECOND)
