"""Commits of other repositories that runs are bound to, and which repositories others may use."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("runs", sa.Column("pins", sa.JSON(), nullable=False, server_default="{}"))
    no = sa.false()
    op.add_column("repositories", sa.Column("shared", sa.Boolean(), nullable=False, server_default=no))
