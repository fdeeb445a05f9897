"""Steps that programs ask for by names, and what they give to them."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.add_column("checkpoints", sa.Column("value", sa.Text(), nullable=True))
    # SQLite keeps to no length. In PostgreSQL nothing is written anew for it.
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("checkpoints", "key", type_=sa.Text())
        op.alter_column("log_chunks", "step", type_=sa.Text())
        op.alter_column("artifacts", "step", type_=sa.Text())
