"""SqlRetention: which runs and logs have been kept for long enough, and how a run is removed."""

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    String,
    and_,
    cast,
    delete,
    exists,
    func,
    literal_column,
    not_,
    or_,
    select,
    tuple_,
    update,
)

from runner.engine.ports import Forgotten, Silenced
from runner.model.limits import Limits
from runner.store.children import is_waited_for
from runner.store.database import Database, micros
from runner.store.tables import (
    artifacts,
    cancels,
    checkpoints,
    children,
    deliveries,
    jobs,
    log_chunks,
    places,
    repositories,
    runs,
    signals,
    snapshots,
    stored_logs,
)

SECOND = 10**6
_lock = select(runs.c.id, runs.c.delivery)


class SqlRetention:
    """`limits` are the server's, for repositories that have none of their own."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    def silenced(self, most: int) -> Sequence[Silenced]:
        found = []
        with self._database.reading() as connection:
            now = micros(self._database.now(connection))
            loud = runs.c.logs_removed_at.is_(None)
            for row, seconds in self._old(connection, now, "keep_logs", loud, most):
                query = select(jobs.c.id, jobs.c.attempt).where(jobs.c.run == row.id)
                its = tuple((job.id, job.attempt) for job in connection.execute(query))
                found.append(Silenced(row.id, row.attempt, its, timedelta(seconds=seconds)))
        return found

    def silence(self, run: Silenced) -> None:
        def work(connection: Connection) -> None:
            now = micros(self._database.now(connection))
            same = (runs.c.id == run.run) & (runs.c.attempt == run.attempt)
            connection.execute(update(runs).where(same).values(logs_removed_at=now))

        self._database.writing(work, durable=False)

    def forget(self, most: int) -> Sequence[Forgotten]:
        with self._database.reading() as connection:
            now = micros(self._database.now(connection))
            query = select(runs.c.id).where(runs.c.gone_at.is_not(None)).order_by(runs.c.gone_at)
            gone = connection.execute(query.limit(most)).scalars().all()
            unneeded = and_(_superseded(), not_(is_waited_for()))
            old = list(self._old(connection, now, "keep_runs", unneeded, most - len(gone)))
        forgotten = [self._database.writing(partial(_forget, run=run, border=None)) for run in gone]
        forgotten += [
            self._database.writing(partial(_forget, run=row.id, border=now - seconds * SECOND))
            for row, seconds in old
        ]
        return [one for one in forgotten if one is not None]

    def known(self, keys: Sequence[str]) -> Collection[str]:
        query = select(checkpoints.c.object).where(checkpoints.c.object.in_(keys))
        with self._database.reading() as connection:
            return set(connection.execute(query).scalars())

    def _old(
        self, connection: Connection, now: int, limit: str, which: ColumnElement[bool], most: int
    ) -> Iterator[tuple[Any, int]]:
        """Runs that ended before the limit of their repository, oldest first, and how long that is."""
        own = repositories.c[limit]
        query = select(repositories.c.forge, repositories.c.name, own).where(own.is_not(None))
        said = {(row.forge, row.name): row[2] for row in connection.execute(query)}
        mine = tuple_(runs.c.forge, runs.c.repo)
        borders = [(seconds, mine == tuple_(*name)) for name, seconds in said.items()]
        others = mine.not_in(list(said)) if said else literal_column("1 = 1")
        for seconds, of_these in (*borders, (getattr(self._limits, limit), others)):
            if not seconds or most <= 0:
                continue
            border = now - seconds * SECOND
            # What was created later cannot have ended before.
            ended = and_(runs.c.created_at <= border, ~_unfinished(runs), _ended_at() <= border)
            query = select(runs.c.id, runs.c.attempt).where(of_these, which, ended)
            found = connection.execute(query.order_by(runs.c.created_at).limit(most)).all()
            most -= len(found)
            yield from ((row, seconds) for row in found)


def _forget(connection: Connection, run: int, border: int | None) -> Forgotten | None:
    """Remove a run, unless it was begun again; who wants that now waits for this, and finds the run gone.

    No `border` is whatever it is doing: who works for it finds its lease lost.
    """
    locked = connection.execute(_lock.where(runs.c.id == run).with_for_update()).one_or_none()
    if locked is None:
        return None
    if border is not None:
        again = select(runs.c.id).where(runs.c.id == run, or_(_unfinished(runs), _ended_at() > border))
        if connection.execute(again).first():
            return None
    # Locked, so that nobody adds to them meanwhile.
    locking = select(jobs.c.id).where(jobs.c.run == run).order_by(jobs.c.id).with_for_update()
    ids = connection.execute(locking).scalars().all()
    its = select(jobs.c.id).where(jobs.c.run == run)
    values = select(checkpoints.c.object).where(checkpoints.c.job.in_(its), checkpoints.c.object.is_not(None))
    # A job that went on from another one has what that one's steps gave.
    long = tuple(connection.execute(values.distinct()).scalars())
    for table in (log_chunks, checkpoints, snapshots):
        connection.execute(delete(table).where(table.c.job.in_(its)))
    gone = delete(artifacts).where(artifacts.c.run == run).returning(artifacts.c.key)
    logs = delete(stored_logs).where(stored_logs.c.job.in_(its)).returning(stored_logs.c.key)
    keys = (*connection.execute(gone).scalars(), *connection.execute(logs).scalars())
    objects = tuple(key for key in keys if key is not None)
    for table in (signals, places, cancels, jobs):
        connection.execute(delete(table).where(table.c.run == run))
    connection.execute(delete(runs).where(runs.c.id == run))
    related = (children.c.run == run) | (children.c.delivery == locked.delivery)
    connection.execute(delete(children).where(related))
    left = connection.execute(select(runs.c.id).where(runs.c.delivery == locked.delivery).limit(1)).first()
    if left is None:
        # What it was stays, so that a copy of it is known for one.
        connection.execute(update(deliveries).where(deliveries.c.id == locked.delivery).values(payload={}))
    return Forgotten(run, tuple(ids), locked.delivery if left is None else None, (*objects, *long))


def _unfinished(of: FromClause) -> ColumnElement[bool]:
    return exists().where(jobs.c.run == of.c.id, jobs.c.phase != literal_column("'finished'")).correlate(of)


def _ended_at() -> ColumnElement[int]:
    last = select(func.max(jobs.c.finished_at)).where(jobs.c.run == runs.c.id).correlate(runs)
    return func.coalesce(last.scalar_subquery(), runs.c.created_at)


def _superseded() -> ColumnElement[bool]:
    """Whether a newer run of the same workflow and branch has ended with a result that counts."""
    newer = runs.alias("newer")
    ran = exists().where(jobs.c.run == newer.c.id, jobs.c.result != "skipped").correlate(newer)
    same = and_(*(newer.c[name] == runs.c[name] for name in ("forge", "repo", "workflow", "ref")))
    counts = or_(ran, cast(newer.c.problems, String) != "[]")
    return exists().where(newer.c.id > runs.c.id, same, counts, not_(_unfinished(newer))).correlate(runs)
