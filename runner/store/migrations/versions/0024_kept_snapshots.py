"""How long a repository's snapshots are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0021"


def upgrade() -> None:
    op.add_column("repositories", sa.Column("keep_snapshots", sa.BigInteger()))
