"""Runs that steps of other runs have started, and objects that hold what steps gave."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.create_table(
        "children",
        sa.Column("delivery", sa.String(36), sa.ForeignKey("deliveries.id"), primary_key=True),
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("job", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("left", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("ended", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("ring_at", sa.BigInteger(), nullable=True),
    )
    op.create_index("children_of_run", "children", ["run"])
    op.create_index("children_of_job", "children", ["job"])
    op.create_index("children_due", "children", ["ring_at"])
    op.add_column("checkpoints", sa.Column("object", sa.String(255), nullable=True))
    op.create_index(
        "checkpoints_with_objects",
        "checkpoints",
        ["object"],
        sqlite_where=sa.text("object IS NOT NULL"),
        postgresql_where=sa.text("object IS NOT NULL"),
    )
