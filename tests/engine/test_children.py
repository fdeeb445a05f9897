"""What a run that a step has started gives to the step, whatever became of either since."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from runner.engine.control import rerun
from runner.engine.conversation.children import child_ended, given_by
from runner.model.run import Run
from runner.model.step import Result
from runner.model.waits import Answer, Awaited, Wait, Word
from runner.vault import MemoryVault
from tests.builders import an_event
from tests.engine.conftest import Bench

CALLED = """\
on:
  workflow_dispatch:
  workflow_call:
    outputs:
      said: {value: "${{ jobs.a.outputs.number }} of ${{ github.run_attempt }} in ${{ vars.PLACE }}"}
      bad: {value: "${{ fromJSON(jobs.a.outputs.number) }}"}
jobs:
  a:
    runs-on: linux
    outputs: {number: "${{ github.run_attempt }}"}
    steps: [{run: x}]
"""
WAIT = Wait("call#1", Awaited.RUN, datetime(2026, 1, 1, tzinfo=UTC), message="called.yml")


def called(bench: Bench, text: str = CALLED) -> Run:
    bench.write(text, ".runner/workflows/called.yml")
    bench.station = replace(bench.station, vault=MemoryVault({}, {"PLACE": "north"}))
    payload = {"workflow": "called.yml", "inputs": {}, "ref": "main"}
    (run,) = bench.admit(bench.receive(an_event(kind="workflow_dispatch", payload=payload))).runs
    bench.work()
    return bench.store.load(run)


def ended(run: Run, **more: Any) -> Answer:
    told = {"run": run.id, "number": run.number, "result": "success", "outputs": {"number": "1"}}
    return Answer(Word.ENDED, WAIT.since, payload=told | more)


def test_what_a_child_gives_is_what_it_gave_as_it_first_ended(bench: Bench) -> None:
    run = called(bench)
    rerun(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()
    assert bench.store.load(run.id).jobs[0].outputs == {"number": "2"}

    payload = given_by(ended(run), bench.station)

    assert payload is not None
    assert payload["outputs"] == {"said": "1 of 1 in north", "bad": "1"}


def test_what_a_child_gave_is_found_out_once(bench: Bench) -> None:
    run = called(bench)
    payload = given_by(ended(run), bench.station)
    assert payload is not None
    again = replace(ended(run), payload=payload)
    bench.station = replace(bench.station, vault=MemoryVault({}, {"PLACE": "south"}))

    assert given_by(again, bench.station) is None

    outcome, told = child_ended(WAIT, again)
    assert outcome.result is Result.SUCCESS
    assert told == {
        "run": run.id,
        "number": run.number,
        "result": "success",
        "outputs": {"said": "1 of 1 in north", "bad": "1"},
    }


def test_that_what_a_child_gives_cannot_be_had_stays_so_too(bench: Bench) -> None:
    run = called(bench, CALLED.replace('"${{ github.run_attempt }}"', '"one"'))

    payload = given_by(ended(run), bench.station)

    assert payload is not None
    again = replace(ended(run), payload=payload)
    assert given_by(again, bench.station) is None
    outcome, told = child_ended(WAIT, again)
    assert outcome.result is Result.FAILURE
    assert told["reason"].startswith(
        f"run {run.id} of called.yml ended with success, but what it gives cannot be had: "
    )


def test_a_child_whose_workflow_says_nothing_of_that_gives_what_its_jobs_gave(bench: Bench) -> None:
    before, _, after = CALLED.partition("  workflow_call:")
    run = called(bench, before + after[after.index("jobs:\n") :])

    assert given_by(ended(run), bench.station) is None

    _, told = child_ended(WAIT, ended(run))
    assert told["outputs"] == {"number": "1"}


def test_nothing_is_found_out_of_a_child_that_failed(bench: Bench) -> None:
    assert given_by(ended(called(bench), result="failure"), bench.station) is None
