"""Runs that stand still: what that keeps from happening, and what goes on all the same."""

from dataclasses import replace
from datetime import timedelta

import pytest

from runner.errors import LeaseLost, Rejected
from runner.model.answers import answer_wait
from runner.model.ending import cancel
from runner.model.leasing import claim, conclude, lay_down
from runner.model.lifecycle import decide
from runner.model.pauses import follow, pause, stands_still, unpause
from runner.model.planning import answer
from runner.model.reruns import rerun
from runner.model.run import Finished, Job, Parent, Phase, Queued, Run, Running, Suspended
from runner.model.step import Result
from runner.model.stops import Stop
from runner.model.waits import Answer, Awaited, Wait, Word
from tests.builders import COMMIT, LENGTH, NOON, a_job, a_run, running

HOUR = timedelta(hours=1)
PAUSE = Stop("anna", NOON, "it floods the registry", "octo/hello", run=1)
BLOCK = Stop("bert", NOON, "", "octo/hello", commit=COMMIT)


def sleeping(run: Run, shifts: bool = True, since: timedelta = timedelta()) -> Run:
    """A run whose only job sleeps for two hours, from noon on."""
    wait = Wait("1", Awaited.TIME, NOON + since, NOON + since + 2 * HOUR, shifts)
    return run.with_job(replace(run.jobs[0], phase=Suspended(NOON), started=NOON, waits=(wait,)))


def phase_at(run: Run, at: timedelta) -> Phase:
    return decide(run, NOON + at).jobs[0].phase


@pytest.mark.parametrize(
    ("stop", "says"),
    [
        (PAUSE, "paused by anna since 2026-01-01 12:00:00 UTC: it floods the registry"),
        (BLOCK, f"commit {COMMIT[:12]} is blocked by bert since 2026-01-01 12:00:00 UTC"),
        (
            replace(BLOCK, commit=None, workflow="x.yml"),
            "x.yml is blocked by bert since 2026-01-01 12:00:00 UTC",
        ),
        (replace(BLOCK, commit=None), "octo/hello is paused by bert since 2026-01-01 12:00:00 UTC"),
    ],
)
def test_a_stop_says_what_it_is_about_who_brought_it_about_and_why(stop: Stop, says: str) -> None:
    assert stop.words == says


def test_a_run_that_was_paused_twice_was_paused_by_the_first() -> None:
    run = pause(a_run(a_job()), PAUSE)

    again = pause(run, replace(PAUSE, actor="bert"))
    assert again == replace(run, pause=replace(PAUSE, anew=True))
    assert run.stopped == PAUSE.words
    assert unpause(unpause(run, NOON), NOON) == a_run(a_job(), delivery=run.delivery)


ABOVE = replace(PAUSE, run=7)
WITH = replace(PAUSE, above=7)
OWN = replace(PAUSE, actor="bert", at=NOON - HOUR)
PARENT = Parent(7, 70, "call#1")


@pytest.mark.parametrize(
    ("above", "mine", "becomes"),
    [
        (None, None, None),
        (None, WITH, None),
        (None, OWN, OWN),
        (ABOVE, None, WITH),
        (ABOVE, WITH, WITH),
        (ABOVE, OWN, OWN),
        # The one above is only paused with another one, and was so with yet another before.
        (replace(ABOVE, above=3), None, replace(WITH, above=3)),
        (replace(ABOVE, above=3), WITH, replace(WITH, above=3)),
        # It has stood still since then, and counts that.
        (ABOVE, replace(WITH, above=3, at=NOON + HOUR), replace(WITH, at=NOON + HOUR)),
    ],
)
def test_a_run_stands_still_as_the_one_does_that_waits_for_it_unless_it_was_paused_itself(
    above: Stop | None, mine: Stop | None, becomes: Stop | None
) -> None:
    run = a_run(a_job(), pause=mine, parent=replace(PARENT, pause=above))

    assert follow(run, NOON) == replace(run, pause=becomes)
    assert decide(run, NOON).pause == becomes


