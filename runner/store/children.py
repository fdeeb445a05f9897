"""Runs that steps of other runs have started: which hears of the other, and when.

Whoever changes a run writes down here that another one has to hear of it, in the same transaction, and never
takes that one's lock. The clock rings for it until it has heard.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    and_,
    bindparam,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    union,
    update,
)

from runner.errors import LeaseLost
from runner.model.children import HEARD, OUTPUT_LETTERS, Start, ended_children, leaves_children, outputs_of
from runner.model.run import Parent, Run
from runner.model.step import name_in
from runner.model.waits import Answer, Awaited, Word
from runner.store.database import micros
from runner.store.loading import load_attempt
from runner.store.read_models import JobView, ParentView
from runner.store.rows import FIRST_RING
from runner.store.stops import pause_of
from runner.store.tables import children, deliveries, jobs, runs, stops

_of_delivery = select(children).where(children.c.delivery == bindparam("delivery_id"))
_mine = update(children).where(children.c.delivery == bindparam("delivery_id"))
# The job's row is locked with it, as for a checkpoint: no other attempt has begun.
_insert = insert(children).from_select(
    ["delivery", "run", "job", "step"],
    select(
        bindparam("of_delivery", type_=children.c.delivery.type),
        jobs.c.run,
        jobs.c.id,
        bindparam("of_step", type_=children.c.step.type),
    )
    .where(
        jobs.c.id == bindparam("held_job"), jobs.c.attempt == bindparam("fence"), jobs.c.phase == "running"
    )
    .with_for_update(),
)

_live = and_(~children.c.left, ~children.c.ended)
_followers = (
    select(runs.c.id)
    .join(children, children.c.delivery == runs.c.delivery)
    .where(_live, children.c.run == bindparam("of_run"), runs.c.gone_at.is_(None))
    .order_by(runs.c.id)
)
_started = (
    select(children.c.delivery, runs.c.id)
    .join(runs, runs.c.delivery == children.c.delivery, isouter=True)
    .where(_live)
)
_first = _started.where(children.c.run == bindparam("of_run")).cte("below", recursive=True)
_below = _first.union(_started.where(children.c.run == _first.c.id))
_free_no_more = (
    update(children)
    .where(children.c.delivery.in_(select(_below.c.delivery)), children.c.free.is_not(None))
    .values(free=None)
)
# Who has started another run is older.
_all_below = select(_below.c.id).where(_below.c.id.is_not(None)).order_by(_below.c.id)
_own, _above = stops.alias("own"), stops.alias("above")
_stopped = select(stops.c.run).where(stops.c.run.is_not(None))
_any_paused = _stopped.limit(1)
# Found by what stands still, which is little, before anything is looked up: there are many runs.
_near = union(
    select(children.c.delivery).where(_live, children.c.run.in_(_stopped)),
    select(children.c.delivery).where(
        _live, children.c.delivery.in_(select(runs.c.delivery).where(runs.c.id.in_(_stopped)))
    ),
).cte("near")
# `model.pauses.follow` in SQL.
_out_of_step = (
    select(runs.c.id)
    .select_from(_near)
    .join(children, children.c.delivery == _near.c.delivery)
    .join(runs, runs.c.delivery == children.c.delivery)
    .outerjoin(_above, _above.c.run == children.c.run)
    .outerjoin(_own, _own.c.run == runs.c.id)
    .where(
        runs.c.gone_at.is_(None),
        or_(
            and_(_above.c.id.is_(None), _own.c.above.is_not(None)),
            and_(
                _above.c.id.is_not(None),
                _own.c.id.is_(None),
                or_(children.c.free.is_(None), children.c.free != _above.c.at),
            ),
            _own.c.above != func.coalesce(_above.c.above, _above.c.run),
        ),
    )
    .limit(bindparam("most", type_=Integer))
)


def start(connection: Connection, delivery: str, by: Start) -> None:
    """Note who a new delivery is of. Raises `LeaseLost` where its job is another worker's by now."""
    lease = by.lease
    row = {"of_delivery": delivery, "of_step": by.step, "held_job": lease.job, "fence": lease.attempt}
    if not connection.execute(_insert, row, execution_options={"preserve_rowcount": True}).rowcount:
        raise LeaseLost(f"attempt {lease.attempt} of {lease.worker} no longer holds job {lease.job}")


