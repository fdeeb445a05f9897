"""SqlLogs: what steps print, as rows, for workers and readers on different machines."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Insert,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
)
from sqlalchemy.exc import IntegrityError

from runner.engine.ports import LivingLogs
from runner.errors import DatabaseUnavailable
from runner.model.beginnings import BEGUN
from runner.store.database import Database
from runner.store.tables import LARGEST_ID, jobs, log_chunks

log = logging.getLogger(__name__)
Key = tuple[int, int, str]
FLUSH_BYTES = 64 * 1024
FLUSH_SECONDS = 0.2
"""How long output may wait before others can read it."""


class SqlLogs(LivingLogs):
    """Gathers output for a moment, so that a chatty step is not a transaction per line."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gathered: dict[Key, bytearray] = defaultdict(bytearray)
        self._state = threading.Condition()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._tend, name="log-writer", daemon=True)

    def append(self, job: int, attempt: int, step: str, chunk: bytes) -> None:
        with self._state:
            if not self._thread.is_alive():
                self._thread.start()
            gathered = self._gathered[job, attempt, step]
            gathered += chunk
            full = len(gathered) >= FLUSH_BYTES
            self._state.notify()
        if full:
            self.flush(job)

    def flush(self, job: int) -> None:
        self._write(job)

    def read(self, job: int, attempt: int, step: str, offset: int, limit: int) -> bytes:
        found = bytearray()
        with self._database.reading() as connection:
            for row in connection.execute(_span(job, attempt, step, offset, offset + limit)):
                start = max(0, offset - (row.end_at - len(row.data)))
                found += row.data[start : start + limit - len(found)]
        return bytes(found)

    def printed(self, job: int) -> Sequence[tuple[int, str]]:
        with self._database.reading() as connection:
            return [(row.attempt, row.step) for row in connection.execute(_begun(job))]

    def remove(self, job: int) -> None:
        gone = delete(log_chunks).where(log_chunks.c.job == job)
        self._database.writing(lambda connection: connection.execute(gone), durable=False)

    def let_go(self, job: int, attempt: int) -> None:
        gone = delete(log_chunks).where(log_chunks.c.job == job, log_chunks.c.attempt == attempt)
        self._database.writing(lambda connection: connection.execute(gone), durable=False)

    def _tend(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: bool(self._gathered))
            # Output is gathered for this long before it is written.
            time.sleep(FLUSH_SECONDS)
            try:
                self._write()
            except DatabaseUnavailable as error:
                log.warning("step output not stored yet", extra={"error": str(error)})
            except Exception:
                log.exception("step output not stored by a bug")

    def _write(self, job: int | None = None) -> None:
        """Of one job, or of all."""
        # One writer at a time keeps a step's chunks in the order in which they were printed.
        with self._writing:
            with self._state:
                wanted = [key for key in self._gathered if job in (None, key[0])]
                # That steps have begun can be read a moment later: it is no reason for a transaction.
                if job is not None and all(key[2] == BEGUN for key in wanted):
                    wanted = []
                taken = {key: self._gathered.pop(key) for key in wanted}
            rows = [
                {"of_job": job, "of_attempt": attempt, "of_step": step, "data": chunk, "size": len(chunk)}
                for (job, attempt, step), data in taken.items()
                for chunk in _chunks(data)
            ]
            if not rows:
                return
            try:
                self._add(rows)
            except DatabaseUnavailable:
                with self._state:
                    since, self._gathered = self._gathered, defaultdict(bytearray, taken)
                    for key, data in since.items():
                        self._gathered[key] += data
                raise

    def _add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """All at once, but for the output of jobs that are gone with their run."""
        try:
            self._database.writing(lambda connection: connection.execute(_ADDED, rows))
        except IntegrityError:
            with self._database.reading() as connection:
                its = select(jobs.c.id).where(jobs.c.id.in_({row["of_job"] for row in rows}))
                there = set(connection.execute(its).scalars())
            left = [row for row in rows if row["of_job"] in there]
            if len(left) == len(rows):
                raise
            # Whoever works for one that is gone learns it from its lease.
            if left:
                self._add(left)


def _chunks(data: bytearray) -> Iterator[bytes]:
    """Pieces that a reader can hold, however much was gathered while the database was away."""
    for start in range(0, len(data), FLUSH_BYTES):
        yield bytes(data[start : start + FLUSH_BYTES])


def _printed_by(job: Any, attempt: Any, step: Any) -> ColumnElement[bool]:
    return and_(log_chunks.c.job == job, log_chunks.c.attempt == attempt, log_chunks.c.step == step)


def _span(job: int, attempt: int, step: str, begin: int, end: int) -> Select[Any]:
    """The chunks that have bytes from `begin` up to `end`, in their order: one range of the index."""
    mine = _printed_by(job, attempt, step)
    begin, end = min(begin, LARGEST_ID), min(end, LARGEST_ID)
    last = select(func.min(log_chunks.c.end_at)).where(mine, log_chunks.c.end_at >= end).scalar_subquery()
    within = (log_chunks.c.end_at > begin) & (log_chunks.c.end_at <= func.coalesce(last, end))
    return select(log_chunks.c.data, log_chunks.c.end_at).where(mine, within).order_by(log_chunks.c.end_at)


def _begun(job: int) -> Select[Any]:
    """The first chunk of each log of a job, each looked up after the one before: there may be many chunks."""
    one = log_chunks.alias()
    first = select(one.c.id).where(one.c.job == job).limit(1)
    first = first.order_by(one.c.attempt, one.c.step, one.c.end_at)
    chunk = select(log_chunks.c.id, log_chunks.c.attempt, log_chunks.c.step)
    found = chunk.where(log_chunks.c.id == first.scalar_subquery()).cte("begun", recursive=True)
    after = tuple_(one.c.attempt, one.c.step) > tuple_(found.c.attempt, found.c.step)
    later = first.where(after).correlate(found).scalar_subquery()
    found = found.union_all(chunk.join(found, log_chunks.c.id == later))
    return select(found.c.attempt, found.c.step).order_by(found.c.attempt, found.c.id)


def _added() -> Insert:
    """A chunk after the last one of its step. Only the worker that has the attempt writes there."""
    job: BindParameter[int] = bindparam("of_job")
    attempt: BindParameter[int] = bindparam("of_attempt")
    step: BindParameter[str] = bindparam("of_step")
    mine = _printed_by(job, attempt, step)
    before = select(func.coalesce(func.max(log_chunks.c.end_at), 0)).where(mine).scalar_subquery()
    end = before + bindparam("size", type_=BigInteger)
    return insert(log_chunks).values(job=job, attempt=attempt, step=step, data=bindparam("data"), end_at=end)


_ADDED = _added()
