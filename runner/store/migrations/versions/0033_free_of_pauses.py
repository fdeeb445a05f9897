"""Of which pause of the run that has started it somebody had a run go on all the same."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.add_column("children", sa.Column("free", sa.BigInteger(), nullable=True))
    # Who goes on by then below a run that is paused does so as somebody wanted it.
    op.execute(
        "UPDATE children SET free = (SELECT min(stops.at) FROM stops WHERE stops.run = children.run) "
        'WHERE NOT children."left" AND NOT ended '
        "AND EXISTS (SELECT 1 FROM stops WHERE stops.run = children.run) "
        "AND NOT EXISTS (SELECT 1 FROM runs JOIN stops ON stops.run = runs.id "
        "WHERE runs.delivery = children.delivery)"
    )
