"""The newest files of a job are damaged while no process is there: it goes on from those before them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.engine.opening import FIRST_WORDS
from runner.model.run import Finished, Job
from runner.model.step import Result
from tests.crash.world import World, wait_for

THREE = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - run: |
          echo "a 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          echo one > first && echo KEPT=from-1 >> "$GITHUB_ENV"
      - run: |
          echo "a 2 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          test "$(cat first) $KEPT" = "one from-1"
          mkdir second && echo two > second/two && rm version
      - run: |
          echo "a 3 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version 2>/dev/null || echo gone)" {record}
          test "$(cat first second/two | xargs) $KEPT" = "one two from-1"
"""


def newest_of(world: World, job: Job) -> Path:
    name = list(world.services.store.recall(job).values())[-1].snapshot
    return world.settings.home / "snapshots" / f"job-{job.id}" / name


def remove(snapshot: Path) -> None:
    snapshot.unlink()


def truncate(snapshot: Path) -> None:
    os.truncate(snapshot, snapshot.stat().st_size // 2)


@pytest.mark.parametrize(
    ("damage", "point"),
    [
        (remove, ""),
        (truncate, ""),
        (truncate, "store.update:1:before"),
        (truncate, "store.update:1:after"),
        (truncate, "workspaces.open:2:after"),
    ],
)
def test_a_job_goes_on_from_the_snapshot_before_the_damaged_one(
    embedded: World, damage: Callable[[Path], None], point: str
) -> None:
    delivery = embedded.deliver(embedded.commit(text=THREE))
    embedded.killed(embedded.start("embedded", "store.record:2:after"))
    found = embedded.run_of(delivery)
    assert found is not None
    damage(newest_of(embedded, found.jobs[0]))

    if point:
        embedded.killed(embedded.start("embedded", point))
    embedded.start("embedded")

    run = embedded.ended(delivery)
    assert run.result is Result.SUCCESS
    assert [(step, version) for _, step, _, _, version in embedded.lines()] == [
        ("1", "1"),
        ("2", "1"),
        ("2", "1"),
        ("3", "gone"),
    ]
    said = [
        embedded.services.logs.read(run.jobs[0].id, attempt, FIRST_WORDS, 0, 65536).decode()
        for attempt in range(2, run.jobs[0].attempt + 1)
    ]
    assert "the job goes back to its files as step 1" in "".join(said)
    embedded.leaves_nothing_alive()


NOTHING = "on: workflow_dispatch\njobs: {{a: {{runs-on: linux, steps: [{{run: 'true'}}]}}}}\n"
ONCE = """\
from runner.sdk import workflow

COMMAND = '''
    echo "flow NAME $RUNNER_ATTEMPT $GITHUB_SHA 1" {record}
    echo NAME > NAME
    test "$(cat {pause})" != NAME || sleep 60
'''

@workflow(on="push", runs_on="linux")
async def flow(event, step):
    for name, on_lost in (("one", "retry"), ("two", "retry"), ("three", "fail")):
        await step.sh(name, COMMAND.replace("NAME", name), on_lost=on_lost)
"""


def test_a_step_that_must_not_run_twice_does_not_though_a_second_worker_is_killed_on_the_way_back_to_it(
    embedded: World,
) -> None:
    embedded.gate.write_text("three")
    called = {"flow.py": ONCE}
    delivery = embedded.deliver(embedded.commit(pause=str(embedded.gate), text=NOTHING, called=called))
    kill_in(embedded, "three", 1)
    found = embedded.run_of(delivery)
    assert found is not None
    truncate(newest_of(embedded, found.jobs[0]))
    embedded.gate.write_text("two")
    kill_in(embedded, "two", 2)
    embedded.gate.write_text("none")
    embedded.start("embedded")

    run = embedded.ended(delivery)

    assert run.result is Result.FAILURE
    (phase,) = (job.phase for job in run.jobs)
    assert isinstance(phase, Finished)
    assert "its worker was lost while the step may have run, and on-lost is fail" in phase.reason
    assert [line[1] for line in embedded.lines()] == ["one", "two", "three", "two", "two"]
    embedded.leaves_nothing_alive()


def kill_in(world: World, step: str, times: int) -> None:
    """Have somebody work until a step has begun so often, and kill him there."""
    victim = world.start("embedded")
    wait_for(lambda: [line[1] for line in world.lines()].count(step) == times or None, f"step {step}")
    victim.kill()
    victim.wait()