def parent_of(connection: Connection, delivery: str) -> Parent | None:
    """Who has started what comes of a delivery, if a step has."""
    row = connection.execute(_of_delivery, {"delivery_id": delivery}).one_or_none()
    if row is None:
        return None
    return Parent(row.run, row.job, row.step, row.left, row.ended, pause_of(connection, row.run))


def out_of_step(connection: Connection, most: int) -> tuple[int, ...]:
    """Runs that stand still, or go on, as the one does not whose step waits for them.

    Whoever paused that one, or had it go on, died before he could tell them, or knows nothing of them.
    """
    if connection.execute(_any_paused).first() is None:
        return ()
    return tuple(sorted(connection.execute(_out_of_step, {"most": most}).scalars()))


def settled(connection: Connection, delivery: str, made: Sequence[Run], now: datetime) -> None:
    """Note what came of a delivery that a step waits for, where that is over already."""
    if all(run.result is not None for run in made):
        _end(connection, delivery, now)


def heard(connection: Connection, run: Run, now: datetime) -> Run:
    """The run with how those have ended that its steps wait for."""
    if not any(wait.awaited is Awaited.RUN for job in run.jobs for wait in job.hears):
        return run
    ended = {row.delivery: _answer(connection, row, now) for row in connection.execute(_news(run))}
    after, told = ended_children(run, ended, now)
    for delivery in told:
        connection.execute(_mine.values(ring_at=None), {"delivery_id": delivery})
    return after


def moved(connection: Connection, before: Run, after: Run, now: datetime) -> list[int]:
    """Store what a change of a run means for those that it has to do with; gives those that have to hear."""
    return [
        *_ended(connection, before, after, now),
        *_left(connection, before, after, now),
        *_paused(connection, before, after),
    ]


def _ended(connection: Connection, before: Run, after: Run, now: datetime) -> list[int]:
    parent = after.parent
    if parent is None or parent.ended:
        return []
    if after.result is not None and before.result is None:
        _end(connection, after.delivery, now)
        return [] if parent.left else [parent.run]
    if parent.left and after.cancelled and not before.cancelled:
        connection.execute(_mine.values(ring_at=None), {"delivery_id": after.delivery})
    return []


def _end(connection: Connection, delivery: str, now: datetime) -> None:
    unheard = update(children).where(children.c.delivery == delivery)
    connection.execute(unheard.values(ended=True, ring_at=None))
    connection.execute(unheard.where(~children.c.left).values(ring_at=micros(now + FIRST_RING)))


def _left(connection: Connection, before: Run, after: Run, now: datetime) -> list[int]:
    of_jobs, waits = leaves_children(before, after)
    if not of_jobs and not waits:
        return []
    mine = (children.c.job.in_(of_jobs)) | (children.c.delivery.in_(waits))
    # Most have started nothing, and a look costs less than two changes.
    there = select(children.c.delivery).where(mine, children.c.run == after.id).limit(1)
    if connection.execute(there).first() is None:
        return []
    over = update(children).where(mine, children.c.run == after.id)
    connection.execute(over.where(children.c.ended).values(ring_at=None))
    gone = over.where(~children.c.ended, ~children.c.left).values(left=True, ring_at=micros(now + FIRST_RING))
    left = connection.execute(gone.returning(children.c.delivery)).scalars().all()
    if not left:
        return []
    return list(connection.execute(select(runs.c.id).where(runs.c.delivery.in_(left))).scalars())


