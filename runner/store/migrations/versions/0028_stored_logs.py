"""Logs of jobs that have ended as objects; runs that are gone; whose objects there are."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "stored_logs",
        sa.Column("job", Id, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("sections", sa.JSON(), nullable=False),
        sa.Column("frames", sa.JSON(), nullable=False),
        sa.Column("key", sa.String(255), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.String(64), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("job", "attempt"),
        sa.UniqueConstraint("key"),
    )
    op.create_table(
        "deployment",
        sa.Column("one", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("one"),
    )
    op.add_column("jobs", sa.Column("logs_settled", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("gone_at", sa.BigInteger(), nullable=True))
    gone = sa.text("gone_at IS NOT NULL")
    op.create_index("runs_gone", "runs", ["gone_at"], sqlite_where=gone, postgresql_where=gone)
    some = sa.text("finished_at IS NOT NULL AND logs_settled < attempt")
    op.create_index("jobs_with_chunks", "jobs", ["finished_at"], sqlite_where=some, postgresql_where=some)
