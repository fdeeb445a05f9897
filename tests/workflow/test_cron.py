"""Times in cron's five fields."""

import pytest

from runner.workflow.cron import BadCron, parse_cron


def test_fields_are_lists_ranges_steps_and_names() -> None:
    cron = parse_cron("0,30 8-10 */10 JAN-mar Sun,5")

    assert cron.minutes == {0, 30}
    assert cron.hours == {8, 9, 10}
    assert cron.days == {1, 11, 21, 31}
    assert cron.months == {1, 2, 3}
    assert cron.weekdays == {0, 5}


@pytest.mark.parametrize(
    ("text", "either"), [("0 0 1 * 1", True), ("0 0 * * 1", False), ("0 0 */2 * 1", False)]
)
def test_a_day_is_one_of_either_where_both_are_restricted(text: str, either: bool) -> None:
    assert parse_cron(text).either_day is either


@pytest.mark.parametrize(
    ("text", "minutes"), [("* * * * *", 1), ("*/5 * * * *", 5), ("0 * * * *", 60), ("3,59 * * * *", 4)]
)
def test_the_shortest_gap_is_counted_around_the_hour(text: str, minutes: int) -> None:
    assert parse_cron(text).shortest_gap == minutes


def test_sunday_is_both_0_and_7() -> None:
    assert parse_cron("0 0 * * 7") == parse_cron("0 0 * * SUN")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("* * * *", "it has 4 fields"),
        ("0 0 * * * ", "begins or ends with a space"),
        ("60 0 * * *", "60 is no minute; 0 to 59 are"),
        ("0 0 0 * *", "0 is no day of the month"),
        ("0 0 * foo *", '"foo" is no month'),
        ("0 12-4 * * *", "write it the other way round"),
        ("*/0 0 * * *", "has a step of 0"),
        ("0 ,1 * * *", "names no hour"),
        ("*-5 0 * * *", "is no range"),
    ],
)
def test_what_names_no_times_says_why(text: str, reason: str) -> None:
    with pytest.raises(BadCron, match=reason):
        parse_cron(text)
