"""Whether tables are this version's, known without Alembic: it takes a process a quarter of its start."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

_VERSIONS = Path(__file__).parent / "migrations" / "versions"


def newest() -> str:
    """The revision that the last migration makes: the number its file's name begins with."""
    return max(file.name.partition("_")[0] for file in _VERSIONS.glob("[0-9]*.py"))


def is_newest(connection: Connection) -> bool:
    """Whether the database's tables are what the last migration makes of them."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    return list(found) == [newest()]
