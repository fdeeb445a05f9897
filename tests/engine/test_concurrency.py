"""What workflows say about concurrency: which group each run and job comes to, and what is wrong with it."""

import pytest

from runner.engine.control import cancel, rerun
from runner.engine.ports import Command, Exit
from runner.model.run import Finished, Job, Run
from runner.model.step import Result
from runner.model.turns import State, Turn
from tests.builders import an_event
from tests.engine.conftest import Bench

ONE = "  a: {runs-on: linux, steps: [{run: go}]}"


def pushed(bench: Bench, text: str, guid: str = "guid", ref: str = "refs/heads/main") -> Run:
    bench.write(text)
    delivery = bench.admit(bench.receive(an_event(ref=ref, payload={"guid": guid}), guid))
    return bench.store.load(delivery.runs[0])


def workflow(concurrency: str, jobs: str = ONE) -> str:
    return f"on: push\nconcurrency: {concurrency}\njobs:\n{jobs}\n"


def job(concurrency: str, more: str = "") -> str:
    rest = "    runs-on: linux\n    steps: [{run: go}]\n"
    return f"on: push\njobs:\n  a:\n    concurrency: {concurrency}\n{more}{rest}"


def now(bench: Bench, run: Run) -> Run:
    return bench.store.load(run.id)


def reason(job: Job) -> str:
    assert isinstance(job.phase, Finished), job
    return job.phase.reason


def test_runs_of_one_group_begin_one_after_another(bench: Bench) -> None:
    first = pushed(bench, workflow('"deploy-${{ github.ref_name }}"'), "1")
    second = pushed(bench, workflow('"Deploy-${{ github.ref_name }}"'), "2")
    other = pushed(bench, workflow('"deploy-${{ github.ref_name }}"'), "3", ref="refs/heads/dev")
    assert [len(bench.bell.plans), [one.run for one in bench.bell.rung]] == [0, [first.id, other.id]]

    bench.work()

    assert [now(bench, run).result for run in (first, second, other)] == [Result.SUCCESS] * 3


def test_a_group_may_ask_for_inputs_variables_and_the_runs_own_number(bench: Bench) -> None:
    run = pushed(bench, workflow('"${{ vars.none }}-${{ inputs.none }}-${{ github.run_number }}"'))

    assert run.turn is not None
    assert (run.turn.group, run.turn.state) == ("--1", State.HELD)


def test_the_group_of_a_run_that_is_started_by_hand_may_ask_for_its_inputs(bench: Bench) -> None:
    bench.write(
        "on: {workflow_dispatch: {inputs: {where: {type: string}, now: {type: boolean}}}}\n"
        'concurrency: {group: "of ${{ inputs.where }}", cancel-in-progress: "${{ inputs.now }}"}\n'
        f"jobs:\n{ONE}\n"
    )
    given = {"workflow": "ci.yml", "inputs": {"where": "north", "now": True}}
    delivery = bench.admit(bench.receive(an_event(kind="workflow_dispatch", payload=given)))

    turn = bench.store.load(delivery.runs[0]).turn

    assert turn == Turn("of north", "OF NORTH", cancels=True, state=State.HELD)


def test_a_newer_run_cancels_the_one_in_progress_where_its_expression_says_so(bench: Bench) -> None:
    text = workflow("{group: g, cancel-in-progress: \"${{ github.ref_name != 'main' }}\"}")
    runs = [
        pushed(bench, text, "1", ref="refs/heads/dev"),
        pushed(bench, text, "2"),
        pushed(bench, text, "3", "refs/heads/dev"),
    ]
    bench.work()

    first, second, third = (now(bench, run) for run in runs)
    assert [run.result for run in (first, second, third)] == [
        Result.CANCELLED,
        Result.CANCELLED,
        Result.SUCCESS,
    ]
    assert reason(first.jobs[0]) == f'cancelled by run {third.id}, which is next in the concurrency group "g"'
    assert reason(second.jobs[0]) == f'replaced by run {third.id} in the concurrency group "g"'


def test_a_running_step_is_interrupted_in_order_and_the_newcomer_begins_after_what_always_runs(
    bench: Bench,
) -> None:
    steps = "  a: {runs-on: linux, steps: [{run: first}, {run: tidy, if: always()}]}"
    text = workflow("{group: g, cancel-in-progress: true}", steps)

    def act(command: Command) -> Exit:
        if len(bench.executor.scripts) == 1:
            pushed(bench, text, "2")
            assert bench.executor.sandboxes[0].interrupted.wait(20)
            return Exit(130, "cancel")
        return Exit(0)

    bench.executor.act = act
    first = pushed(bench, text, "1")
    bench.work()

    assert now(bench, first).result is Result.CANCELLED
    assert bench.executor.scripts == ["first", "tidy", "first", "tidy"]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ('"${{ inputs.none }}"', '"concurrency" gives an empty group; a group needs a name'),
        ("\"${{ fromJSON('x') }}\"", '"concurrency" cannot be evaluated: '),
        (
            '{group: g, cancel-in-progress: "${{ github.ref }}"}',
            "\"cancel-in-progress\" is true or false, not 'refs/heads/main'",
        ),
        (
            '{group: g, queue: max, cancel-in-progress: "${{ 1 == 1 }}"}',
            '"cancel-in-progress" is true, but "queue: max" lets all wait; use one of them',
        ),
        (f'"${{{{ github.ref }}}}{"x" * 250}"', "a name of 265 letters; 255 are the most"),
    ],
)
def test_what_is_wrong_with_a_group_is_the_failure_of_its_run_or_job(
    bench: Bench, said: str, problem: str
) -> None:
    run = pushed(bench, workflow(said), "1")
    assert (run.result, run.jobs) == (Result.FAILURE, ())
    assert run.problems[0].startswith(".runner/workflows/ci.yml: ")
    assert problem in run.problems[0]

    of_job = pushed(bench, job(said), "2")
    bench.work()

    assert now(bench, of_job).result is Result.FAILURE
    assert problem in reason(now(bench, of_job).jobs[0])


