"""SqlStops: what keeps runs from going on. Nothing of it is copied to the runs.

So one row takes hold of however many runs at once, also of those that are created later, and they are free
the moment it is gone.
"""

import re
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    ScalarSelect,
    Select,
    String,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    true,
    union,
    update,
)

from runner.engine.ports import Verdict
from runner.errors import NotFound, Rejected
from runner.model.audit import Act
from runner.model.run import Run
from runner.model.source import Repository, Route
from runner.model.stops import Stop
from runner.store.audit import note
from runner.store.database import MICROSECOND, Database, micros, moment
from runner.store.read_models import StopView
from runner.store.tables import (
    UNFINISHED,
    children,
    deliveries,
    jobs,
    repositories,
    runs,
    schedules,
    stops,
    was_cancelled,
)

PUT_OFF, LONGEST_PUT_OFF = timedelta(minutes=1), timedelta(minutes=15)
"""How long the clock leaves a job alone that stands still: as long as it has waited, between these.

Whoever takes a stop back rings for what was put off, in the transaction in which the stop goes. So it costs
as much less for the many jobs of a repository that is stopped for long.
"""
ROUND = 5000
"""How many of those it puts off at once."""
EVERY = true()
_ANY = select(stops.c.id).limit(1)
ANY_STOPPED = exists(select(stops.c.id).correlate(None))
"""Whether anything at all may stand still."""
_OF_REPOSITORY = (
    select(stops)
    .where(stops.c.forge == bindparam("forge"), stops.c.repo == bindparam("repo"), stops.c.run.is_(None))
    .order_by(stops.c.id)
)
_HEX = re.compile(r"[0-9a-f]{4,40}")


def pause_of_run() -> ScalarSelect[Any]:
    """The id of what stops the run of the enclosing query itself, or NULL."""
    mine = select(func.min(stops.c.id)).where(stops.c.run == runs.c.id)
    return mine.correlate(runs).scalar_subquery()


def pause_above() -> ScalarSelect[Any]:
    """The id of what stops the run whose step has started that of the enclosing query, or NULL."""
    its = select(func.min(stops.c.id)).where(stops.c.run == children.c.run)
    return its.correlate(children).scalar_subquery()


def pause_of(connection: Connection, run_id: int) -> Stop | None:
    """What stops a run itself."""
    query = select(stops).where(stops.c.run == run_id).order_by(stops.c.id).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else _from(row)


def hold_of_run() -> ScalarSelect[Any]:
    """The id of what stops its commit, its workflow or its repository, or NULL."""
    mine = select(func.min(stops.c.id)).where(
        stops.c.forge == runs.c.forge,
        stops.c.repo == runs.c.repo,
        stops.c.run.is_(None),
        or_(stops.c.commit.is_(None), stops.c.commit == runs.c.commit, _uses(stops.c.commit)),
        or_(stops.c.workflow.is_(None), stops.c.workflow == runs.c.workflow, _calls(stops.c.workflow)),
    )
    return mine.correlate(runs).scalar_subquery()


