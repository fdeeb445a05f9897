"""Jobs that are asked whether they go on after a cancel, and a mark of the cancel on its own attempt."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("asked_at", sa.BigInteger(), nullable=True))
    op.create_table(
        "cancels",
        sa.Column("run", Id, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True),
    )
    op.execute("INSERT INTO cancels (run, attempt) SELECT id, attempt FROM runs WHERE cancelled")
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("cancelled")
