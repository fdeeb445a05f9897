"""What has waited or gone on for longer than it may, by the database's clock."""

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, func, literal_column, select

from runner.engine.ports import Overdue
from runner.model.limits import Limits
from runner.store.sharing import jobs_running
from runner.store.tables import jobs, repositories, runs, was_cancelled

SECOND = 10**6
ABSENCE = 60 * SECOND
"""How much later than it should the clock looks at a job if there was none: nor was anybody else, maybe."""
_OF_THEIR_OWN = select(repositories.c.forge, repositories.c.name, repositories.c.run_timeout).where(
    repositories.c.run_timeout.is_not(None)
)
_NEWEST_OLD = (
    select(runs.c.id)
    .where(runs.c.created_at <= bindparam("border"))
    .order_by(runs.c.created_at.desc())
    .limit(1)
)


class Patience:
    """How long jobs still wait for a worker, for one round of the clock; `overdue` is what has waited enough.

    Only the time counts in which any worker might have claimed it: neither the delay of a retry, nor the time
    for which no clock ran nor, as far as it saw that, the one in which its repository had as many jobs
    running as it may.
    """

    def __init__(self, connection: Connection, now: int, server: Limits) -> None:
        self._now = now
        self._server = server
        self._running = cache(lambda repository: jobs_running(connection, repository))
        self.overdue: list[Overdue] = []

    def ends(self, row: Any, columns: dict[str, Any]) -> bool:
        """Whether a job has waited enough; else `columns` says when it is to be looked at again."""
        if row.phase != "queued" or row.asked_at is not None or row.cancelled:
            return False
        limits = Limits(queue_timeout=row.queue_timeout).over(self._server)
        since = max(row.due_at or row.queued_at, row.held_at or 0)
        if self._full(row) or row.ring_at < self._now - ABSENCE:
            since = columns["held_at"] = self._now
        if not limits.queue_timeout:
            return False
        until = since + limits.queue_timeout * SECOND
        if until > self._now:
            columns["ring_at"] = min(columns["ring_at"], until)
            return False
        self.overdue.append(Overdue(row.run, timedelta(seconds=limits.queue_timeout), row.id))
        return True

    def holds(self, row: Any) -> bool:
        """Whether a job that has waited with its worker's place given up has to wait for one once more."""
        return row.phase == "suspended" and row.asked_at is None and self._full(row)

    def _full(self, row: Any) -> bool:
        most = Limits(max_jobs=row.max_jobs).over(self._server).max_jobs
        return bool(most) and self._running(f"{row.forge}:{row.repo}") >= (most or 0)


def late_runs(connection: Connection, now: int, server: Limits, most: int) -> tuple[Overdue, ...]:
    """Runs whose newest attempt goes on for longer than it may, and that nobody has cancelled."""
    own = {f"{row.forge}:{row.name}": row.run_timeout for row in connection.execute(_OF_THEIR_OWN)}
    found: list[Overdue] = []
    for repository, seconds in own.items():
        found += _late(connection, now, seconds, most, jobs.c.repository == repository)
    others = jobs.c.repository.not_in(list(own)) if own else jobs.c.repository.is_not(None)
    found += _late(connection, now, server.run_timeout, most, others)
    return tuple(found)


def _late(
    connection: Connection, now: int, seconds: int | None, most: int, which: ColumnElement[bool]
) -> Sequence[Overdue]:
    if not seconds:
        return []
    border = now - seconds * SECOND
    # Ids rise with the time: no younger run has to be looked at.
    last = connection.execute(_NEWEST_OLD, {"border": border}).scalar()
    if last is None:
        return []
    unfinished = (jobs.c.phase != literal_column("'finished'")) & (jobs.c.run <= last)
    query = (
        select(jobs.c.run)
        .join(runs)
        .where(which, unfinished, func.coalesce(runs.c.attempt_at, runs.c.created_at) <= border)
        .where(~was_cancelled(runs.c.attempt))
        .distinct()
        .limit(most)
    )
    limit = timedelta(seconds=seconds)
    return [Overdue(run, limit) for run in connection.execute(query).scalars()]
