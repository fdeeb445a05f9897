"""Jobs that are asked whether they go on, after their workflow was cancelled."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("asked_at", sa.BigInteger(), nullable=True))
