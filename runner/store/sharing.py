"""Which job is claimed when one is rung for: repositories take turns, and none has more than its limit.

A ring says that something with a job's labels is due; SQL decides what. Every ring claims at most one job,
so what is left for another repository's job is claimed by that one's ring.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    case,
    false,
    func,
    literal_column,
    not_,
    select,
    true,
)

from runner.errors import Rejected
from runner.model.limits import Limits, Waiting, fairest
from runner.model.run import Envelope
from runner.model.source import Route
from runner.store.database import micros, moment, one_at_a_time
from runner.store.rows import FIRST_RING, repository_of
from runner.store.stops import ANY_STOPPED, goes_no_further, some_stopped
from runner.store.tables import jobs, repositories, runs

MOST_PASSED = 100
"""How many jobs of one repository that stand still are passed over for one that does not."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A job to be claimed. `most`: as many of its repository may run; None where it adds none or any may."""

    repository: str
    run: int
    job: int
    most: int | None = None


def choices(
    connection: Connection, envelope: Envelope, now: datetime, server: Limits, passed: Collection[str]
) -> list[Choice]:
    """What may be claimed for a ring, the best first: the rung job itself where no other one is fairer.

    No other one of the repositories that are `passed`. Raises `Rejected` where the Route is not the run's.
    """
    asked = {"rung": envelope.job, "now": micros(now)}
    found = connection.execute(_THERE, asked).all()
    if found and found[0].some_stopped:
        found = connection.execute(_THERE_BUT_STOPPED, asked).all()
    if not found or found[0].rung_run != envelope.run:
        return []
    rung = found[0]
    route = Route(rung.rung_forge, rung.rung_repo, rung.rung_commit)
    if route != envelope.route:
        raise Rejected(f"message for run {envelope.run} says {envelope.route}, but the run is at {route}")
    itself = Choice(repository_of(route), rung.rung_run, envelope.job)
    # One whose worker fell silent counts as running already, whoever goes on with it. One of no repository
    # was put there by a process of an older version, which knew nothing of this.
    if rung.rung_lost or rung.rung_repository is None:
        return [itself]
    there = [_waiting(row, server) for row in found if row.job is not None]
    may_begin = rung.rung_since is not None and not rung.rung_stands_still
    if may_begin and all(one.repository != itself.repository for one in there):
        # More of its repository's stand still before it than were looked at.
        most, running = _most(connection, route, server), jobs_running(connection, itself.repository)
        since = moment(rung.rung_since)
        there.append(Waiting(itself.repository, itself.run, itself.job, since, running, most))
    ordered = fairest(there)
    others = [
        Choice(one.repository, one.run, one.job, one.most) for one in ordered if one.repository not in passed
    ]
    if rung.rung_wakes:
        # Nobody else is rung for it, and what it might leave to others has rings of its own.
        most = _most(connection, route, server)
        full = most is not None and jobs_running(connection, itself.repository) >= most
        return others if full else [replace(itself, most=most)]
    own = next((one for one in ordered if one.repository == itself.repository), None)
    if own is None or not may_begin:
        return others
    itself = replace(itself, most=own.most)
    if own is ordered[0] and moment(rung.rung_since) <= own.since + FIRST_RING:
        # Two who were rung for different jobs shall not meet at one.
        return [itself]
    return [*others, itself]


def next_of(connection: Connection, route: Route, now: datetime, server: Limits) -> list[Envelope]:
    """Where a repository has a limit of jobs: for each set of labels the job of it that waits longest."""
    if not _most(connection, route, server):
        return []
    query = _NEXT_BUT_STOPPED if some_stopped(connection) else _NEXT
    found = connection.execute(query, {"repository": repository_of(route), "now": micros(now)})
    return [
        Envelope(Route(route.forge, route.repo, row.commit), row.run, row.id, tuple(row.labels))
        for row in found
    ]


def reserve(connection: Connection, choice: Choice) -> bool:
    """Whether the repository may have one more job running, which nobody else then begins meanwhile.

    Held to the end of the transaction, and taken before the run's lock: who waits for it holds nothing.
    """
    if choice.most is None:
        return True
    one_at_a_time(connection, f"jobs of {choice.repository}")
    return jobs_running(connection, choice.repository) < choice.most


def queue_full(
    connection: Connection, forge: str, repo: str, own: int | None, more: int, server: Limits
) -> str:
    """Why a repository may not have so many more runs; empty where it may. Asked under its row's lock.

    `own`: the limit that it has itself.
    """
    most = Limits(max_queued=own).over(server).max_queued
    if not most:
        return ""
    there = connection.execute(_UNFINISHED, {"repository": f"{forge}:{repo}"}).scalar_one()
    if there + more <= most:
        return ""
    return f"unfinished runs of {repo}: {there}, and with {more} more over its limit of {most} (max-queued)"


def fullness(connection: Connection, route: Route, server: Limits) -> str:
    """Why no job of a repository is claimed now, where it has a limit and as many running; else empty."""
    most = _most(connection, route, server)
    running = jobs_running(connection, repository_of(route)) if most else 0
    return f"its repository runs {running} of {most} jobs at once" if most and running >= most else ""


def _most(connection: Connection, route: Route, server: Limits) -> int | None:
    """How many jobs of a repository may run at once; None for as many as there are."""
    said = connection.execute(_MOST, {"forge": route.forge, "name": route.repo}).scalar()
    return Limits(said).over(server).max_jobs or None


def of_run() -> ColumnElement[bool]:
    """The repository of the run of the enclosing query."""
    return and_(repositories.c.forge == runs.c.forge, repositories.c.name == runs.c.repo)


