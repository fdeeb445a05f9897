"""Jobs of runs that were paused or blocked: nothing of them is begun, and nothing is lost or done twice."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from runner.engine import control
from runner.engine.heart import Hold
from runner.engine.perform import perform
from runner.engine.ports import Arrival, Command, Exit, Verdict
from runner.engine.sweep import sweep
from runner.model import leasing, pauses
from runner.model.audit import Act
from runner.model.children import Start
from runner.model.run import Finished, Job, Queued, Run, Running, Suspended
from runner.model.source import Repository
from runner.model.step import Result
from runner.store import SqlStops, SqlStore
from tests.builders import LENGTH, an_event
from tests.engine.conftest import TWO_STEPS, Bench
from tests.engine.test_waits import SLEEP

ACT = Act("anna", "pause")
HELLO = Repository("git", "octo/hello", "/srv/hello.git")
TIDIES = """\
on: push
jobs:
  build:
    runs-on: linux
    steps: [run: one, run: two, {run: tidy, if: always()}]
"""


def pause(bench: Bench, run: Run) -> None:
    control.pause(run.id, "why", store=bench.store, dispatcher=bench.bell, act=ACT)


def unpause(bench: Bench, run: Run) -> None:
    control.unpause(run.id, store=bench.store, dispatcher=bench.bell, act=ACT)


def cancel(bench: Bench, run: Run) -> None:
    control.cancel(run.id, store=bench.store, dispatcher=bench.bell, act=ACT)


def only_job(bench: Bench, run: Run) -> Job:
    return bench.store.load(run.id).jobs[0]


def heard(bench: Bench, paused: bool = True) -> None:
    """Wait until the worker's heart has learned how the run of its only job stands."""
    (hold,) = bench.station.heart._held()
    assert isinstance(hold, Hold)
    for _ in range(1000):
        if (hold.yields is not None) == paused:
            return
        threading.Event().wait(0.01)
    raise AssertionError("the heart did not hear of it")


def rung(bench: Bench) -> None:
    sweep(store=bench.store, dispatcher=bench.bell)


@pytest.mark.parametrize("how", ["pause", "block", "repository"])
def test_no_job_of_a_run_is_begun_that_stands_still(bench: Bench, how: str) -> None:
    run, stops = bench.a_run(), SqlStops(bench.database)
    commit = run.route.commit if how == "block" else None
    if how == "pause":
        pause(bench, run)
    else:
        stops.put(HELLO, ACT, "why", commit, None)

    bench.work()

    assert (bench.executor.scripts, only_job(bench, run).attempt) == ([], 0)
    if how == "pause":
        unpause(bench, run)
    else:
        stops.lift(HELLO, ACT, commit, None)
    rung(bench)
    bench.work()
    assert bench.executor.scripts == ["one", "two"]
    assert bench.store.load(run.id).result is Result.SUCCESS


def test_a_step_that_runs_ends_and_the_next_is_begun_by_whoever_takes_the_job_later(bench: Bench) -> None:
    run = bench.a_run()

    def act(command: Command) -> Exit:
        if bench.executor.scripts == ["one"]:
            pause(bench, run)
            heard(bench)
        return Exit(0)

    bench.executor.act = act
    bench.work()

    job = only_job(bench, run)
    assert isinstance(job.phase, Queued)
    assert (job.attempt, job.lost, bench.executor.scripts) == (1, (), ["one"])
    assert list(bench.store.recall(job)) == ["1"]
    unpause(bench, run)
    rung(bench)
    bench.work()
    assert bench.executor.scripts == ["one", "two"]
    assert bench.store.load(run.id).result is Result.SUCCESS


def test_a_pause_that_is_taken_back_in_the_same_step_holds_nothing_up(bench: Bench) -> None:
    run = bench.a_run()

    def act(command: Command) -> Exit:
        if bench.executor.scripts == ["one"]:
            pause(bench, run)
            heard(bench)
            unpause(bench, run)
            heard(bench, paused=False)
        return Exit(0)

    bench.executor.act = act
    bench.work()

    assert (only_job(bench, run).attempt, bench.executor.scripts) == (1, ["one", "two"])


