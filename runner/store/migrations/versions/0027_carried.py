"""How far back a job went whose newest files were lost."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0025"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("carried", sa.Integer(), nullable=False, server_default="0"))