def jobs_running(connection: Connection, repository: str) -> int:
    found: int = connection.execute(_RUNNING, {"repository": repository}).scalar_one()
    return found


def _waiting(row: Row[Any], server: Limits) -> Waiting:
    most = Limits(row.max_jobs).over(server).max_jobs or None
    return Waiting(row.repository, row.run, row.job, moment(row.since), row.running, most)


def _queued(some: FromClause) -> ColumnElement[bool]:
    # A parameter in its place would keep the database from its index.
    return and_(some.c.phase == literal_column("'queued'"), some.c.asked_at.is_(None))


def _since(some: FromClause) -> ColumnElement[int]:
    return func.coalesce(some.c.due_at, some.c.queued_at)


def _oldest(some: FromClause, each: CTE, stopped: bool, *which: ColumnElement[bool]) -> ScalarSelect[Any]:
    """The job that waits longest; where some are `stopped`, of the first `MOST_PASSED` that go on."""
    due = _since(some) <= bindparam("now", type_=BigInteger)
    order = some.c.queued_at, some.c.id
    found = select(some.c.id).where(*which, _queued(some), due).order_by(*order).correlate(each)
    if not stopped:
        return found.limit(1).scalar_subquery()
    first = found.add_columns(some.c.run, some.c.queued_at, some.c.cancelled).limit(MOST_PASSED).subquery()
    goes_on = not_(goes_no_further(first))
    going = select(first.c.id).join(runs, runs.c.id == first.c.run).where(goes_on)
    return going.order_by(first.c.queued_at, first.c.id).limit(1).scalar_subquery()


def _each(column: str, *which: Any) -> CTE:
    """Every value of a column of the queued jobs, each found by one look into the index after the last."""
    one = jobs.alias()
    value = one.c[column]
    lowest = select(func.min(value).label("value")).where(*[same(one) for same in which], _queued(one))
    found = lowest.cte(f"each_{column}", recursive=True)
    after = lowest.where(value > found.c.value).correlate(found).scalar_subquery()
    return found.union_all(select(after).where(found.c.value.is_not(None)))


def _running(repository: Any) -> Select[Any]:
    one = jobs.alias()
    return select(func.count()).where(
        one.c.repository == repository, one.c.phase == literal_column("'running'")
    )


def _there(stopped: bool) -> Select[Any]:
    """The rung job beside every repository that has one to be claimed by the same workers."""
    now = bindparam("now", type_=BigInteger)
    due = and_(_queued(jobs), _since(jobs) <= now)
    woken = and_(jobs.c.phase == "suspended", jobs.c.asked_at.is_(None), jobs.c.started_at.is_not(None))
    rung = (
        select(
            jobs.c.queue,
            jobs.c.repository,
            jobs.c.run,
            case((and_(jobs.c.phase == "running", jobs.c.lease_until <= now), 1), else_=0).label("lost"),
            case((due, _since(jobs))).label("since"),
            case((and_(woken, jobs.c.due_at <= now), 1), else_=0).label("wakes"),
            (goes_no_further(jobs) if stopped else false()).label("stands_still"),
            runs.c.forge,
            runs.c.repo,
            runs.c.commit,
        )
        .join_from(jobs, runs)
        .where(jobs.c.id == bindparam("rung"))
        .cte("rung")
    )
    queue = select(rung.c.queue).scalar_subquery()
    each = _each("repository", lambda one: one.c.queue == queue)
    first, of, other = jobs.alias("first"), runs.alias("of"), jobs.alias()
    oldest = _oldest(other, each, stopped, other.c.queue == queue, other.c.repository == each.c.value)
    there = (
        select(
            each.c.value.label("repository"),
            first.c.id.label("job"),
            first.c.run,
            _since(first).label("since"),
            _running(each.c.value).correlate(each).scalar_subquery().label("running"),
            repositories.c.max_jobs,
        )
        .select_from(each)
        .join(first, first.c.id == oldest)
        .join(of, of.c.id == first.c.run)
        .outerjoin(repositories, and_(repositories.c.forge == of.c.forge, repositories.c.name == of.c.repo))
        .subquery("there")
    )
    said = [column.label(f"rung_{column.name}") for column in rung.c if column.name != "queue"]
    return select(*said, ANY_STOPPED.label("some_stopped"), there).select_from(rung.outerjoin(there, true()))


def _next(stopped: bool) -> Select[Any]:
    mine: BindParameter[str] = bindparam("repository")
    each = _each("queue", lambda one: one.c.repository == mine)
    other = jobs.alias()
    oldest = _oldest(other, each, stopped, other.c.repository == mine, other.c.queue == each.c.value)
    first, of = jobs.alias("first"), runs.alias("of")
    return (
        select(first.c.id, first.c.run, first.c.labels, of.c.commit)
        .select_from(each)
        .join(first, first.c.id == oldest)
        .join(of, of.c.id == first.c.run)
    )


_THERE, _THERE_BUT_STOPPED = _there(stopped=False), _there(stopped=True)
_NEXT, _NEXT_BUT_STOPPED = _next(stopped=False), _next(stopped=True)
_RUNNING = _running(bindparam("repository"))
_UNFINISHED = select(func.count(jobs.c.run.distinct())).where(
    jobs.c.repository == bindparam("repository"), jobs.c.phase != literal_column("'finished'")
)
_MOST = select(repositories.c.max_jobs).where(
    repositories.c.forge == bindparam("forge"), repositories.c.name == bindparam("name")
)
