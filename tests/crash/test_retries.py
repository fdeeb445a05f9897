"""A process is killed anywhere between the tries of a step: each is recorded once, and none is left out."""

import pytest

from runner.model.run import Finished, Queued
from runner.model.step import Result
from tests.crash.world import LONGER, World, wait_for

TRIED = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - run: |
          echo "a 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          echo kept > first
      - retry: {{max-attempts: 3, delay: 100ms, backoff: exponential}}
        run: |
          echo "a 2 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          test ! -e half-done
          touch half-done
          exit 1
        continue-on-error: true
      - run: |
          echo "a 3 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          test -e half-done
          test "$(cat first)" = kept
"""
POINTS = [
    f"{passage}:{side}"
    for passage in (
        "store.record:2",
        "store.record:3",
        "store.record:4",
        "store.update:3",
        "store.update:4",
        "sandbox.run:3",
        "workspaces.open:2",
        "sandbox.close:1",
    )
    for side in ("before", "after")
]


@pytest.mark.parametrize("point", POINTS)
def test_a_server_killed_between_tries_goes_on_with_the_next(embedded: World, point: str) -> None:
    commit = embedded.commit(text=TRIED)
    delivery = embedded.deliver(commit)

    embedded.killed(embedded.start("embedded", point))
    embedded.start("embedded")

    _is_sound(embedded, delivery, commit)


@pytest.mark.parametrize("lease", [LONGER])
@pytest.mark.parametrize("point", ["store.record:2:after", "store.update:3:before", "sandbox.run:3:after"])
def test_a_worker_killed_between_tries_is_replaced_by_another(distributed: World, point: str) -> None:
    commit = distributed.commit(text=TRIED)
    distributed.start("clock")
    victim = distributed.start("worker", point)
    delivery = distributed.deliver(commit)

    distributed.killed(victim)
    distributed.start("worker")

    _is_sound(distributed, delivery, commit)


def _is_sound(world: World, delivery: str, commit: str) -> None:
    run = world.ended(delivery)
    (job,) = run.jobs
    assert run.result is Result.SUCCESS
    assert isinstance(job.phase, Finished)
    done = world.services.store.recall(job)
    assert list(done) == ["1", "2~1", "2~2", "2", "3"]
    assert done["2"].outcome.reason == "exit code 1; tried 3 times"
    attempts = [one.attempt for one in done.values()]
    assert attempts == sorted(attempts)
    ran = [step for _, step, *_ in world.lines()]
    # The one that was running when the process died runs again.
    assert sum(step == "2" for step in ran) - 3 + sum(step in "13" for step in ran) - 2 in (0, 1)
    assert {seen for *_, seen, _ in world.lines()} == {commit}
    world.leaves_nothing_alive()


LATER = TRIED.replace("delay: 100ms, backoff: exponential", "delay: 3s").replace(
    "max-attempts: 3", "max-attempts: 2"
)


def test_a_branch_that_is_rewritten_and_deleted_while_a_step_waits_to_be_tried_again_changes_nothing(
    embedded: World,
) -> None:
    commit = embedded.commit(text=LATER)
    delivery = embedded.deliver(commit)
    embedded.start("embedded")

    def waits() -> bool | None:
        run = embedded.run_of(delivery)
        phase = run.jobs[0].phase if run is not None else None
        return True if isinstance(phase, Queued) and phase.due is not None else None

    wait_for(waits, "the step to wait")
    embedded.git("checkout", "--quiet", "--orphan", "other")
    embedded.commit("2")
    embedded.git("branch", "--delete", "--force", "main")
    embedded.git("reflog", "expire", "--expire=now", "--all")
    embedded.git("gc", "--quiet", "--prune=now")

    run = embedded.ended(delivery)
    assert run.result is Result.SUCCESS
    assert [line[:3] for line in embedded.lines()] == [
        ["a", "1", "1"],
        ["a", "2", "1"],
        ["a", "2", "2"],
        ["a", "3", "2"],
    ]
    assert {tuple(line[3:]) for line in embedded.lines()} == {(commit, "1")}
