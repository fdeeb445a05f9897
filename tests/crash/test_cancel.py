"""A process is killed where it asks cancelled jobs whether they go on; each answers as its `if` says."""

import pytest

from runner.engine.control import cancel, force_cancel
from runner.model.run import Finished
from runner.model.step import Result
from tests.crash.world import HANGS, LONGER, World, wait_for

ASKED = """\
name: ci
on: push
jobs:
  kept:
    if: always()
    runs-on: linux
    steps:
      - run: |
          echo "kept 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          {pause}
      - run: echo "kept 2 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
  ended:
    if: ${{{{ !cancelled() }}}}
    runs-on: linux
    steps:
      - run: |
          echo "ended 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          setsid env -i sleep {token} &
          sleep 1000
"""
POINTS = [
    # Two are planned and two are claimed before it; then each is asked.
    *(f"store.update:{number}:{side}" for number in (5, 6) for side in ("before", "within", "after")),
    "dispatcher.plan:3:before",
    "dispatcher.plan:4:after",
]


def begun(world: World, point: str = "") -> str:
    """A run of two jobs that both have begun, in a process that dies at the point."""
    delivery = world.deliver(world.commit(pause=HANGS, text=ASKED))
    world.start("embedded", *filter(None, [point]))
    wait_for(lambda: len(world.lines()) == 2 or None, "both jobs to begin")
    return delivery


def asks_to_cancel(world: World, delivery: str, by: object = cancel) -> None:
    run = world.run_of(delivery)
    assert run is not None
    assert callable(by)
    by(run.id, store=world.services.store, dispatcher=world.services.dispatcher)


def results(world: World, delivery: str) -> dict[str, Result]:
    ended = world.ended(delivery)
    assert ended.result is Result.CANCELLED
    world.leaves_nothing_alive()
    return {job.key: job.phase.result for job in ended.jobs if isinstance(job.phase, Finished)}


@pytest.mark.parametrize("point", POINTS)
def test_a_server_killed_while_it_asks_has_each_job_answer_once_it_is_back(
    embedded: World, point: str
) -> None:
    delivery = begun(embedded, point)

    asks_to_cancel(embedded, delivery)
    embedded.killed(embedded.processes[0])
    embedded.start("embedded")

    assert results(embedded, delivery) == {"kept": Result.SUCCESS, "ended": Result.CANCELLED}
    assert sorted(line[:3] for line in embedded.lines()) == [
        ["ended", "1", "1"],
        ["kept", "1", "1"],
        ["kept", "1", "2"],
        ["kept", "2", "2"],
    ]


@pytest.mark.parametrize("lease", [LONGER])
def test_a_worker_that_dies_once_it_was_told_to_ask_leaves_it_to_another(distributed: World) -> None:
    delivery = distributed.deliver(distributed.commit(pause=HANGS, text=ASKED))
    distributed.start("clock")
    victim = distributed.start("worker")
    wait_for(lambda: len(distributed.lines()) == 2 or None, "both jobs to begin")

    victim.kill()
    asks_to_cancel(distributed, delivery)
    distributed.start("worker")

    assert results(distributed, delivery) == {"kept": Result.SUCCESS, "ended": Result.CANCELLED}


def test_a_run_that_is_ended_by_force_leaves_no_process_of_its_steps(embedded: World) -> None:
    delivery = begun(embedded)

    asks_to_cancel(embedded, delivery, force_cancel)

    assert results(embedded, delivery) == {"kept": Result.CANCELLED, "ended": Result.CANCELLED}
    assert len(embedded.lines()) == 2
