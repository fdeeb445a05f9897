"""People ask for everything at once, steps end meanwhile: each run comes to one end, and keeps its past."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from runner.engine.control import cancel, force_cancel, rerun
from runner.errors import Rejected
from runner.model.lifecycle import failed_jobs
from runner.model.run import Run
from tests.crash.world import World, wait_for

QUICK = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - run: |
          echo "a 1 $RUNNER_ATTEMPT $GITHUB_SHA" {record}
          echo "enter $RUNNER_RUN_ID-a 1 $GITHUB_RUN_ATTEMPT" >> STAMPS
          sleep 0.05
          echo "leave $RUNNER_RUN_ID-a 1 $GITHUB_RUN_ATTEMPT" >> STAMPS
  b:
    needs: a
    if: always()
    runs-on: linux
    steps:
      - run: |
          echo "b 1 $RUNNER_ATTEMPT $GITHUB_SHA" {record}
  c:
    needs: a
    runs-on: linux
    steps:
      - run: |
          echo "c 1 $RUNNER_ATTEMPT $GITHUB_SHA" {record}
"""
THREADS, EACH = 4, 12


def _failed(run: int, **given: object) -> Run:
    return rerun(run, chosen=failed_jobs, **given)  # type: ignore[arg-type]


VERBS: tuple[Callable[..., Run], ...] = (cancel, force_cancel, rerun, rerun, _failed)


@pytest.mark.parametrize("kind", ["embedded", "distributed"])
def test_a_storm_of_cancels_and_reruns_leaves_runs_that_ended_once_and_can_run_again(
    kind: str, request: pytest.FixtureRequest
) -> None:
    world: World = request.getfixturevalue(kind)
    real = world.services
    text = QUICK.replace("STAMPS", str(world.stamps))
    delivery = world.deliver(world.commit(text=text))
    for role in ("embedded",) if kind == "embedded" else ("clock", "worker"):
        world.start(role)
    wait_for(lambda: world.lines() or None, "the first step to begin")
    run = world.run_of(delivery)
    assert run is not None

    def storm(seed: int) -> int:
        dice, done = random.Random(seed), 0
        for _ in range(EACH):
            before = len(world.lines())
            try:
                dice.choice(VERBS)(run.id, store=real.store, dispatcher=real.dispatcher)
                done += 1
            except Rejected:
                # The others were faster. Steps go on meanwhile.
                wait_for(lambda before=before: len(world.lines()) > before or world.ended(delivery), "more")  # type: ignore[misc]
            world.past.look(real.database)
        return done

    with ThreadPoolExecutor(THREADS) as people:
        assert sum(people.map(storm, range(THREADS))) > THREADS

    ended = world.ended(delivery)
    rerun(ended.id, store=real.store, dispatcher=real.dispatcher)
    again = world.ended(delivery)
    assert again.attempt == ended.attempt + 1
    assert all(job.made_in == again.attempt for job in again.jobs)
    world.leaves_nothing_alive()
