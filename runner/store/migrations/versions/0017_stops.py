"""What keeps runs from going on."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "stops",
        sa.Column("id", Id, primary_key=True),
        sa.Column("forge", sa.String(32), nullable=False),
        sa.Column("repo", sa.String(255), nullable=False),
        sa.Column("run", Id, sa.ForeignKey("runs.id", ondelete="CASCADE")),
        sa.Column("commit", sa.String(40)),
        sa.Column("workflow", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.create_index("stops_of_run", "stops", ["run"])
    op.create_index("stops_of_repository", "stops", ["forge", "repo", "run"])
