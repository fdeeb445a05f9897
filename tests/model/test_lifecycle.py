from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from runner.model.lifecycle import decide
from runner.model.run import Finished, Job, Queued, Run, Running, Waiting
from runner.model.step import Result
from tests.builders import NOON, a_job, a_run, running

LATER = NOON + timedelta(minutes=1)


def test_a_job_becomes_ready_when_all_that_it_needs_has_succeeded() -> None:
    run = a_run(
        a_job("build", phase=Finished(Result.SUCCESS, NOON)),
        a_job("test", id=2, needs=("build",), phase=Waiting()),
    )

    assert decide(run, LATER).job(2).phase == Queued(LATER)


def test_what_needs_a_failed_job_is_skipped_and_so_is_what_needs_that() -> None:
    run = a_run(
        a_job("ship", id=3, needs=("test",), phase=Waiting()),
        a_job("test", id=2, needs=("build",), phase=Waiting()),
        a_job("build", phase=Finished(Result.FAILURE, NOON)),
    )

    decided = decide(run, LATER)

    assert [job.phase.result for job in decided.jobs if isinstance(job.phase, Finished)] == [
        Result.SKIPPED,
        Result.SKIPPED,
        Result.FAILURE,
    ]
    assert decided.result is Result.FAILURE


def test_a_run_with_a_broken_definition_has_failed() -> None:
    assert a_run(problems=("ci.yml:1:1: no jobs",)).result is Result.FAILURE


phases = st.sampled_from([Waiting(), Queued(NOON), running(), *(Finished(result, NOON) for result in Result)])


@st.composite
def some_runs(draw: st.DrawFn) -> Run:
    """Jobs that need only jobs before them, in any phase, in any order."""
    count = draw(st.integers(1, 8))
    jobs: list[Job] = []
    for number in range(count):
        needs = draw(st.sets(st.sampled_from(range(number)))) if number else set()
        keys = tuple(f"j{n}" for n in sorted(needs))
        jobs.append(a_job(f"j{number}", id=number + 1, needs=keys, phase=draw(phases)))
    return a_run(*draw(st.permutations(jobs)), cancelled=draw(st.booleans()))


@given(some_runs())
def test_deciding_twice_changes_nothing_more(run: Run) -> None:
    decided = decide(run, NOON)

    assert decide(decided, LATER - timedelta(seconds=59)) == decided


@given(some_runs())
def test_a_run_always_goes_on_or_has_ended(run: Run) -> None:
    decided = decide(run, NOON)

    moving = any(isinstance(job.phase, Queued | Running) for job in decided.jobs)
    assert moving == (decided.result is None)


@given(some_runs())
def test_what_has_finished_never_changes(run: Run) -> None:
    decided = decide(run, LATER)

    for job in run.jobs:
        if isinstance(job.phase, Finished):
            assert decided.job(job.id) == job
