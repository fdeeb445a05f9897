"""Jobs whose definition is evaluated when their turn comes: matrix legs, conditions, called workflows."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from runner.errors import Rejected
from runner.model.ending import cancel, end
from runner.model.leasing import NotClaimable, claim
from runner.model.lifecycle import decide
from runner.model.planning import answer, call, plan, settle
from runner.model.reruns import rerun
from runner.model.run import UNSAVED, Finished, Job, Leg, Phase, Queued, Ready, Run, Running, Waiting
from runner.model.step import Result
from tests.builders import LENGTH, NOON, a_job, a_run, running

LATER = NOON + timedelta(minutes=1)


def done(result: Result = Result.SUCCESS, **given: Any) -> Finished:
    return Finished(result, NOON, **given)


def waiting(key: str, id: int, *needs: str, **given: Any) -> Job:
    return a_job(key, id=id, needs=needs, phase=Waiting(), **given)


def dynamic(key: str, id: int, *needs: str, **given: Any) -> Job:
    return waiting(key, id, *needs, dynamic=True, planned=False, **given)


def a_leg(index: int, phase: Phase, **given: Any) -> Job:
    strategy = {"fail_fast": given.pop("fail_fast", True), "max_parallel": given.pop("max_parallel", None)}
    return a_job("test", id=10 + index, phase=phase, leg=Leg({"n": index}, index, 3, **strategy), **given)


def phases(run: Run) -> list[type]:
    return [type(job.phase) for job in run.jobs]


def test_a_dynamic_job_is_ready_to_be_planned_once_what_it_needs_has_ended() -> None:
    run = a_run(a_job("build", phase=done()), dynamic("test", 2, "build"))

    assert decide(run, LATER).job(2).phase == Ready(LATER)


def test_planning_puts_a_leg_for_each_combination_in_the_place_of_the_job() -> None:
    run = decide(a_run(dynamic("test", 2), waiting("ship", 3, "test")), NOON)
    legs = [a_leg(index, Waiting()) for index in range(3)]

    planned = decide(plan(run, 2, legs), LATER)

    assert [(job.key, job.id, job.leg.index) for job in planned.jobs] == [
        ("test", 2, 0),
        ("test", UNSAVED, 1),
        ("test", UNSAVED, 2),
        ("ship", 3, 0),
    ]
    assert phases(planned) == [Queued, Queued, Queued, Waiting]


def test_a_job_is_planned_once_however_often_it_is_rung_for() -> None:
    run = decide(a_run(dynamic("test", 2)), NOON)
    planned = decide(plan(run, 2, [a_leg(0, Waiting())]), LATER)

    assert plan(planned, 2, [a_leg(0, Waiting()), a_leg(1, Waiting())]) == planned
    assert settle(planned, 2, Result.SKIPPED, LATER) == planned


def test_what_needs_a_matrix_waits_for_every_leg_and_is_skipped_by_one_that_fails() -> None:
    legs = [a_leg(0, done()), a_leg(1, running())]
    assert decide(a_run(*legs, waiting("ship", 3, "test")), LATER).job(3).phase == Waiting()

    legs = [a_leg(0, done()), a_leg(1, done(Result.FAILURE))]
    shipped = decide(a_run(*legs, waiting("ship", 3, "test")), LATER).job(3).phase

    assert isinstance(shipped, Finished)
    assert (shipped.result, shipped.reason) == (Result.SKIPPED, "test ended with failure")


def test_a_leg_that_fails_cancels_the_others_unless_the_strategy_says_otherwise() -> None:
    legs = [a_leg(0, done(Result.FAILURE)), a_leg(1, running()), a_leg(2, Queued(NOON))]

    decided = decide(a_run(*legs), NOON)

    assert [job.cancelled for job in decided.jobs] == [False, True, True]
    assert phases(decided) == [Finished, Running, Finished]
    slow = [
        a_leg(0, done(Result.FAILURE), fail_fast=False),
        a_leg(1, running(), fail_fast=False),
        a_leg(2, Queued(NOON), fail_fast=False),
    ]
    assert decide(a_run(*slow), NOON).jobs == tuple(slow)


def test_a_tolerated_failure_cancels_no_leg_and_counts_as_a_success() -> None:
    failed = done(Result.FAILURE, tolerated=True)
    run = decide(a_run(a_leg(0, failed), a_leg(1, done()), waiting("ship", 3, "test")), LATER)

    assert run.job(3).phase == Queued(LATER)
    assert decide(a_run(a_leg(0, failed)), NOON).result is Result.SUCCESS


def test_no_more_legs_run_at_once_than_the_strategy_allows() -> None:
    legs = [a_leg(index, Waiting(), max_parallel=2) for index in range(3)]
    first = decide(a_run(*legs), NOON)
    assert phases(first) == [Queued, Queued, Waiting]

    ended = first.with_job(a_leg(0, done(), max_parallel=2))

    assert phases(decide(ended, LATER)) == [Finished, Queued, Queued]


def test_a_job_without_an_if_is_skipped_by_a_failure_far_before_it() -> None:
    jobs = [
        a_job("a", id=1, phase=done(Result.FAILURE)),
        a_job("b", id=2, needs=("a",), phase=done(), conditional=True),
        waiting("c", 3, "b"),
    ]

    phase = decide(a_run(*jobs), LATER).job(3).phase

    assert isinstance(phase, Finished)
    assert phase.reason == "a ended with failure"


def test_a_job_with_an_if_of_its_own_is_left_to_it() -> None:
    jobs = [a_job("a", id=1, phase=done(Result.FAILURE)), dynamic("b", 2, "a", conditional=True)]

    assert decide(a_run(*jobs), LATER).job(2).phase == Ready(LATER)


def test_after_a_cancel_only_an_if_that_was_not_evaluated_yet_can_still_start_a_job() -> None:
    run = a_run(
        a_job("a", id=1, phase=running()),
        dynamic("always", 2, "a", conditional=True),
        dynamic("plain", 3, "a"),
        a_job("queued", id=4),
    )

    cancelled = decide(cancel(run, NOON), NOON)
    assert [job.cancelled for job in cancelled.jobs] == [True, False, True, True]
    assert phases(cancelled) == [Running, Waiting, Finished, Finished]

    ended = decide(cancelled.with_job(a_job("a", id=1, phase=done(Result.CANCELLED))), LATER)
    assert ended.job(2).phase == Ready(LATER)
    skipped = settle(ended, 2, Result.SKIPPED, LATER)
    assert skipped.result is Result.CANCELLED


def test_a_calling_job_is_ready_again_when_all_that_it_called_has_ended_and_counts_for_them() -> None:
    caller = a_job("call", id=1, phase=Waiting(), dynamic=True, calls="called.yml")
    inner = [
        a_job("x", id=2, phase=done(), caller=1),
        a_job("y", id=3, needs=("x",), phase=Waiting(), caller=1),
    ]
    first = decide(a_run(caller, *inner), NOON)
    assert (first.job(1).phase, first.job(3).phase) == (Waiting(), Queued(NOON))

    failed = first.with_job(a_job("y", id=3, needs=("x",), phase=done(Result.FAILURE), caller=1))
    over = decide(failed, LATER)

    assert over.job(1).phase == Ready(LATER)
    assert settle(over, 1, Result.FAILURE, LATER).result is Result.FAILURE


def test_jobs_of_a_called_workflow_do_not_meet_those_of_the_caller_with_the_same_key() -> None:
    run = a_run(
        a_job("build", id=1, phase=done(Result.FAILURE)),
        a_job("call", id=2, phase=Waiting(), dynamic=True, calls="called.yml"),
        a_job("build", id=3, phase=done(), caller=2),
        a_job("test", id=4, needs=("build",), phase=Waiting(), caller=2),
    )

    assert decide(run, LATER).job(4).phase == Queued(LATER)


def test_cancelling_a_run_reaches_what_it_called() -> None:
    run = a_run(
        a_job("call", id=1, phase=Waiting(), dynamic=True, calls="called.yml"),
        a_job("x", id=2, phase=Queued(NOON), caller=1),
        dynamic("y", 3, "x", caller=1),
    )

    cancelled = decide(cancel(run, LATER), LATER)

    assert phases(cancelled) == [Ready, Finished, Finished]


def test_legs_that_were_cancelled_for_one_that_failed_leave_the_failure_what_counts() -> None:
    legs = [a_leg(0, done(Result.FAILURE)), a_leg(1, done(Result.CANCELLED), cancelled=True)]

    run = decide(a_run(*legs, waiting("ship", 3, "test")), LATER)

    assert (run.ended((None, "test")), run.result) == (Result.FAILURE, Result.FAILURE)
    assert run.job(3).phase == Finished(Result.SKIPPED, LATER, "test ended with failure")
    assert replace(run, cancelled=True).result is Result.CANCELLED


def test_legs_that_call_a_workflow_count_as_running_until_it_has_ended() -> None:
    legs = [a_leg(index, Waiting(), max_parallel=1, calls="called.yml") for index in range(2)]
    first = call(decide(a_run(*legs), NOON), 10, [a_job("x")], {}, NOON)
    assert phases(decide(first, NOON)) == [Waiting, Waiting, Queued]

    inner = a_run(*first.jobs[:2], a_job("x", id=3, phase=done(), caller=10))
    over = settle(decide(inner, LATER), 10, Result.SUCCESS, LATER)

    assert phases(decide(over, LATER)) == [Finished, Ready, Finished]


def test_a_leg_that_fails_cancels_the_others_though_they_have_an_if() -> None:
    legs = [a_leg(0, done(Result.FAILURE), conditional=True), a_leg(1, running(), conditional=True)]

    stopped = decide(a_run(*legs), NOON).jobs[1]

    assert (stopped.cancelled, stopped.asked) == (True, None)


def test_a_leg_that_fails_cancels_what_the_others_called_but_for_what_is_left_to_its_if() -> None:
    run = decide(
        a_run(
            a_leg(0, done(Result.FAILURE), calls="called.yml"),
            a_leg(1, Waiting(), calls="called.yml"),
            a_job("x", id=2, phase=running(job=2), caller=11),
            dynamic("y", 3, "x", caller=11, conditional=True),
        ),
        NOON,
    )
    assert [job.cancelled for job in run.jobs] == [False, True, True, False]

    ended = decide(run.with_job(replace(run.job(2), phase=done(Result.CANCELLED))), NOON)
    planned = decide(plan(ended, 3, [a_job("y")]), NOON)

    assert planned.job(3).phase == Queued(NOON)
    assert decide(planned, LATER) == planned


def test_what_an_always_job_calls_or_a_called_workflow_begins_after_a_cancel_goes_on() -> None:
    called = a_run(
        a_job("call", id=1, phase=Waiting(), calls="called.yml"),
        dynamic("y", 2, caller=1, conditional=True),
    )
    cancelled = decide(cancel(called, NOON), NOON)

    planned = decide(plan(cancelled, 2, [a_job("y")]), NOON)

    assert planned.job(2).phase == Queued(NOON)
    assert decide(cancel(planned, LATER), LATER) == planned
    assert decide(end(planned, LATER), LATER).job(2).phase == Finished(
        Result.CANCELLED, LATER, "it was cancelled by force"
    )


def test_a_cancel_leaves_to_their_if_the_jobs_that_it_has_begun() -> None:
    run = a_run(
        a_job("runs", id=1, phase=running(until=LATER + LENGTH), conditional=True),
        a_job("queued", id=2, conditional=True),
        a_leg(0, Waiting(), conditional=True, max_parallel=0),
    )

    cancelled = decide(cancel(run, NOON), NOON)

    assert [(job.asked, job.cancelled) for job in cancelled.jobs] == [(NOON, False)] * 3
    assert phases(cancelled) == [Running, Queued, Waiting]
    with pytest.raises(NotClaimable, match="asked whether it goes on"):
        claim(cancelled.job(2), "w", LATER, LENGTH)
    stopped = decide(answer(answer(cancelled, 1, False), 2, False), LATER)
    assert [(job.asked, job.cancelled) for job in stopped.jobs] == [(None, True), (None, True), (NOON, False)]
    assert phases(stopped) == [Running, Finished, Waiting]
    outliving = decide(answer(answer(cancelled, 1, True), 2, True), LATER)
    assert outliving.jobs[:2] == run.jobs[:2]
    assert answer(outliving, 1, False) == outliving


def test_what_is_called_in_a_cancelled_run_begins_where_it_has_an_if_and_else_ends() -> None:
    always = a_job("call", id=1, phase=Ready(NOON), conditional=True, calls="called.yml")
    run = a_run(always, a_job("slow", id=2, phase=running()), cancelled=True)

    called = decide(call(run, 1, [a_job("x"), dynamic("y", 0, conditional=True)], {}, NOON), NOON)

    assert [type(job.phase) for job in called.called_by(1)] == [Finished, Ready]


def test_cancelled_means_cancelled_however_deep_something_was_called() -> None:
    run = a_run(
        a_leg(0, Waiting(), calls="called.yml", cancelled=True),
        a_job("deep", id=2, phase=Waiting(), calls="deeper.yml", caller=10),
        a_job("deepest", id=3, caller=2),
        a_job("beside", id=4),
    )

    assert [run.winds_down(job) for job in run.jobs] == [False, True, True, False]


def test_a_rerun_plans_every_dynamic_job_anew() -> None:
    run = a_run(
        a_leg(0, done(), dynamic=True, name="test (0)"),
        a_leg(1, done(), dynamic=True, name="test (1)"),
        a_job("x", id=5, phase=done(), caller=10),
        a_job("plain", id=6, phase=done()),
    )

    again = rerun(run)

    assert [(job.key, job.name, job.planned) for job in again.jobs] == [
        ("test", "test", False),
        ("plain", "plain", True),
    ]
    assert phases(decide(again, LATER)) == [Ready, Queued]


def test_a_run_that_goes_on_is_not_rerun() -> None:
    with pytest.raises(Rejected, match="has not ended"):
        rerun(a_run(dynamic("a", 1)))


def test_a_chain_of_thousands_of_jobs_is_decided() -> None:
    jobs = [a_job("0", phase=done(Result.FAILURE))]
    jobs += [waiting(str(number), number + 1, str(number - 1)) for number in range(1, 3000)]

    assert decide(a_run(*jobs), LATER).result is Result.FAILURE
