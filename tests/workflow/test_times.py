"""When a cron time comes next."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.workflow.cron import Cron, parse_cron
from runner.workflow.times import next_after

MINUTE = timedelta(minutes=1)
BERLIN, LORD_HOWE = "Europe/Berlin", "Australia/Lord_Howe"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def following(cron: str, zone: str, after: str, many: int) -> list[str]:
    found, moment = [], at(after)
    for _ in range(many):
        coming = next_after(parse_cron(cron), zone, moment)
        assert coming is not None
        moment = coming
        found.append(f"{moment:%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("cron", "after", "times"),
    [
        ("*/15 9 * * *", "2026-01-01T09:15", ["01-01 09:30", "01-01 09:45", "01-02 09:00"]),
        ("0 0 31 * *", "2026-01-31T00:00", ["03-31 00:00", "05-31 00:00"]),
        ("0 0 29 2 *", "2096-03-01T00:00", ["02-29 00:00"]),
        ("0 12 13 * 5", "2026-11-01T00:00", ["11-06 12:00", "11-13 12:00", "11-20 12:00"]),
        ("59 23 31 12 *", "2026-12-31T23:58:59", ["12-31 23:59", "12-31 23:59"]),
    ],
)
def test_times_follow_each_other(cron: str, after: str, times: list[str]) -> None:
    assert following(cron, "UTC", after, len(times)) == times


def test_a_day_that_never_comes_has_no_time() -> None:
    assert next_after(parse_cron("0 0 30 2 *"), "UTC", at("2026-01-01")) is None


def test_a_time_of_day_stays_where_it_is_through_the_year() -> None:
    assert following("30 5 28 3,10 *", BERLIN, "2026-01-01", 2) == ["03-28 04:30", "10-28 04:30"]


def test_a_time_that_clocks_leave_out_comes_when_they_have_been_put_forward() -> None:
    # On 29 March 2026 Berlin's clocks went from 2:00 to 3:00, which was 1:00 in UTC.
    assert following("30 2 * * *", BERLIN, "2026-03-28", 3) == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]
    assert following("0,30 2,3 * * *", BERLIN, "2026-03-29", 3) == [
        "03-29 01:00",
        "03-29 01:30",
        "03-30 00:00",
    ]
    # Lord Howe's clocks leave out half an hour: from 2:00 to 2:30 on 4 October 2026.
    assert following("15 2 4 10 *", LORD_HOWE, "2026-10-01", 1) == ["10-03 15:30"]


def test_a_time_that_clocks_show_twice_comes_once() -> None:
    # On 25 October 2026 Berlin's clocks went from 3:00 back to 2:00, which was 1:00 in UTC.
    assert following("30 2 * * *", BERLIN, "2026-10-24T12:00", 2) == ["10-25 00:30", "10-26 01:30"]


def test_what_comes_every_hour_comes_every_hour_that_passes() -> None:
    assert following("30 * * * *", BERLIN, "2026-10-25T00:00", 3) == [
        "10-25 00:30",
        "10-25 01:30",
        "10-25 02:30",
    ]
    assert following("30 * * * *", BERLIN, "2026-03-29T00:00", 3) == [
        "03-29 00:30",
        "03-29 01:30",
        "03-29 02:30",
    ]


def test_a_day_that_clocks_leave_out_comes_when_the_next_one_begins() -> None:
    # Samoa went from 29 to 31 December 2011 across the date line, at 10:00 in UTC.
    assert following("0 12 30 12 *", "Pacific/Apia", "2011-12-01", 1) == ["12-30 10:00"]


ZONES = (
    "UTC",
    BERLIN,
    LORD_HOWE,
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "America/Havana",
)
CHANGES = st.builds(
    lambda year, month, day, minute: datetime(year, month, day, tzinfo=UTC) + timedelta(minutes=minute),
    st.integers(2010, 2030),
    st.sampled_from([2, 3, 4, 9, 10, 11]),
    st.integers(1, 28),
    st.integers(0, 3 * 1440),
)


@st.composite
def crons(draw: st.DrawFn) -> Cron:
    minutes = draw(st.sampled_from(["*", "0", "*/7", "30", "0,59", "15-20"]))
    hours = draw(st.sampled_from(["*", "0", "2", "1-3", "*/2", "0,23", "0-23"]))
    days = draw(st.sampled_from(["*", "*", "*/2", "1-7", "31"]))
    weekdays = draw(st.sampled_from(["*", "*", "0", "6,0", "1-5"]))
    return parse_cron(f"{minutes} {hours} {days} * {weekdays}")


def is_shown(cron: Cron, moment: datetime, zone: ZoneInfo) -> bool:
    """Whether the clocks show one of its times, as somebody sees who looks at them each minute."""
    local = moment.astimezone(zone)
    day, week = local.day in cron.days, local.isoweekday() % 7 in cron.weekdays
    shown = (
        local.minute in cron.minutes
        and local.hour in cron.hours
        and local.month in cron.months
        and (day or week if cron.either_day else day and week)
    )
    return shown and (local.fold == 0 or len(cron.hours) == 24)


def comes(cron: Cron, moment: datetime, zone: ZoneInfo) -> bool:
    """The same, and the times that the clocks left out just now."""
    if is_shown(cron, moment, zone):
        return True
    left_out = moment.astimezone(zone).utcoffset() or timedelta()
    left_out -= (moment - MINUTE).astimezone(zone).utcoffset() or timedelta()
    if len(cron.hours) == 24 or left_out <= timedelta():
        return False
    # A zone in which the clocks stayed as they were shows them.
    stayed = moment.astimezone(zone).replace(tzinfo=UTC) - left_out
    return any(is_shown(cron, stayed + n * MINUTE, ZoneInfo("UTC")) for n in range(left_out // MINUTE))


@given(crons(), st.sampled_from(ZONES), CHANGES)
def test_the_next_time_is_the_first_that_somebody_sees_who_looks_every_minute(
    cron: Cron, zone: str, after: datetime
) -> None:
    coming, place = next_after(cron, zone, after), ZoneInfo(zone)

    assert coming is not None
    seen = after + MINUTE
    while seen < min(coming, after + timedelta(days=3)):
        assert not comes(cron, seen, place), seen
        seen += MINUTE
    assert comes(cron, coming, place)
    assert coming > after
