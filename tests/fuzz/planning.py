"""A run of any definition, planned by the engine, over ports that only remember."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from runner.engine.advance import advance, envelope
from runner.engine.caches import CacheStore
from runner.engine.definitions import asked_of, definition_of
from runner.engine.heart import Heart
from runner.engine.plan import plan
from runner.engine.ports import Artifacts, Caches, Change, Repositories, Store
from runner.engine.sources import Sources
from runner.engine.station import Station
from runner.errors import BrokenDefinition
from runner.model.audit import Act
from runner.model.ending import cancel
from runner.model.leasing import claim, conclude
from runner.model.run import Envelope, Finished, Job, Queued, Ready, Run
from runner.model.source import Event, Repository, Route
from runner.model.step import Result
from runner.model.waits import Signal
from runner.objects import FolderObjects
from runner.vault import MemoryVault
from runner.workflow.document import JobDef, Steps, Workflow
from runner.workflow.trees import texts
from tests.fakes import FakeContainers, FakeWorkspaces, MemoryLogs, RecordingDispatcher

FOLDER = ".github/workflows"
PATH = f"{FOLDER}/a.yml"
ROUTE = Route("git", "octo/hello", "1" * 40)
START = datetime(2026, 1, 1, tzinfo=UTC)
LENGTH = timedelta(seconds=30)
MOST_MOVES = 30
"""A definition may call itself with many jobs, as deep as that goes: so much of it tells enough."""


class OneRun:
    """A store of one run, and what the real one does to it."""

    def __init__(self, run: Run, event: Event) -> None:
        self.run, self._event, self._now = run, event, START

    def load(self, run_id: int, attempt: int | None = None) -> Run:
        return self.run

    def event(self, delivery_id: str) -> Event:
        return self._event

    def update(
        self,
        run_id: int,
        change: Callable[[Run, datetime], Run],
        *,
        durable: bool = True,
        signal: Signal | None = None,
        act: Act | None = None,
    ) -> Change:
        self._now += timedelta(seconds=1)
        before, after = self.run, change(self.run, self._now)
        newest = max((job.id for job in after.jobs), default=0)
        made = []
        for job in after.jobs:
            newest += job.id == 0
            made.append(job if job.id else replace(job, id=newest))
        self.run = replace(after, jobs=tuple(made))
        return Change(before, self.run)

    def freed(self, route: Route) -> Sequence[Envelope]:
        return ()


class OneRepository:
    def get(self, forge: str, name: str) -> Repository:
        return Repository(forge, name, "/nowhere")

    def alike(self, name: str) -> Sequence[Repository]:
        return []

    def shared(self, forge: str) -> Sequence[Repository]:
        return []


class Ungated:
    def rules(self, repository: Repository, name: str) -> None:
        return None


class World:
    """The run of one definition, which is also every workflow that it calls."""

    def __init__(self, data: bytes, workflow: Workflow, jobs: tuple[Job, ...]) -> None:
        event = Event("push", "git", "octo/hello", "refs/heads/main", ROUTE.commit)
        run = Run(1, 1, 1, ROUTE, "d", PATH, workflow.name, START, ())
        self.store = OneRun(run, event)
        files = {f"{FOLDER}/{name}.yml": data for name in ("a", "b")}
        workspaces = FakeWorkspaces(files, Path("/nowhere"))
        repositories = cast(Repositories, OneRepository())
        self.station = Station(
            worker="worker-1",
            site="here",
            server="http://runner.test",
            temp=Path("/nowhere"),
            lease=LENGTH,
            store=cast(Store, self.store),
            repositories=repositories,
            workspaces=workspaces,
            sources=Sources("https://github.test", repositories, workspaces),
            executors={},
            containers=FakeContainers,
            executor="none",
            logs=MemoryLogs(),
            heart=Heart(cast(Store, self.store), LENGTH),
            dispatcher=RecordingDispatcher(),
            vault=MemoryVault({}, {"A": "b"}),
            environments=Ungated(),
            objects=FolderObjects(Path("/nowhere")),
            artifacts=cast(Artifacts, None),
            caches=CacheStore(cast(Caches, None), FolderObjects(Path("/nowhere"))),
        )
        self.change(lambda run, now: replace(run, jobs=jobs))

    @property
    def run(self) -> Run:
        return self.store.run

    def change(self, change: Callable[[Run, datetime], Run]) -> None:
        advance(1, change, store=self.station.store, dispatcher=self.station.dispatcher)

    def to_its_end(self, cancelled_after: int) -> float:
        """Plan and end one job after the other; how many seconds of the processor the longest plan took."""
        longest = 0.0
        for moves in range(MOST_MOVES):
            if moves == cancelled_after:
                self.change(cancel)
            job = next((job for job in self.run.jobs if moving(job)), None)
            if job is None:
                break
            if job.asked is not None or isinstance(job.phase, Ready):
                begun = time.process_time()
                plan(envelope(self.run, job), self.station)
                longest = max(longest, time.process_time() - begun)
            else:
                self._end(job)
        return longest

    def _end(self, job: Job) -> None:
        """What a worker makes of a job, but for its steps: how it ends, and what it hands on."""
        _, definition = definition_of(self.run, job, self.station)
        outputs, result = self._handed_on(job, definition), Result.SUCCESS
        if outputs is None or job.id % 5 == 0:
            outputs, result = {}, Result.FAILURE

        def change(run: Run, now: datetime) -> Run:
            claimed = claim(run.job(job.id), "worker-1", now, LENGTH)
            lease: Any = claimed.phase
            return run.with_job(conclude(claimed, lease.lease, result, now, outputs=outputs))

        self.change(change)

    def _handed_on(self, job: Job, definition: JobDef) -> Mapping[str, str] | None:
        seen = asked_of(self.run, self.station).of_job(job) | {
            "steps": {},
            "env": {},
            "runner": {},
            "job": {},
        }
        body = definition.body
        try:
            return texts(body.outputs, seen) if isinstance(body, Steps) else {}
        except BrokenDefinition:
            return None


def moving(job: Job) -> bool:
    return job.asked is not None or isinstance(job.phase, Ready | Queued)


def reasons(run: Run) -> list[str]:
    return [job.phase.reason for job in run.jobs if isinstance(job.phase, Finished)]