def test_a_last_step_ends_its_job_though_the_run_is_paused(bench: Bench) -> None:
    run = bench.a_run()

    def act(command: Command) -> Exit:
        if bench.executor.scripts == ["one", "two"]:
            pause(bench, run)
            heard(bench)
        return Exit(0)

    bench.executor.act = act
    bench.work()

    assert bench.store.load(run.id).result is Result.SUCCESS


def test_a_paused_run_that_is_cancelled_runs_what_is_left_to_do_and_ends(bench: Bench) -> None:
    run = bench.a_run(TIDIES)

    def act(command: Command) -> Exit:
        if bench.executor.scripts == ["one"]:
            pause(bench, run)
            heard(bench)
        return Exit(0)

    bench.executor.act = act
    bench.work()
    assert bench.executor.scripts == ["one"]

    cancel(bench, run)
    bench.work()

    assert bench.executor.scripts == ["one", "tidy"]
    assert bench.store.load(run.id).result is Result.CANCELLED


def test_a_paused_run_that_has_not_begun_is_cancelled_at_once(bench: Bench) -> None:
    run = bench.a_run()
    pause(bench, run)

    cancel(bench, run)

    assert bench.store.load(run.id).result is Result.CANCELLED


def test_a_job_whose_worker_was_lost_is_nobodys_until_its_run_goes_on(bench: Bench) -> None:
    run = bench.a_run()
    envelope = bench.bell.rung[0]

    def act(command: Command) -> Exit:
        raise KeyboardInterrupt

    bench.executor.act = act
    with pytest.raises(KeyboardInterrupt):
        bench.work()
    assert isinstance(only_job(bench, run).phase, Running)
    pause(bench, run)
    bench.store.stranded(everything=True)

    perform(envelope, bench.station)

    job = only_job(bench, run)
    assert (type(job.phase), job.lost, job.attempt) == (Queued, (1,), 1)
    bench.executor.act = lambda command: Exit(0)
    unpause(bench, run)
    rung(bench)
    bench.work()
    assert only_job(bench, run).attempt == 2
    assert isinstance(only_job(bench, run).phase, Finished)


def test_a_sleep_is_not_over_while_its_run_is_paused(bench: Bench) -> None:
    run = bench.a_run(SLEEP)
    bench.work()
    job = only_job(bench, run)
    assert isinstance(job.phase, Suspended)
    pause(bench, run)
    assert job.wakes is not None
    threading.Event().wait(0.3)
    rung(bench)
    bench.work()

    assert isinstance(only_job(bench, run).phase, Suspended)
    unpause(bench, run)
    later = only_job(bench, run).wakes
    assert later is not None
    assert later > job.wakes


class GoesOn:
    """A store whose paused run goes on while what a step of it has started is being made."""

    def __init__(self, store: SqlStore, run: Run) -> None:
        self._store, self._run = store, run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def settle(self, delivery: str, verdict: Verdict) -> tuple[Run, ...]:
        made = self._store.settle(delivery, verdict)
        self._store.update(self._run.id, pauses.unpause)
        return made


def test_a_run_that_is_made_just_as_the_one_goes_on_that_waits_for_it_goes_on_too(bench: Bench) -> None:
    parent = bench.a_run()
    (job,) = parent.jobs
    claimed = bench.store.update(
        parent.id, lambda run, now: run.with_job(leasing.claim(run.jobs[0], "worker-1", now, LENGTH))
    ).after.job(job.id)
    assert isinstance(claimed.phase, Running)
    bench.write(TWO_STEPS.replace("on: push", "on: workflow_dispatch"), ".runner/workflows/child.yml")
    event = an_event(kind="workflow_dispatch", payload={"workflow": "child.yml", "inputs": {}})
    start = Start(claimed.phase.lease, "call#1")
    ((delivery, _),) = bench.store.receive_all([Arrival(event, "step", "step", start=start)])
    pause(bench, parent)

    made = replace(bench, store=GoesOn(bench.store, parent)).admit(delivery)  # type: ignore[arg-type]

    (child,) = made.runs
    assert bench.store.load(child).pause is None
