"""How long a repository's snapshots are kept, and where jobs have deployed to, and which may fail."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0021"


def upgrade() -> None:
    op.add_column("repositories", sa.Column("keep_snapshots", sa.BigInteger()))
    op.add_column("jobs", sa.Column("deployed", sa.JSON()))
    op.add_column("jobs", sa.Column("tolerant", sa.Boolean(), nullable=False, server_default=sa.false()))
