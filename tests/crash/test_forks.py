"""A process is killed anywhere on the way of a job that goes on from another one, and files go meanwhile."""

import shutil

import pytest

from runner.engine.control import resume
from runner.model.run import Finished, Job, Run
from runner.model.step import Result
from tests.crash.world import LONGER, World, wait_for

FAILING = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - run: |
          echo "a 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          mkdir first
          echo one > first/one
          echo "KEPT=from-1" >> "$GITHUB_ENV"
      - run: |
          echo "a 2 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          test "$(cat first/one) $KEPT" = "one from-1"
          test ! -e half-done
          touch half-done
          test -e GATE-2
      - run: |
          echo "a 3 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          test -e half-done -a -e first/one
          test -e GATE-3
"""
PASSAGES = (
    "store.update:1",
    "store.recall:1",
    "workspaces.fetch:1",
    "workspaces.inherit:1",
    "workspaces.open:1",
    "executors.open:1",
    "sandbox.run:1",
    "workspace.save:1",
    "store.record:1",
    "sandbox.run:2",
    "workspace.save:2",
    "store.record:2",
    "sandbox.close:1",
    "store.update:2",
    "workspaces.retire:1",
    "dispatcher.report:1",
)
"""Every port that the first attempt of a fork of two steps comes by."""
POINTS = [f"{passage}:{side}" for passage in PASSAGES for side in ("before", "after")]


def failed(world: World, role: str = "embedded") -> tuple[str, Run]:
    """A run whose job failed at its second step, and the delivery of it; nobody works any more."""
    commit = world.commit(text=FAILING.replace("GATE", str(world.gate)))
    delivery = world.deliver(commit)
    worker = world.start(role)
    run = world.ended(delivery)
    worker.kill()
    worker.wait()
    assert run.result is Result.FAILURE
    return delivery, run


def open_gates(world: World, *numbers: int) -> None:
    for number in numbers:
        world.gate.with_name(f"{world.gate.name}-{number}").touch()


def resumed(world: World, run: Run) -> Job:
    again = resume(run.id, store=world.services.store, dispatcher=world.services.dispatcher)
    (job,) = again.jobs
    return job


def ran(world: World, step: str) -> list[int]:
    """The attempts in which a step began, in their order."""
    return [int(attempt) for _, one, attempt, *_ in world.lines() if one == step]


def is_sound(world: World, delivery: str, former: Run, rows: list[object]) -> None:
    """The first step was done once, the others at most once more than it takes, and the past is as it was."""
    run = world.ended(delivery)
    (job,) = run.jobs
    assert (run.result, run.attempt) == (Result.SUCCESS, former.attempt + 1)
    assert isinstance(job.phase, Finished)
    done = world.services.store.recall(job)
    assert list(done) == ["1", "2", "3"]
    attempts = [one.attempt for one in done.values()]
    assert attempts == sorted(attempts)
    assert ran(world, "1") == [1], "what had been done was not done again"
    assert len(ran(world, "2")) + len(ran(world, "3")) - 3 in (0, 1)
    assert {seen for *_, seen, _ in world.lines()} == {run.route.commit}
    assert world.rows(former) == rows, "the former job is as it was"
    world.leaves_nothing_alive()


@pytest.mark.parametrize("point", POINTS)
def test_an_embedded_server_killed_anywhere_in_a_fork_goes_on_with_it(embedded: World, point: str) -> None:
    delivery, former = failed(embedded)
    open_gates(embedded, 2, 3)
    resumed(embedded, former)
    rows = embedded.rows(former)

    embedded.killed(embedded.start("embedded", point))
    embedded.start("embedded")

    is_sound(embedded, delivery, former, rows)


@pytest.mark.parametrize("lease", [LONGER])
@pytest.mark.parametrize(
    "point", ["workspaces.inherit:1:after", "store.record:1:before", "store.record:1:after"]
)
def test_a_worker_killed_in_a_fork_is_replaced_by_another(distributed: World, point: str) -> None:
    distributed.start("clock")
    delivery, former = failed(distributed, "worker")
    open_gates(distributed, 2, 3)
    resumed(distributed, former)
    rows = distributed.rows(former)

    distributed.killed(distributed.start("worker", point))
    distributed.start("worker")

    is_sound(distributed, delivery, former, rows)


def test_a_fork_of_a_fork_has_the_files_of_both_though_the_first_jobs_are_gone(embedded: World) -> None:
    delivery, former = failed(embedded)
    open_gates(embedded, 2)
    resumed(embedded, former)
    worker = embedded.start("embedded")
    once = embedded.ended(delivery)
    worker.kill()
    worker.wait()
    assert (once.attempt, once.result) == (2, Result.FAILURE)
    shutil.rmtree(embedded.settings.home / f"snapshots/job-{former.jobs[0].id}")
    open_gates(embedded, 3)
    resumed(embedded, once)
    rows = embedded.rows(once)

    embedded.killed(embedded.start("embedded", "workspaces.inherit:1:after"))
    embedded.start("embedded")

    is_sound(embedded, delivery, once, rows)
    assert ran(embedded, "2") == [1, 2]


def test_the_files_of_the_former_job_may_go_while_the_fork_is_under_way(embedded: World) -> None:
    delivery, former = failed(embedded)
    open_gates(embedded, 2, 3)
    resumed(embedded, former)
    rows = embedded.rows(former)
    embedded.killed(embedded.start("embedded", "workspaces.open:1:after"))

    shutil.rmtree(embedded.settings.home / f"snapshots/job-{former.jobs[0].id}")
    embedded.start("embedded")

    is_sound(embedded, delivery, former, rows)


def test_where_they_went_before_it_began_it_starts_over_and_says_so(embedded: World) -> None:
    delivery, former = failed(embedded)
    open_gates(embedded, 2, 3)
    shutil.rmtree(embedded.settings.home / f"snapshots/job-{former.jobs[0].id}")
    job = resumed(embedded, former)

    embedded.start("embedded")

    run = embedded.ended(delivery)
    assert run.result is Result.SUCCESS
    assert ran(embedded, "1") == [1, 2]
    said = wait_for(lambda: embedded.services.logs.read(job.id, 2, "0", 0, 65536), "what the job says")
    assert b"the job starts over" in said
