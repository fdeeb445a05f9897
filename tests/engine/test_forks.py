"""Jobs that go on at a step of an earlier attempt of their run: what is done, what is not, and with what."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.engine.control import rerun, rerun_from, resume
from runner.engine.perform import perform
from runner.engine.ports import Command, Exit
from runner.errors import DatabaseUnavailable, NotFound, Rejected
from runner.model.reruns import failed_jobs
from runner.model.run import Finished, Job, Run
from runner.model.step import Result
from tests.engine.conftest import Bench
from tests.fakes import FakeWorkspace

THREE_STEPS = """\
name: ci
on: push
jobs:
  build:
    runs-on: linux
    outputs: {word: "${{ steps.first.outputs.word }}"}
    steps:
      - {id: first, name: First, run: "echo word=kept >> $GITHUB_OUTPUT"}
      - {name: Second, run: "two ${{ steps.first.outputs.word }}"}
      - {id: last, name: Last, if: always(), run: three}
  deploy:
    needs: build
    runs-on: linux
    steps: [{run: "deploy ${{ needs.build.outputs.word }}"}]
"""


class Steps:
    """Does each step, but for those that are to fail; `done` are the jobs and steps that were begun."""

    def __init__(self, bench: Bench, *failing: str) -> None:
        self.failing = set(failing)
        self.done: list[str] = []
        bench.executor.act = self.act

    def act(self, command: Command) -> Exit:
        step = f"{command.env['GITHUB_JOB']} {command.env['RUNNER_STEP']}"
        self.done.append(f"{step} {command.env['RUNNER_ATTEMPT']}")
        if step == "build 1":
            Path(command.env["GITHUB_OUTPUT"]).write_text("word=kept\n")
        return Exit(1 if step in self.failing else 0)


def a_failed_run(bench: Bench, text: str = THREE_STEPS) -> tuple[Run, Steps]:
    run, steps = bench.a_run(text), Steps(bench, "build 2")
    bench.work()
    steps.done.clear()
    steps.failing.clear()
    return bench.store.load(run.id), steps


def build_of(run: Run) -> Job:
    return next(job for job in run.jobs if job.key == "build")


def test_a_job_that_failed_goes_on_at_its_failed_step_with_what_the_steps_before_gave(bench: Bench) -> None:
    run, steps = a_failed_run(bench)

    again = resume(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    assert steps.done == ["build 2 2", "build 3 2", "deploy 1 1"]
    assert "two kept" in bench.executor.scripts
    assert bench.executor.scripts[-1] == "deploy kept"
    ended = bench.store.load(run.id)
    assert (again.attempt, ended.result) == (2, Result.SUCCESS)
    old = build_of(run)
    line = ("job-" + str(old.id),)
    assert bench.workspaces.inherited == [(f"job-{build_of(ended).id}", line, "base")]
    assert list(bench.store.recall(old)) == ["1", "2", "3"]


def test_a_job_that_succeeded_goes_on_from_the_step_that_is_named(bench: Bench) -> None:
    run = bench.a_run(THREE_STEPS)
    steps = Steps(bench)
    bench.work()
    steps.done.clear()
    build = build_of(bench.store.load(run.id))

    rerun_from(run.id, [(build.id, "last")], store=bench.store, dispatcher=bench.bell)
    bench.work()

    assert steps.done == ["build 3 2", "deploy 1 1"]
    rerun_from(
        run.id, [(build_of(bench.store.load(run.id)).id, "1")], store=bench.store, dispatcher=bench.bell
    )
    steps.done.clear()
    bench.work()
    assert steps.done == ["build 1 1", "build 2 1", "build 3 1", "deploy 1 1"]


def test_a_fork_can_be_forked_again(bench: Bench) -> None:
    run, steps = a_failed_run(bench)
    steps.failing.add("build 3")
    resume(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()
    steps.failing.clear()
    steps.done.clear()

    resume(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    assert steps.done == ["build 3 3", "deploy 1 1"]
    newest = build_of(bench.store.load(run.id))
    assert newest.forked is not None
    assert newest.forked.line == ((newest.forked.job, 2), (build_of(run).id, 1))
    assert len(bench.workspaces.inherited[-1][1]) == 2


def test_a_fork_whose_worker_is_lost_goes_on_with_what_it_has_done_and_what_it_began_with(
    bench: Bench,
) -> None:
    run, steps = a_failed_run(bench)
    resume(run.id, store=bench.store, dispatcher=bench.bell)
    record = bench.store.record

    def lose(*_: object) -> None:
        raise DatabaseUnavailable("gone")

    def act(command: Command) -> Exit:
        if command.env["RUNNER_STEP"] == "3":
            bench.store.record = lose  # type: ignore[assignment, method-assign]
        return steps.act(command)

    bench.executor.act = act
    with pytest.raises(DatabaseUnavailable):
        perform(bench.bell.rung.pop(), bench.station)
    bench.store.record = record  # type: ignore[method-assign]
    bench.executor.act = steps.act

    perform(bench.store.stranded(everything=True).envelopes[0], bench.station)

    assert steps.done == ["build 2 2", "build 3 2", "build 3 3"]
    assert isinstance(build_of(bench.store.load(run.id)).phase, Finished)


def test_where_no_files_are_left_the_job_starts_over_and_says_which_steps_should_not_have_run_twice(
    bench: Bench,
) -> None:
    once = THREE_STEPS.replace("{id: first,", "{id: first, on-lost: fail,")
    run, steps = a_failed_run(bench, once)
    bench.workspaces.gone = True

    resume(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    assert steps.done == ["build 1 2", "build 2 2", "build 3 2", "deploy 1 1"]
    said = bench.logs.printed[build_of(bench.store.load(run.id)).id, 2, "0"].decode()
    assert "the job starts over: no snapshot on this machine" in said
    assert "what has succeeded runs again: step 1 (First), whose on-lost is fail" in said


def test_a_poisoned_job_goes_on_where_its_workers_were_lost_and_its_losses_are_forgotten(
    bench: Bench,
) -> None:
    run = bench.a_run(THREE_STEPS)
    steps = Steps(bench)
    message = bench.bell.rung[0]

    def die(command: Command) -> Exit:
        if command.env["RUNNER_STEP"] == "2":
            raise DatabaseUnavailable("as if the worker were gone")
        return steps.act(command)

    bench.executor.act = die
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable):
            perform(message, bench.station)
        bench.store.stranded(everything=True)
    perform(message, bench.station)
    poisoned = build_of(bench.store.load(run.id))
    assert isinstance(poisoned.phase, Finished)
    assert "poisoned" in poisoned.phase.reason
    bench.executor.act = steps.act
    bench.bell.rung.clear()
    steps.done.clear()

    resume(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    newest = build_of(bench.store.load(run.id))
    assert (newest.lost, steps.done) == ((), ["build 2 5", "build 3 5", "deploy 1 1"])


def test_a_step_that_was_given_up_for_fear_of_doing_it_twice_is_known_by_more_than_its_words(
    bench: Bench,
) -> None:
    text = THREE_STEPS.replace("{name: Second,", "{name: Second, on-lost: fail,")
    run = bench.a_run(text)
    steps = Steps(bench)
    message = bench.bell.rung[0]

    def die(command: Command) -> Exit:
        if command.env["RUNNER_STEP"] == "2":
            raise DatabaseUnavailable("as if the worker were gone")
        return steps.act(command)

    bench.executor.act = die
    with pytest.raises(DatabaseUnavailable):
        perform(message, bench.station)
    bench.executor.act = steps.act
    bench.store.stranded(everything=True)
    perform(message, bench.station)

    recalled = bench.store.recall(build_of(bench.store.load(run.id)))
    assert [(key, done.outcome.given_up) for key, done in recalled.items()] == [
        ("1", False),
        ("2", True),
        ("3", False),
    ]


def test_files_that_were_not_kept_as_the_job_was_ending_are_known_to_be_none_to_go_on_with(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_it_is_stopped(self: FakeWorkspace, check: Callable[[], None]) -> str:
        while True:
            check()
            time.sleep(0.01)

    monkeypatch.setattr(FakeWorkspace, "save", until_it_is_stopped)
    run = bench.a_run(THREE_STEPS.replace("build:\n", "build:\n    timeout-minutes: 0.05\n"))
    bench.work()
    build = build_of(bench.store.load(run.id))

    assert not next(iter(bench.store.recall(build).values())).kept
    resume(run.id, store=bench.store, dispatcher=bench.bell)
    assert build_of(bench.store.load(run.id)).forked is None


def test_nothing_goes_on_from_what_is_not_there(bench: Bench) -> None:
    run, _ = a_failed_run(bench)
    build, deploy = run.jobs

    def refused(job: int, step: str, error: type[Exception], says: str) -> None:
        with pytest.raises(error, match=says):
            rerun_from(run.id, [(job, step)], store=bench.store, dispatcher=bench.bell)

    refused(build.id, "3", Rejected, r"cannot go on from step 3 \(Last\): step 2 \(Second\) did not succeed")
    refused(build.id, "x", NotFound, "has no step 'x'")
    refused(deploy.id, "1", Rejected, "was skipped")
    refused(99, "1", Rejected, "has no job 99")
    assert bench.store.load(run.id) == run
    with pytest.raises(Rejected, match="none of these jobs"):
        resume(run.id, {deploy.id}, store=bench.store, dispatcher=bench.bell)


def test_a_definition_that_differs_from_what_was_done_before_stops_a_fork_too(bench: Bench) -> None:
    run, _ = a_failed_run(bench)
    bench.write(THREE_STEPS.replace("echo word", "echo other"))

    resume(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    phase = build_of(bench.store.load(run.id)).phase
    assert isinstance(phase, Finished)
    assert "asks for" in phase.reason


CALLING = """\
name: ci
on: push
jobs:
  deploy:
    uses: ./.runner/workflows/deploy.yml
    with: {to: there}
  after:
    needs: deploy
    runs-on: linux
    steps: [{run: "after ${{ needs.deploy.outputs.words }}"}]