def _uses(commit: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a version that the run of the enclosing query uses is that commit."""
    return cast(runs.c.pins, String).contains(commit)


def _calls(workflow: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the run of the enclosing query has a job that consists of that workflow, and has not ended."""
    caller = jobs.alias()
    mine = exists().where(
        caller.c.run == runs.c.id,
        caller.c.calls == workflow,
        caller.c.superseded.is_(None),
        caller.c.phase != "finished",
    )
    return mine.correlate(runs, stops)


def _stopped() -> ColumnElement[bool]:
    return or_(pause_of_run().is_not(None), hold_of_run().is_not(None))


def stands_still() -> ColumnElement[bool]:
    """Whether a job of the enclosing query waits for nothing but that its run goes on."""
    waits = and_(jobs.c.phase.in_(("queued", "suspended")), jobs.c.asked_at.is_(None))
    return and_(waits, _stopped(), _uncancelled())


def goes_no_further(some: FromClause = jobs) -> ColumnElement[bool]:
    """`model.pauses.stands_still` in SQL, for a job and its run."""
    return and_(_stopped(), _uncancelled(some))


def _uncancelled(some: FromClause = jobs) -> ColumnElement[bool]:
    return and_(not_(some.c.cancelled), not_(was_cancelled(runs.c.attempt)))


def some_stopped(connection: Connection) -> bool:
    """Whether anything at all may stand still."""
    return connection.execute(_ANY).first() is not None


def stopped_run() -> ColumnElement[bool]:
    """Whether the run of the enclosing query stands still, and would go on if it did not."""
    going_on = select(jobs.c.run).where(UNFINISHED, jobs.c.superseded.is_(None))
    return and_(runs.c.id.in_(going_on), _stopped(), not_(was_cancelled(runs.c.attempt)))


def stops_of(
    connection: Connection, which: ColumnElement[bool] = EVERY
) -> dict[tuple[str, str], tuple[StopView, ...]]:
    """What is stopped of each repository, oldest first; its paused runs are listed as runs."""
    query = select(stops).where(stops.c.run.is_(None), which).order_by(stops.c.id)
    found: dict[tuple[str, str], tuple[StopView, ...]] = {}
    for row in connection.execute(query):
        one = StopView(row.commit, row.workflow, row.reason, row.actor, moment(row.at), _from(row).words)
        found[row.forge, row.repo] = (*found.get((row.forge, row.repo), ()), one)
    return found


def stop_of(connection: Connection, stop_id: int | None) -> Stop | None:
    if stop_id is None:
        return None
    row = connection.execute(select(stops).where(stops.c.id == stop_id)).one_or_none()
    # It may have been taken back since its id was read.
    return None if row is None else _from(row)


def save_pause(connection: Connection, before: Run, after: Run, now: int) -> None:
    """Store that a run was paused, or goes on: then its jobs are rung for at once."""
    if before.pause == after.pause:
        return
    connection.execute(delete(stops).where(stops.c.run == after.id))
    if after.pause is not None:
        connection.execute(insert(stops), _columns(after.route.forge, after.pause))
    else:
        _ring(connection, runs.c.id == after.id, now)


def put_off(connection: Connection, now: int, due: int) -> bool:
    """Leave the jobs alone that are due and stand still; whether there may be any."""
    if not some_stopped(connection):
        return False
    standing = (
        select(jobs.c.id)
        .join(runs)
        .where(jobs.c.ring_at <= due, stands_still())
        .order_by(jobs.c.ring_at)
        .limit(ROUND)
        .with_for_update(skip_locked=True, of=jobs)
    )
    # The time in the queue begins anew when they go on.
    put = update(jobs).values({"ring_at": _not_before(_later(now)), "held_at": now})
    if connection.dialect.name != "postgresql":
        connection.execute(put.where(jobs.c.id.in_(standing)))
        return True
    # Of the stops that statement saw, some may be taken back by now, and what they held be rung for. Nobody
    # rings for what is locked: so another one, which sees what is, finds out what stands still.
    if locked := connection.execute(standing).scalars().all():
        still = put.where(jobs.c.id.in_(locked), jobs.c.run == runs.c.id, stands_still())
        connection.execute(still)
    return True


def unblocked(connection: Connection, verdict: Verdict, route: Route) -> Verdict:
    """A verdict without the runs of what is blocked, which says so. The repository's row is locked by now."""
    here = {"forge": route.forge, "repo": route.repo}
    found = [_from(row) for row in connection.execute(_OF_REPOSITORY, here)]
    blocks = [one for one in found if one.refuses and one.commit in (None, route.commit)]
    kept, reasons = [], list[str]()
    for run in verdict.runs:
        words = next((one.words for one in blocks if one.workflow in (None, run.workflow)), None)
        if words is None:
            kept.append(run)
        else:
            reasons.append(words)
    if not reasons:
        return verdict
    said = "; ".join(dict.fromkeys(reasons))
    if not kept:
        return Verdict("ignored", said, route, ref=verdict.ref)
    return Verdict(verdict.status, said, route, tuple(kept), verdict.ref)


def forget_stops(connection: Connection, forge: str, repo: str, now: int) -> None:
    """What is a repository's that is removed; what is about single runs stays with them.

    The clock rings for what stood still. Whoever holds a job may wait for the repository or its lines, so
    nobody may hold one of these who does this.
    """
    mine = and_(stops.c.forge == forge, stops.c.repo == repo, stops.c.run.is_(None))
    if connection.execute(select(stops.c.id).where(mine).limit(1)).first() is None:
        return
    _ring(connection, and_(runs.c.forge == forge, runs.c.repo == repo), now)
    connection.execute(delete(stops).where(mine))


class SqlStops:
    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self, repository: Repository, act: Act, reason: str, commit: str | None, workflow: str | None
    ) -> None:
        """Stop a commit or a workflow of a repository or, without both, all of it. The first one counts.

        A delivery that is being admitted either comes before, and its runs stand still, or is refused.
        """

        def work(connection: Connection) -> None:
            _lock(connection, repository)
            now = self._database.now(connection)
            there = connection.execute(select(stops.c.id).where(_same(repository, commit, workflow))).first()
            if there is None:
                stop = Stop(act.actor, now, reason, repository.name, None, commit, workflow)
                connection.execute(insert(stops), _columns(repository.forge, stop))
            note(connection, act, micros(now), changed=there is None)

        self._database.writing(work)

    def lift(self, repository: Repository, act: Act, commit: str | None, workflow: str | None) -> None:
        """Take it back: what stood still goes on within a second or two. Where nothing is stopped: fine."""
        mine = [*_of(runs, repository)]
        mine += [or_(runs.c.commit == commit, _uses(literal(commit)))] if commit else []
        mine += [or_(runs.c.workflow == workflow, _calls(literal(workflow)))] if workflow else []
        this = _same(repository, commit, workflow)

        def work(connection: Connection) -> bool:
            now = micros(self._database.now(connection))
            # Before the repository is locked: whoever holds a job may wait for that.
            if connection.execute(select(stops.c.id).where(this).limit(1)).first() is not None:
                _ring(connection, and_(*mine), now)
            _lock(connection, repository)
            gone = connection.execute(delete(stops).where(this).execution_options(preserve_rowcount=True))
            note(connection, act, now, changed=gone.rowcount > 0)
            return gone.rowcount > 0

        def late(connection: Connection) -> None:
            now = micros(self._database.now(connection))
            _ring(connection, and_(*mine, jobs.c.ring_at > now), now)

        if self._database.writing(work) and not self._database.lite:
            # What the clock put off while that went on.
            self._database.writing(late)

    def all(self, repository: Repository) -> list[StopView]:
        """What is stopped of a repository, oldest first; its paused runs are listed as runs."""
        mine = and_(stops.c.forge == repository.forge, stops.c.repo == repository.name)
        with self._database.reading() as connection:
            return [one for found in stops_of(connection, mine).values() for one in found]

    # --- what people call it ---------------------------------------------------------------------

    def commit(self, repository: Repository, said: str) -> str:
        """The full id of a commit, of which the repository has to be known to have it where not all of it is
        said. Raises `NotFound`, `Rejected`.
        """
        said = said.lower()
        if not _HEX.fullmatch(said):
            raise Rejected(f"{said[:100]!a} is no commit; give its id, or its first digits, four or more")
        if len(said) == 40:
            # It can be blocked before it is pushed here.
            return said
        found = self._known(
            repository,
            lambda table: select(table.c.commit).where(
                table.c.commit.startswith(said, autoescape=True), *_of(table, repository)
            ),
            (runs, deliveries, stops),
        )
        if not found:
            raise NotFound(
                f"no run or delivery of {repository.name} is at a commit {said}; "
                f"`runner runs list -R {repository.name}` shows the newest"
            )
        if len(found) > 1:
            raise Rejected(f"several commits of {repository.name} begin with {said}: {', '.join(found)}")
        return found[0]

    def workflow(self, repository: Repository, said: str) -> str:
        """The path of a workflow that the repository is known to have, by it or by the file's name.

        Raises `NotFound`, `Rejected`.
        """
        found = self._known(
            repository,
            lambda table: select(table.c.workflow).where(
                table.c.workflow.is_not(None), *_of(table, repository)
            ),
            (runs, schedules, stops),
        )
        found = sorted({*found, *self._called(repository)})
        named = [one for one in found if one == said] or [one for one in found if one.endswith(f"/{said}")]
        if not named:
            raise NotFound(
                f"no workflow {said[:200]!a} of {repository.name} ever ran; "
                f"there are {', '.join(found) or 'none'}"
            )
        if len(named) > 1:
            raise Rejected(f"{said} may be {' or '.join(named)}; give one with its folder")
        return named[0]

    def _called(self, repository: Repository) -> list[str]:
        """The workflows that jobs of it consisted of, but for those of other repositories."""
        query = select(jobs.c.calls).distinct().join(runs)
        mine = and_(*_of(runs, repository), jobs.c.calls.is_not(None), ~jobs.c.calls.contains("@"))
        with self._database.reading() as connection:
            return list(connection.execute(query.where(mine)).scalars())

    def _known(
        self, repository: Repository, query: Callable[[Any], Select[Any]], tables: Collection[Any]
    ) -> list[str]:
        with self._database.reading() as connection:
            return sorted(connection.execute(union(*map(query, tables))).scalars())

    # --- many runs at once -----------------------------------------------------------------------

    def matching(
        self,
        repository: Repository,
        commit: str | None,
        workflow: str | None,
        verb: str,
        limit: int,
    ) -> tuple[list[int], int]:
        """The oldest runs that `verb` (cancel, force-cancel, pause or unpause) still has to do with, and how
        many there are of them. Those that are created meanwhile come last.
        """
        unfinished = exists().where(
            jobs.c.run == runs.c.id,
            jobs.c.superseded.is_(None),
            jobs.c.caller.is_(None),
            jobs.c.phase != "finished",
        )
        # What is done about a run must take it out of these, or whoever repeats it does so for ever.
        concerned = {
            "cancel": and_(unfinished, not_(was_cancelled(runs.c.attempt))),
            "force-cancel": unfinished,
            "pause": and_(unfinished, not_(was_cancelled(runs.c.attempt)), pause_of_run().is_(None)),
            "unpause": pause_of_run().is_not(None),
        }[verb]
        mine = [*_of(runs, repository), concerned]
        mine += [runs.c.commit == commit] if commit else []
        mine += [runs.c.workflow == workflow] if workflow else []
        with self._database.reading() as connection:
            query = select(runs.c.id).where(*mine).order_by(runs.c.id).limit(limit)
            found = list(connection.execute(query).scalars())
            counted = select(func.count()).select_from(runs).where(*mine)
            return found, connection.execute(counted).scalar_one()


