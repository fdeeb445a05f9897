"""SqlWorkers: which workers there are, as each of them says again and again."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete
from sqlalchemy.dialects import postgresql, sqlite

from runner.store.database import Database, micros
from runner.store.tables import workers

PRESENCE = timedelta(seconds=30)
"""How long a worker is taken to be there after it last said so."""


class SqlWorkers:
    def __init__(self, database: Database) -> None:
        self._database = database

    def announce(self, name: str, labels: Collection[str]) -> None:
        """Say that a worker is there and what it serves; true for `PRESENCE`."""

        def work(connection: Connection) -> None:
            now = self._database.now(connection)
            row = {"labels": sorted(labels), "until": micros(now + PRESENCE)}
            connection.execute(delete(workers).where(workers.c.until < micros(now)))
            connection.execute(_upsert(connection, name, row))

        self._database.writing(work, durable=False)

    def leave(self, name: str) -> None:
        """It takes no more jobs."""
        gone = delete(workers).where(workers.c.name == name)
        self._database.writing(lambda connection: connection.execute(gone), durable=False)


def _upsert(connection: Connection, name: str, row: dict[str, Any]) -> Any:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    new = dialect.insert(workers).values(name=name, **row)
    return new.on_conflict_do_update(index_elements=["name"], set_=row)
