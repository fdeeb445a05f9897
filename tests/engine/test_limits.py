"""Limits of a repository, as its workers come to feel them."""

from runner.engine.perform import perform
from runner.engine.ports import Command, Exit
from runner.model.run import Queued, Run
from runner.model.step import Result
from tests.engine.conftest import Bench

TWO_JOBS = """\
name: ci
on: push
jobs:
  one:
    runs-on: linux
    steps: [{run: one}]
  two:
    runs-on: linux
    steps: [{run: two}]
"""


def limited(bench: Bench, most: int) -> Run:
    bench.repositories.change(bench.repositories.get("git", "octo/hello"), {"max_jobs": most})
    return bench.a_run(TWO_JOBS)


def test_a_job_that_a_limit_held_up_is_rung_for_as_soon_as_another_one_has_ended(bench: Bench) -> None:
    run = limited(bench, 1)
    first, second = bench.bell.rung
    bench.bell.rung.clear()

    def act(command: Command) -> Exit:
        if len(bench.executor.scripts) == 1:
            perform(second, bench.station)
            assert isinstance(bench.store.load(run.id).jobs[1].phase, Queued)
        return Exit(0)

    bench.executor.act = act
    perform(first, bench.station)

    assert bench.bell.rung == [second]
    bench.work()
    assert bench.store.load(run.id).result is Result.SUCCESS


def test_nothing_is_rung_for_twice_where_there_is_no_limit(bench: Bench) -> None:
    limited(bench, 0)
    first, second = bench.bell.rung

    perform(first, bench.station)

    assert bench.bell.rung == [first, second]
