from dataclasses import replace
from datetime import timedelta

import pytest

from runner.errors import LeaseLost
from runner.model.leasing import (
    FIRST_DELAY,
    TRIES,
    NotClaimable,
    claim,
    conclude,
    postpone,
    release,
    retry,
    start_over,
)
from runner.model.run import Finished, Lease, Phase, Queued, Running, Waiting
from runner.model.step import Result
from tests.builders import LENGTH, NOON, a_job, running

LATER = NOON + timedelta(minutes=1)


def test_a_silent_workers_job_can_be_claimed_by_another() -> None:
    job = a_job(attempt=1, phase=running("worker-1", attempt=1, until=NOON))

    claimed = claim(job, "worker-2", NOON, LENGTH)

    assert claimed.phase == Running(Lease(1, "worker-2", attempt=2, until=NOON + LENGTH))


@pytest.mark.parametrize("phase", [Finished(Result.SUCCESS, NOON), running(until=LATER), Waiting()])
def test_a_finished_busy_or_waiting_job_cannot_be_claimed(phase: Phase) -> None:
    with pytest.raises(NotClaimable, match="build"):
        claim(a_job(phase=phase), "worker-2", NOON, LENGTH)


def test_a_job_keeps_the_time_of_its_first_start_over_all_its_attempts() -> None:
    first = claim(a_job(), "worker-1", NOON, LENGTH)

    second = claim(first, "worker-2", LATER, LENGTH)

    assert (first.started, second.started) == (NOON, NOON)


def test_only_the_holder_of_the_newest_lease_can_end_a_job() -> None:
    old = Lease(1, "worker-1", attempt=1, until=NOON)
    job = a_job(attempt=2, phase=running("worker-2", attempt=2))

    with pytest.raises(LeaseLost):
        conclude(job, old, Result.SUCCESS, NOON)
    with pytest.raises(LeaseLost):
        release(job, old, NOON)
    with pytest.raises(LeaseLost):
        start_over(job, old)


def test_a_job_that_cannot_begin_waits_ever_longer_and_then_fails() -> None:
    job, now, waits, reason = a_job(), NOON, [], ""
    for _ in range(TRIES - 1):
        job = claim(job, "worker-1", now, LENGTH)
        assert isinstance(job.phase, Running)
        job = postpone(job, job.phase.lease, now, "the forge is away")
        assert isinstance(job.phase, Queued)
        assert job.phase.due is not None
        with pytest.raises(NotClaimable, match="build"):
            claim(job, "worker-2", job.phase.due - timedelta(microseconds=1), LENGTH)
        waits.append((job.phase.due - now) // FIRST_DELAY)
        now, reason = job.phase.due, job.phase.reason
    assert reason == "the forge is away; tried 5 of 6 times, again at 12:02:35 UTC"
    job = claim(job, "worker-1", now, LENGTH)
    assert isinstance(job.phase, Running)

    ended = postpone(job, job.phase.lease, now, "the forge is away")

    assert waits == [1, 2, 4, 8, 16]
    assert ended.phase == Finished(Result.FAILURE, now, "the forge is away; tried 6 times")


def test_a_job_has_not_started_while_it_could_not_begin() -> None:
    lease = Lease(1, "worker-1", attempt=1, until=LATER)
    fresh = a_job(attempt=1, started=NOON, phase=Running(lease))
    later = replace(fresh, attempt=3, phase=Running(replace(lease, attempt=3)))

    assert postpone(fresh, lease, LATER, "away").started is None
    assert postpone(later, replace(lease, attempt=3), LATER, "away").started == NOON


@pytest.mark.parametrize("got_further", ["lost", "released"])
def test_only_tries_in_a_row_are_counted(got_further: str) -> None:
    lease = Lease(1, "worker-1", attempt=5, until=NOON)
    job = a_job(attempt=5, tries=4, phase=Running(lease))
    if got_further == "released":
        job = release(job, lease, NOON)

    assert claim(job, "worker-2", NOON, LENGTH).tries == 0


def test_only_the_holder_postpones_a_job() -> None:
    with pytest.raises(LeaseLost):
        postpone(a_job(attempt=2, phase=running(attempt=2)), Lease(1, "w", 1, NOON), NOON, "away")


@pytest.mark.parametrize(
    ("delay", "says"),
    [
        (timedelta(0), "it failed"),
        (timedelta(minutes=5), "it failed, again at 12:05:00 UTC"),
        (timedelta(days=2), "it failed, again at 2026-01-03 12:00:00 UTC"),
    ],
)
def test_a_job_that_waits_to_be_tried_again_says_until_when(delay: timedelta, says: str) -> None:
    phase = running()
    job = a_job(attempt=1, phase=phase)

    waiting = retry(job, phase.lease, NOON, delay, Result.FAILURE, "it failed")

    assert waiting.phase == Queued(NOON, NOON + delay if delay else None, says)
    assert [one.reason for one in waiting.tried] == ["it failed"]


def test_a_released_job_is_queued_and_keeps_its_fence() -> None:
    phase = running(attempt=3)

    released = release(a_job(attempt=3, phase=phase), phase.lease, LATER)

    assert (released.phase, released.attempt) == (Queued(LATER), 3)


def test_a_job_that_starts_over_counts_checkpoints_from_this_attempt_on() -> None:
    phase = running(attempt=3)

    assert start_over(a_job(attempt=3, phase=phase), phase.lease).base == 3


def test_only_the_time_that_workers_had_a_job_counts_as_worked() -> None:
    hour = timedelta(hours=1)
    first = claim(a_job(), "worker-1", NOON, LENGTH)
    assert isinstance(first.phase, Running)
    handed_back = release(first, first.phase.lease, NOON + hour)
    second = claim(handed_back, "worker-2", NOON + 5 * hour, LENGTH)
    assert isinstance(second.phase, Running)

    # The worker renewed its lease for an hour and died; nobody was there for ten more.
    renewed = replace(second, phase=Running(replace(second.phase.lease, until=NOON + 6 * hour + LENGTH)))
    third = claim(renewed, "worker-3", NOON + 16 * hour, LENGTH)

    assert (handed_back.worked, second.worked, third.worked) == (hour, hour, 2 * hour)


def test_a_job_that_cannot_go_on_has_worked_until_then() -> None:
    job = claim(a_job(), "worker-1", NOON, LENGTH)
    assert isinstance(job.phase, Running)

    later = postpone(job, job.phase.lease, LATER, "the disk is full", begun=True)

    assert (later.worked, later.started) == (LATER - NOON, NOON)
