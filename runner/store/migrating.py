"""The tables' shape, brought from any earlier version to this one's by Alembic.

Every migration only adds, and what it adds has a default: processes of the version before work on beside it.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from runner.errors import Rejected
from runner.store.database import Shape


def upgrade(connection: Connection) -> None:
    """Raises `Rejected` where a newer version was here."""
    if shape(connection) is Shape.NEWER:
        raise Rejected(Shape.NEWER.value)
    config = _alembic()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def shape(connection: Connection) -> Shape:
    found = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(_alembic())
    if found == scripts.get_current_head():
        return Shape.CURRENT
    known = found is None or found in {script.revision for script in scripts.walk_revisions()}
    return Shape.OLDER if known else Shape.NEWER


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
