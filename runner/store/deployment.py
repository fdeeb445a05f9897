"""What this database is called where something belongs to it that is kept elsewhere."""

from secrets import token_hex

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from runner.store.database import Database
from runner.store.tables import deployment


class SqlDeployment:
    def __init__(self, database: Database) -> None:
        self._database = database

    def id(self) -> str:
        """The same for as long as there is this database, and for every copy of it."""
        with self._database.reading() as connection:
            found: str | None = connection.execute(select(deployment.c.id)).scalar_one_or_none()
        return found or self._database.writing(_made)


def _made(connection: Connection) -> str:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    new = dialect.insert(deployment).values(one=1, id=token_hex(16))
    connection.execute(new.on_conflict_do_nothing())
    found: str = connection.execute(select(deployment.c.id)).scalar_one()
    return found