@pytest.mark.parametrize("parent", [None, replace(PARENT, left=True), replace(PARENT, ended=True)])
@pytest.mark.parametrize("mine", [None, WITH, OWN])
def test_a_run_that_nobody_waits_for_follows_nobody(parent: Parent | None, mine: Stop | None) -> None:
    for above in (None, ABOVE):
        run = a_run(a_job(), pause=mine, parent=parent and replace(parent, pause=above))

        assert follow(run, NOON) == run


def test_a_run_that_has_ended_follows_nobody() -> None:
    run = a_run(a_job(phase=Finished(Result.SUCCESS, NOON)), parent=replace(PARENT, pause=ABOVE))

    assert follow(run, NOON) == run


def test_what_somebody_had_go_on_stands_still_again_with_the_next_pause_above() -> None:
    parent = replace(PARENT, pause=ABOVE)
    on = decide(unpause(a_run(a_job(), pause=WITH, parent=parent), NOON), NOON)

    assert on.parent is not None
    assert (on.pause, on.parent.free) == (None, NOON)
    # A server that knows nothing of that has paused it with another one since.
    assert decide(replace(on, pause=replace(WITH, above=9)), NOON).pause == WITH
    later = replace(on.parent, pause=replace(ABOVE, at=NOON + HOUR))
    assert decide(replace(on, parent=later), NOON + HOUR).pause == replace(WITH, at=NOON + HOUR)


def test_a_sleep_lasts_longer_by_as_long_as_the_run_stood_still_with_another() -> None:
    run = decide(replace(sleeping(a_run(a_job())), parent=replace(PARENT, pause=ABOVE)), NOON)

    on = decide(replace(run, parent=PARENT), NOON + HOUR)

    assert (on.pause, on.jobs[0].wakes) == (None, NOON + 3 * HOUR)


def test_a_run_that_has_ended_is_not_paused() -> None:
    run = a_run(a_job(phase=Finished(Result.SUCCESS, NOON)))

    with pytest.raises(Rejected, match="run 1 has ended: success"):
        pause(run, PAUSE)


@pytest.mark.parametrize("given", [{"pause": PAUSE}, {"hold": BLOCK}])
def test_no_job_of_it_may_go_on_but_what_is_cancelled(given: dict[str, Stop]) -> None:
    run = a_run(a_job(), **given)

    assert stands_still(run, run.jobs[0])
    assert not stands_still(cancel(run, NOON), run.jobs[0])
    assert not stands_still(run, replace(run.jobs[0], cancelled=True))
    assert not stands_still(replace(run, pause=None, hold=None), run.jobs[0])


def test_a_job_whose_worker_is_lost_meanwhile_is_queued_and_the_loss_counts() -> None:
    lost = a_job(attempt=2, phase=running(attempt=2, until=NOON), claimed=NOON - LENGTH)

    queued = lay_down(lost, NOON, LENGTH)

    assert (queued.phase, queued.lost, queued.attempt) == (Queued(NOON), (2,), 2)
    assert claim(queued, "w", NOON, LENGTH).attempt == 3
    with pytest.raises(LeaseLost):
        conclude(queued, running(attempt=2).lease, Result.SUCCESS, NOON)


@pytest.mark.parametrize("phase", [running(), Queued(NOON), Suspended(NOON), Finished(Result.SUCCESS, NOON)])
def test_every_other_job_stays_as_it_is(phase: Phase) -> None:
    job = a_job(phase=phase)

    assert lay_down(job, NOON, LENGTH) == job


def test_a_sleep_for_a_while_lasts_longer_by_as_long_as_the_run_was_paused() -> None:
    run = pause(sleeping(a_run(a_job())), replace(PAUSE, at=NOON + HOUR))

    assert isinstance(phase_at(run, 10 * HOUR), Suspended)
    on = unpause(decide(run, NOON + 10 * HOUR), NOON + 10 * HOUR)
    assert on.jobs[0].wakes == NOON + 11 * HOUR
    assert isinstance(phase_at(on, 10.9 * HOUR), Suspended)
    assert phase_at(on, 11 * HOUR) == Queued(NOON + 11 * HOUR)


