"""That a step has begun which is not to run twice is known when its worker is lost, however long after."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("begun", sa.JSON(), nullable=True))
