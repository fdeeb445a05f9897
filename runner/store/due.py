"""What the clock rings for: everything that is due and has nobody working on it."""

from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, func, not_, select, update

from runner.engine.ports import Stranded
from runner.model.limits import Limits
from runner.model.run import Envelope
from runner.model.source import Route
from runner.store.children import take_due as children_due
from runner.store.database import micros_of
from runner.store.rows import FIRST_RING
from runner.store.sharing import of_run
from runner.store.stops import put_off, stands_still
from runner.store.tables import children, deliveries, jobs, places, repositories, runs
from runner.store.timeouts import Patience

RAREST_RING = timedelta(minutes=1)
"""How long a message that was lost may keep work waiting."""
ROUND = 500
"""How many rows the clock takes in one transaction; the rest follow in its next round."""


_first_ring = select(
    *(
        select(table.c.ring_at)
        .where(table.c.ring_at.is_not(None))
        .order_by(table.c.ring_at)
        .limit(1)
        .scalar_subquery()
        .label(table.name)
        for table in (deliveries, jobs, places, children)
    )
)
_waiting = (
    select(deliveries.c.id, deliveries.c.received_at)
    .where(deliveries.c.ring_at <= bindparam("due"))
    .order_by(deliveries.c.ring_at)
    .limit(ROUND)
    .with_for_update(skip_locked=True)
)
_ring_again = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery_id"))
    .values(ring_at=bindparam("at", type_=BigInteger))
)
_stalled = (
    select(
        jobs.c.id,
        jobs.c.phase,
        jobs.c.queued_at,
        jobs.c.asked_at,
        jobs.c.labels,
        jobs.c.lease_until,
        jobs.c.due_at,
        jobs.c.cancelled,
        jobs.c.started_at,
        jobs.c.ring_at,
        runs.c.id.label("run"),
    )
    .add_columns(runs.c.forge, runs.c.repo, runs.c.commit, jobs.c.held_at)
    .add_columns(repositories.c.max_jobs, repositories.c.queue_timeout)
    .join(runs)
    .outerjoin(repositories, of_run())
    .where(jobs.c.ring_at <= bindparam("due"))
    .order_by(jobs.c.ring_at)
    .limit(ROUND)
    .with_for_update(skip_locked=True, of=jobs)
)
_stalled_but_stopped = _stalled.where(not_(stands_still()))
_SEEN = ("ring_at", "lease_until", "held_at")
_see = (
    update(jobs)
    .where(jobs.c.id == bindparam("job_id"))
    .values({name: func.coalesce(bindparam(f"its_{name}", type_=BigInteger), jobs.c[name]) for name in _SEEN})
)


def first_ring(connection: Connection) -> int | None:
    """When the clock has to ring next."""
    return min((at for at in connection.execute(_first_ring).one() if at is not None), default=None)


def take_due(connection: Connection, now: int, due: int, everything: bool, limits: Limits) -> Stranded:
    found = connection.execute(_waiting, {"due": due}).all()
    if found:
        later = [{"delivery_id": row.id, "at": _next_ring(now, row.received_at)} for row in found]
        connection.execute(_ring_again, later)
    plans: list[Envelope] = []
    envelopes: list[Envelope] = []
    stirred: list[int] = []
    stalled = _stalled_but_stopped if put_off(connection, now, due) else _stalled
    due_jobs = connection.execute(stalled, {"due": due}).all()
    seen: list[dict[str, int | None]] = []
    patience = Patience(connection, now, limits)
    for row in due_jobs:
        if row.phase in ("queued", "suspended") and row.due_at is not None and row.due_at > now:
            # Whoever takes everything takes what is due, and not what waits for its time.
            continue
        # Many may awake at one instant, and are rung for once.
        due_at = None if row.phase == "suspended" else row.due_at
        columns = {"ring_at": _next_ring(now, row.asked_at or due_at or row.queued_at)}
        if row.phase == "running":
            lost = min(row.lease_until, now)
            columns = {"ring_at": _next_ring(now, lost)}
            if everything:
                columns["lease_until"] = lost
        over = patience.ends(row, columns)
        seen.append({"job_id": row.id} | {f"its_{name}": columns.get(name) for name in _SEEN})
        if over:
            continue
        route = Route(row.forge, row.repo, row.commit)
        if _is_for_time(row) or _is_passed_over(row, now) or patience.holds(row):
            stirred.append(row.run)
            continue
        rung = plans if row.phase == "ready" or row.asked_at is not None else envelopes
        rung.append(Envelope(route, row.run, row.id, tuple(row.labels)))
    if seen:
        connection.execute(_see, seen)
    # Where no worker comes to tidy up after a cancel, time ends the job.
    stirred += (*_take_stirred(connection, now, due), *(row.run for row in due_jobs if row.cancelled))
    return Stranded(
        tuple(row.id for row in found),
        tuple(plans),
        tuple(envelopes),
        tuple(dict.fromkeys(stirred)),
        overdue=tuple(patience.overdue),
    )


def _is_for_time(row: Any) -> bool:
    """Whether time decides what becomes of a job, and no worker: it has waited before it began."""
    return bool(row.phase == "suspended" and row.started_at is None and row.asked_at is None)


def _is_passed_over(row: Any, now: int) -> bool:
    """Whether a job whose wait is over got no worker by itself: it then waits for one as the others do."""
    waited = now - (row.due_at or 0)
    return bool(row.phase == "suspended" and row.asked_at is None and waited >= micros_of(RAREST_RING))


def _take_stirred(connection: Connection, now: int, due: int) -> tuple[int, ...]:
    """The runs whose places or children others have changed, and who have not heard of it."""
    waiting = (
        select(places.c.forge, places.c.repo, places.c.number, places.c.run)
        .where(places.c.ring_at <= due)
        .order_by(places.c.ring_at)
        .limit(ROUND)
        .with_for_update(skip_locked=True)
    )
    found = connection.execute(waiting).all()
    later = {"ring_at": now + micros_of(FIRST_RING)}
    for row in found:
        mine = (places.c.forge == row.forge) & (places.c.repo == row.repo) & (places.c.number == row.number)
        connection.execute(update(places).where(mine).values(later))
    related = children_due(connection, due, now + micros_of(FIRST_RING), ROUND)
    return (*(row.run for row in found), *related)


def _next_ring(now: int, since: int) -> int:
    """Later each time, up to a minute: a long queue gets some rings more, not a flood of them."""
    return now + min(max(micros_of(FIRST_RING), now - since), micros_of(RAREST_RING))
