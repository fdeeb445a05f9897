"""A run as its rows say it is: read as it stands, or held under its lock."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Row, Select, bindparam, func, select

from runner.errors import NotFound
from runner.model.run import Run
from runner.store.database import Database
from runner.store.followers import Awaited, awaited_of_run
from runner.store.rows import job_from, run_from
from runner.store.stops import hold_of_run, pause_above, pause_of, pause_of_run, stop_of
from runner.store.tables import (
    children,
    jobs,
    part_of,
    repositories,
    runs,
    was_cancelled,
    why_cancelled,
)


def _run_at(attempt: ColumnElement[int]) -> Select[Any]:
    return (
        select(
            runs,
            was_cancelled(attempt).label("cancelled"),
            why_cancelled(attempt).label("over"),
            pause_of_run().label("pause"),
            hold_of_run().label("hold"),
            children.c.run.label("parent"),
            *(children.c[name].label(f"parent_{name}") for name in ("job", "step", "left", "ended", "free")),
            pause_above().label("above"),
        )
        .outerjoin(children, children.c.delivery == runs.c.delivery)
        .where(runs.c.id == bindparam("run_id"), runs.c.gone_at.is_(None))
    )


_wanted = bindparam("attempt", type_=Integer)
_run_by_id, _run_as_it_was = _run_at(runs.c.attempt), _run_at(_wanted)
# With all that whoever changes it asks next: a statement is a way there and back.
_max_jobs = select(repositories.c.max_jobs).where(
    repositories.c.forge == runs.c.forge, repositories.c.name == runs.c.repo
)
_held_run = _run_by_id.add_columns(
    awaited_of_run().label("awaited"), _max_jobs.correlate(runs).scalar_subquery().label("max_jobs")
)
_held_run_and_time = _held_run.add_columns(func.clock_timestamp().label("clock"))
_lock_run = select(runs.c.id).where(runs.c.id == bindparam("run_id")).with_for_update()
_all_jobs = select(jobs).where(jobs.c.run == bindparam("run_id")).order_by(jobs.c.position, jobs.c.id)
_jobs_of_run = _all_jobs.where(jobs.c.superseded.is_(None))
_jobs_as_they_were = _all_jobs.where(part_of(_wanted))
# In the order in which leases are renewed, so that nobody waits for somebody who waits for him.
_lock_jobs = _jobs_of_run.order_by(None).order_by(jobs.c.id).with_for_update()


@dataclass(frozen=True, slots=True)
class Held:
    """A run whose lock this transaction has, since `at` by the database's clock.

    `awaited`: which stages others wait for that runs of its repository reach; `max_jobs`: its own limit.
    """

    run: Run
    at: datetime
    awaited: Awaited
    max_jobs: int | None


def load(connection: Connection, run_id: int) -> Run:
    """Raises `NotFound`."""
    mine = {"run_id": run_id}
    row = _known(connection.execute(_run_by_id, mine).one_or_none(), run_id)
    return _run(connection, row, connection.execute(_jobs_of_run, mine))


def load_attempt(connection: Connection, run_id: int, attempt: int) -> Run:
    """A run as one of its attempts is or was left, whatever came after that. Raises `NotFound`."""
    mine = {"run_id": run_id, "attempt": attempt}
    row = _known(connection.execute(_run_as_it_was, mine).one_or_none(), run_id)
    if not 1 <= attempt <= row.attempt:
        raise NotFound(f"run {run_id} has no attempt {attempt}; it has {row.attempt}")
    run = _run(connection, row, connection.execute(_jobs_as_they_were, mine))
    return replace(run, attempt=attempt)


def hold(database: Database, connection: Connection, run_id: int) -> Held:
    """Lock a run and its jobs to the end of the transaction. Raises `NotFound`."""
    mine = {"run_id": run_id}
    if database.lite:
        # Whoever writes there is alone.
        row = _known(connection.execute(_held_run, mine).one_or_none(), run_id)
        at = database.now(connection)
    else:
        # Read after the lock is there, and not with it: of other tables it would show what was before it.
        connection.execute(_lock_run, mine)
        row = _known(connection.execute(_held_run_and_time, mine).one_or_none(), run_id)
        at = database.now(connection, row.clock)
    run = _run(connection, row, connection.execute(_lock_jobs, mine))
    return Held(run, at, row.awaited or (), row.max_jobs)


def _known(row: Row[Any] | None, run_id: int) -> Row[Any]:
    if row is None:
        raise NotFound(f"no run {run_id}; `runner runs list` shows the newest")
    return row


def _run(connection: Connection, row: Row[Any], found: Iterable[Row[Any]]) -> Run:
    known = sorted(map(job_from, found), key=lambda job: (job.position, job.leg.index))
    standing: dict[int | None, int | None] = {
        job.stands_for: job.id for job in known if job.stands_for is not None
    }
    if standing:
        known = [replace(job, caller=standing.get(job.caller, job.caller)) for job in known]
    run = run_from(row, tuple(known))
    if run.parent is not None and row.above is not None:
        # By the run that it is of: somebody may have put another in its place since its id was read.
        run = replace(run, parent=replace(run.parent, pause=pause_of(connection, run.parent.run)))
    if row.pause is None and row.hold is None:
        return run
    return replace(run, pause=stop_of(connection, row.pause), hold=stop_of(connection, row.hold))
