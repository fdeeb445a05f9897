"""A job whose newest files are lost goes back to the newest that are whole."""

from pathlib import Path
from typing import Any

import pytest

from runner.engine import control
from runner.engine.heart import Hold, Why
from runner.engine.ports import Change, Command, Exit
from runner.engine.reopening import checking
from runner.engine.stage import Released
from runner.errors import LeaseLost, Unavailable
from runner.model.run import Finished, Job, Lease, Run
from runner.model.step import Result
from runner.model.waits import Awaited, Signal, Word
from runner.store.views import Views
from tests.builders import NOON, a_job
from tests.crash import invariants
from tests.engine.conftest import Bench
from tests.engine.test_retries import failing, lose, ran

FOUR = """\
name: ci
on: push
jobs:
  build:
    runs-on: linux
    outputs: {word: "${{ steps.a.outputs.word }}"}
    steps:
      - {id: a, run: one}
      - {run: two}
      - {run: three}
      - {run: four}
"""


@pytest.fixture
def bench(bench: Bench) -> Bench:
    bench.workspaces.changing = range(1, 100)
    return bench


def job_of(bench: Bench, run: Run) -> Job:
    return bench.store.load(run.id).jobs[0]


def said(bench: Bench, run: Run) -> str:
    """By the job itself, of where it goes on."""
    job = job_of(bench, run)
    return b"".join(
        text for (id, _, key), text in bench.logs.printed.items() if (id, key) == (job.id, "0")
    ).decode()


def counting(bench: Bench, run: Run) -> list[tuple[str, int, str]]:
    done = bench.store.recall(job_of(bench, run))
    return [(key, one.attempt, one.snapshot) for key, one in done.items()]


def test_a_job_goes_on_from_the_newest_snapshot_that_is_whole_and_says_from_where(bench: Bench) -> None:
    run = bench.a_run(FOUR)
    lose(bench, "4")
    bench.workspaces.lost = {"1.3"}

    bench.work()

    assert ran(bench.executor) == ["one", "two", "three", "four", "three", "four"]
    assert bench.store.load(run.id).result is Result.SUCCESS
    assert bench.workspaces.opened == [None, "1.2"]
    assert counting(bench, run) == [("1", 1, "1.1"), ("2", 1, "1.2"), ("3", 2, "2.1"), ("4", 2, "2.2")]
    assert (
        "the job goes back to its files as step 2 (Run two) left them: the snapshot 1.3 is damaged; "
        "done again for want of them: step 3 (Run three)"
    ) in said(bench, run)


@pytest.mark.parametrize(
    ("lost", "scripts"),
    [
        ({"1.1", "1.2", "1.3"}, ["one", "two", "three", "four"]),
        ({"1.2", "1.3"}, ["two", "three", "four"]),
        ({"1.3", "1.1"}, ["three", "four"]),
        ({"1.1", "1.2"}, ["four"]),
    ],
)
def test_it_goes_back_no_further_than_it_must(bench: Bench, lost: set[str], scripts: list[str]) -> None:
    run = bench.a_run(FOUR)
    lose(bench, "4")
    bench.workspaces.lost = lost

    bench.work()

    assert ran(bench.executor)[4:] == scripts
    assert ("the job starts over" in said(bench, run)) == (len(scripts) == 4)


def test_what_the_steps_before_gave_is_still_known(bench: Bench) -> None:
    def act(command: Command) -> Exit:
        if command.env["RUNNER_STEP"] == "1":
            Path(command.env["GITHUB_OUTPUT"]).write_text("word=kept\n")
        return Exit(0)

    bench.executor.act = act
    run = bench.a_run(FOUR)
    lose(bench, "3")
    bench.workspaces.lost = {"1.2"}

    bench.work()

    assert job_of(bench, run).outputs == {"word": "kept"}
    assert ran(bench.executor) == ["one", "two", "three", "two", "three", "four"]