def _lock(connection: Connection, repository: Repository) -> None:
    """Nobody admits a delivery of it until the transaction ends."""
    mine = and_(repositories.c.forge == repository.forge, repositories.c.name == repository.name)
    connection.execute(select(repositories.c.id).where(mine).with_for_update())


def _same(repository: Repository, commit: str | None, workflow: str | None) -> ColumnElement[bool]:
    return and_(
        stops.c.forge == repository.forge,
        stops.c.repo == repository.name,
        stops.c.run.is_(None),
        stops.c.commit.is_(None) if commit is None else stops.c.commit == commit,
        stops.c.workflow.is_(None) if workflow is None else stops.c.workflow == workflow,
    )


def _of(table: Any, repository: Repository) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return table.c.forge == repository.forge, table.c.repo == repository.name


def _ring(connection: Connection, mine: ColumnElement[bool], now: int) -> None:
    """Have the clock ring for the jobs of some runs in its next round, but for those that are due later."""
    waiting = (
        select(jobs.c.id)
        .join(runs)
        .where(jobs.c.phase.in_(("queued", "suspended")), jobs.c.asked_at.is_(None), mine)
        # Of many sleepers only those are locked that were put off.
        .where(jobs.c.ring_at != _not_before(now))
        .order_by(jobs.c.id)
        .with_for_update(of=jobs)
    )
    # They stood still until now, and no worker is to blame for it.
    rung = {"ring_at": _not_before(now), "held_at": now}
    connection.execute(update(jobs).where(jobs.c.id.in_(waiting)).values(rung))


def _later(now: int) -> ColumnElement[int]:
    least, most = PUT_OFF // MICROSECOND, LONGEST_PUT_OFF // MICROSECOND
    since = func.coalesce(jobs.c.queued_at, now)
    first, last = literal(now + least, BigInteger), literal(now + most, BigInteger)
    return case((since > now - least, first), (since < now - most, last), else_=2 * now - since)


def _not_before(at: Any) -> Any:
    """A time, or that of a job which is due later."""
    return case((jobs.c.due_at > at, jobs.c.due_at), else_=at)


def _columns(forge: str, stop: Stop) -> dict[str, Any]:
    return {
        "forge": forge,
        "repo": stop.repo,
        "run": stop.run,
        "commit": stop.commit,
        "workflow": stop.workflow,
        "reason": stop.reason,
        "actor": stop.actor,
        "above": stop.above,
        "at": micros(stop.at),
    }


def _from(row: Row[Any]) -> Stop:
    return Stop(row.actor, moment(row.at), row.reason, row.repo, row.run, row.commit, row.workflow, row.above)
