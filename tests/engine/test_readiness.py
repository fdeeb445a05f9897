"""Jobs whose definition is evaluated when their turn comes."""

from pathlib import Path

import pytest

from runner.engine.ports import Command, Exit
from runner.model.run import Finished
from runner.model.step import Result
from tests.engine.conftest import Bench

CALLER = """\
name: caller
on: push
jobs:
  first:
    runs-on: linux
    strategy: {matrix: {n: [1, 2]}}
    steps:
      - run: echo ${{ matrix.n }}
  second:
    needs: first
    uses: ./.runner/workflows/called.yml
    with: {word: hello}
  third:
    needs: second
    runs-on: linux
    steps:
      - run: echo ${{ needs.second.outputs.said }}
"""
CALLED = """\
on:
  workflow_call:
    inputs: {word: {type: string}}
    outputs: {said: {value: "${{ jobs.only.outputs.said }}"}}
jobs:
  only:
    runs-on: linux
    outputs: {said: "${{ inputs.word }}"}
    steps:
      - run: echo ${{ inputs.word }}
"""


def test_whatever_is_ready_is_rung_for_at_once_and_no_clock_is_needed(bench: Bench) -> None:
    ran: list[str] = []

    def act(command: Command) -> Exit:
        ran.append(Path(command.argv[-1]).read_text())
        return Exit(0)

    bench.executor.act = act
    bench.write(CALLED, ".runner/workflows/called.yml")
    run = bench.a_run(CALLER)

    bench.work()

    ended = bench.store.load(run.id)
    assert ended.result is Result.SUCCESS
    assert ran == ["echo 1", "echo 2", "echo hello", "echo hello"]
    assert [job.name for job in ended.jobs] == ["first (1)", "first (2)", "second", "third", "second / only"]


def test_a_workflow_that_calls_itself_fails_at_once(bench: Bench) -> None:
    calls = "on: [push, workflow_call]\njobs:\n  again:\n    uses: ./.runner/workflows/ci.yml\n"
    run = bench.a_run(calls)

    bench.work()

    (job,) = bench.store.load(run.id).jobs
    assert isinstance(job.phase, Finished)
    assert (job.phase.result, job.phase.reason) == (Result.FAILURE, ".runner/workflows/ci.yml calls itself")


def test_a_run_has_no_more_jobs_than_a_server_can_keep(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.engine.plan.MOST_JOBS", 4)
    run = bench.a_run(CALLER)

    bench.work()

    jobs = bench.store.load(run.id).jobs
    assert isinstance(jobs[0].phase, Finished)
    assert jobs[0].phase.reason == "the run would have 5 jobs; 4 are the most"


@pytest.mark.parametrize("value", ["\\ud800", "\\u0000"])
def test_a_leg_with_a_value_that_no_database_takes_ends(bench: Bench, value: str) -> None:
    matrix = f"""{{n: "${{{{ fromJSON('[\\"{value}\\"]') }}}}"}}"""
    run = bench.a_run(CALLER.replace("{n: [1, 2]}", matrix))

    bench.work()

    assert bench.store.load(run.id).result is not None


def test_a_job_that_may_fail_may_also_fail_before_its_steps(bench: Bench) -> None:
    text = (
        "on: push\njobs:\n  a:\n    runs-on: linux\n    continue-on-error: true\n"
        "    env: {X: \"${{ fromJSON('x') }}\"}\n    steps: [{run: x}]\n"
    )
    run = bench.a_run(text)

    bench.work()

    assert bench.store.load(run.id).result is Result.SUCCESS