@pytest.mark.parametrize(
    ("changing", "lost", "opened", "scripts"),
    [
        # The first step alone, and the third: the second is done in what the first one left.
        ((1, 3), {"1.3"}, "1.1", ["three", "four"]),
        ((2, 3), {"1.3", "1.2"}, "base", ["two", "three", "four"]),
        ((3,), {"1.3"}, "base", ["three", "four"]),
    ],
)
def test_what_changed_no_files_is_done_in_the_snapshot_before_it(
    bench: Bench, changing: tuple[int, ...], lost: set[str], opened: str, scripts: list[str]
) -> None:
    bench.workspaces.changing = changing
    bench.a_run(FOUR)
    lose(bench, "4")
    bench.workspaces.lost = lost

    bench.work()

    assert bench.workspaces.opened == [None, opened]
    assert ran(bench.executor)[4:] == scripts


@pytest.mark.parametrize("written", [False, True])
def test_who_dies_on_the_way_back_is_followed_by_somebody_who_finds_the_same(
    bench: Bench, written: bool
) -> None:
    run = bench.a_run(FOUR)
    lose(bench, "4")
    bench.workspaces.lost = {"1.3"}
    update = bench.store.update

    def dying(*given: Any, **named: Any) -> Change:
        if written:
            update(*given, **named)
        raise KeyboardInterrupt

    bench.store.update = dying  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        bench.work()
    bench.store.update = update  # type: ignore[method-assign]
    bench.bell.rung += bench.store.stranded(everything=True).envelopes
    bench.work()

    assert ran(bench.executor)[4:] == ["three", "four"]
    assert [one[:2] for one in counting(bench, run)] == [("1", 1), ("2", 1), ("3", 3), ("4", 3)]
    invariants.check(bench.database)


def test_it_may_go_back_again_and_then_start_over(bench: Bench) -> None:
    run = bench.a_run(FOUR)
    lose(bench, "4")
    bench.workspaces.lost = {"1.3"}
    lose(bench, "4")
    bench.workspaces.lost |= {"2.1", "1.2"}
    bench.work()

    assert bench.workspaces.opened == [None, "1.2", "1.1"]
    assert ran(bench.executor)[4:] == ["three", "four", "two", "three", "four"]
    (shown,) = Views(bench.database).run(run.id).jobs
    assert [[(one.attempt, one.reason) for one in step.tries] for step in shown.steps] == [
        [],
        [(1, "its files were lost")],
        [(1, "its files were lost"), (2, "its files were lost")],
        [],
    ]
    assert [(step.attempt, step.status) for step in shown.steps] == [(1, "success")] + [(3, "success")] * 3
    invariants.check(bench.database)


def test_three_workers_lost_at_one_step_poison_a_job_that_goes_back_each_time(bench: Bench) -> None:
    run = bench.a_run(FOUR)
    for attempt in (1, 2, 3):
        lose(bench, "4")
        bench.workspaces.lost |= {"1.3", f"{attempt}.1"} - {"1.1"}
    bench.work()

    phase = job_of(bench, run).phase
    assert isinstance(phase, Finished)
    assert phase.reason.startswith("poisoned: 3 workers were lost with it at step 3 (Run three)")
    assert ran(bench.executor) == ["one", "two", "three", "four", "three", "four", "three", "four"]


def test_a_job_that_gets_further_each_time_is_not_poisoned(bench: Bench) -> None:
    run = bench.a_run(FOUR)
    lose(bench, "3")
    bench.workspaces.lost = {"1.2"}
    lose(bench, "4")
    bench.workspaces.lost = {"1.2", "2.2"}
    lose(bench, "4")
    bench.workspaces.lost |= {"3.1"}

    bench.work()

    assert bench.store.load(run.id).result is Result.SUCCESS


@pytest.mark.parametrize(
    ("once", "ends"),
    [("one", Result.SUCCESS), ("two", Result.SUCCESS), ("three", Result.FAILURE), ("four", Result.FAILURE)],
)
def test_no_step_that_must_not_run_twice_does(bench: Bench, once: str, ends: Result) -> None:
    run = bench.a_run(FOUR.replace(f"run: {once}}}", f"run: {once}, on-lost: fail}}"))
    lose(bench, "4")
    bench.workspaces.lost = {"1.3"}

    bench.work()

    assert bench.store.load(run.id).result is ends
    assert ran(bench.executor).count(once) == 1
    if ends is Result.FAILURE:
        assert "the job cannot go back: the snapshot 1.3 is damaged; step" in str(job_of(bench, run).phase)


