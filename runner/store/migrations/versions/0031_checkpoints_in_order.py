"""The place of a job's next checkpoint is found without counting those before it."""

from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.create_index("checkpoints_in_order", "checkpoints", ["job", "sequence"])
