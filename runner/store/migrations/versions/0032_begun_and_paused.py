"""Which steps had begun that are not to run twice, and runs that are paused with another."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("begun", sa.JSON(), nullable=True))
    op.add_column(
        "stops", sa.Column("above", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=True)
    )
