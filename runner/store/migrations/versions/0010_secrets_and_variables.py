"""Secrets, sealed, and variables of repositories."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "secrets",
        *_named(),
        sa.Column("key", sa.String(16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        *_times(),
    )
    op.create_table("variables", *_named(), sa.Column("value", sa.Text(), nullable=False), *_times())


def _named() -> list[sa.Column[int] | sa.Column[str]]:
    return [
        sa.Column("repository", Id, sa.ForeignKey("repositories.id"), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
    ]


def _times() -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in ("created_at", "updated_at")]
