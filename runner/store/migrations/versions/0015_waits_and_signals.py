"""Waits of jobs, and the signals that end them."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("waits", sa.JSON(), nullable=True))
    op.create_table(
        "signals",
        sa.Column("id", Id, primary_key=True),
        sa.Column("run", Id, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("run_attempt", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("job", Id, nullable=True),
        sa.Column("wait", sa.String(length=255), nullable=True),
        sa.UniqueConstraint("run", "run_attempt", "name", "key"),
    )
