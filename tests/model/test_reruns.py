"""A run again, or some jobs of it: what is kept, what begins anew, and what is put in whose place."""

from dataclasses import replace
from itertools import count

import pytest

from runner.errors import Rejected
from runner.model.ending import cancel
from runner.model.lifecycle import decide
from runner.model.reruns import failed_jobs, rerun
from runner.model.run import UNSAVED, Finished, Job, Leg, Pending, Queued, Ready, Run, Waiting
from runner.model.step import Result
from runner.model.turns import State, Turn
from tests.builders import NOON, a_job, a_run, running, with_ids

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
    return [job.id for job in run.jobs if job.id > UNSAVED]


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


def test_of_a_matrix_only_the_legs_that_failed_run_again_each_as_it_was() -> None:
    run = a_run(
        a_leg(1, 0, Result.SUCCESS, fail_fast=False),
        a_leg(2, 1, Result.FAILURE, fail_fast=False),
        a_leg(3, 2, Result.CANCELLED, fail_fast=False),
        ended("deploy", 4, Result.SKIPPED, "test"),
    )

    again = decide(rerun(run, failed_jobs(run)), LATER)

    assert (kept(again), begun(again)) == ([1], ["test (1)", "test (2)", "deploy"])
    assert [(job.planned, job.leg) for job in again.jobs[1:3]] == [
        (False, run.job(2).leg),
        (False, run.job(3).leg),
    ]
    assert [job.phase for job in again.jobs[1:]] == [Ready(LATER), Ready(LATER), Waiting()]


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
    assert all(isinstance(job.phase, Ready) for job in again.jobs[1:])


def test_a_leg_that_runs_again_comes_to_its_own_group_and_what_it_calls_later_to_its_own() -> None:
    own, called = Turn("a", "A", state=State.HELD), Turn("b", "B", called=True, state=State.HELD)
    legs = [a_leg(1, 0, Result.SUCCESS, fail_fast=False), a_leg(2, 1, Result.FAILURE, fail_fast=False)]
    run = a_run(*[replace(leg, turns=(own, called), calls="c.yml") for leg in legs])

    again = rerun(run, failed_jobs(run))

    assert again.jobs[1].turns == (replace(own, state=State.WANTED),)
    assert again.jobs[0] == run.jobs[0]


def a_run_that_calls(**given: object) -> Run:
    """`deploy` failed for `tell`, which needs `push`; `log` needs `tell`. After it comes `mail`."""
    return a_run(
        ended("deploy", 1, Result.FAILURE, calls="deploy.yml", inputs={"to": "x"}, **given),
        ended("lint", 2, calls="lint.yml"),
        ended("push", 3, caller=1),
        ended("tell", 4, Result.FAILURE, "push", caller=1),
        ended("log", 5, Result.SKIPPED, "tell", caller=1),
        ended("style", 6, caller=2),
        ended("mail", 7, Result.SKIPPED, "deploy"),
    )


def test_in_a_called_workflow_only_what_failed_runs_again_with_what_needs_it() -> None:
    run = a_run_that_calls()

    by_failure, by_job = rerun(run, failed_jobs(run)), rerun(run, {4})

    assert by_failure == by_job
    assert (kept(by_failure), begun(by_failure)) == ([2, 3, 6], ["tell", "log", "mail"])
    caller = by_failure.jobs[0]
    assert (caller.id, caller.stands_for, caller.phase, caller.inputs) == (-1, 1, Waiting(), {"to": "x"})
    assert [job.key for job in by_failure.called_by(-1)] == ["push", "tell", "log"]
    assert by_failure.job(6) == run.job(6)


def test_it_goes_on_and_ends_as_all_of_its_jobs_do() -> None:
    run = a_run_that_calls()

    again = decide(rerun(run, failed_jobs(run)), LATER)

    assert {job.key: job.phase for job in again.jobs if job.id <= UNSAVED} == {
        "deploy": Waiting(),
        "tell": Queued(LATER),
        "log": Waiting(),
        "mail": Waiting(),
    }
    over = Finished(Result.SUCCESS, LATER)
    done = replace(
        again, jobs=tuple(replace(job, phase=over) if job.caller == -1 else job for job in again.jobs)
    )
    assert decide(done, LATER).job(-1).phase == Ready(LATER)


def test_what_runs_again_there_twice_is_still_called_by_whoever_called_it_first() -> None:
    once = rerun(a_run_that_calls(), {4})
    saved = with_ids(once.jobs, count(10))
    failed = replace(once, jobs=tuple(replace(job, phase=Finished(Result.FAILURE, NOON)) for job in saved))

    twice = rerun(failed, {job.id for job in failed.jobs if job.key == "tell"})

    assert [(job.id, job.stands_for) for job in twice.jobs if job.calls == "deploy.yml"] == [(-10, 1)]
    assert {job.key for job in twice.called_by(-10)} == {"push", "tell", "log"}


