"""Times in cron's five fields, as GitHub reads them: POSIX cron with names for months and days."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
PART = re.compile(r"(\*|[0-9]{1,3}|[A-Za-z]{3})(?:-([0-9]{1,3}|[A-Za-z]{3}))?(?:/([0-9]{1,3}))?")
LEAST_MINUTES = 5
"""GitHub starts no schedule more often."""


class BadCron(ValueError):
    """Five fields that name no times."""


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()

    def number(self, word: str) -> int:
        if word.isdigit():
            value = int(word)
        elif word.lower() in self.names:
            value = self.names.index(word.lower()) + (self.names is MONTHS)
        else:
            raise BadCron(f'"{word}" is no {self.name}')
        if not self.least <= value <= self.most:
            raise BadCron(f"{value} is no {self.name}; {self.least} to {self.most} are")
        return value

    def values(self, text: str) -> Iterator[int]:
        for part in text.split(","):
            yield from self._part(part)

    def _part(self, part: str) -> range:
        match = PART.fullmatch(part)
        if match is None:
            raise BadCron(
                f'"{part[:20]}" names no {self.name}; write a number, *, 1-5, */15 or a list of these'
            )
        first, last, step = match.groups()
        if first == "*":
            if last is not None:
                raise BadCron(f'"{part}" is no range')
            begin, end = self.least, self.most
        else:
            begin = self.number(first)
            end = self.number(last) if last is not None else self.most if step is not None else begin
        if end < begin:
            raise BadCron(f'the range "{part}" is empty; write it the other way round')
        if step is not None and not 0 < int(step) <= self.most:
            raise BadCron(f'"{part}" has a step of {step}; 1 to {self.most} can be one')
        return range(begin, end + 1, int(step or 1))


FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of the month", 1, 31),
    Field("month", 1, 12, MONTHS),
    Field("day of the week", 0, 7, DAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """The times at which something starts. Days count from Sunday, 0.

    As everywhere in cron, a day is one of the month or of the week where both are restricted.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    @property
    def shortest_gap(self) -> int:
        """Minutes between two starts in one hour, and from its last to the first of the next."""
        ordered = sorted(self.minutes)
        gaps = [after - before for before, after in pairwise(ordered)]
        return min([*gaps, ordered[0] + 60 - ordered[-1]])


def parse_cron(text: str) -> Cron:
    """Raises `BadCron`."""
    if text != text.strip():
        raise BadCron("it begins or ends with a space")
    words = text.split()
    if len(words) != len(FIELDS):
        raise BadCron(f"it has {len(words)} fields, but needs minute, hour, day, month and day of the week")
    minutes, hours, days, months, weekdays = (
        frozenset(field.values(word)) for field, word in zip(FIELDS, words, strict=True)
    )
    restricted = not words[2].startswith("*") and not words[4].startswith("*")
    return Cron(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), restricted)
