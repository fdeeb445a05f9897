"""SqlArchivedLogs: in which objects the logs of jobs are that have ended, or what is in a row instead."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, select, update

from runner.engine.log_archive import PLACE
from runner.engine.ports import ArchivedLogs
from runner.model.blob import Blob
from runner.model.log import Frame, Section, StoredLog
from runner.store.database import Database, micros
from runner.store.tables import jobs, repositories, runs, stored_logs

MOST_KEYS = 500
"""How many values a statement asks for at once."""


class SqlArchivedLogs(ArchivedLogs):
    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, settled: timedelta, most: int) -> Sequence[tuple[int, str, Sequence[int]]]:
        registered = and_(repositories.c.forge == runs.c.forge, repositories.c.name == runs.c.repo)
        which = (jobs.c.id, jobs.c.attempt, jobs.c.logs_settled)
        tenant = (repositories.c.id.label("tenant"), repositories.c.created_at)
        query = (
            select(*which, *tenant).join(runs, runs.c.id == jobs.c.run).outerjoin(repositories, registered)
        )
        with self._database.reading() as connection:
            border = micros(self._database.now(connection) - settled)
            # A job that goes on once more has no end either.
            ended = and_(jobs.c.finished_at <= border, jobs.c.phase == "finished")
            query = query.where(ended, jobs.c.logs_settled < jobs.c.attempt)
            found = connection.execute(query.order_by(jobs.c.finished_at).limit(most)).all()
        return [(row.id, _place(row), range(row.logs_settled + 1, row.attempt + 1)) for row in found]

    def add(self, job: int, attempt: int, stored: StoredLog) -> bool:
        def work(connection: Connection) -> bool:
            # Locked, so that it is neither forgotten nor added twice meanwhile.
            living = select(jobs.c.id).where(jobs.c.id == job, jobs.c.logs_settled < attempt)
            if connection.execute(living.with_for_update()).first() is None:
                return False
            if connection.execute(_one(job, attempt)).first() is not None:
                return False
            connection.execute(insert(stored_logs), {"job": job, "attempt": attempt, **_columns(stored)})
            return True

        return self._database.writing(work)

    def settle(self, job: int, attempt: int) -> None:
        mine = (jobs.c.id == job) & (jobs.c.logs_settled < attempt)
        said = update(jobs).where(mine).values(logs_settled=attempt)
        self._database.writing(lambda connection: connection.execute(said), durable=False)

    def of(self, job: int, attempt: int) -> StoredLog | None:
        with self._database.reading() as connection:
            row = connection.execute(_one(job, attempt)).one_or_none()
        return None if row is None else _from(row)

    def sections(self, job: int) -> Mapping[int, Sequence[Section]]:
        query = select(stored_logs.c.attempt, stored_logs.c.sections).where(stored_logs.c.job == job)
        with self._database.reading() as connection:
            return {row.attempt: _sections(row.sections) for row in connection.execute(query)}

    def forget(self, job: int) -> Sequence[str]:
        def work(connection: Connection) -> Sequence[str]:
            connection.execute(update(jobs).where(jobs.c.id == job).values(logs_settled=jobs.c.attempt))
            gone = delete(stored_logs).where(stored_logs.c.job == job).returning(stored_logs.c.key)
            return [key for key in connection.execute(gone).scalars() if key is not None]

        return self._database.writing(work, durable=False)

    def known(self, keys: Collection[str]) -> Collection[str]:
        wanted, found = list(keys), set[str]()
        with self._database.reading() as connection:
            for start in range(0, len(wanted), MOST_KEYS):
                some = stored_logs.c.key.in_(wanted[start : start + MOST_KEYS])
                found.update(connection.execute(select(stored_logs.c.key).where(some)).scalars())
        return found


def _one(job: int, attempt: int) -> Any:
    return select(stored_logs).where(stored_logs.c.job == job, stored_logs.c.attempt == attempt)


def _place(row: Any) -> str:
    """A tenant's own; as `Repository.place` says it."""
    return f"{PLACE}/{row.tenant}/{row.created_at}" if row.tenant is not None else f"{PLACE}/0"


def _columns(stored: StoredLog) -> dict[str, Any]:
    blob = stored.content if isinstance(stored.content, Blob) else None
    return {
        "sections": [[section.step, section.size] for section in stored.sections],
        "frames": [[frame.size, frame.packed, frame.digest] for frame in stored.frames],
        "key": blob and blob.key,
        "size": blob and blob.size,
        "digest": blob and blob.digest,
        "content": stored.content if blob is None else None,
    }


def _from(row: Row[Any]) -> StoredLog:
    content = row.content if row.key is None else Blob(row.key, row.size, row.digest)
    frames, begin, at = list[Frame](), 0, 0
    for size, packed, digest in row.frames:
        frames.append(Frame(begin, size, at, packed, digest))
        begin, at = begin + size, at + packed
    return StoredLog(tuple(_sections(row.sections)), tuple(frames), content)


def _sections(said: Sequence[tuple[str, int]]) -> Sequence[Section]:
    return [Section(step, size) for step, size in said]