def test_a_sleep_that_began_while_the_run_was_paused_lasts_as_long_as_it_says_from_then_on() -> None:
    run = sleeping(pause(a_run(a_job()), PAUSE), since=HOUR)

    on = unpause(run, NOON + 5 * HOUR)

    assert on.jobs[0].wakes == NOON + 7 * HOUR


def test_a_sleep_that_was_over_before_the_pause_is_over() -> None:
    run = pause(sleeping(a_run(a_job())), replace(PAUSE, at=NOON + 3 * HOUR))

    assert isinstance(phase_at(run, 3 * HOUR), Queued)


def test_a_sleep_until_an_instant_ends_then_and_the_job_still_stands_still() -> None:
    run = decide(pause(sleeping(a_run(a_job()), shifts=False), PAUSE), NOON + 2 * HOUR)

    assert isinstance(run.jobs[0].phase, Queued)
    assert stands_still(run, run.jobs[0])


def test_a_sleep_goes_on_while_the_commit_is_blocked() -> None:
    assert isinstance(phase_at(replace(sleeping(a_run(a_job())), hold=BLOCK), 2 * HOUR), Queued)


def test_a_wait_is_answered_in_time_though_its_deadline_passed_while_the_run_was_paused() -> None:
    run = pause(sleeping(a_run(a_job())), PAUSE)

    answered = answer_wait(run, 1, "1", Answer(Word.SENT, NOON + 3 * HOUR, "anna"))

    assert answered.jobs[0].waits[0].answer == Answer(Word.SENT, NOON + 3 * HOUR, "anna")


def test_the_delay_of_a_retry_goes_on_while_the_run_is_paused() -> None:
    queued = a_job(phase=Queued(NOON, NOON + HOUR, "it failed"))

    on = unpause(pause(a_run(queued), PAUSE), NOON + 2 * HOUR)

    assert on.jobs == (queued,)


def test_a_run_that_is_run_again_does_not_begin_paused() -> None:
    ended = a_run(a_job(phase=Finished(Result.CANCELLED, NOON)), pause=PAUSE, cancelled=True)

    again = rerun(ended)

    assert (again.stopped, again.attempt) == ("", 2)


def test_what_stood_still_for_long_has_time_for_its_last_steps_once_it_is_cancelled() -> None:
    run = a_run(a_job(phase=Queued(NOON), started=NOON), pause=PAUSE)

    for later in (HOUR, HOUR + timedelta(minutes=4)):
        run = decide(cancel(run, NOON + HOUR), NOON + later)
        assert run.jobs[0].phase == Queued(NOON + HOUR)
    assert isinstance(phase_at(run, HOUR + timedelta(minutes=5)), Finished)


def test_so_has_a_job_that_was_asked_first_whether_it_goes_on() -> None:
    run = a_run(a_job(phase=Queued(NOON), started=NOON, conditional=True), pause=PAUSE)

    asked = decide(cancel(run, NOON + HOUR), NOON + HOUR)
    ended = decide(answer(asked, 1, goes_on=False), NOON + HOUR)

    assert asked.jobs[0].asked == NOON + HOUR
    assert ended.jobs[0] == replace(run.jobs[0], cancelled=True, phase=Queued(NOON + HOUR))


def test_a_step_that_runs_may_still_end_its_job() -> None:
    job = claim(a_job(), "w", NOON, LENGTH)
    assert isinstance(job.phase, Running)
    run = pause(a_run(job), PAUSE)

    ended: Job = conclude(run.jobs[0], job.phase.lease, Result.SUCCESS, NOON)

    assert run.with_job(ended).result is Result.SUCCESS
