"""A machine is lost with all that is on it, or a process or the store while files are put there."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.engine import control
from runner.engine.opening import LAST_WORDS
from runner.model.run import Job, Run, Suspended
from runner.model.step import Result
from runner.model.waits import Signal
from runner.objects import objects_at
from tests.crash.test_forks import FAILING, open_gates, ran, resumed
from tests.crash.world import KEPT, World, wait_for
from tests.forked import Forked
from tests.servers import Bucket, s3_server

WAITS = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - run: |
          echo "a 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          mkdir -p deep/er
          head -c 3000000 /dev/urandom > deep/er/much
          cd deep/er && sha256sum much > ../../sum
      - run: |
          echo "a 2 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          rm version && echo 2 > second && chmod 700 second
      - uses: runner/wait@v1
        with: {{signal: go}}
      - run: |
          echo "a 4 $RUNNER_ATTEMPT $GITHUB_SHA none" {record}
          (cd deep/er && sha256sum --check ../../sum)
          test ! -e version -a -x second
"""

nobody_loses_it = pytest.mark.parametrize("lease", [KEPT])


@dataclass
class Machines:
    """Workers with homes of their own, that share a database, a broker and a store."""

    world: World
    store: Bucket

    def start(self, home: str, role: str = "worker", *rest: str) -> Forked:
        there = self.world.settings.home if role == "embedded" else self.world.folder / home
        settings = {"objects": self.store.url, "snapshot": "durable"}
        return self.world.start(role, *rest, home=there, settings=settings)

    def lose(self, home: str, worker: Forked) -> None:
        worker.kill()
        worker.wait()
        shutil.rmtree(self.world.folder / home)

    def waits(self, delivery: str) -> Run:
        """Its job has let go of its worker."""

        def look() -> Run | None:
            run = self.world.run_of(delivery)
            return run if run and isinstance(run.jobs[0].phase, Suspended) else None

        return wait_for(look, "the job to wait")

    def is_stored(self, job: Job) -> bool:
        newest = list(self.world.services.store.recall(job).values())[-1]
        return self.world.services.archived.chain(job.id, [], newest.snapshot) is not None

    def signal(self, run: Run) -> None:
        real = self.world.services
        control.signal(run.id, Signal("go", "1", "ada", 1), store=real.store, dispatcher=real.dispatcher)

    def said(self, job: Job, attempt: int) -> str:
        return self.world.services.logs.read(job.id, attempt, LAST_WORDS, 0, 65536).decode()


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with s3_server(tmp_path) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def machines(distributed: World, bucket: Bucket) -> Machines:
    return Machines(distributed, bucket)


@nobody_loses_it
def test_a_job_that_wakes_on_another_machine_goes_on_with_its_files(machines: Machines) -> None:
    world = machines.world
    world.start("clock")
    first = machines.start("one")
    delivery = world.deliver(world.commit(text=WAITS))
    run = machines.waits(delivery)
    assert machines.is_stored(run.jobs[0]), "the job let go when its files were stored"
    machines.lose("one", first)

    machines.start("two")
    machines.signal(run)

    assert world.ended(delivery).result is Result.SUCCESS
    assert [step for _, step, *_ in world.lines()] == ["1", "2", "4"]


@nobody_loses_it
def test_a_job_that_is_gone_on_with_on_another_machine_has_its_files(machines: Machines) -> None:
    world = machines.world
    world.start("clock")
    first = machines.start("one")
    delivery = world.deliver(world.commit(text=FAILING.replace("GATE", str(world.gate))))
    run = world.ended(delivery)
    machines.lose("one", first)
    open_gates(world, 2, 3)
    machines.start("two")

    fork = resumed(world, run)

    assert world.ended(delivery).result is Result.SUCCESS
    assert ran(world, "1") == [1], "what had been done was not done again"
    assert machines.is_stored(world.services.store.load(run.id).job(fork.id))


@nobody_loses_it
def test_files_are_stored_once_the_store_is_back(machines: Machines) -> None:
    world = machines.world
    machines.store.kill()
    world.start("clock")
    first = machines.start("one")
    delivery = world.deliver(world.commit(text=WAITS))
    run = machines.waits(delivery)
    (job,) = run.jobs
    assert "the newest files are not in the store yet, only on this machine" in machines.said(job, 1)

    machines.store.start()
    wait_for(lambda: machines.is_stored(job) or None, "the files to be stored")
    machines.lose("one", first)
    machines.start("two")
    machines.signal(run)

    assert world.ended(delivery).result is Result.SUCCESS
    assert [step for _, step, *_ in world.lines()] == ["1", "2", "4"]


@pytest.mark.parametrize(
    "point",
    [
        "archived.note:1:before",
        "archived.note:1:after",
        "objects.put:1:before",
        "objects.put:1:after",
        "archived.stored:1:before",
        "archived.stored:1:after",
        "objects.put:2:after",
    ],
)
def test_a_server_killed_while_it_stores_files_makes_up_for_it(
    embedded: World, bucket: Bucket, point: str
) -> None:
    machines = Machines(embedded, bucket)
    victim = machines.start("", "embedded", point)
    delivery = embedded.deliver(embedded.commit(text=WAITS))
    embedded.killed(victim)

    machines.start("", "embedded")
    run = machines.waits(delivery)
    (job,) = run.jobs
    wait_for(lambda: machines.is_stored(job) or None, "the files to be stored")
    shutil.rmtree(embedded.settings.home / "snapshots")
    machines.signal(run)

    assert embedded.ended(delivery).result is Result.SUCCESS
    assert embedded.lines()[-1][1] == "4"
    there = objects_at(bucket.url, embedded.folder, bucket.environment()).kept("snapshots")
    known = embedded.services.archived.known([one.key for one in there])
    assert len(known) >= 2
