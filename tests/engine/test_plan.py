"""Planning a job, and what a cancel, a rerun or a lost worker does to what was planned."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from runner.engine.control import cancel, force_cancel, rerun
from runner.engine.perform import perform
from runner.engine.plan import PATIENCE, plan
from runner.engine.ports import Command, Exit
from runner.engine.station import Station
from runner.errors import DatabaseUnavailable, Rejected, Unavailable
from runner.model.run import Envelope, Finished, Job, Queued, Ready, Run
from runner.model.source import Route
from runner.model.step import Result
from tests.builders import a_route
from tests.engine.conftest import Bench

PATIENT = 20.0

LEGS = """\
on: push
jobs:
  test:
    strategy:
      matrix: {n: [1, 2, 3]}
    runs-on: linux
    steps:
      - name: Try ${{ matrix.n }}
        run: try ${{ matrix.n }}
  ship:
    needs: test
    runs-on: linux
    steps: [{run: ship}]
"""

CALLS = """\
on: push
jobs:
  call:
    uses: ./.runner/workflows/called.yml
    with: {name: ada}
  last:
    needs: call
    if: always()
    runs-on: linux
    steps: [{run: "last ${{ needs.call.result }} ${{ needs.call.outputs.word }}"}]
"""

CALLED = """\
on:
  workflow_call:
    inputs: {name: {type: string}}
    outputs:
      word: {value: "${{ jobs.inner.outputs.word }}"}
jobs:
  inner:
    runs-on: linux
    outputs: {word: "hello ${{ inputs.name }}"}
    steps: [{run: "inner ${{ inputs.name }}"}]
  tidy:
    needs: inner
    if: always()
    runs-on: linux
    steps: [{run: tidy}]
