"""Reruns of some jobs: the others are part of several attempts."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("superseded", sa.Integer()))
    op.execute(
        "UPDATE jobs SET superseded = run_attempt + 1 "
        "WHERE run_attempt < (SELECT attempt FROM runs WHERE runs.id = jobs.run)"
    )
