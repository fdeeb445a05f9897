"""When the clock of a database is believed about leases."""

from datetime import timedelta

import pytest

from runner.engine.steadiness import Steadiness
from tests.builders import NOON

LEASE = timedelta(seconds=30)


def believed(*readings: tuple[float, float]) -> list[bool]:
    """Readings are seconds after noon by the clock, and seconds that passed."""
    steadiness = Steadiness(LEASE)
    return [steadiness.holds(NOON + timedelta(seconds=at), passed) for at, passed in readings]


def test_a_clock_that_keeps_time_is_believed_however_long_nobody_looked() -> None:
    assert believed((0, 0), (1, 1), (7200, 7200), (7201, 7200.5)) == [True] * 4


def test_a_clock_that_jumped_ahead_is_believed_when_leases_have_been_renewed() -> None:
    assert believed((0, 0), (3601, 1), (3630, 30), (3631, 31)) == [True, False, False, True]


@pytest.mark.parametrize("jump", [-3600, -1, 5])
def test_a_clock_that_went_back_or_a_little_ahead_makes_no_lease_end_early(jump: float) -> None:
    assert believed((0, 0), (1 + jump, 1), (2 + jump, 2)) == [True] * 3


def test_each_jump_has_its_own_time() -> None:
    assert believed((0, 0), (3601, 1), (7220, 20), (7231, 31), (7250, 50)) == [
        True,
        False,
        False,
        False,
        True,
    ]
