"""When a cron time comes next, in a time zone whose clocks are put forward and back."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from runner.workflow.cron import Cron

DAY = timedelta(days=1)
HORIZON = 9 * 366
"""Days that are looked through: from one 29 February to the next may be eight years."""


def next_after(cron: Cron, zone: str, after: datetime) -> datetime | None:
    """The first of its times after an instant, in UTC; None where there is none, as on 30 February.

    A time that clocks leave out as they are put forward comes the moment they have been. One that they
    show twice comes the first time only. A cron time for every hour follows the hours as they pass, and so
    has nothing to make good and nothing to leave out.

    Raises `ZoneInfoNotFoundError` where this machine does not know the zone.
    """
    place: tzinfo = UTC if zone == "UTC" else ZoneInfo(zone)
    # Around midnight the clocks of one day may show the times of the day before it, or after.
    first = after.astimezone(place).date() - DAY
    found: datetime | None = None
    for number in range(HORIZON):
        day = first + number * DAY
        coming = _first_on(cron, day, place, after) if _falls_on(cron, day) else None
        if found is not None:
            return min(found, coming) if coming is not None else found
        found = coming
    return None


def _falls_on(cron: Cron, day: date) -> bool:
    if day.month not in cron.months:
        return False
    of_month, of_week = day.day in cron.days, day.isoweekday() % 7 in cron.weekdays
    return of_month or of_week if cron.either_day else of_month and of_week


def _first_on(cron: Cron, day: date, place: tzinfo, after: datetime) -> datetime | None:
    begin = datetime.combine(day, time(), place)
    if begin.utcoffset() == (begin + DAY).replace(fold=1).utcoffset():
        return next(
            (at for local in _locals(cron, day, place) if (at := local.astimezone(UTC)) > after), None
        )
    return min((at for at in _on_day_of_change(cron, day, place) if at > after), default=None)


def _locals(cron: Cron, day: date, place: tzinfo) -> Iterator[datetime]:
    for hour in sorted(cron.hours):
        for minute in sorted(cron.minutes):
            yield datetime.combine(day, time(hour, minute), place)


def _on_day_of_change(cron: Cron, day: date, place: tzinfo) -> Iterator[datetime]:
    hourly = len(cron.hours) == 24
    for local in _locals(cron, day, place):
        at, again = local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)
        if at < again:
            yield at
            if hourly:
                yield again
        elif at == again:
            yield at
        elif not hourly:
            yield _change(again, at, place)


def _change(before: datetime, after: datetime, place: tzinfo) -> datetime:
    """The moment between two at which the clocks are changed."""
    changed = after.astimezone(place).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // 2
        if middle.astimezone(place).utcoffset() == changed:
            after = middle
        else:
            before = middle
    return after.replace(microsecond=0)