"""


def results(run: Run) -> dict[str, str]:
    return {
        job.name: str(job.phase.result) if isinstance(job.phase, Finished) else type(job.phase).__name__
        for job in run.jobs
    }


def asks_to_cancel(bench: Bench, run: Run) -> None:
    """Cancel a run, and wait until the worker has told the running step."""
    cancel(run.id, store=bench.store, dispatcher=bench.bell)
    assert bench.executor.sandboxes[-1].interrupted.wait(PATIENT)


# --- planning -----------------------------------------------------------------------------------


def test_each_leg_runs_with_its_values_and_is_named_for_them(bench: Bench) -> None:
    run = bench.a_run(LEGS)

    bench.work()

    ended = bench.store.load(run.id)
    assert results(ended) == dict.fromkeys(["test (1)", "test (2)", "test (3)", "ship"], "success")
    assert [job.steps[0].name for job in ended.jobs[:3]] == ["Try 1", "Try 2", "Try 3"]
    assert bench.executor.scripts == ["try 1", "try 2", "try 3", "ship"]


def test_a_message_to_plan_that_comes_again_or_late_does_nothing(bench: Bench) -> None:
    run = bench.a_run(LEGS)
    message = bench.bell.plans[0]
    bench.bell.plans *= 3

    bench.work()
    plan(message, bench.station)

    assert len(bench.store.load(run.id).jobs) == 4
    assert len(bench.executor.scripts) == 4


def test_a_message_to_plan_whose_route_is_not_the_runs_is_refused(bench: Bench) -> None:
    run = bench.a_run(LEGS)

    with pytest.raises(Rejected, match="9" * 40):
        plan(replace(bench.bell.plans[0], route=a_route("9" * 40)), bench.station)

    assert bench.store.load(run.id) == run


def test_a_job_of_an_earlier_attempt_is_not_planned_any_more(bench: Bench) -> None:
    run = bench.a_run(LEGS)
    message = bench.bell.plans.pop()
    cancel(run.id, store=bench.store, dispatcher=bench.bell)
    again = rerun(run.id, store=bench.store, dispatcher=bench.bell)

    plan(message, bench.station)

    assert bench.store.load(run.id) == again


class During:
    """Does something in the middle of planning, where a repository is read."""

    def __init__(self, bench: Bench, what: Callable[[], object]) -> None:
        self._workspaces, self._what = bench.workspaces, [what]

    def __getattr__(self, name: str) -> object:
        return getattr(self._workspaces, name)

    def fetch(self, *given: object, **named: object) -> None:
        while self._what:
            self._what.pop()()


def station_that(bench: Bench, what: Callable[[], object]) -> Station:
    return replace(bench.station, workspaces=During(bench, what))  # type: ignore[arg-type]


def test_a_job_that_is_gone_when_it_has_been_evaluated_is_nobodys(bench: Bench) -> None:
    run = bench.a_run(LEGS)

    def vanish() -> None:
        cancel(run.id, store=bench.store, dispatcher=bench.bell)
        rerun(run.id, store=bench.store, dispatcher=bench.bell)

    plan(bench.bell.plans.pop(), station_that(bench, vanish))

    assert [type(job.phase) for job in bench.store.load(run.id).jobs] == [Ready, type(run.jobs[1].phase)]


@pytest.mark.parametrize(("condition", "result"), [("success()", "skipped"), ("always()", "success")])
def test_a_cancel_while_an_if_is_evaluated_has_it_evaluated_again(
    bench: Bench, condition: str, result: str
) -> None:
    run = bench.a_run(f"on: push\njobs:\n  a: {{runs-on: linux, if: {condition}, steps: [run: a]}}")

    plan(
        bench.bell.plans.pop(),
        station_that(bench, lambda: cancel(run.id, store=bench.store, dispatcher=bench.bell)),
    )
    bench.work()

    assert results(bench.store.load(run.id)) == {"a": result}


def test_a_repository_that_does_not_answer_is_asked_again_until_patience_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*given: object, **named: object) -> None:
        raise Unavailable("octo/hello does not answer")

    run = bench.a_run(LEGS)
    message = bench.bell.plans.pop()
    with monkeypatch.context() as patched:
        patched.setattr(bench.workspaces, "fetch", away)
        with pytest.raises(Unavailable, match="does not answer"):
            plan(message, bench.station)
        assert isinstance(bench.store.load(run.id).jobs[0].phase, Ready)
        (again,) = bench.store.stranded(everything=True).plans
        assert again == message

        patched.setattr("runner.engine.plan.PATIENCE", timedelta(0))
        with pytest.raises(Unavailable):
            plan(again, bench.station)

    phase = bench.store.load(run.id).jobs[0].phase
    assert isinstance(phase, Finished)
    assert (phase.result, phase.reason) == (
        Result.FAILURE,
        "octo/hello does not answer; tried for 0 minutes",
    )
    assert bench.store.load(run.id).result is Result.FAILURE
    assert timedelta(minutes=1) < PATIENCE


def test_a_repository_that_answers_again_is_planned(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run = bench.a_run(LEGS)
    bench.bell.plans.clear()

    bench.bell.plans += bench.store.stranded(everything=True).plans
    bench.work()

    assert bench.store.load(run.id).result is Result.SUCCESS


def test_a_database_that_is_away_leaves_the_job_to_be_planned(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*given: object, **named: object) -> None:
        raise DatabaseUnavailable("away")

    run = bench.a_run(LEGS)
    monkeypatch.setattr(bench.workspaces, "fetch", away)

    with pytest.raises(DatabaseUnavailable):
        plan(bench.bell.plans.pop(), bench.station)

    assert bench.store.load(run.id) == run


def test_a_bug_of_ours_in_planning_ends_the_job_and_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*given: object, **named: object) -> None:
        raise ZeroDivisionError("of ours")

    run = bench.a_run(LEGS)
    monkeypatch.setattr(bench.workspaces, "fetch", bug)

    plan(bench.bell.plans.pop(), bench.station)

    phase = bench.store.load(run.id).jobs[0].phase
    assert isinstance(phase, Finished)
    assert phase.reason == "internal error: ZeroDivisionError"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("strategy: {matrix: '${{ fromJSON(github.ref) }}'}", "fromJSON"),
        ("strategy: {matrix: {n: '${{ fromJSON(''[]'') }}'}}", "empty list"),
        ("strategy: {fail-fast: '${{ github.ref }}'}", '"fail-fast" is true or false'),
        ("strategy: {max-parallel: '${{ github.ref }}'}", '"max-parallel" is a number from 1'),
        ("if: fromJSON(github.ref)", "fromJSON"),
    ],
)
def test_what_is_wrong_with_a_definition_is_its_jobs_failure_with_the_reason(
    bench: Bench, said: str, reason: str
) -> None:
    run = bench.a_run(f"on: push\njobs:\n  a:\n    {said}\n    runs-on: linux\n    steps: [run: a]\n")

    bench.work()

    phase = bench.store.load(run.id).jobs[0].phase
    assert isinstance(phase, Finished)
    assert (phase.result, reason in phase.reason) == (Result.FAILURE, True), phase.reason


def test_a_leg_is_named_for_all_that_is_in_its_matrix_however_deep(bench: Bench) -> None:
    text = LEGS.replace("{n: [1, 2, 3]}", "{n: [{os: linux, tags: [a, b]}], m: [true]}")
    run = bench.a_run(text)

    bench.work()

    assert list(results(bench.store.load(run.id))) == ["test (linux, a, b, true)", "ship"]


# --- legs ---------------------------------------------------------------------------------------


def test_a_leg_that_fails_has_running_ones_cancelled_and_what_needs_them_told_of_a_failure(
    bench: Bench,
) -> None:
    text = (
        LEGS + "  mourn:\n    needs: test\n    if: failure()\n    runs-on: linux\n    steps: [run: mourn]\n"
    )
    run = bench.a_run(text)

    def act(command: Command) -> Exit:
        if bench.executor.scripts[-1] == "try 1":
            # Meanwhile another worker performs the second leg, which fails.
            other = next(
                one for one in bench.bell.rung if bench.store.load(run.id).job(one.job).leg.index == 1
            )
            bench.bell.rung.remove(other)
            perform(other, replace(bench.station, worker="worker-2"))
            assert bench.executor.sandboxes[0].interrupted.wait(PATIENT)
            return Exit(130, "cancel")
        return Exit(1) if bench.executor.scripts[-1] == "try 2" else Exit(0)

    bench.executor.act = act
    bench.work()

    ended = bench.store.load(run.id)
    assert results(ended) == {
        "test (1)": "cancelled",
        "test (2)": "failure",
        "test (3)": "cancelled",
        "ship": "skipped",
        "mourn": "success",
    }
    assert ended.result is Result.FAILURE
    assert bench.executor.scripts == ["try 1", "try 2", "mourn"]


def test_without_fail_fast_every_leg_runs(bench: Bench) -> None:
    run = bench.a_run(LEGS.replace("matrix:", "fail-fast: false\n      matrix:"))
    bench.executor.act = lambda command: Exit(int("2" in bench.executor.scripts[-1]))

    bench.work()

    assert list(results(bench.store.load(run.id)).values()) == ["success", "failure", "success", "skipped"]


def test_no_more_legs_than_asked_for_are_rung_for_at_once(bench: Bench) -> None:
    run = bench.a_run(LEGS.replace("matrix:", "max-parallel: 1\n      matrix:"))
    most = 0

    def act(command: Command) -> Exit:
        nonlocal most
        legs = bench.store.load(run.id).legs((None, "test"))
        most = max(most, sum(not isinstance(leg.phase, Finished) for leg in legs if leg.attempt))
        assert bench.bell.rung == []
        return Exit(0)

    bench.executor.act = act
    bench.work()

    assert (most, bench.store.load(run.id).result) == (1, Result.SUCCESS)


def test_of_legs_that_give_the_same_output_the_one_that_ended_last_has_the_word(bench: Bench) -> None:
    text = LEGS.replace("    steps:\n", "    outputs: {n: '${{ matrix.n }}'}\n    steps:\n", 1)
    run = bench.a_run(text.replace("run: ship", "run: 'ship ${{ needs.test.outputs.n }}'"))
    while bench.bell.plans:
        plan(bench.bell.plans.pop(), bench.station)
    bench.bell.rung.reverse()

    bench.work()

    assert bench.executor.scripts == ["try 3", "try 2", "try 1", "ship 1"]
    assert bench.store.load(run.id).result is Result.SUCCESS


def test_a_rerun_plans_the_legs_anew(bench: Bench) -> None:
    run = bench.a_run(LEGS)
    bench.work()

    rerun(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    ended = bench.store.load(run.id)
    assert results(ended) == dict.fromkeys(["test (1)", "test (2)", "test (3)", "ship"], "success")
    assert bench.executor.scripts == ["try 1", "try 2", "try 3", "ship"] * 2


# --- called workflows ---------------------------------------------------------------------------


def with_called(bench: Bench, called: str = CALLED) -> None:
    bench.write(called, ".runner/workflows/called.yml")


def test_a_called_workflow_is_given_inputs_and_gives_outputs_also_in_a_rerun(bench: Bench) -> None:
    with_called(bench)
    run = bench.a_run(CALLS)
    bench.work()

    rerun(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    ended = bench.store.load(run.id)
    assert results(ended) == dict.fromkeys(["call", "last", "call / inner", "call / tidy"], "success")
    assert bench.executor.scripts == ["inner ada", "tidy", "last success hello ada"] * 2


def test_a_function_in_python_is_called_as_the_one_job_that_it_is(bench: Bench) -> None:
    on = '{"workflow_call": {"inputs": {"who": {"type": "string"}}}}'
    bench.write(
        f"from runner.sdk import workflow\n@workflow(on={on})\nasync def inner(event, step): ...\n",
        ".runner/workflows/called.py",
    )
    run = bench.a_run("on: push\njobs:\n  call: {uses: ./.runner/workflows/called.py, with: {who: ada}}\n")
    plan(bench.bell.plans[0], bench.station)

    call, inner = bench.store.load(run.id).jobs
    assert (inner.key, inner.name, inner.caller) == ("inner", "call / inner", call.id)


def test_a_called_job_that_fails_fails_what_called_it(bench: Bench) -> None:
    with_called(bench)
    run = bench.a_run(CALLS)
    bench.executor.act = lambda command: Exit(int(bench.executor.scripts[-1].startswith("inner")))

    bench.work()

    assert results(bench.store.load(run.id)) == {
        "call": "failure",
        "last": "success",
        "call / inner": "failure",
        "call / tidy": "success",
    }
    assert bench.executor.scripts == ["inner ada", "tidy", "last failure hello ada"]


def test_a_cancel_in_a_called_workflow_runs_what_asks_for_it_inside_and_outside(bench: Bench) -> None:
    with_called(bench)
    run = bench.a_run(CALLS)

    def act(command: Command) -> Exit:
        if bench.executor.scripts[-1] == "inner ada":
            asks_to_cancel(bench, run)
            return Exit(130, "cancel")
        return Exit(0)

    bench.executor.act = act
    bench.work()

    ended = bench.store.load(run.id)
    assert results(ended) == {
        "call": "cancelled",
        "last": "success",
        "call / inner": "cancelled",
        "call / tidy": "success",
    }
    assert ended.result is Result.CANCELLED


def test_a_workflow_that_calls_itself_ends_at_the_depth_that_is_allowed(bench: Bench) -> None:
    with_called(bench, "on: workflow_call\njobs:\n  deeper: {uses: ./.runner/workflows/called.yml}\n")
    run = bench.a_run("on: push\njobs:\n  call: {uses: ./.runner/workflows/called.yml}\n")

    bench.work()

    ended = bench.store.load(run.id)
    assert ended.result is Result.FAILURE
    (deepest,) = [job for job in ended.jobs if not ended.called_by(job.id)]
    assert isinstance(deepest.phase, Finished)
    assert "called.yml" in deepest.phase.reason or "deep" in deepest.phase.reason


@pytest.mark.parametrize(
    ("called", "given", "reason"),
    [
        ("inputs: {n: {type: number, required: true}}", "", "needs the input 'n'"),
        ("inputs: {n: {type: number}}", "with: {n: '${{ github.ref }}'}", "is a number, not"),
        ("inputs: {n: {type: number}}", "with: {m: 1}", "has no input 'm'"),
        ("secrets: {token: {required: true}}", "", "token"),
    ],
)
def test_what_a_called_workflow_does_not_get_as_it_wants_it_is_the_callers_failure(
    bench: Bench, called: str, given: str, reason: str
) -> None:
    with_called(
        bench,
        f"on:\n  workflow_call:\n    {called}\njobs:\n  x: {{runs-on: linux, steps: [run: x]}}\n",
    )
    run = bench.a_run(f"on: push\njobs:\n  call:\n    uses: ./.runner/workflows/called.yml\n    {given}\n")

    bench.work()

    ended = bench.store.load(run.id)
    assert ended.result is Result.FAILURE
    reasons = [*ended.problems, *(job.phase.reason for job in ended.jobs if isinstance(job.phase, Finished))]
    assert any(reason in one for one in reasons), reasons
    assert bench.executor.scripts == []


# --- cancel -------------------------------------------------------------------------------------

ALWAYS = """\
on: push
jobs:
  build:
    runs-on: linux
    steps:
      - run: one
      - run: two
      - run: three
        if: always()
      - run: four
        if: cancelled()
      - run: five
        if: failure()
  after:
    needs: build
    if: always()
    runs-on: linux
    steps: [{run: "after ${{ needs.build.result }}"}]
  never:
    needs: build
    runs-on: linux
    steps: [{run: never}]
