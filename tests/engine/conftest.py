"""A worker's station over a real store, with an executor that does what the test says."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.engine.admit import Selection, admit
from runner.engine.caches import CacheStore
from runner.engine.heart import Heart
from runner.engine.perform import perform
from runner.engine.plan import plan
from runner.engine.receive import receive
from runner.engine.sources import Sources
from runner.engine.station import Station
from runner.engine.titles import Titles
from runner.model.limits import NONE
from runner.model.run import Run
from runner.model.source import Delivery, Event, Repository
from runner.objects import FolderObjects
from runner.store import (
    Database,
    SqlArtifacts,
    SqlCaches,
    SqlEnvironments,
    SqlRepositories,
    SqlStandings,
    SqlStore,
)
from runner.vault import MemoryVault
from tests.builders import LENGTH, an_event
from tests.fakes import FakeContainers, FakeExecutor, FakeWorkspaces, MemoryLogs, RecordingDispatcher
from tests.servers import migrated_sqlite

TWO_STEPS = """\
name: ci
on: push
jobs:
  build:
    runs-on: linux
    steps:
      - run: one
      - run: two
"""


@dataclass
class Bench:
    """Everything a test of the engine's verbs looks at."""

    store: SqlStore
    repositories: SqlRepositories
    workspaces: FakeWorkspaces
    executor: FakeExecutor
    logs: MemoryLogs
    bell: RecordingDispatcher
    station: Station
    standings: SqlStandings
    database: Database
    containers: FakeContainers

    def write(self, text: str, path: str = ".runner/workflows/ci.yml") -> None:
        self.workspaces.files[path] = text.encode()

    def receive(self, event: Event | None = None, guid: str = "guid") -> Delivery:
        return receive(event or an_event(), guid, guid, store=self.store, dispatcher=self.bell)

    def admit(self, delivery: Delivery, selection: Selection | None = None) -> Delivery:
        admit(
            delivery.id,
            store=self.store,
            sources=self.station.sources,
            standings=self.standings,
            dispatcher=self.bell,
            titles=Titles(self.station.server, self.station.vault.variables),
            selection=selection,
        )
        return self.store.delivery(delivery.id)

    def a_run(self, text: str = TWO_STEPS, guid: str = "guid") -> Run:
        self.write(text)
        return self.store.load(self.admit(self.receive(guid=guid)).runs[0])

    def work(self) -> None:
        """Carry out every message until none is left."""
        while self.bell.rung or self.bell.plans:
            while self.bell.plans:
                plan(self.bell.plans.pop(0), self.station)
            if self.bell.rung:
                perform(self.bell.rung.pop(0), self.station)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    database = Database(migrated_sqlite(tmp_path / "runner.db"))
    store, repositories = SqlStore(database, LENGTH), SqlRepositories(database)
    repositories.add(Repository("git", "octo/hello", "/srv/hello.git"), "secret")
    workspaces, executor, logs, bell = (
        FakeWorkspaces({}, tmp_path),
        FakeExecutor(),
        MemoryLogs(),
        RecordingDispatcher(),
    )
    containers = FakeContainers()
    objects = FolderObjects(tmp_path / "objects")
    heart, vault = Heart(store, LENGTH), MemoryVault()
    station = Station(
        worker="worker-1",
        site="here",
        server="http://runner.test",
        temp=tmp_path / "temp",
        lease=LENGTH,
        store=store,
        repositories=repositories,
        workspaces=workspaces,
        sources=Sources("https://github.test", repositories, workspaces),
        executors={"fake": lambda: executor},
        containers=lambda: containers,
        executor="fake",
        logs=logs,
        heart=heart,
        dispatcher=bell,
        vault=vault,
        environments=SqlEnvironments(database),
        artifacts=SqlArtifacts(database),
        objects=objects,
        caches=CacheStore(SqlCaches(database, NONE), objects),
    )
    standings = SqlStandings(database)
    yield Bench(
        store, repositories, workspaces, executor, logs, bell, station, standings, database, containers
    )
    heart.close()
    database.close()
