"""SqlLogs: what steps print, as rows, for workers and readers on different machines."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from sqlalchemy import func, insert, select

from runner.engine.ports import Logs
from runner.errors import DatabaseUnavailable
from runner.store.database import Database
from runner.store.tables import log_chunks

log = logging.getLogger(__name__)
Key = tuple[int, int, str]
FLUSH_BYTES = 64 * 1024
FLUSH_SECONDS = 0.2
"""How long output may wait before others can read it."""


class SqlLogs(Logs):
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
        self._write(lambda key: key[0] == job)

    def read(self, job: int, attempt: int, step: str, offset: int, limit: int) -> bytes:
        mine = (log_chunks.c.job == job) & (log_chunks.c.attempt == attempt) & (log_chunks.c.step == step)
        end = func.sum(func.length(log_chunks.c.data)).over(order_by=log_chunks.c.id)
        placed = select(log_chunks.c.data, end.label("end"), log_chunks.c.id).where(mine).subquery()
        query = select(placed.c.data, placed.c.end).where(placed.c.end > offset).order_by(placed.c.id)
        found = bytearray()
        with self._database.reading() as connection:
            for row in connection.execute(query):
                start = max(0, offset - (row.end - len(row.data)))
                found += row.data[start : start + limit - len(found)]
                if len(found) >= limit:
                    break
        return bytes(found)

    def _tend(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: bool(self._gathered))
            # Output is gathered for this long before it is written.
            time.sleep(FLUSH_SECONDS)
            try:
                self._write(lambda key: True)
            except DatabaseUnavailable as error:
                log.warning("step output not stored yet", extra={"error": str(error)})
            except Exception:
                log.exception("step output not stored by a bug")

    def _write(self, wanted: Callable[[Key], bool]) -> None:
        # One writer at a time keeps a step's chunks in the order in which they were printed.
        with self._writing:
            with self._state:
                taken = {key: self._gathered.pop(key) for key in list(self._gathered) if wanted(key)}
            rows = [
                {"job": job, "attempt": attempt, "step": step, "data": bytes(data)}
                for (job, attempt, step), data in taken.items()
            ]
            if not rows:
                return
            try:
                self._database.writing(lambda connection: connection.execute(insert(log_chunks), rows))
            except DatabaseUnavailable:
                with self._state:
                    for key, data in taken.items():
                        self._gathered[key] = data + self._gathered[key]
                raise
