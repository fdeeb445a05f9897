"""Environments with protection rules: what a job waits for before it begins."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from runner.engine import control
from runner.engine.ports import Exit
from runner.errors import Rejected
from runner.model.answers import Unheard
from runner.model.environment import GATE, TIMER, Environment
from runner.model.lifecycle import decide
from runner.model.run import Finished, Job, Phase, Run, Suspended, Waiting
from runner.model.step import Result
from runner.model.waits import Awaited, Signal, Word
from runner.store import SqlEnvironments
from runner.store.views import Views
from tests.builders import an_event
from tests.engine.conftest import Bench

DEPLOY = """\
on: push
jobs:
  deploy:
    runs-on: linux
    environment: production
    steps:
      - run: ship
"""
LEGS = """\
on: push
jobs:
  deploy:
    runs-on: linux
    strategy: {fail-fast: false, matrix: {to: [staging, production]}}
    environment: {name: "${{ matrix.to }}", url: "https://${{ matrix.to }}.test"}
    steps:
      - run: ship
"""
REVIEWED = Environment("production", reviewers=("anna", "bert"))


def protect(bench: Bench, rules: Environment) -> None:
    SqlEnvironments(bench.database).keep(bench.repositories.get("git", "octo/hello"), rules)


def jobs_of(bench: Bench, run: Run) -> tuple[Job, ...]:
    return bench.store.load(run.id).jobs


def phase_of(bench: Bench, run: Run) -> Phase:
    return jobs_of(bench, run)[0].phase


def judge(bench: Bench, run: Run, word: Word, by: str = "anna", comment: str = "") -> Run:
    return control.answer(
        run.id, Awaited.APPROVAL, word, store=bench.store, dispatcher=bench.bell, by=by, comment=comment
    )


def reason_of(bench: Bench, run: Run) -> str:
    return Views(bench.database).run(run.id).jobs[0].reason


def test_a_job_waits_for_the_reviewers_of_its_environment_and_says_for_whom(bench: Bench) -> None:
    protect(bench, REVIEWED)
    run = bench.a_run(DEPLOY)
    bench.work()
    assert bench.executor.scripts == []
    wait = jobs_of(bench, run)[0].waits[0]
    assert wait.due == wait.since + timedelta(days=30)
    assert reason_of(bench, run).startswith(
        "waits for approval by anna, bert: environment production, until 20"
    )
    with pytest.raises(Rejected, match="carl is not among those who may approve job deploy: anna, bert"):
        judge(bench, run, Word.APPROVED, by="carl")
    judge(bench, run, Word.APPROVED, by="bert")
    bench.work()
    assert bench.executor.scripts == ["ship"]
    assert isinstance(phase := phase_of(bench, run), Finished)
    assert phase.result is Result.SUCCESS


def test_each_yes_says_what_it_was_to_a_gate_or_which_step(bench: Bench) -> None:
    protect(bench, REVIEWED)
    ask = "      - uses: runner/approve@v1\n      - {name: Ship it, uses: runner/approve@v1}\n"
    run = bench.a_run(DEPLOY + ask)
    for _ in range(3):
        bench.work()
        judge(bench, run, Word.APPROVED)

    assert [(one.subject, one.answer) for one in Views(bench.database).run(run.id).jobs[0].waits] == [
        ("approval of environment production", "approved"),
        ('approval of step 2 "Run runner/approve@v1"', "approved"),
        ('approval of step 3 "Ship it"', "approved"),
    ]


def test_a_name_is_the_same_environment_whatever_its_case(bench: Bench) -> None:
    protect(bench, REVIEWED)
    run = bench.a_run(DEPLOY.replace("production", "PRODUCTION"))
    bench.work()
    assert isinstance(phase_of(bench, run), Suspended)


def test_an_environment_without_rules_is_not_waited_for(bench: Bench) -> None:
    protect(bench, REVIEWED)
    bench.a_run(DEPLOY.replace("production", "staging"))
    bench.work()
    assert bench.executor.scripts == ["ship"]


def test_a_name_that_an_expression_leaves_empty_is_no_environment(bench: Bench) -> None:
    protect(bench, REVIEWED)
    bench.a_run(DEPLOY.replace("production", "\"${{ github.event.nothing && 'production' || '' }}\""))
    bench.work()
    assert bench.executor.scripts == ["ship"]


def test_a_rejected_job_fails_before_it_begins_though_its_timer_goes_on(bench: Bench) -> None:
    protect(bench, replace(REVIEWED, wait_timer=30))
    run = bench.a_run(DEPLOY)
    bench.work()
    judge(bench, run, Word.REJECTED, comment="not on a Friday")
    phase = phase_of(bench, run)
    assert isinstance(phase, Finished)
    assert (phase.result, phase.reason) == (Result.FAILURE, "anna rejected it: not on a Friday")
    assert bench.executor.scripts == []


@pytest.mark.parametrize("tolerance", ["true", "${{ github.event_name == 'push' }}"])
def test_a_job_that_may_fail_is_rejected_without_harm_to_its_run(bench: Bench, tolerance: str) -> None:
    protect(bench, REVIEWED)
    text = DEPLOY.replace("    steps:", f"    continue-on-error: {tolerance}\n    steps:")
    run = bench.a_run(f"{text}  after:\n    needs: deploy\n    runs-on: linux\n    steps: [{{run: after}}]\n")
    bench.work()
    judge(bench, run, Word.REJECTED)
    bench.work()
    phase, *_ = (job.phase for job in jobs_of(bench, run))
    assert isinstance(phase, Finished)
    assert (phase.result, phase.conclusion) == (Result.FAILURE, Result.SUCCESS)
    assert bench.executor.scripts == ["after"]
    assert bench.store.load(run.id).result is Result.SUCCESS


def test_a_job_that_may_fail_and_is_told_to_run_again_may_still(bench: Bench) -> None:
    protect(bench, REVIEWED)
    bench.executor.act = lambda command: Exit(1)
    run = bench.a_run(LEGS.replace("    steps:", "    continue-on-error: ${{ matrix.to != '' }}\n    steps:"))
    bench.work()
    judge(bench, run, Word.APPROVED)
    bench.work()
    production = jobs_of(bench, run)[1].id
    control.rerun(run.id, store=bench.store, dispatcher=bench.bell, chosen=lambda run: {production})
    bench.work()
    judge(bench, run, Word.REJECTED)
    assert [type(job.phase) for job in jobs_of(bench, run)] == [Finished, Finished]
    assert bench.store.load(run.id).result is Result.SUCCESS


def test_an_approved_job_still_waits_for_the_timer_of_its_environment(bench: Bench) -> None:
    protect(bench, replace(REVIEWED, wait_timer=30))
    run = bench.a_run(DEPLOY)
    bench.work()
    judge(bench, run, Word.APPROVED)
    job = jobs_of(bench, run)[0]
    approval, timer = job.waits
    assert (approval.key, timer.key) == (GATE, TIMER)
    assert job.wakes == timer.since + timedelta(minutes=30)
    assert reason_of(bench, run).startswith("waits for the timer of environment production, until 20")
    after = decide(bench.store.load(run.id), job.wakes)
    assert not isinstance(after.jobs[0].phase, Suspended)


def test_who_started_a_run_does_not_approve_it_where_self_review_is_prevented(bench: Bench) -> None:
    protect(bench, replace(REVIEWED, prevent_self_review=True))
    bench.write(DEPLOY)
    run = bench.store.load(bench.admit(bench.receive(an_event(actor="Anna"))).runs[0])
    bench.work()
    with pytest.raises(
        Rejected, match=r"anna started run 1, and environment production prevents self-review"
    ):
        judge(bench, run, Word.APPROVED, by="anna")
    judge(bench, run, Word.APPROVED, by="bert")
    bench.work()
    assert bench.executor.scripts == ["ship"]


@pytest.mark.parametrize(
    ("patterns", "ref", "ships"),
    [
        (("main",), "refs/heads/main", True),
        (("release/*",), "refs/heads/release/1", True),
        (("release/*", "!release/0"), "refs/heads/release/0", False),
        (("release/*",), "refs/heads/main", False),
        (("main", "v*"), "refs/tags/v1", False),
        (("refs/tags/v*",), "refs/tags/v1", True),
    ],
)
def test_only_the_branches_and_tags_that_the_rules_name_deploy(
    bench: Bench, patterns: tuple[str, ...], ref: str, ships: bool
) -> None:
    protect(bench, Environment("production", branches=patterns))
    bench.write(DEPLOY)
    run = bench.store.load(bench.admit(bench.receive(an_event(ref=ref))).runs[0])
    bench.work()
    phase = phase_of(bench, run)
    assert isinstance(phase, Finished)
    if ships:
        assert (phase.result, bench.executor.scripts) == (Result.SUCCESS, ["ship"])
        return
    kind, name = (
        ("Tag", ref[10:]) if ref.startswith("refs/tags/") else ("Branch", ref.removeprefix("refs/heads/"))
    )
    said = f'{kind} "{name}" is not allowed to deploy to production due to environment protection rules'
    assert (phase.result, phase.reason, bench.executor.scripts) == (Result.FAILURE, said, [])


def test_each_leg_waits_for_its_own_environment(bench: Bench) -> None:
    protect(bench, REVIEWED)
    run = bench.a_run(LEGS)
    bench.work()
    staging, production = jobs_of(bench, run)
    assert isinstance(staging.phase, Finished)
    assert isinstance(production.phase, Suspended)
    judge(bench, run, Word.APPROVED)
    bench.work()
    assert bench.executor.scripts == ["ship", "ship"]


def test_a_job_that_is_skipped_asks_nobody(bench: Bench) -> None:
    protect(bench, REVIEWED)
    run = bench.a_run(DEPLOY.replace("environment:", "if: false\n    environment:"))
    bench.work()
    phase = phase_of(bench, run)
    assert isinstance(phase, Finished)
    assert phase.result is Result.SKIPPED


def test_a_rerun_asks_again_and_a_try_of_the_same_attempt_does_not(bench: Bench) -> None:
    protect(bench, REVIEWED)
    bench.executor.act = lambda command: Exit(1)
    run = bench.a_run(DEPLOY.replace("    steps:", "    retry: {max-attempts: 2}\n    steps:"))
    bench.work()
    judge(bench, run, Word.APPROVED)
    bench.work()
    assert bench.executor.scripts == ["ship", "ship"]
    control.rerun(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()
    assert isinstance(phase_of(bench, run), Suspended)


def test_what_was_meant_for_one_attempt_is_said_to_no_other(bench: Bench) -> None:
    protect(bench, REVIEWED)
    run = bench.a_run(DEPLOY)
    bench.work()
    ports: Any = {"store": bench.store, "dispatcher": bench.bell}
    control.cancel(run.id, **ports)
    control.rerun(run.id, **ports)
    bench.work()
    approve = partial(control.answer, run.id, Awaited.APPROVAL, Word.APPROVED, by="anna", **ports)
    for attempt, said in ((1, "at attempt 2 by now"), (3, "has no attempt 3 yet")):
        with pytest.raises(Unheard, match=said):
            approve(attempt=attempt)
        with pytest.raises(Unheard, match=said):
            control.signal(run.id, Signal("go", "1"), attempt=attempt, **ports)
    assert isinstance(phase_of(bench, run), Suspended)
    control.signal(run.id, Signal("go", "1"), attempt=2, **ports)
    approve(attempt=2)
    bench.work()
    assert bench.executor.scripts == ["ship"]


def test_one_leg_that_runs_again_asks_again(bench: Bench) -> None:
    protect(bench, REVIEWED)
    run = bench.a_run(LEGS)
    bench.work()
    judge(bench, run, Word.APPROVED)
    bench.work()
    production = jobs_of(bench, run)[1].id
    control.rerun(run.id, store=bench.store, dispatcher=bench.bell, chosen=lambda run: {production})
    bench.work()
    assert len(bench.executor.scripts) == 2
    assert isinstance(jobs_of(bench, run)[1].phase, Suspended)


def test_a_leg_that_had_to_wait_for_its_place_waits_for_approval_from_then_on(bench: Bench) -> None:
    protect(bench, replace(REVIEWED, wait_timer=30))
    text = LEGS.replace("fail-fast: false", "max-parallel: 1").replace("staging", "PRODUCTION")
    run = bench.a_run(text)
    bench.work()
    first, second = jobs_of(bench, run)
    assert (type(first.phase), type(second.phase)) == (Suspended, Waiting)
    later = first.waits[0].since + timedelta(days=1)
    held = bench.store.load(run.id)
    held = held.with_job(replace(first, phase=Finished(Result.SUCCESS, later)))
    begun = decide(held, later).jobs[1].waits
    assert [(wait.since, wait.due) for wait in begun] == [
        (later, later + timedelta(days=30)),
        (later, later + timedelta(minutes=30)),
    ]


def test_a_job_of_a_called_workflow_waits_too(bench: Bench) -> None:
    protect(bench, REVIEWED)
    bench.write(DEPLOY.replace("on: push", "on: workflow_call"), ".runner/workflows/called.yml")
    run = bench.a_run("on: push\njobs:\n  call:\n    uses: ./.runner/workflows/called.yml\n")
    bench.work()
    assert isinstance(jobs_of(bench, run)[1].phase, Suspended)
    judge(bench, run, Word.APPROVED)
    bench.work()
    assert bench.executor.scripts == ["ship"]


def test_a_cancelled_job_stops_waiting_for_its_environment(bench: Bench) -> None:
    protect(bench, REVIEWED)
    run = bench.a_run(DEPLOY)
    bench.work()
    control.cancel(run.id, store=bench.store, dispatcher=bench.bell)
    phase = phase_of(bench, run)
    assert isinstance(phase, Finished)
    assert phase.result is Result.CANCELLED


def test_a_review_that_nobody_gave_in_30_days_fails_the_job(bench: Bench) -> None:
    protect(bench, REVIEWED)
    run = bench.a_run(DEPLOY)
    bench.work()
    due = jobs_of(bench, run)[0].wakes
    assert due is not None
    phase = decide(bench.store.load(run.id), due).jobs[0].phase
    assert isinstance(phase, Finished)
    assert (phase.result, phase.reason.startswith("nobody approved it by 20")) == (Result.FAILURE, True)


def test_what_runs_again_in_part_waits_by_the_rules_of_then(bench: Bench) -> None:
    bench.executor.act = lambda command: Exit(1)
    run = bench.a_run(LEGS)
    bench.work()
    bench.executor.scripts.clear()
    protect(bench, REVIEWED)
    production = jobs_of(bench, run)[1].id
    control.rerun(run.id, store=bench.store, dispatcher=bench.bell, chosen=lambda run: {production})
    bench.work()
    assert isinstance(jobs_of(bench, run)[1].phase, Suspended)
    assert bench.executor.scripts == []


def test_a_job_that_goes_on_at_a_step_waits_by_the_rules_of_then(bench: Bench) -> None:
    protect(bench, Environment("production", reviewers=("carl",)))
    bench.executor.act = lambda command: Exit(command.env["RUNNER_STEP"] == "2")
    run = bench.a_run(DEPLOY + "      - run: last\n")
    bench.work()
    judge(bench, run, Word.APPROVED, by="carl")
    bench.work()
    assert bench.executor.scripts == ["ship", "last"]

    protect(bench, REVIEWED)
    control.resume(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()
    assert [wait.approvers for wait in jobs_of(bench, run)[0].waits] == [("anna", "bert")]
    control.cancel(run.id, store=bench.store, dispatcher=bench.bell)

    protect(bench, Environment("production", branches=("release",)))
    control.resume(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()
    assert "not allowed to deploy" in reason_of(bench, run)

    protect(bench, Environment("production"))
    control.resume(run.id, store=bench.store, dispatcher=bench.bell)
    bench.executor.act = lambda command: Exit(0)
    bench.work()
    assert bench.executor.scripts == ["ship", "last", "last"]


def test_a_cancelled_job_that_would_go_on_is_asked_for_its_condition(bench: Bench) -> None:
    bench.executor.act = lambda command: Exit(command.env["RUNNER_STEP"] == "2")
    text = DEPLOY.replace("environment:", "if: success()\n    environment:") + "      - run: last\n"
    run = bench.a_run(text)
    bench.work()
    control.resume(run.id, store=bench.store, dispatcher=bench.bell)
    control.cancel(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()
    assert bench.executor.scripts == ["ship", "last"]
    assert isinstance(phase_of(bench, run), Finished)
