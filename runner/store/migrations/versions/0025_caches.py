"""What jobs keep for later runs."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "caches",
        sa.Column("id", Id, primary_key=True),
        sa.Column("repository", Id, sa.ForeignKey("repositories.id"), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("trusted", sa.Boolean(), nullable=False),
        sa.Column("key", sa.String(512), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("identity", sa.String(64), nullable=False),
        sa.Column("blob", sa.String(255), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("repository", "identity"),
        sa.UniqueConstraint("blob"),
    )
    op.create_index("caches_by_use", "caches", ["used_at"])
    op.add_column("repositories", sa.Column("cache_bytes", sa.BigInteger(), nullable=True))
