"""Jobs that nobody takes and runs that take too long, as values."""

from datetime import timedelta

import pytest

from runner.model.ending import cancel, give_up, time_out
from runner.model.lifecycle import decide
from runner.model.limits import Limits, Waiting, fairest
from runner.model.reruns import rerun
from runner.model.run import Finished, Job, Phase, Queued
from runner.model.run import Waiting as Needing
from runner.model.step import Result
from tests.builders import NOON, a_job, a_run, running

HOUR = timedelta(hours=1)


def test_a_job_that_waits_for_as_long_as_the_limit_fails() -> None:
    after = give_up(a_run(a_job(phase=Queued(NOON))), 1, HOUR, NOON + HOUR)

    reason = "no worker with the labels linux took it within 1h (queue-timeout)"
    assert after.job(1).phase == Finished(Result.FAILURE, NOON + HOUR, reason)


def test_a_job_that_may_fail_and_that_nobody_takes_does_no_harm_to_its_run() -> None:
    after = give_up(a_run(a_job(phase=Queued(NOON), tolerant=True)), 1, HOUR, NOON + HOUR)

    assert (after.result, rerun(after).jobs[0].tolerant) == (Result.SUCCESS, True)


@pytest.mark.parametrize(
    "job",
    [
        a_job(phase=Queued(NOON + timedelta(seconds=1))),
        a_job(phase=Queued(NOON, NOON + HOUR, "it is tried again")),
        a_job(phase=Queued(NOON), asked=NOON),
        a_job(phase=Queued(NOON), cancelled=True),
        a_job(phase=running()),
        a_job(phase=Needing()),
        a_job(id=2),
    ],
)
def test_no_other_job_is_given_up(job: Job) -> None:
    run = a_run(job)

    assert give_up(run, 1, HOUR, NOON + HOUR) == run


@pytest.mark.parametrize("phase", [Queued(NOON), Needing()])
def test_a_run_that_takes_too_long_is_cancelled_with_the_reason(phase: Phase) -> None:
    late = a_run(a_job(phase=phase), a_job("after", id=2, needs=("build",), phase=Needing()))
    reason = "it was cancelled: it took longer than 35d (run-timeout)"

    after = decide(time_out(late, timedelta(days=35), NOON), NOON)

    assert [job.phase for job in after.jobs] == [Finished(Result.CANCELLED, NOON, reason)] * 2
    assert (after.result, after.over) == (Result.CANCELLED, reason)
    assert rerun(after).over == ""


def test_a_job_with_an_if_is_asked_as_in_every_cancel() -> None:
    late = a_run(a_job(phase=running(), conditional=True))

    after = decide(time_out(late, HOUR, NOON), NOON)

    assert after.job(1) == decide(cancel(late, NOON), NOON).job(1)
    assert (after.job(1).asked, after.result) == (NOON, None)


def test_what_a_person_cancelled_is_not_said_to_have_taken_too_long() -> None:
    cancelled = cancel(a_run(a_job(phase=running())), NOON)

    assert time_out(cancelled, HOUR, NOON) == cancelled


def test_a_repositorys_own_limits_count_before_the_servers() -> None:
    server = Limits(max_jobs=4, queue_timeout=10, run_timeout=20)

    assert Limits(max_jobs=0, run_timeout=5).over(server) == Limits(
        max_jobs=0, queue_timeout=10, run_timeout=5
    )


def test_who_has_the_fewest_running_is_served_first_and_who_is_full_not_at_all() -> None:
    def waiting(name: str, running: int, most: int | None = None, minutes: int = 0) -> Waiting:
        return Waiting(name, 1, 1, NOON + timedelta(minutes=minutes), running, most)

    there = [
        waiting("busy", 5),
        waiting("full", 2, most=2),
        waiting("late", 1, minutes=1),
        waiting("early", 1, most=2),
    ]

    assert [one.repository for one in fairest(there)] == ["early", "late", "busy"]
