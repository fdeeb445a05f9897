"""What a cancel leaves of jobs that have begun: those whose `if` holds all the same. Force ends all."""

from datetime import timedelta

import pytest

from runner.engine.control import cancel, force_cancel
from runner.engine.perform import perform
from runner.engine.plan import plan
from runner.engine.ports import Command, Exit
from runner.errors import Unavailable
from runner.model.step import Result
from tests.engine.conftest import Bench
from tests.engine.test_plan import PATIENT, results, with_called

OUTLIVES = """\
on: push
jobs:
  kept:
    if: always()
    runs-on: linux
    steps: [run: one, {run: two, if: cancelled()}, run: three]
  doubtful:
    if: "!cancelled()"
    runs-on: linux
    steps: [run: other, {run: tidy, if: always()}]
  rest:
    needs: [kept, doubtful]
    if: failure() || cancelled()
    runs-on: linux
    steps: [run: "rest ${{ needs.kept.result }} ${{ needs.doubtful.result }}"]
"""


def all_planned(bench: Bench) -> None:
    while bench.bell.plans:
        plan(bench.bell.plans.pop(0), bench.station)


def test_of_running_jobs_a_cancel_ends_those_whose_if_does_not_hold_any_more(bench: Bench) -> None:
    run = bench.a_run(OUTLIVES)

    def act(command: Command) -> Exit:
        match bench.executor.scripts[-1]:
            case "one":
                cancel(run.id, store=bench.store, dispatcher=bench.bell)
                asked = [job.key for job in bench.store.load(run.id).jobs if job.asked is not None]
                assert asked == ["kept", "doubtful"]
                all_planned(bench)
        return Exit(0)

    bench.executor.act = act
    bench.work()

    ended = bench.store.load(run.id)
    assert results(ended) == {"kept": "success", "doubtful": "cancelled", "rest": "success"}
    assert ended.result is Result.CANCELLED
    # In a job that goes on, nothing is cancelled.
    assert bench.executor.scripts == ["one", "three", "rest success cancelled"]


def test_a_running_job_whose_if_does_not_hold_any_more_is_interrupted_in_order(bench: Bench) -> None:
    run = bench.a_run(OUTLIVES.replace("always()", "success()", 1))

    def act(command: Command) -> Exit:
        if bench.executor.scripts[-1] == "one":
            cancel(run.id, store=bench.store, dispatcher=bench.bell)
            all_planned(bench)
            assert bench.executor.sandboxes[-1].interrupted.wait(PATIENT)
            return Exit(130, "cancel")
        return Exit(0)

    bench.executor.act = act
    bench.work()

    assert results(bench.store.load(run.id)) == {
        "kept": "cancelled",
        "doubtful": "cancelled",
        "rest": "success",
    }
    assert bench.executor.scripts == ["one", "two", "rest cancelled cancelled"]


def test_a_job_that_is_asked_is_begun_by_nobody_until_it_has_answered(bench: Bench) -> None:
    run = bench.a_run(OUTLIVES)
    all_planned(bench)
    early, bench.bell.rung = bench.bell.rung, []
    cancel(run.id, store=bench.store, dispatcher=bench.bell)
    for envelope in early:
        perform(envelope, bench.station)
    assert bench.executor.scripts == []

    bench.work()

    assert results(bench.store.load(run.id)) == {
        "kept": "success",
        "doubtful": "cancelled",
        "rest": "success",
    }
    assert bench.executor.scripts == ["one", "three", "rest success cancelled"]


@pytest.mark.parametrize(
    "text", [b"jobs: [", OUTLIVES.replace("always()", "fromJSON('[') && always()").encode()]
)
def test_a_cancelled_job_that_cannot_be_asked_any_more_ends(bench: Bench, text: bytes) -> None:
    run = bench.a_run(OUTLIVES)
    all_planned(bench)
    bench.workspaces.files[run.workflow] = text

    cancel(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    ended = bench.store.load(run.id)
    assert ended.result is Result.CANCELLED
    assert {name: result for name, result in results(ended).items() if name != "rest"} == {
        "kept": "cancelled",
        "doubtful": "cancelled",
    }


def test_a_cancelled_job_whose_repository_does_not_answer_ends_after_some_patience(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.a_run(OUTLIVES)
    all_planned(bench)
    cancel(run.id, store=bench.store, dispatcher=bench.bell)
    asking = list(bench.bell.plans)

    def away(*_: object, **__: object) -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr(bench.workspaces, "fetch", away)
    for envelope in asking:
        with pytest.raises(Unavailable):
            plan(envelope, bench.station)
    assert [job.asked is None for job in bench.store.load(run.id).jobs] == [False, False, True]
    monkeypatch.setattr("runner.engine.plan.PATIENCE", timedelta(0))
    for envelope in asking:
        with pytest.raises(Unavailable):
            plan(envelope, bench.station)

    assert results(bench.store.load(run.id)) == {
        "kept": "cancelled",
        "doubtful": "cancelled",
        "rest": "Ready",
    }


def test_a_called_workflow_is_asked_job_by_job_when_its_run_is_cancelled(bench: Bench) -> None:
    with_called(
        bench,
        """\
on: workflow_call
jobs:
  plain: {runs-on: linux, steps: [run: plain]}
  kept: {if: always(), runs-on: linux, steps: [run: kept]}
""",
    )
    run = bench.a_run("on: push\njobs:\n  call: {if: always(), uses: ./.runner/workflows/called.yml}\n")
    all_planned(bench)

    cancel(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    assert results(bench.store.load(run.id)) == {
        "call": "cancelled",
        "call / plain": "cancelled",
        "call / kept": "success",
    }


def test_an_end_by_force_stops_the_running_step_and_writes_nothing_more(bench: Bench) -> None:
    run = bench.a_run(OUTLIVES)

    def act(command: Command) -> Exit:
        force_cancel(run.id, store=bench.store, dispatcher=bench.bell)
        assert bench.executor.sandboxes[-1].ended.wait(PATIENT)
        return Exit(137, "stop")

    bench.executor.act = act
    bench.work()

    ended = bench.store.load(run.id)
    assert set(results(ended).values()) == {"cancelled"}
    assert ended.result is Result.CANCELLED
    assert [dict(bench.store.recall(job)) for job in ended.jobs] == [{}, {}, {}]
    assert len(bench.executor.scripts) == 1
