"""Layers of snapshots that are objects, and what each repository has of them."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("repositories", sa.Column("snapshot", sa.String(8)))
    op.create_table(
        "snapshots",
        sa.Column("job", Id, sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("parent", sa.String(64), nullable=False),
        sa.Column("place", sa.String(128), nullable=False),
        sa.Column("content", sa.String(64)),
        sa.Column("key", sa.String(255)),
        sa.Column("size", sa.BigInteger()),
        sa.Column("digest", sa.String(64)),
        sa.Column("noted_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("snapshots_by_content", "snapshots", ["place", "content"])
    op.create_index("snapshots_by_key", "snapshots", ["key"])
