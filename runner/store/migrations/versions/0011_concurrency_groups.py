"""Concurrency groups: the lines before them, and what runs and jobs have heard of their turns."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("runs", sa.Column("turn", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("turns", sa.JSON(), nullable=True))
    op.create_table(
        "places",
        sa.Column("forge", sa.String(length=32), nullable=False),
        sa.Column("repo", sa.String(length=255), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("run", Id, nullable=False),
        sa.Column("job", Id, nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("turn", sa.JSON(), nullable=False),
        sa.Column("within", sa.JSON(), nullable=False),
        sa.Column("ring_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["run"], ["runs.id"]),
        sa.PrimaryKeyConstraint("forge", "repo", "number"),
    )
    op.create_index("places_of_run", "places", ["run"])
    op.create_index("places_due", "places", ["ring_at"])