"""
CALLED = """\
on:
  workflow_call:
    inputs: {to: {type: string}}
    outputs:
      words: {value: "${{ jobs.push.outputs.word }} ${{ jobs.tell.outputs.word }} ${{ inputs.to }}"}
jobs:
  push:
    runs-on: linux
    outputs: {word: "${{ steps.say.outputs.word }}"}
    steps: [{id: say, run: push}]
  tell:
    needs: push
    runs-on: linux
    outputs: {word: "${{ steps.say.outputs.word }}"}
    steps:
      - {id: say, run: "tell ${{ needs.push.outputs.word }}"}
      - run: "really ${{ inputs.to }}"
"""


@pytest.mark.parametrize("whole", [True, False])
def test_a_called_workflow_goes_on_in_part_and_hands_on_what_old_and_new_jobs_gave(
    bench: Bench, whole: bool
) -> None:
    done: list[str] = []
    failing = {"tell 2"}

    def act(command: Command) -> Exit:
        job, step = command.env["GITHUB_JOB"], command.env["RUNNER_STEP"]
        done.append(f"{job} {step}")
        if step == "1":
            Path(command.env["GITHUB_OUTPUT"]).write_text(f"word={job}{command.env['GITHUB_RUN_ATTEMPT']}\n")
        return Exit(1 if f"{job} {step}" in failing else 0)

    bench.executor.act = act
    bench.write(CALLED, ".runner/workflows/deploy.yml")
    run = bench.a_run(CALLING)
    bench.work()
    assert bench.store.load(run.id).result is Result.FAILURE
    done.clear()
    failing.clear()

    if whole:
        rerun(run.id, store=bench.store, dispatcher=bench.bell, chosen=failed_jobs)
    else:
        resume(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    assert done == (["tell 1"] if whole else []) + ["tell 2", "after 1"]
    told = "tell2" if whole else "tell1"
    assert bench.executor.scripts[-2:] == ["really there", f"after push1 {told} there"]
    assert bench.store.load(run.id).result is Result.SUCCESS
