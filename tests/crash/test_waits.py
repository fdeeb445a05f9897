"""A process is killed anywhere around a wait: the job wakes once, and each signal is taken once, in order."""

import shutil

import pytest
from sqlalchemy import select

from runner.engine import control
from runner.model.run import Finished, Run, Suspended
from runner.model.step import Result
from runner.model.waits import Signal
from runner.store.tables import signals
from tests.crash.world import World, wait_for

WAITED = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - run: |
          echo "a 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          echo kept > first
      - uses: runner/sleep@v1
        with: {{for: 100ms}}
      - id: one
        uses: runner/wait@v1
        with: {{signal: go}}
      - id: two
        uses: runner/wait@v1
        with: {{signal: go}}
      - run: |
          echo "a 5 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          test "$(cat first)" = kept
"""
# The job is claimed by updates 1, 3, 5 and 7, suspended by 2, 4 and 6, and ended by 8. A signal that has come
# by then is given to it in the transaction that suspends it.
POINTS = [
    "store.update:2:before",
    "store.update:2:after",
    "store.update:3:after",
    "store.record:2:before",
    "store.record:2:after",
    "store.update:4:within",
    "store.update:4:after",
    "store.update:5:within",
    "store.record:3:before",
    "store.record:3:after",
    "store.update:6:before",
    "store.update:6:after",
    "store.record:4:before",
    "store.update:8:before",
]


@pytest.mark.parametrize("point", POINTS)
def test_a_server_killed_around_a_wait_wakes_the_job_and_takes_each_signal_once(
    embedded: World, point: str
) -> None:
    commit = embedded.commit(text=WAITED)
    delivery = embedded.deliver(commit)
    victim = embedded.start("embedded", point)
    _send(embedded, delivery)

    embedded.killed(victim)
    # Whoever does not know what became of the first one sends it again.
    _send(embedded, delivery)
    embedded.start("embedded")

    _is_sound(embedded, delivery)


@pytest.mark.parametrize("point", ["store.update:4:after", "store.record:3:before"])
def test_a_worker_killed_around_a_wait_is_replaced_by_another(distributed: World, point: str) -> None:
    commit = distributed.commit(text=WAITED)
    distributed.start("clock")
    victim = distributed.start("worker", point)
    delivery = distributed.deliver(commit)
    _send(distributed, delivery)

    distributed.killed(victim)
    distributed.start("worker")

    _is_sound(distributed, delivery)


ASLEEP = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - run: |
          echo "a 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          echo kept > first
      - uses: runner/sleep@v1
        with: {{for: 1s}}
      - uses: runner/wait@v1
        with: {{signal: go}}
      - run: |
          echo "a 4 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          test "$(cat first)" = kept
  b:
    needs: a
    uses: ./.runner/workflows/called.yml
"""
CALLED = """\
on: workflow_call
jobs:
  c:
    runs-on: linux
    steps:
      - run: echo "c 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
"""


@pytest.mark.parametrize("gone", ["branch", "repository"])
def test_a_job_wakes_with_its_commits_code_whatever_became_of_the_branch_or_the_repository(
    embedded: World, gone: str
) -> None:
    commit = embedded.commit(text=ASLEEP, called={"called.yml": CALLED})
    delivery = embedded.deliver(commit)
    server = embedded.start("embedded")
    wait_for(lambda: _asleep(embedded, delivery), "the job to sleep")
    server.kill()
    embedded.git("checkout", "--quiet", "--orphan", "other")
    embedded.commit("2", text="on: push\njobs: {{}}\n", called={"called.yml": "on: push\njobs: {{}}\n"})
    embedded.git("branch", "--delete", "--force", "main")
    embedded.git("branch", "--move", "main")
    embedded.git("reflog", "expire", "--expire=now", "--all")
    embedded.git("gc", "--quiet", "--prune=now")
    if gone == "repository":
        shutil.rmtree(embedded.repository)

    embedded.start("embedded")
    run = wait_for(lambda: embedded.run_of(delivery), "the run")
    said = Signal("go", "1")
    control.signal(run.id, said, store=embedded.services.store, dispatcher=embedded.services.dispatcher)

    assert embedded.ended(delivery).result is Result.SUCCESS
    assert [line[:2] for line in embedded.lines()] == [["a", "1"], ["a", "4"], ["c", "1"]]
    assert {tuple(line[3:]) for line in embedded.lines()} == {(commit, "1")}


def _asleep(world: World, delivery: str) -> bool | None:
    run = world.run_of(delivery)
    return True if run is not None and isinstance(run.jobs[0].phase, Suspended) else None


def _send(world: World, delivery: str) -> None:
    run = wait_for(lambda: world.run_of(delivery), "the run")
    for number in (1, 2):
        said = Signal("go", str(number), "ada", number)
        control.signal(run.id, said, store=world.services.store, dispatcher=world.services.dispatcher)


def _is_sound(world: World, delivery: str) -> None:
    run = world.ended(delivery)
    (job,) = run.jobs
    assert run.result is Result.SUCCESS
    assert isinstance(job.phase, Finished)
    done = world.services.store.recall(job)
    assert list(done) == ["1", "2", "3", "4", "5"]
    assert [done[key].outcome.outputs["payload"] for key in ("3", "4")] == ["1", "2"]
    assert _takers(world, run) == [("1", job.id, "3"), ("2", job.id, "4")]
    assert [wait.key for wait in job.waits] == ["2", "3", "4"]
    ran = [line[1] for line in world.lines()]
    assert set(ran) == {"1", "5"}
    world.leaves_nothing_alive()


def _takers(world: World, run: Run) -> list[tuple[str, int, str]]:
    query = select(signals.c.key, signals.c.job, signals.c.wait).where(signals.c.run == run.id)
    with world.services.database.reading() as connection:
        return [tuple(row) for row in connection.execute(query.order_by(signals.c.id))]