def test_a_workflow_inside_a_called_one_is_entered_too() -> None:
    run = a_run(
        ended("outer", 1, Result.FAILURE, calls="outer.yml"),
        ended("inner", 2, Result.FAILURE, calls="inner.yml", caller=1),
        ended("a", 3, caller=2),
        ended("b", 4, Result.FAILURE, caller=2),
    )

    again = rerun(run, failed_jobs(run))

    assert [(job.id, job.caller) for job in again.jobs] == [(-1, None), (-2, -1), (3, -2), (UNSAVED, -2)]


def test_a_called_workflow_is_called_again_where_what_calls_it_is_chosen_or_needs_what_runs_again() -> None:
    run = a_run_that_calls()
    needy = replace(run, jobs=(replace(run.jobs[0], needs=("lint",)), *run.jobs[1:]))

    assert (kept(rerun(run, {1})), begun(rerun(run, {1}))) == ([2, 6], ["deploy", "mail"])
    assert begun(rerun(needy, {2})) == ["deploy", "lint", "mail"]
    assert begun(rerun(needy, {6, 4})) == ["deploy", "style", "mail"]


def test_one_that_failed_though_its_jobs_did_not_is_called_again() -> None:
    run = a_run(ended("deploy", 1, Result.FAILURE, calls="deploy.yml"), ended("push", 2, caller=1))

    assert begun(rerun(run, failed_jobs(run))) == ["deploy"]


def test_a_called_workflow_that_goes_on_waits_for_its_concurrency_group_first() -> None:
    turns = (Turn("a", "A", state=State.HELD), Turn("b", "B", called=True, state=State.HELD))
    run = a_run_that_calls(turns=turns)

    again = decide(rerun(run, failed_jobs(run)), LATER)

    assert again.job(-1).turns == tuple(replace(turn, state=State.WANTED) for turn in turns)
    assert [job.phase for job in again.jobs if job.key in ("deploy", "tell")] == [Pending(LATER), Waiting()]
    held = again.with_job(replace(again.job(-1), turns=turns))
    assert [job.phase for job in decide(held, LATER).jobs if job.key in ("deploy", "tell")] == [
        Waiting(),
        Queued(LATER),
    ]


def test_one_that_is_cancelled_while_it_waits_for_that_ends_with_its_jobs() -> None:
    run = a_run_that_calls(turns=(Turn("a", "A", state=State.HELD),))

    ended = decide(cancel(decide(rerun(run, failed_jobs(run)), LATER), LATER), LATER)

    assert isinstance(ended.job(-1).phase, Ready)
    assert all(isinstance(job.phase, Finished) for job in ended.called_by(-1))


def test_of_legs_that_may_not_all_run_at_once_those_that_failed_are_called_again() -> None:
    run = a_run(
        a_leg(1, 0, Result.FAILURE, max_parallel=1, fail_fast=False),
        a_leg(2, 1, Result.SUCCESS, max_parallel=1, fail_fast=False),
        ended("push", 3, caller=1),
        ended("tell", 4, Result.FAILURE, caller=1),
    )
    run = replace(
        run, jobs=tuple(replace(job, calls="x.yml") if job.key == "test" else job for job in run.jobs)
    )

    assert (kept(rerun(run, {4})), begun(rerun(run, {4}))) == ([2], ["test (0)"])


def test_what_failed_is_chosen_from_some_jobs_and_what_they_call() -> None:
    run = a_run_that_calls()

    assert [set(failed_jobs(run, within)) for within in (None, {1}, {4})] == [{4}, {4}, {4}]
    with pytest.raises(Rejected, match="none of these jobs of run 1 has failed"):
        failed_jobs(run, {2, 3})


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


def test_a_rerun_is_a_new_attempt_with_jobs_of_its_own() -> None:
    ended = a_run(a_job(attempt=4, phase=Finished(Result.FAILURE, NOON), started=NOON), cancelled=True)

    again = decide(rerun(ended), LATER)

    assert (again.attempt, again.cancelled, again.route) == (2, False, ended.route)
    assert [(job.id, job.attempt, job.phase, job.started) for job in again.jobs] == [
        (0, 0, Queued(LATER), None)
    ]


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (a_run(a_job(phase=running())), "has not ended"),
        (a_run(problems=("ci.yml:1:1: no jobs",)), "invalid workflow"),
    ],
)
def test_a_run_that_goes_on_or_is_broken_cannot_be_rerun(run: Run, says: str) -> None:
    with pytest.raises(Rejected, match=says):
        rerun(run)
