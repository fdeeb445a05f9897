"""How long a job was worked on, which its timeout limits."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("claimed_at", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("worked", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE jobs SET claimed_at = started_at")
