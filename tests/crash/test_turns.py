"""A process is killed wherever turns in a concurrency group change; nobody is lost, no two go on at once."""

from itertools import groupby

import pytest

from runner.model.run import Finished, Run
from runner.model.step import Result
from tests.crash.world import World, wait_for

DEPLOY = """\
name: ci
on: push
concurrency: {{group: deploy, MODE}}
jobs:
  a:
    runs-on: linux
    steps:
      - run: |
          echo "begin $RUNNER_RUN_ID" {record}
          {pause}
          echo "end $RUNNER_RUN_ID" {record}
"""
OF_JOBS = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    concurrency: {{group: deploy, queue: max}}
    steps:
      - run: |
          echo "begin $RUNNER_RUN_ID" {record}
          echo "end $RUNNER_RUN_ID" {record}
"""
# Three runs are admitted and let in, each is claimed and ended, and the next one hears of it.
POINTS = (
    *(f"store.settle:{number}:after" for number in (1, 3)),
    *(f"store.update:{number}:after" for number in range(1, 11)),
    *(f"store.update:{number}:within" for number in (3, 5, 6, 8)),
)
OF_A_WORKER = tuple(f"store.update:{number}:after" for number in (2, 5, 6, 7))


def delivered(world: World, mode: str, pause: str = "") -> list[str]:
    commit = world.commit(pause=pause, text=DEPLOY.replace("MODE", mode))
    return [world.deliver(commit, f"push-{number}") for number in range(3)]


def take_turns(world: World, runs: list[Run]) -> None:
    """What their steps wrote stands run by run, and each that succeeded came to its end."""
    seen = [run for run, _ in groupby(line[1] for line in world.lines())]
    assert len(seen) == len(set(seen)), f"two at once: {world.lines()}"
    ended = {line[1] for line in world.lines() if line[0] == "end"}
    assert ended == {str(run.id) for run in runs if run.result is Result.SUCCESS}


@pytest.mark.parametrize("point", POINTS)
def test_an_embedded_server_killed_between_turns_goes_on_with_the_next(embedded: World, point: str) -> None:
    deliveries = delivered(embedded, "queue: max")

    embedded.killed(embedded.start("embedded", point))
    embedded.start("embedded")

    runs = [embedded.ended(delivery) for delivery in deliveries]
    assert [run.result for run in runs] == [Result.SUCCESS] * 3
    take_turns(embedded, runs)


@pytest.mark.parametrize("point", OF_A_WORKER)
def test_a_worker_killed_between_turns_is_replaced_and_the_next_run_begins(
    distributed: World, point: str
) -> None:
    distributed.start("clock")
    victim = distributed.start("worker", point)
    deliveries = delivered(distributed, "queue: max")

    distributed.killed(victim)
    distributed.start("worker")

    runs = [distributed.ended(delivery) for delivery in deliveries]
    assert [run.result for run in runs] == [Result.SUCCESS] * 3
    take_turns(distributed, runs)


@pytest.mark.parametrize("point", [f"store.update:{number}:after" for number in (4, 5, 6, 7, 8)])
def test_jobs_take_turns_whoever_dies(embedded: World, point: str) -> None:
    commit = embedded.commit(text=OF_JOBS)
    deliveries = [embedded.deliver(commit, f"push-{number}") for number in range(3)]

    embedded.killed(embedded.start("embedded", point))
    embedded.start("embedded")

    runs = [embedded.ended(delivery) for delivery in deliveries]
    assert [run.result for run in runs] == [Result.SUCCESS] * 3
    take_turns(embedded, runs)


@pytest.mark.parametrize("point", [f"store.update:{number}:after" for number in (2, 3, 4)])
def test_what_is_replaced_while_a_server_dies_is_replaced_once_and_the_newest_runs(
    embedded: World, point: str
) -> None:
    gate = f"until test -e {embedded.gate}; do read -rt 0.1 <> <(:) || :; done"
    deliveries = delivered(embedded, "cancel-in-progress: false", pause=gate)

    embedded.killed(embedded.start("embedded", point))
    embedded.start("embedded")

    def replaced() -> Run | None:
        found = [run for delivery in deliveries if (run := embedded.run_of(delivery)) is not None]
        return next((run for run in found if run.result is Result.CANCELLED), None)

    middle = wait_for(replaced, "a run that is replaced")
    embedded.gate.touch()
    runs = sorted((embedded.ended(delivery) for delivery in deliveries), key=lambda run: run.id)
    assert [run.result for run in runs] == [Result.SUCCESS, Result.CANCELLED, Result.SUCCESS]
    phase = middle.jobs[0].phase
    assert isinstance(phase, Finished)
    assert phase.reason == f'replaced by run {runs[2].id} in the concurrency group "deploy"'
    take_turns(embedded, runs)


@pytest.mark.parametrize("point", [f"store.update:{number}:after" for number in (3, 4, 5)])
def test_what_is_cancelled_while_a_server_dies_ends_and_the_newest_runs(embedded: World, point: str) -> None:
    deliveries = delivered(
        embedded, "cancel-in-progress: true", pause='test "$RUNNER_RUN_ID" = 3 || sleep 1000'
    )

    embedded.killed(embedded.start("embedded", point))
    embedded.start("embedded")

    runs = sorted((embedded.ended(delivery) for delivery in deliveries), key=lambda run: run.id)
    assert [run.result for run in runs] == [Result.CANCELLED, Result.CANCELLED, Result.SUCCESS]
    take_turns(embedded, runs)
    embedded.leaves_nothing_alive()
