"""Checkpoints: each is written once, under the fence of its job, and in the order in which they came."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, Integer, bindparam, func, insert, select

from runner.errors import LeaseLost
from runner.model.run import Job, Lease
from runner.model.step import Checkpoint
from runner.store.database import Database, micros
from runner.store.rows import checkpoint_from, outcome_to
from runner.store.tables import checkpoints, jobs

HELD = (jobs.c.id == bindparam("held_job")) & (jobs.c.attempt == bindparam("fence"))
"""Of a job, whether it is still at the attempt of a lease: `held_job` and `fence` are that one's."""
_said = [column for column in checkpoints.c if column.name not in ("base", "sequence")]
_before = checkpoints.alias()


def _next_in(job: BindParameter[Any]) -> ColumnElement[int]:
    """The place of the next checkpoint of a job, however many it has."""
    last = select(func.max(_before.c.sequence)).where(_before.c.job == job).scalar_subquery()
    return func.coalesce(last + 1, 0)


# The job's row is locked with it: no other worker can claim it before the checkpoint stands.
_insert_checkpoint = insert(checkpoints).from_select(
    [*(column.name for column in _said), "base", "sequence"],
    select(
        *(bindparam(column.name, type_=column.type) for column in _said),
        jobs.c.base,
        _next_in(bindparam("held_job")),
    )
    .where(HELD, jobs.c.phase == "running")
    .with_for_update(),
)
_recorded = select(checkpoints.c.job).where(
    *(
        checkpoints.c[name] == bindparam(name)
        for name in ("job", "key", "attempt", "started_at", "finished_at")
    )
)
_copied = [column for column in checkpoints.c if column.name not in ("job", "base", "sequence")]
# What a fork has of the job that it goes on from, or a job of what it did, in the same order.
_carry_over = insert(checkpoints).from_select(
    ["job", "base", "sequence", *(column.name for column in _copied)],
    select(
        bindparam("to_job", type_=checkpoints.c.job.type),
        bindparam("to_base", type_=checkpoints.c.base.type),
        func.row_number().over(order_by=checkpoints.c.sequence) - 1 + _next_in(bindparam("to_job")),
        *_copied,
    )
    .where(checkpoints.c.job == bindparam("from_job"), checkpoints.c.base == bindparam("from_base"))
    .order_by(checkpoints.c.sequence)
    .limit(bindparam("carried", type_=Integer)),
)


def recall(connection: Connection, job: Job) -> Mapping[str, Checkpoint]:
    """Those that count for a job, by key, oldest first."""
    query = (
        select(checkpoints)
        .where(checkpoints.c.job == job.id, checkpoints.c.base == job.base)
        .order_by(checkpoints.c.sequence)
    )
    return {row.key: checkpoint_from(row) for row in connection.execute(query)}


def record(database: Database, lease: Lease, checkpoint: Checkpoint) -> None:
    """Write one, in a transaction of its own. Raises `LeaseLost`."""
    row = {
        "job": checkpoint.job,
        "key": checkpoint.key,
        "attempt": checkpoint.attempt,
        "fingerprint": checkpoint.fingerprint,
        "outcome": outcome_to(checkpoint.outcome),
        "value": checkpoint.outcome.value,
        "object": checkpoint.outcome.blob.key if checkpoint.outcome.blob else None,
        "started_at": micros(checkpoint.started),
        "finished_at": micros(checkpoint.finished),
        "snapshot": checkpoint.snapshot,
        "kept": checkpoint.kept,
        "held_job": lease.job,
        "fence": lease.attempt,
    }

    def there(connection: Connection) -> bool:
        return connection.execute(_recorded, row).first() is not None

    # Forgotten at a loss of power, it is a step that runs again, as if the power had gone before it.
    if not database.insert(_insert_checkpoint, row, there):
        raise LeaseLost(f"attempt {lease.attempt} of {lease.worker} no longer holds job {lease.job}")


def carry_over(connection: Connection, job: int, base: int, to: Job, carried: int) -> None:
    """Have the first `carried` that count for `job` from `base` on count for `to`, from its base on."""
    of = {"from_job": job, "from_base": base, "carried": carried}
    connection.execute(_carry_over, of | {"to_job": to.id, "to_base": to.base})
