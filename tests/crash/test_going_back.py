"""The newest files of a job are damaged while no process is there: it goes on from those before them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.engine.opening import FIRST_WORDS
from runner.model.run import Job
from runner.model.step import Result
from tests.crash.world import World

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
