"""Jobs that are tried again, and what became of their attempts."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    for name in ("lost", "tried"):
        op.add_column("jobs", sa.Column(name, sa.JSON(), nullable=False, server_default="[]"))