WAITING = """\
name: ci
on: push
jobs:
  build:
    runs-on: linux
    steps:
      - {run: one}
      - {uses: runner/wait@v1, with: {signal: go}}
      - {uses: runner/approve@v1}
      - {run: four}
      - {run: five}
"""


def test_what_was_waited_for_is_not_waited_for_again(bench: Bench) -> None:
    run = bench.a_run(WAITING)
    bench.work()
    control.signal(run.id, Signal("go", "1", "anna", None), store=bench.store, dispatcher=bench.bell)
    bench.work()
    control.answer(
        run.id, Awaited.APPROVAL, Word.APPROVED, store=bench.store, dispatcher=bench.bell, by="anna"
    )
    lose(bench, "5")
    bench.workspaces.lost = {snapshot for *_, snapshot in counting(bench, run)}

    bench.work()

    assert "the job starts over" in said(bench, run)
    assert ran(bench.executor) == ["one", "four", "five", "one", "four", "five"]
    assert bench.store.load(run.id).result is Result.SUCCESS


def test_tries_that_failed_count_with_the_files_that_they_began_with(bench: Bench) -> None:
    bench.executor.act = failing(2, "3")
    run = bench.a_run(FOUR.replace("{run: three}", "{run: three, retry: {max-attempts: 3}}"))
    bench.workspaces.changing = (1, 2, 3)
    lose(bench, "4")
    newest = counting(bench, run)[-1][2]
    bench.workspaces.lost = {newest}

    bench.work()

    assert ran(bench.executor) == ["one", "two", "three", "three", "three", "four", "three", "four"]
    assert [key for key, *_ in counting(bench, run)] == ["1", "2", "3~1", "3~2", "3", "4"]


def test_a_try_after_one_that_started_over_does_all_steps_anew(bench: Bench) -> None:
    run = bench.a_run(FOUR.replace("    runs-on:", "    retry: {max-attempts: 2}\n    runs-on:"))
    lose(bench, "3")
    bench.workspaces.gone = True
    bench.executor.act = failing(1, "3")
    bench.work()

    assert ran(bench.executor)[3:] == ["one", "two", "three", "one", "two", "three", "four"]
    assert bench.store.load(run.id).result is Result.SUCCESS


def a_hold(why: Why | None = None, cancelled: bool = False) -> Hold:
    hold = Hold(Lease(1, "worker-1", 1, NOON), 0)
    if cancelled:
        hold.cancel()
    if why is not None:
        hold.stop(why)
    return hold


@pytest.mark.parametrize(
    ("why", "error"),
    [(Why.LOST, LeaseLost), (Why.RELEASED, Released), (Why.LATE, Unavailable)],
)
def test_nothing_is_waited_for_by_a_job_that_has_to_stop(why: Why, error: type[Exception]) -> None:
    with pytest.raises(error, match=why.value):
        checking(a_job(attempt=3), a_hold(why))()


def test_a_job_that_is_cancelled_before_its_first_step_does_not_wait_to_begin() -> None:
    hold = a_hold()
    check = checking(a_job(attempt=1), hold)
    check()
    hold.cancel()

    with pytest.raises(Unavailable, match="cancelled before it could begin"):
        check()


def test_what_is_left_to_do_after_a_cancel_is_waited_for() -> None:
    went_on = a_hold()
    check = checking(a_job(attempt=2), went_on)
    went_on.cancel()

    check()
    checking(a_job(attempt=1), a_hold(cancelled=True))()


def test_one_that_could_not_begin_for_its_cancel_has_ended(bench: Bench) -> None:
    run = bench.a_run(FOUR)

    def fetch(*given: Any, **named: Any) -> None:
        control.cancel(run.id, store=bench.store, dispatcher=bench.bell)
        raise Unavailable("it was cancelled before it could begin")

    bench.workspaces.fetch = fetch  # type: ignore[method-assign]
    bench.work()

    assert bench.store.load(run.id).result is Result.CANCELLED
