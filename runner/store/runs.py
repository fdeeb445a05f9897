"""SqlStore: deliveries, runs, jobs and checkpoints, each method one transaction."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Text,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)

from runner.engine.dispatch import DISPATCH
from runner.engine.ports import Arrival, Change, Claim, Renewal, Stranded, Verdict
from runner.errors import NotFound, Rejected
from runner.model.audit import Act
from runner.model.lifecycle import decide
from runner.model.limits import NONE, Limits
from runner.model.pauses import as_kept
from runner.model.run import Envelope, Job, Lease, Run
from runner.model.source import Delivery, Event, Route
from runner.model.step import Checkpoint
from runner.model.waits import Signal
from runner.store import children
from runner.store.arrivals import born, insert_once, new_delivery
from runner.store.audit import note, note_of_run
from runner.store.checkpoints import HELD, recall, record
from runner.store.claims import claim
from runner.store.database import Database, micros
from runner.store.due import ROUND, first_ring, take_due
from runner.store.followers import announce, awaited
from runner.store.lines import heard, moved
from runner.store.loading import Held, hold, load, load_attempt
from runner.store.rows import (
    FIRST_RING,
    delivery_from,
)
from runner.store.saving import create, save
from runner.store.sharing import next_of, queue_full
from runner.store.signals import delivered, put
from runner.store.stops import (
    goes_no_further,
    save_pause,
    unblocked,
)
from runner.store.tables import (
    deliveries,
    jobs,
    repositories,
    runs,
)
from runner.store.timeouts import late_runs

_delivery_by_id = select(deliveries).where(deliveries.c.id == bindparam("delivery_id"))
# Its payload is judged by then, and may be long.
_lock_delivery = (
    select(*(column for column in deliveries.c if column.name != "payload"))
    .where(deliveries.c.id == bindparam("delivery_id"))
    .with_for_update()
)
_settle = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery_id"))
    .values({name: bindparam(name) for name in ("status", "reason", "commit", "ref", "ring_at")})
)
_replayable = (deliveries.c.status == "failed") | (
    (deliveries.c.status == "ignored") & deliveries.c.commit.is_not(None)
)
_own = (
    update(repositories)
    .where(repositories.c.forge == bindparam("of_forge"), repositories.c.name == bindparam("of_repo"))
    .values(default_branch=func.coalesce(bindparam("branch", type_=Text), repositories.c.default_branch))
    .returning(repositories.c.max_queued)
)
_lock_room = (
    select(repositories.c.max_queued)
    .where(repositories.c.forge == bindparam("forge"), repositories.c.name == bindparam("name"))
    .with_for_update()
)
_runs_of_delivery = select(runs.c.id).where(runs.c.delivery == bindparam("delivery_id"))
_renew = (
    update(jobs)
    .where(HELD, jobs.c.phase == "running")
    .values(
        lease_until=bindparam("until"),
        # What is asked of it is rung for however well it is held.
        ring_at=case((jobs.c.asked_at.is_(None), bindparam("until")), else_=jobs.c.ring_at),
    )
)
_cancelled = select(jobs.c.id).where(jobs.c.id.in_(bindparam("ids", expanding=True)), jobs.c.cancelled)
_standing = (
    select(jobs.c.id).join(runs).where(jobs.c.id.in_(bindparam("ids", expanding=True)), goes_no_further())
)


class SqlStore:
    """The queue of record. `lease` is how long a claim or a renewal lasts, `limits` are the server's."""

    def __init__(self, database: Database, lease: timedelta, limits: Limits = NONE) -> None:
        self._database = database
        self._lease = lease
        self._limits = limits

    def receive(self, event: Event, guid: str, digest: str) -> tuple[Delivery, bool]:
        return self.receive_all([Arrival(event, guid, digest)])[0]

    def receive_all(self, arrivals: Sequence[Arrival]) -> list[tuple[Delivery, bool]]:
        def work(connection: Connection) -> list[tuple[Delivery, bool]]:
            now = micros(self._database.now(connection))
            fresh = [born(arrival.event, now) for arrival in arrivals]
            rows = [
                new_delivery(one, arrival, FIRST_RING) for one, arrival in zip(fresh, arrivals, strict=True)
            ]
            made = set(connection.execute(insert_once(connection), rows).scalars())
            for one, arrival in zip(fresh, arrivals, strict=True):
                if one.id in made:
                    note(connection, arrival.act, now, delivery=one.id)
            for one, arrival in zip(fresh, arrivals, strict=True):
                if one.id in made and arrival.start is not None:
                    children.start(connection, one.id, arrival.start)
            return [
                (one, True) if one.id in made else (_first(connection, arrival), False)
                for one, arrival in zip(fresh, arrivals, strict=True)
            ]

        return self._database.writing(work)

    def delivery(self, delivery_id: str) -> Delivery:
        with self._database.reading() as connection:
            row = _delivery(connection, delivery_id)
            if row.status != "admitted":
                return delivery_from(row)
            found = connection.execute(_runs_of_delivery, {"delivery_id": delivery_id})
            return delivery_from(row, tuple(found.scalars()))

    def event(self, delivery_id: str) -> Event:
        with self._database.reading() as connection:
            return delivery_from(_delivery(connection, delivery_id)).event

    def replay(self, delivery_id: str, act: Act | None = None) -> Delivery:
        """Make a settled delivery that started no run wait for admission again.

        One whose event starts nothing whatever the repository says (a ping) stays as it is.
        """

        def work(connection: Connection) -> None:
            now = self._database.now(connection)
            made = connection.execute(
                update(deliveries)
                .where(deliveries.c.id == delivery_id, _replayable)
                .values(status="received", reason="", ring_at=micros(now + FIRST_RING))
                .execution_options(preserve_rowcount=True)
            )
            note(connection, act, micros(now), changed=made.rowcount > 0)

        self._database.writing(work)
        return self.delivery(delivery_id)

    def approve(self, delivery_id: str, act: Act | None = None) -> Delivery:
        """Let the code of a delivery run that was held back, and have it judged again at the same commit."""

        def work(connection: Connection) -> None:
            now = self._database.now(connection)
            held = (deliveries.c.id == delivery_id) & (deliveries.c.status == "ignored")
            made = connection.execute(
                update(deliveries)
                .where(held, deliveries.c.commit.is_not(None))
                .values(approved=True, status="received", reason="", ring_at=micros(now + FIRST_RING))
                .execution_options(preserve_rowcount=True)
            )
            note(connection, act, micros(now), changed=made.rowcount > 0)

        self._database.writing(work)
        return self.delivery(delivery_id)

    def settle(self, delivery_id: str, said: Verdict) -> tuple[Run, ...]:
        def work(connection: Connection) -> tuple[Run, ...]:
            delivery = connection.execute(_lock_delivery, {"delivery_id": delivery_id}).one()
            if delivery.status != "received":
                return ()
            verdict, own = said, None
            if said.route is not None and said.runs:
                own = self._own_repository(connection, delivery)
                verdict = unblocked(connection, said, said.route)
            commit = verdict.route.commit if verdict.route else delivery.commit
            ref = verdict.ref or delivery.ref
            status, reason = verdict.status, verdict.reason
            wanted = verdict.runs if verdict.route else ()
            more = len(wanted)
            where = delivery.forge, delivery.repo
            if more and (full := queue_full(connection, *where, own, more, self._limits)):
                full = f"{full}; replay this delivery once some have ended"
                status, reason, wanted = "ignored", full, ()
            connection.execute(
                _settle,
                {
                    "delivery_id": delivery_id,
                    "status": status,
                    "reason": reason,
                    "commit": commit,
                    "ref": ref,
                    "ring_at": None,
                },
            )
            now = self._database.now(connection)
            if verdict.route is None or not wanted:
                if delivery.kind == DISPATCH:
                    children.settled(connection, delivery_id, (), now)
                return ()
            made = [create(connection, delivery, ref, verdict.route, new, now) for new in wanted]
            waited_for = awaited(connection, *where)
            for run in made:
                announce(connection, None, run, micros(now), waited_for)
            if any(run.parent is not None for run in made):
                children.settled(connection, delivery_id, made, now)
            return tuple(made)

        # A verdict that started nothing is found again the same.
        return self._database.writing(work, durable=bool(said.runs))

    def load(self, run_id: int, attempt: int | None = None) -> Run:
        with self._database.reading() as connection:
            if attempt is None:
                return load(connection, run_id)
            return load_attempt(connection, run_id, attempt)

    def update(
        self,
        run_id: int,
        change: Callable[[Run, datetime], Run],
        *,
        durable: bool = True,
        signal: Signal | None = None,
        act: Act | None = None,
    ) -> Change:
        def work(connection: Connection) -> Change:
            return self._changed(connection, hold(self._database, connection, run_id), change, signal, act)

        return self._database.writing(work, durable)

    def claim(self, rung: Envelope, take: Callable[[Run, int, datetime], Run]) -> Claim | None:
        return claim(self._database, self._changed, rung, take, self._limits)

    def freed(self, route: Route) -> Sequence[Envelope]:
        with self._database.reading() as connection:
            return next_of(connection, route, self._database.now(connection), self._limits)

    def _changed(
        self,
        connection: Connection,
        held: Held,
        change: Callable[[Run, datetime], Run],
        signal: Signal | None = None,
        act: Act | None = None,
    ) -> Change:
        before, now = held.run, held.at
        wanted = change(heard(connection, before, now), now)
        if wanted.attempt > before.attempt:
            self._check_room(connection, before.route)
        # Saved first, so that a job that comes to a line has an id.
        changed = save(connection, before, wanted, now)
        fresh = signal is None or put(connection, changed, signal, now)
        told = delivered(connection, children.heard(connection, changed, now), now)
        if told is not changed:
            changed = save(connection, changed, decide(told, now), now)
        after, stirred = moved(connection, before, changed, now)
        if after is not changed:
            after = save(connection, changed, after, now)
        related = children.moved(connection, before, after, now)
        after = as_kept(after)
        announce(connection, before, after, micros(now), held.awaited)
        save_pause(connection, before, after, micros(now))
        note_of_run(connection, act, before, after, micros(now), said=signal is not None and fresh)
        limited = bool(Limits(held.max_jobs).over(self._limits).max_jobs)
        return Change(before, after, (*stirred, *related), fresh, limited)

    def recall(self, job: Job) -> Mapping[str, Checkpoint]:
        with self._database.reading() as connection:
            return recall(connection, job)

    def record(self, lease: Lease, checkpoint: Checkpoint) -> None:
        record(self._database, lease, checkpoint)

    def renew(self, leases: Iterable[Lease]) -> Renewal:
        held = sorted(leases, key=lambda lease: lease.job)

        def work(connection: Connection) -> Renewal:
            until = micros(self._database.now(connection) + self._lease)
            lost = set()
            for lease in held:
                row = {"held_job": lease.job, "fence": lease.attempt, "until": until}
                if not connection.execute(_renew, row).rowcount:
                    lost.add(lease)
            ids = {"ids": [lease.job for lease in held]}
            wanted = set(connection.execute(_cancelled, ids).scalars())
            cancelled = {lease for lease in held if lease.job in wanted and lease not in lost}
            standing = set(connection.execute(_standing, ids).scalars())
            stopped = {lease for lease in held if lease.job in standing and lease not in lost}
            return Renewal(frozenset(lost), frozenset(cancelled), frozenset(stopped))

        return self._database.writing(work, durable=False) if held else Renewal()

    def stranded(self, everything: bool = False, at: datetime | None = None) -> Stranded:
        with self._database.reading() as connection:
            now = micros(at or self._database.now(connection))
            due = now + (10**15 if everything else 0)
            first = first_ring(connection)
            late = late_runs(connection, now, self._limits, ROUND)
            apart = children.out_of_step(connection, ROUND)
        # The round of an idle server takes no lock.
        if first is None or first > due:
            rest = None if first is None else timedelta(microseconds=first - now)
            return Stranded(stirred=apart, rest=rest, overdue=late)
        taken = self._database.writing(
            lambda connection: take_due(connection, now, due, everything, self._limits), durable=False
        )
        stirred = tuple(dict.fromkeys((*taken.stirred, *apart)))
        return replace(taken, stirred=stirred, overdue=(*taken.overdue, *late))

    def _check_room(self, connection: Connection, route: Route) -> None:
        """Raises `Rejected` where the repository may not have one more run that goes on."""
        own = connection.execute(_lock_room, {"forge": route.forge, "name": route.repo}).scalar()
        if full := queue_full(connection, route.forge, route.repo, own, 1, self._limits):
            raise Rejected(f"{full}; run it again once some have ended")

    def _own_repository(self, connection: Connection, delivery: Row[Any]) -> int | None:
        """Lock the repository's row, by writing to it, so that its runs are numbered one after another.

        Gives its own limit of runs that wait or go on.
        """
        mine = {"of_forge": delivery.forge, "of_repo": delivery.repo, "branch": delivery.default_branch}
        own: int | None = connection.execute(_own, mine).scalar()
        return own


def _first(connection: Connection, arrival: Arrival) -> Delivery:
    """The delivery that came before this copy of it."""
    same = or_(deliveries.c.guid == arrival.guid, deliveries.c.digest == arrival.digest)
    mine = (deliveries.c.forge == arrival.event.forge) & (deliveries.c.repo == arrival.event.repo)
    return delivery_from(connection.execute(select(deliveries).where(mine, same).limit(1)).one())


def _delivery(connection: Connection, delivery_id: str) -> Row[Any]:
    row = connection.execute(_delivery_by_id, {"delivery_id": delivery_id}).one_or_none()
    if row is None:
        raise NotFound(f"no delivery {delivery_id}; `runner deliveries list` shows the newest")
    return row
