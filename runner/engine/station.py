"""A worker's place to work."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from runner.engine.archive import Archive
from runner.engine.caches import CacheStore
from runner.engine.heart import Heart
from runner.engine.ports import (
    Artifacts,
    Containers,
    Dispatcher,
    Environments,
    Executor,
    Logs,
    Objects,
    Repositories,
    Store,
    Vault,
    Workspaces,
)
from runner.engine.sources import Sources
from runner.model.snapshot import Keep


@dataclass(frozen=True, slots=True)
class Station:
    """A worker's place to work: its name and every port that a job needs."""

    worker: str
    site: str
    """Sets this server's jobs apart from those of other servers on the same machine."""
    server: str
    """The address that workflows are told."""
    temp: Path
    lease: timedelta
    store: Store
    repositories: Repositories
    workspaces: Workspaces
    sources: Sources
    executors: Mapping[str, Callable[[], Executor]]
    containers: Callable[[], Containers]
    """Asked for where a job needs some beside its sandbox."""
    executor: str
    """The executor of repositories that name none."""
    logs: Logs
    heart: Heart
    dispatcher: Dispatcher
    vault: Vault
    environments: Environments
    objects: Objects
    artifacts: Artifacts
    caches: CacheStore
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that every workflow begins with, before its own `env`."""
    archive: Archive | None = None
    """Where snapshots are stored; None where nothing outlasts this process."""
    snapshot: Keep = Keep.LOCAL
    """What becomes of the files of jobs where neither they nor their repositories say it."""
    answers: bool = True
    """Whether somebody answers at that address."""
    matrix: Mapping[str, Collection[str]] = field(default_factory=dict)
    """The values of a matrix that are run, by key; a key that is not named has all of its values run."""

    def label(self, job: int, attempt: int) -> str:
        """What sets one attempt of a job apart from all others on this machine."""
        return f"{self.site}-{job}-{attempt}"
