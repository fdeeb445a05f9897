"""Jobs whose definition is evaluated when their turn comes."""

from pathlib import Path

from runner.engine.ports import Command, Exit
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
