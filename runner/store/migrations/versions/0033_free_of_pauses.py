"""Of which pause of the run that has started it somebody had a run go on all the same."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.add_column("children", sa.Column("free", sa.BigInteger(), nullable=True))
