"""Limits of repositories, and jobs that are shared out fairly among them."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

QUEUED = sa.text("phase = 'queued' AND asked_at IS NULL")
RUNNING = sa.text("phase = 'running'")
UNFINISHED = sa.text("phase <> 'finished'")
WITH_LOGS = sa.text("logs_removed_at IS NULL")


def upgrade() -> None:
    for name in ("max_jobs", "max_queued"):
        op.add_column("repositories", sa.Column(name, sa.Integer()))
    for name in ("queue_timeout", "run_timeout", "keep_logs", "keep_runs"):
        op.add_column("repositories", sa.Column(name, sa.BigInteger()))
    for name in ("repository", "queue"):
        op.add_column("jobs", sa.Column(name, sa.Text()))
    op.add_column("jobs", sa.Column("held_at", sa.BigInteger()))
    op.add_column("cancels", sa.Column("reason", sa.Text()))
    for name in ("attempt_at", "logs_removed_at"):
        op.add_column("runs", sa.Column(name, sa.BigInteger()))
    op.create_index("runs_by_age", "runs", ["created_at"])
    op.create_index(
        "runs_with_logs", "runs", ["created_at"], sqlite_where=WITH_LOGS, postgresql_where=WITH_LOGS
    )
    op.execute(
        "UPDATE jobs SET repository = (SELECT forge || ':' || repo FROM runs WHERE runs.id = jobs.run) "
        "WHERE phase <> 'finished'"
    )
    _fill_queues()
    for index, columns, which in (
        ("jobs_queued", ["queue", "repository", "queued_at", "id"], QUEUED),
        ("jobs_running", ["repository"], RUNNING),
        ("jobs_unfinished", ["repository", "run"], UNFINISHED),
    ):
        op.create_index(index, "jobs", columns, sqlite_where=which, postgresql_where=which)


def _fill_queues() -> None:
    connection = op.get_bind()
    said = "CAST(labels AS TEXT)"
    known = sa.text(f"SELECT DISTINCT {said} FROM jobs WHERE phase <> 'finished'")
    fill = sa.text(f"UPDATE jobs SET queue = :queue WHERE {said} = :labels AND phase <> 'finished'")
    for labels in connection.execute(known).scalars().all():
        connection.execute(fill, {"labels": labels, "queue": "+".join(sorted(set(json.loads(labels))))})
