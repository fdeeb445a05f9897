"""Jobs that wait for an instant, a signal or a person, and hold no worker meanwhile."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from runner.engine import control
from runner.engine.control import Sent
from runner.engine.sweep import sweep
from runner.errors import Rejected
from runner.model.run import Finished, Job, Queued, Run, Suspended
from runner.model.step import Result
from runner.model.waits import Awaited, Signal, Word
from runner.store.views import Views
from runner.vault import MemoryVault
from tests.engine.conftest import Bench

SLEEP = """\
on: push
jobs:
  build:
    runs-on: linux
    steps:
      - run: one
      - uses: runner/sleep@v1
        with: {for: 200ms}
      - run: two
"""
WAIT = """\
on: push
jobs:
  build:
    runs-on: linux
    outputs: {region: "${{ steps.go.outputs.region }}", payload: "${{ steps.go.outputs.payload }}"}
    steps:
      - run: one
      - id: go
        uses: runner/wait@v1
        with: {signal: go, timeout: 1h}
      - run: two
"""
APPROVE = """\
on: push
jobs:
  build:
    runs-on: linux
    outputs: {by: "${{ steps.ok.outputs.by }}", approved: "${{ steps.ok.outputs.approved }}"}
    steps:
      - id: ok
        uses: runner/approve@v1
        with: {message: "ship?", approvers: "anna, bert"}
      - run: two
