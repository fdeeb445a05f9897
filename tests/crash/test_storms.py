"""People ask for everything at once, steps end meanwhile: each run comes to one end, and keeps its past."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial

import pytest

from runner.engine.control import answer, cancel, force_cancel, pause, rerun, signal, unpause
from runner.errors import Rejected
from runner.model.audit import Act
from runner.model.environment import Environment
from runner.model.reruns import failed_jobs
from runner.model.run import Run
from runner.model.step import Result
from runner.model.waits import Awaited, Signal, Word
from runner.wiring import station
from runner.worker import Clock, Worker
from tests.crash.world import KEPT, World, wait_for

QUICK = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - run: |
          echo "a 1 $RUNNER_ATTEMPT $GITHUB_SHA" {record}
          # What is ended by force is killed within a heartbeat, while the next attempt of the run begins.
          echo "enter $RUNNER_RUN_ID-$GITHUB_RUN_ATTEMPT-a 1 $RUNNER_ATTEMPT" >> STAMPS
          sleep 0.05
          echo "leave $RUNNER_RUN_ID-$GITHUB_RUN_ATTEMPT-a 1 $RUNNER_ATTEMPT" >> STAMPS
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
  d:
    runs-on: linux
    environment: production
    steps:
      - run: |
          echo "d 1 $RUNNER_ATTEMPT $GITHUB_SHA" {record}
  e:
    runs-on: linux
    steps:
      - uses: runner/wait@v1
        with: {{signal: go}}
      - uses: runner/approve@v1
      - run: |
          echo "e 3 $RUNNER_ATTEMPT $GITHUB_SHA" {record}
"""
THREADS, EACH = 4, 20


def _failed(run: int, **given: object) -> Run:
    return rerun(run, chosen=failed_jobs, **given)  # type: ignore[arg-type]


def _stands_still(run: int, **given: object) -> Run:
    return pause(run, "a storm", act=Act("anna", "pause"), **given)  # type: ignore[arg-type]


def _goes_on(run: int, **given: object) -> Run:
    return unpause(run, act=Act("anna", "unpause"), **given)  # type: ignore[arg-type]


def _judged(run: int, key: str, word: Word, **given: object) -> Run:
    def chosen(run: Run) -> list[int]:
        return [job.id for job in run.jobs if job.key == key]

    return answer(run, Awaited.APPROVAL, word, by="anna", chosen=chosen, **given)  # type: ignore[arg-type]


Verbs = tuple[Callable[..., object], ...]
_approved: Verbs = tuple(partial(_judged, key=key, word=Word.APPROVED) for key in "de")
_rejected: Verbs = tuple(partial(_judged, key=key, word=Word.REJECTED) for key in "de")


def _told(run: int, **given: object) -> None:
    # The first one of that key in each attempt counts.
    signal(run, Signal("go", "1"), **given)  # type: ignore[arg-type]


VERBS: Verbs = (
    *(cancel, force_cancel, rerun, rerun, _failed),
    *(_stands_still, _goes_on, _goes_on),
    *(*_approved, *_approved, _told, _told, *_rejected),
)


@contextmanager
def working(world: World) -> Iterator[None]:
    """Where what is asked for here is rung for, and not at the clock's next round.

    That is by way of the broker, or in this process where there is none.
    """
    if not world.settings.embedded:
        world.start("clock")
        world.ready(world.start("worker"))
        yield
        return
    worker = Worker(world.services, station(world.services, "worker-1"), ("linux",), 2)
    clock = Clock(world.services)
    for part in (worker, clock):
        part.start()
    try:
        yield
    finally:
        for part in (clock, worker):
            part.stop()


def answered(world: World, run_id: int) -> Run:
    """The end of a run, which is told whatever it waits for."""
    real = world.services

    def look() -> Run | None:
        for verb in (*_approved, _told):
            with suppress(Rejected):
                verb(run_id, store=real.store, dispatcher=real.dispatcher)
        run = real.store.load(run_id)
        return run if run.result is not None else None

    run = wait_for(look, f"the end of run {run_id}: {real.store.load(run_id)}")
    world.past.look(real.database)
    return run


# What a worker that lost a job still does meets what the next one does.
@pytest.mark.parametrize("lease", [KEPT])
@pytest.mark.parametrize("kind", ["embedded", "distributed"])
def test_a_storm_of_what_people_ask_for_leaves_runs_that_ended_once_and_can_run_again(
    kind: str, lease: float, request: pytest.FixtureRequest
) -> None:
    world: World = request.getfixturevalue(kind)
    real = world.services
    repository = real.repositories.get("git", "octo/hello")
    real.environments.keep(repository, Environment("production", reviewers=("anna",)))
    text = QUICK.replace("STAMPS", str(world.stamps))
    delivery = world.deliver(world.commit(text=text))

    def storm(seed: int) -> int:
        (run_id,) = real.store.delivery(delivery).runs
        dice, done = random.Random(seed), 0
        for _ in range(EACH):
            # The others may have been faster.
            with suppress(Rejected):
                dice.choice(VERBS)(run_id, store=real.store, dispatcher=real.dispatcher)
                done += 1
            world.past.look(real.database)
        return done

    with working(world):
        wait_for(lambda: world.lines() or None, "the first step to begin")
        with ThreadPoolExecutor(THREADS) as people:
            assert sum(people.map(storm, range(THREADS))) > THREADS

        (run_id,) = real.store.delivery(delivery).runs
        _goes_on(run_id, store=real.store, dispatcher=real.dispatcher)
        ended = answered(world, run_id)
        rerun(ended.id, store=real.store, dispatcher=real.dispatcher)
        again = answered(world, run_id)
    assert again.attempt == ended.attempt + 1
    assert {job.made_in for job in again.jobs} == {again.attempt}
    assert again.result is Result.SUCCESS
