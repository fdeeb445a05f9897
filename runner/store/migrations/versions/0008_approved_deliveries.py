"""Deliveries of code from forks, which somebody must approve."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    no = sa.false()
    op.add_column("deliveries", sa.Column("approved", sa.Boolean(), nullable=False, server_default=no))