"""


def only_job(bench: Bench, run: Run) -> Job:
    return bench.store.load(run.id).jobs[0]


def send(bench: Bench, run: Run, name: str = "go", key: str = "k", payload: object = None) -> Sent:
    said = Signal(name, key, "anna", payload)
    return control.signal(run.id, said, store=bench.store, dispatcher=bench.bell)


def judge(bench: Bench, run: Run, word: Word, by: str = "anna", comment: str = "") -> Run:
    return control.answer(
        run.id, Awaited.APPROVAL, word, store=bench.store, dispatcher=bench.bell, by=by, comment=comment
    )


def test_a_sleep_gives_the_worker_back_and_goes_on_when_it_is_due(bench: Bench) -> None:
    run = bench.a_run(SLEEP)
    bench.work()
    job = only_job(bench, run)
    assert isinstance(job.phase, Suspended)
    assert job.wakes is not None
    while datetime.now(UTC) < job.wakes:
        pass
    sweep(store=bench.store, dispatcher=bench.bell)
    bench.work()
    job = only_job(bench, run)
    assert isinstance(job.phase, Finished)
    assert job.phase.result is Result.SUCCESS
    assert job.attempt == 2
    slept = bench.store.recall(job)["2"]
    assert slept.finished - slept.started >= timedelta(milliseconds=200)


def test_nobody_is_rung_for_while_it_sleeps(bench: Bench) -> None:
    run = bench.a_run(SLEEP.replace("200ms", "1h"))
    bench.work()
    sweep(store=bench.store, dispatcher=bench.bell, everything=True)
    rest = sweep(store=bench.store, dispatcher=bench.bell)
    assert rest is not None
    assert rest > timedelta(minutes=59)
    assert bench.bell.rung == []
    assert isinstance(only_job(bench, run).phase, Suspended)


def test_a_signal_wakes_who_waits_and_its_payload_becomes_outputs(bench: Bench) -> None:
    run = bench.a_run(WAIT)
    bench.work()
    assert isinstance(only_job(bench, run).phase, Suspended)
    send(bench, run, payload={"region": "eu", "count": 3})
    bench.work()
    job = only_job(bench, run)
    assert isinstance(job.phase, Finished)
    assert job.phase.result is Result.SUCCESS
    assert job.outputs["region"] == "eu"
    assert job.outputs["payload"] == '{"region": "eu", "count": 3}'


def test_a_signal_that_came_before_the_wait_is_taken_when_it_begins(bench: Bench) -> None:
    run = bench.a_run(WAIT)
    send(bench, run, payload={"region": "us"})
    bench.work()
    assert only_job(bench, run).outputs["region"] == "us"


def test_whoever_sends_a_signal_hears_whether_something_waits_for_it_and_for_what_else(bench: Bench) -> None:
    run = bench.a_run(WAIT)
    early = send(bench, run, "went", key="early")
    bench.work()
    misspelt = send(bench, run, "og")
    meant = send(bench, run)
    copy = send(bench, run)

    assert early == Sent(fresh=True, taken=False, awaited=())
    assert misspelt == Sent(fresh=True, taken=False, awaited=("go",))
    assert meant == Sent(fresh=True, taken=True, awaited=())
    assert copy == Sent(fresh=False, taken=False, awaited=())


def test_of_two_that_wait_for_one_name_a_signal_is_for_the_first_and_the_other_waits_on(bench: Bench) -> None:
    again = WAIT.partition("jobs:\n")[2].replace("build:", "other:")
    run = bench.a_run(WAIT + again)
    bench.work()

    assert send(bench, run, key="1") == Sent(fresh=True, taken=True, awaited=("go",))
    assert send(bench, run, key="2") == Sent(fresh=True, taken=True, awaited=())


def test_a_copy_of_a_signal_is_known_by_its_key(bench: Bench) -> None:
    run = bench.a_run(WAIT)
    assert send(bench, run, key="same").fresh
    assert not send(bench, run, key="same").fresh


def test_a_signal_to_a_run_that_has_ended_is_refused(bench: Bench) -> None:
    run = bench.a_run()
    bench.work()
    with pytest.raises(Rejected, match="has ended"):
        send(bench, run)


def test_a_wait_that_nobody_signals_times_out(bench: Bench) -> None:
    run = bench.a_run(WAIT.replace("1h", "50ms"))
    bench.work()
    wakes = only_job(bench, run).wakes
    assert wakes is not None
    while datetime.now(UTC) < wakes:
        pass
    sweep(store=bench.store, dispatcher=bench.bell)
    bench.work()
    job = only_job(bench, run)
    assert isinstance(job.phase, Finished)
    assert job.phase.result is Result.TIMED_OUT
    assert 'no signal "go"' in bench.store.recall(job)["2"].outcome.reason


def test_only_approvers_approve_and_who_did_is_an_output(bench: Bench) -> None:
    run = bench.a_run(APPROVE)
    bench.work()
    with pytest.raises(Rejected, match="carl is not among those who may approve job build: anna, bert"):
        judge(bench, run, Word.APPROVED, by="carl")
    judge(bench, run, Word.APPROVED, by="bert")
    bench.work()
    job = only_job(bench, run)
    assert isinstance(job.phase, Finished)
    assert job.phase.result is Result.SUCCESS
    assert job.outputs == {"by": "bert", "approved": "true"}
    with pytest.raises(Rejected, match="bert has said approved"):
        judge(bench, run, Word.REJECTED)


def set_secret(bench: Bench, value: str) -> None:
    bench.station = replace(bench.station, vault=MemoryVault({"TOKEN": value}))


def test_what_is_waited_for_shows_no_secret_and_has_an_end(bench: Bench) -> None:
    set_secret(bench, "hunter2-hunter2")
    long = "x" * 2000
    run = bench.a_run(APPROVE.replace("ship?", f"ship ${{{{ secrets.TOKEN }}}} {long}"))
    bench.work()
    (wait,) = only_job(bench, run).waits
    assert wait.message == f"ship *** {long}"[:1000] + "…"


def test_the_name_of_a_signal_has_no_secret_in_it(bench: Bench) -> None:
    set_secret(bench, "hunter2-hunter2")
    run = bench.a_run(WAIT.replace("signal: go", "signal: '${{ secrets.TOKEN }}'"))
    bench.work()
    assert isinstance(only_job(bench, run).phase, Finished)
    said = Views(bench.database).run(run.id).jobs[0].steps[1].reason
    assert said == "`signal` has a secret in it, and is shown to all who read runs"


def test_a_rejected_approval_fails_the_job_with_the_comment(bench: Bench) -> None:
    run = bench.a_run(APPROVE)
    bench.work()
    judge(bench, run, Word.REJECTED, comment="not on a Friday")
    bench.work()
    job = only_job(bench, run)
    assert isinstance(job.phase, Finished)
    assert job.phase.result is Result.FAILURE
    assert bench.store.recall(job)["1"].outcome.reason == "anna rejected it: not on a Friday"


def test_a_cancel_ends_a_job_that_waits(bench: Bench) -> None:
    run = bench.a_run(WAIT)
    bench.work()
    control.cancel(run.id, store=bench.store, dispatcher=bench.bell)
    assert isinstance(only_job(bench, run).phase, Queued)
    bench.work()
    job = only_job(bench, run)
    assert isinstance(job.phase, Finished)
    assert job.phase.result is Result.CANCELLED
