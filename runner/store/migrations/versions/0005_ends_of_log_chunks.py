"""Log chunks say where they end, so that a reader finds a place in a log without adding up the rest."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # Filling the column takes as long as there is log.
        op.execute("SET LOCAL statement_timeout = 0")
    op.add_column("log_chunks", sa.Column("end_at", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE log_chunks SET end_at = placed.end_at FROM ("
        "SELECT id, sum(length(data)) OVER (PARTITION BY job, attempt, step ORDER BY id) AS end_at "
        "FROM log_chunks) AS placed WHERE placed.id = log_chunks.id"
    )
    op.create_index("log_chunks_by_end", "log_chunks", ["job", "attempt", "step", "end_at"])
    op.drop_index("log_chunks_of_job", "log_chunks")
