"""Some jobs of a run again: what is kept, what begins anew, and what is put in whose place."""

from dataclasses import replace

import pytest

from runner.errors import Rejected
from runner.model.lifecycle import UNSAVED, decide, failed_jobs, rerun
from runner.model.run import Finished, Job, Leg, Queued, Ready, Run, Waiting
from runner.model.step import Result
from runner.model.turns import State, Turn
from tests.builders import NOON, a_job, a_run

LATER = NOON.replace(hour=13)


def ended(key: str, id: int, result: Result = Result.SUCCESS, *needs: str, **given: object) -> Job:
    return a_job(key, id=id, needs=needs, phase=Finished(result, NOON), started=NOON, position=id, **given)


def a_leg(id: int, index: int, result: Result, **given: object) -> Job:
    leg = Leg({"n": index}, index, 3, **given)  # type: ignore[arg-type]
    return ended("test", id, result, leg=leg, dynamic=True, name=f"test ({index})")


def a_failed_run() -> Run:
    """`build` succeeded; `test` failed; `deploy` needs both and was skipped; `lint` stands alone."""
    return a_run(
        ended("build", 1),
        ended("test", 2, Result.FAILURE, "build"),
        ended("deploy", 3, Result.SKIPPED, "build", "test"),
        ended("lint", 4),
    )


def kept(run: Run) -> list[int]:
    return [job.id for job in run.jobs if job.id != UNSAVED]


def begun(run: Run) -> list[str]:
    return [job.name for job in run.jobs if job.id == UNSAVED]


def test_what_failed_runs_again_with_what_needs_it_and_the_rest_is_kept() -> None:
    run = a_failed_run()

    again = decide(rerun(run, failed_jobs(run)), LATER)

    assert (again.attempt, kept(again), begun(again)) == (2, [1, 4], ["test", "deploy"])
    assert [job.phase for job in again.jobs if job.id == UNSAVED] == [Queued(LATER), Waiting()]
    assert [again.job(id) for id in (1, 4)] == [run.job(id) for id in (1, 4)]
    assert [job.position for job in again.jobs] == [1, 2, 3, 4]


def test_one_job_runs_again_with_what_needs_it_directly_or_not() -> None:
    run = a_run(
        ended("a", 1),
        ended("b", 2, Result.SUCCESS, "a"),
        ended("c", 3, Result.SUCCESS, "b"),
        ended("d", 4),
    )

    assert begun(rerun(run, {1})) == ["a", "b", "c"]
    assert begun(rerun(run, {3})) == ["c"]
    assert begun(rerun(run, {4})) == ["d"]


def test_of_a_matrix_only_the_legs_that_failed_run_again_as_they_were_planned() -> None:
    run = a_run(
        a_leg(1, 0, Result.SUCCESS, fail_fast=False),
        a_leg(2, 1, Result.FAILURE, fail_fast=False),
        a_leg(3, 2, Result.CANCELLED, fail_fast=False),
        ended("deploy", 4, Result.SKIPPED, "test"),
    )

    again = decide(rerun(run, failed_jobs(run)), LATER)

    assert (kept(again), begun(again)) == ([1], ["test (1)", "test (2)", "deploy"])
    assert [(job.planned, job.leg) for job in again.jobs[1:3]] == [
        (True, run.job(2).leg),
        (True, run.job(3).leg),
    ]
    assert [job.phase for job in again.jobs[1:]] == [Queued(LATER), Queued(LATER), Waiting()]


def test_a_matrix_of_which_every_leg_runs_again_is_planned_anew() -> None:
    run = a_run(a_leg(1, 0, Result.FAILURE), a_leg(2, 1, Result.CANCELLED))

    again = decide(rerun(run, failed_jobs(run)), LATER)

    assert [(job.name, job.planned, job.leg, job.phase) for job in again.jobs] == [
        ("test", False, Leg(), Ready(LATER))
    ]


def test_so_is_one_whose_needs_run_again() -> None:
    build = ended("build", 9)
    legs = [replace(a_leg(id, id, Result.SUCCESS), needs=("build",)) for id in (1, 2)]
    run = a_run(build, *legs)

    assert [(job.name, job.planned) for job in rerun(run, {9}).jobs] == [("build", True), ("test", False)]


def test_beside_a_leg_that_failed_none_would_run_so_it_runs_again_too() -> None:
    legs = [a_leg(1, 0, Result.SUCCESS), a_leg(2, 1, Result.FAILURE), a_leg(3, 2, Result.CANCELLED)]

    again = decide(rerun(a_run(*legs), {3}), LATER)

    assert (kept(again), begun(again)) == ([1], ["test (1)", "test (2)"])
    assert all(isinstance(job.phase, Queued) for job in again.jobs[1:])


def test_a_leg_that_runs_again_comes_to_its_own_group_and_what_it_calls_later_to_its_own() -> None:
    own, called = Turn("a", "A", state=State.HELD), Turn("b", "B", called=True, state=State.HELD)
    legs = [a_leg(1, 0, Result.SUCCESS, fail_fast=False), a_leg(2, 1, Result.FAILURE, fail_fast=False)]
    run = a_run(*[replace(leg, turns=(own, called), calls="c.yml") for leg in legs])

    again = rerun(run, failed_jobs(run))

    assert again.jobs[1].turns == (replace(own, state=State.WANTED),)
    assert again.jobs[0] == run.jobs[0]


def test_a_called_workflow_is_called_again_and_what_it_was_before_is_gone() -> None:
    run = a_run(
        ended("deploy", 1, Result.FAILURE, calls="deploy.yml"),
        ended("lint", 2, calls="lint.yml"),
        ended("push", 3, caller=1),
        ended("tell", 4, Result.FAILURE, caller=1),
        ended("style", 5, caller=2),
    )

    by_failure, by_job = rerun(run, failed_jobs(run)), rerun(run, {4})

    assert by_failure == by_job
    assert (kept(by_failure), begun(by_failure)) == ([2, 5], ["deploy"])


def test_a_failure_that_was_tolerated_is_none() -> None:
    run = a_run(a_job(phase=Finished(Result.FAILURE, NOON, tolerated=True)))

    with pytest.raises(Rejected, match="no job of run 1 has failed"):
        failed_jobs(run)


def test_a_job_of_an_attempt_that_is_past_cannot_run_again() -> None:
    with pytest.raises(Rejected, match="newest attempt of run 1 has no job 99"):
        rerun(a_failed_run(), {99})


def test_a_run_that_goes_on_is_not_rerun_in_part_either() -> None:
    run = a_run(ended("a", 1, Result.FAILURE), a_job("b", id=2))

    with pytest.raises(Rejected, match="has not ended"):
        rerun(run, failed_jobs(run))
