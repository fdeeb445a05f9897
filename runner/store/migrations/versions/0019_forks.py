"""Jobs that go on where others stopped, and called workflows of which some jobs run again."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("forked", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("step_ids", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("stands_for", Id, nullable=True))
    op.add_column("checkpoints", sa.Column("kept", sa.Boolean(), nullable=False, server_default=sa.true()))
