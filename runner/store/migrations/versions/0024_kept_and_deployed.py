"""How long a repository's snapshots are kept, and where jobs have deployed to."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0021"


def upgrade() -> None:
    op.add_column("repositories", sa.Column("keep_snapshots", sa.BigInteger()))
    op.add_column("jobs", sa.Column("deployed", sa.JSON()))