def test_legs_of_a_matrix_may_have_groups_of_their_own_or_share_one(bench: Bench) -> None:
    matrix = "    strategy: {matrix: {n: [1, 2, 3]}}\n"
    own = pushed(bench, job('"g-${{ matrix.n }}-${{ strategy.job-total }}"', matrix), "1")
    bench.work()
    assert [str(leg.turns[0].group) for leg in now(bench, own).jobs] == ["g-1-3", "g-2-3", "g-3-3"]

    shared = pushed(bench, job("{group: g, queue: max}", matrix), "2")
    bench.work()
    assert now(bench, shared).result is Result.SUCCESS
    ends = [leg.phase.at for leg in now(bench, shared).jobs if isinstance(leg.phase, Finished)]
    starts = [leg.started for leg in now(bench, shared).jobs]
    assert all(started and started >= ended for started, ended in zip(starts[1:], ends, strict=False))

    single = pushed(bench, job("g", matrix), "3")
    bench.work()
    results = [leg.phase.result for leg in now(bench, single).jobs if isinstance(leg.phase, Finished)]
    assert results == [Result.SUCCESS, Result.CANCELLED, Result.SUCCESS], "one waits, and the newest is it"


def test_a_skipped_job_never_comes_to_its_group(bench: Bench) -> None:
    condition = "    if: github.event.guid == '1'\n"
    text = job("{group: g, cancel-in-progress: \"${{ github.event.guid == '2' }}\"}", condition)
    held, skipped = pushed(bench, text, "1"), pushed(bench, text, "2")

    bench.work()

    assert [now(bench, run).result for run in (held, skipped)] == [Result.SUCCESS, Result.SKIPPED]


CALLER = """\
on: push
CONCURRENCY
jobs:
  call:
    OWN
    uses: ./.runner/workflows/called.yml
    with: {where: north}
"""
CALLED = """\
on: {workflow_call: {inputs: {where: {type: string}}}}
concurrency: GROUP
jobs:
  inner: {runs-on: linux, steps: [{run: inner}]}
"""


def calling(bench: Bench, concurrency: str, own: str, called: str, guid: str = "1") -> Run:
    bench.write(CALLED.replace("GROUP", called), ".runner/workflows/called.yml")
    return pushed(bench, CALLER.replace("CONCURRENCY", concurrency).replace("OWN", own), guid)


def test_a_called_workflow_comes_to_its_own_group_with_its_inputs_and_the_caller_holds_both(
    bench: Bench,
) -> None:
    first = calling(bench, "", "concurrency: {group: of-job, queue: max}", '"of-${{ inputs.where }}"', "1")
    second = calling(bench, "", "concurrency: {group: of-job, queue: max}", '"of-${{ inputs.where }}"', "2")

    bench.work()

    for run in (now(bench, first), now(bench, second)):
        assert [turn.group for turn in run.jobs[0].turns] == ["of-job", "of-north"]
        assert run.result is Result.SUCCESS
    assert bench.executor.scripts == ["inner", "inner"]


@pytest.mark.parametrize(
    ("concurrency", "own", "holder"),
    [("concurrency: G", "", "run 1"), ("", "concurrency: G", "run 1, job call")],
)
def test_a_called_workflow_in_its_callers_group_is_a_deadlock_that_is_named(
    bench: Bench, concurrency: str, own: str, holder: str
) -> None:
    run = calling(bench, concurrency, own, "g")

    bench.work()

    assert now(bench, run).result is Result.CANCELLED
    assert reason(now(bench, run).jobs[0]) == (
        f'deadlock: it would wait for the concurrency group "g", which {holder} has until this has ended'
    )


def test_a_rerun_waits_for_its_group_anew(bench: Bench) -> None:
    text = workflow("g")
    first = pushed(bench, text, "1")
    bench.work()
    second = pushed(bench, text, "2")

    rerun(first.id, store=bench.store, dispatcher=bench.bell)
    assert now(bench, first).held_back
    cancel(second.id, store=bench.store, dispatcher=bench.bell)
    assert not now(bench, first).held_back
    bench.work()

    assert now(bench, first).result is Result.SUCCESS