def _paused(connection: Connection, before: Run, after: Run) -> Sequence[int]:
    """Note what a run is free of; gives those that follow it, where it was paused or goes on.

    Where somebody paused it, nothing of all that is below it is free any more.
    """
    if after.parent is not None and after.parent != before.parent:
        free = None if after.parent.free is None else micros(after.parent.free)
        connection.execute(_mine.values(free=free), {"delivery_id": after.delivery})
    if after.pause == before.pause:
        return []
    if after.pause is not None and after.pause.above is None:
        connection.execute(_free_no_more, {"of_run": after.id})
        return connection.execute(_all_below, {"of_run": after.id}).scalars().all()
    return connection.execute(_followers, {"of_run": after.id}).scalars().all()


def _news(run: Run) -> Select[Any]:
    """What nobody has told a run yet of those that its steps have started."""
    return (
        select(children.c.delivery, deliveries.c.reason, runs.c.id.label("run"))
        .join(deliveries, deliveries.c.id == children.c.delivery)
        .outerjoin(runs, (runs.c.delivery == children.c.delivery) & runs.c.gone_at.is_(None))
        .where(children.c.run == run.id, children.c.ended, children.c.ring_at.is_not(None))
    )


def _answer(connection: Connection, row: Row[Any], now: datetime) -> Answer:
    if row.run is None:
        return Answer(Word.FAILED, now, comment=row.reason or "its run was removed")
    child = load_attempt(connection, row.run, HEARD)
    outputs, problems = outputs_of(child), "; ".join(child.problems)
    if sum(len(name) + len(text) for name, text in outputs.items()) > OUTPUT_LETTERS:
        outputs, problems = {}, f"its outputs are longer than the limit of {OUTPUT_LETTERS} letters together"
    payload: Mapping[str, Any] = {
        "run": child.id,
        "number": child.number,
        "result": str(child.result),
        "outputs": outputs,
    }
    return Answer(Word.ENDED, now, comment=problems, payload=payload)


def is_waited_for() -> ColumnElement[bool]:
    """Whether a job that goes on has started the run of the enclosing query, and may ask what it gave."""
    mine = exists().where(
        children.c.delivery == runs.c.delivery,
        ~children.c.left,
        jobs.c.id == children.c.job,
        jobs.c.phase != "finished",
    )
    return mine.correlate(runs)


def take_due(connection: Connection, due: int, later: int, most: int) -> tuple[int, ...]:
    """The runs that have to hear of another one, and have not; each is due again `later`."""
    waiting = (
        select(children.c.delivery, children.c.left, children.c.run)
        .where(children.c.ring_at <= due)
        .order_by(children.c.ring_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    found = connection.execute(waiting).all()
    if not found:
        return ()
    ids = [row.delivery for row in found]
    connection.execute(update(children).where(children.c.delivery.in_(ids)).values(ring_at=literal(later)))
    left = [row.delivery for row in found if row.left]
    told = connection.execute(select(runs.c.id).where(runs.c.delivery.in_(left))).scalars() if left else ()
    return (*(row.run for row in found if not row.left), *told)


# --- for people ----------------------------------------------------------------------------------


def parent_view(connection: Connection, run_id: int) -> ParentView | None:
    of = runs.alias("of")
    query = (
        select(children.c.run, of.c.number, of.c.workflow, children.c.step)
        .join(runs, runs.c.delivery == children.c.delivery)
        .join(of, of.c.id == children.c.run)
        .where(runs.c.id == run_id)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else ParentView(row.run, row.number, row.workflow, name_in(row.step))


def started_by(connection: Connection, run_id: int) -> Mapping[tuple[int, str], int]:
    """What the steps of a run have started, by job and key."""
    query = select(children.c.job, children.c.step, runs.c.id).where(children.c.run == run_id)
    found = connection.execute(query.join(runs, runs.c.delivery == children.c.delivery))
    return {(row.job, row.step): row.id for row in found}


def with_started(shown: tuple[JobView, ...], started: Mapping[tuple[int, str], int]) -> tuple[JobView, ...]:
    if not started:
        return shown
    return tuple(
        replace(
            job,
            steps=tuple(replace(step, run=started.get((step.job or job.id, step.key))) for step in job.steps),
        )
        for job in shown
    )