"""


def test_a_cancelled_job_does_what_asks_for_it_and_so_do_jobs_after_it(bench: Bench) -> None:
    run = bench.a_run(ALWAYS)
    fates = {}

    def act(command: Command) -> Exit:
        fates[bench.executor.scripts[-1]] = command.cancellable
        if bench.executor.scripts[-1] == "one":
            asks_to_cancel(bench, run)
            return Exit(130, "cancel")
        return Exit(0)

    bench.executor.act = act
    bench.work()

    ended = bench.store.load(run.id)
    assert results(ended) == {"build": "cancelled", "after": "success", "never": "cancelled"}
    assert ended.result is Result.CANCELLED
    assert fates == {"one": True, "three": False, "four": False, "after cancelled": True}
    steps = bench.store.recall(ended.jobs[0])
    assert {key: str(one.outcome.result) for key, one in steps.items()} == {
        "1": "cancelled",
        "3": "success",
        "4": "success",
        "5": "skipped",
    }


def test_a_step_that_asks_to_run_always_is_not_cancelled_while_it_runs(bench: Bench) -> None:
    run = bench.a_run(ALWAYS)

    def act(command: Command) -> Exit:
        if bench.executor.scripts[-1] == "three":
            asks_to_cancel(bench, run)
        return Exit(0)

    bench.executor.act = act
    bench.work()

    ended = bench.store.load(run.id)
    assert ended.result is Result.CANCELLED
    assert bench.executor.scripts == ["one", "two", "three", "four", "after cancelled"]
    assert bench.store.recall(ended.jobs[0])["3"].outcome.result is Result.SUCCESS


def test_what_goes_on_after_a_cancel_has_only_minutes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("heart", "stage"):
        monkeypatch.setattr(f"runner.engine.{module}.CANCEL_SECONDS", 3.0)
    run = bench.a_run(ALWAYS)

    def act(command: Command) -> Exit:
        if bench.executor.scripts[-1] == "one":
            asks_to_cancel(bench, run)
            return Exit(130, "cancel")
        if bench.executor.scripts[-1] == "three":
            assert command.timeout <= 3.0
            assert bench.executor.sandboxes[0].ended.wait(PATIENT)
            return Exit(137, "stop")
        return Exit(0)

    bench.executor.act = act
    bench.work()

    ended = bench.store.load(run.id)
    assert ended.result is Result.CANCELLED
    assert bench.executor.scripts == ["one", "three", "after cancelled"]


def test_a_cancel_before_anything_runs_ends_all_but_what_asks_for_it(bench: Bench) -> None:
    run = bench.a_run(ALWAYS)

    cancel(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    assert results(bench.store.load(run.id)) == {
        "build": "cancelled",
        "after": "success",
        "never": "cancelled",
    }
    assert bench.executor.scripts == ["after cancelled"]


def test_a_second_cancel_changes_nothing_and_one_by_force_ends_it_all(bench: Bench) -> None:
    run = bench.a_run(ALWAYS)
    cancel(run.id, store=bench.store, dispatcher=bench.bell)
    while bench.bell.plans:
        plan(bench.bell.plans.pop(), bench.station)
    after = bench.store.load(run.id)

    assert cancel(run.id, store=bench.store, dispatcher=bench.bell) == after
    force_cancel(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    assert set(results(bench.store.load(run.id)).values()) == {"cancelled"}
    assert bench.executor.scripts == []


def test_a_cancel_of_what_was_not_planned_yet_ends_it(bench: Bench) -> None:
    run = bench.a_run(LEGS)

    cancel(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    assert results(bench.store.load(run.id)) == {"test": "cancelled", "ship": "cancelled"}


def test_where_a_worker_is_lost_with_a_cancelled_job_another_does_what_is_left_of_it(bench: Bench) -> None:
    run = bench.a_run(ALWAYS)

    def lost(command: Command) -> Exit:
        if bench.executor.scripts[-1] == "one":
            asks_to_cancel(bench, run)
            raise DatabaseUnavailable("away")
        return Exit(0)

    bench.executor.act = lost
    with pytest.raises(DatabaseUnavailable):
        bench.work()
    bench.bell.rung += bench.store.stranded(everything=True).envelopes
    bench.work()

    ended = bench.store.load(run.id)
    assert results(ended) == {"build": "cancelled", "after": "success", "never": "cancelled"}
    assert bench.executor.scripts == ["one", "three", "four", "after cancelled"]


def envelope_of(run: Run, job: Job) -> Envelope:
    return Envelope(Route(run.route.forge, run.route.repo, run.route.commit), run.id, job.id, job.labels)


def test_a_job_that_was_cancelled_in_the_queue_is_not_begun_by_a_late_message(bench: Bench) -> None:
    run = bench.a_run(ALWAYS)
    assert isinstance(run.jobs[0].phase, Queued)
    cancel(run.id, store=bench.store, dispatcher=bench.bell)

    perform(envelope_of(run, run.jobs[0]), bench.station)

    assert bench.executor.scripts == []
