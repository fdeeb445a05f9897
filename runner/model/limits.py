"""What one repository may use of the server, and which of several is served next."""

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Limits:
    """What a repository may use; 0 is no limit. Of one repository, None is the server's. Times in seconds."""

    max_jobs: int | None = None
    """Jobs that run at once."""
    max_queued: int | None = None
    """Runs that have not ended."""
    queue_timeout: int | None = None
    """How long a job waits for a worker."""
    run_timeout: int | None = None
    """How long a run takes, whatever it waits for."""
    keep_logs: int | None = None
    """How long the logs of a run stay after its end."""
    keep_runs: int | None = None
    keep_artifacts: int | None = None
    keep_snapshots: int | None = None
    """How long the files of its jobs stay after that, as far as they fit."""
    cache_bytes: int | None = None
    """What its caches may be together; who has none does not lose any for their size."""

    def over(self, server: "Limits") -> "Limits":
        """What counts for a repository with these."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(server, **{name: value for name, value in said.items() if value is not None})


NONE = Limits()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A repository that has a job to be claimed: the one that waits longest, since when, and how many run."""

    repository: str
    run: int
    job: int
    since: datetime
    running: int
    most: int | None

    @property
    def full(self) -> bool:
        """Whether none of its jobs may begin before another one ends."""
        return bool(self.most) and self.running >= (self.most or 0)


def fairest(there: Collection[Waiting]) -> list[Waiting]:
    """Those that may have a job begun: first who has the fewest running, of these who waits longest."""
    return sorted((one for one in there if not one.full), key=lambda one: (one.running, one.since, one.job))


def shown(span: timedelta) -> str:
    """A span of time in its largest unit that leaves no rest, as settings take it."""
    number = round(span.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if number and number % size == 0:
            return f"{number // size}{unit}"
    return f"{number}s"
