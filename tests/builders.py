"""Values for tests: each builder defaults whatever the test is not about."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from runner.engine.ports import NewRun
from runner.engine.titles import Titles
from runner.model.run import UNSAVED, Job, Lease, Queued, Run, Running, StepName
from runner.model.source import Event, Route
from runner.model.step import Checkpoint, Outcome, Result

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LENGTH = timedelta(seconds=30)
TITLES = Titles("http://runner.test", lambda repository: {})
COMMIT = "1" * 40


def a_route(commit: str = COMMIT, **given: Any) -> Route:
    return Route(**{"forge": "git", "repo": "octo/hello", "commit": commit} | given)


def an_event(**given: Any) -> Event:
    fields: dict[str, Any] = {
        "kind": "push",
        "forge": "git",
        "repo": "octo/hello",
        "ref": "refs/heads/main",
        "commit": COMMIT,
    }
    return Event(**fields | given)


def a_job(key: str = "build", **given: Any) -> Job:
    fields: dict[str, Any] = {
        "id": 1,
        "name": key,
        "needs": (),
        "labels": ("linux",),
        "steps": (StepName("1", "Run true"),),
        "phase": Queued(NOON),
    }
    return Job(key=key, **fields | given)


def with_ids(jobs: Iterable[Job], ids: Iterator[int]) -> tuple[Job, ...]:
    """As a store does it, for those that are new."""
    made: dict[int | None, int] = {}
    saved = []
    for job in jobs:
        if job.caller in made:
            job = replace(job, caller=made[job.caller])
        if job.id <= UNSAVED:
            new = next(ids)
            if job.id != UNSAVED:
                made[job.id] = new
            job = replace(job, id=new)
        saved.append(job)
    return tuple(saved)


def a_run(*jobs: Job, **given: Any) -> Run:
    fields: dict[str, Any] = {
        "id": 1,
        "number": 1,
        "attempt": 1,
        "route": a_route(),
        "delivery": str(uuid4()),
        "workflow": ".runner/workflows/ci.yml",
        "name": "ci",
        "created_at": NOON,
        "jobs": jobs,
    }
    return Run(**fields | given)


def running(
    worker: str = "worker-1", attempt: int = 1, until: datetime = NOON + LENGTH, job: int = 1
) -> Running:
    return Running(Lease(job, worker, attempt, until))


def a_new_run(
    *keys: str, workflow: str = ".runner/workflows/ci.yml", needs: Mapping[str, tuple[str, ...]] | None = None
) -> NewRun:
    step = StepName("1", "Run true")
    jobs = tuple(
        Job(UNSAVED, key, key, (needs or {}).get(key, ()), ("linux",), (step,), position=at)
        for at, key in enumerate(keys or ("build",))
    )
    return NewRun(workflow, "ci", jobs)


def a_checkpoint(lease: Lease, key: str = "1", **given: Any) -> Checkpoint:
    fields: dict[str, Any] = {
        "fingerprint": "f" * 64,
        "outcome": Outcome(Result.SUCCESS, Result.SUCCESS, 0),
        "started": NOON,
        "finished": NOON,
        "snapshot": "base",
    }
    return Checkpoint(job=lease.job, key=key, attempt=lease.attempt, **fields | given)
