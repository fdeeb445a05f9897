"""What becomes of due times that passed while no clock ran, for each repository."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column("repositories", sa.Column("missed", sa.String(8), nullable=False, server_default="once"))
    op.add_column("schedules", sa.Column("skipped_at", sa.BigInteger()))
