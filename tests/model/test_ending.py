from datetime import timedelta

import pytest

from runner.errors import LeaseLost
from runner.model.ending import cancel, end
from runner.model.leasing import conclude
from runner.model.lifecycle import decide
from runner.model.run import Finished, Queued, Running, Waiting
from runner.model.step import Result
from tests.builders import NOON, a_job, a_run, running

LATER = NOON + timedelta(minutes=1)


def test_a_postponed_job_of_a_cancelled_run_ends() -> None:
    run = a_run(a_job(phase=Queued(NOON, LATER, "away")))

    assert decide(cancel(run, NOON), NOON).result is Result.CANCELLED


def test_a_cancelled_run_ends_what_has_not_begun_and_leaves_what_runs_to_its_worker() -> None:
    run = a_run(
        a_job("a", id=1, phase=running(until=LATER)),
        a_job("b", id=2),
        a_job("c", id=3, needs=("a",), phase=Waiting()),
    )

    decided = decide(cancel(run, NOON), NOON)

    assert decided.result is None
    assert isinstance(decided.job(1).phase, Running)
    assert all(isinstance(decided.job(n).phase, Finished) for n in (2, 3))


def test_a_cancelled_run_ends_although_its_worker_is_lost() -> None:
    run = a_run(a_job(phase=running("worker-9", until=NOON)))

    decided = decide(cancel(run, NOON), NOON)

    assert decided.result is Result.CANCELLED
    assert "worker-9" in str(decided.job(1).phase)


def test_a_run_that_has_ended_cannot_be_cancelled_any_more() -> None:
    ended = a_run(a_job(phase=Finished(Result.SUCCESS, NOON)))

    assert cancel(ended, NOON) == ended


def test_a_run_that_is_ended_by_force_leaves_nothing_to_its_worker() -> None:
    run = a_run(a_job("a", id=1, phase=running(until=LATER)), a_job("b", id=2, phase=Waiting()))
    lease = run.job(1).phase.lease  # type: ignore[union-attr]

    ended = decide(end(run, NOON), NOON)

    assert (ended.cancelled, ended.result) == (True, Result.CANCELLED)
    with pytest.raises(LeaseLost):
        conclude(ended.job(1), lease, Result.SUCCESS, LATER)
    assert end(ended, LATER) == ended
