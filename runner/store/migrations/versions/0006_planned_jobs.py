"""Jobs that are planned when their turn comes: legs of a matrix, conditions, called workflows."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAMES = {"uq": "%(table_name)s_%(column_0_N_name)s_key"}
"""PostgreSQL's own name of a constraint that was given none; SQLite knows it by none at all."""


def upgrade() -> None:
    with op.batch_alter_table("jobs", naming_convention=NAMES) as jobs:
        # Legs of one job share its key.
        jobs.drop_constraint("jobs_run_run_attempt_key_key", type_="unique")
        jobs.create_index("jobs_of_run", ["run", "run_attempt", "position"])
        for flag in ("tolerated", "dynamic", "conditional", "cancelled"):
            jobs.add_column(_flag(flag, sa.false()))
        jobs.add_column(_flag("planned", sa.true()))
        jobs.add_column(sa.Column("leg", sa.JSON(), nullable=False, server_default="{}"))
        jobs.add_column(sa.Column("calls", sa.Text(), nullable=True))
        jobs.add_column(sa.Column("caller", Id, nullable=True))
        jobs.add_column(sa.Column("inputs", sa.JSON(), nullable=False, server_default="{}"))
        jobs.add_column(sa.Column("outputs", sa.JSON(), nullable=False, server_default="{}"))
    op.execute("UPDATE jobs SET cancelled = true WHERE run IN (SELECT id FROM runs WHERE cancelled)")
    title = sa.Column("title", sa.Text(), nullable=False, server_default="")
    op.add_column("runs", title)


def _flag(name: str, default: sa.ColumnElement[bool]) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=default)
