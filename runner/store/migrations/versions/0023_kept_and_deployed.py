"""What a repository keeps of snapshots, where jobs deploy and which may fail, and whose a token is."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.add_column("repositories", sa.Column("keep_snapshots", sa.BigInteger()))
    op.add_column("jobs", sa.Column("deployed", sa.JSON()))
    op.add_column("jobs", sa.Column("tolerant", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("tokens", sa.Column("person", sa.String(255)))
