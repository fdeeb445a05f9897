"""Typed read models for the API, the pages and the command line."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    ScalarSelect,
    Select,
    String,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
)

from runner.errors import NotFound, Rejected, Unavailable
from runner.model.access import Scope
from runner.model.beginnings import BEGUN, Beginning, beginnings_in
from runner.model.limits import NONE, Limits
from runner.model.snapshot import Keep
from runner.model.source import Route, shown_url
from runner.model.turns import Place
from runner.store.children import parent_view, started_by, with_started
from runner.store.database import Database, micros, moment
from runner.store.named_steps import LONGEST_VALUE, are_named
from runner.store.read_models import (
    STATUSES,
    STOPPED,
    UNFINISHED,
    BadgeState,
    Belonging,
    Counts,
    DeliverySummary,
    DeliveryView,
    JobEnd,
    RepositoryView,
    RunFilter,
    RunSummary,
    RunView,
    StopView,
)
from runner.store.reasons import Around, awaited_by, held_up
from runner.store.repositories import limits_of
from runner.store.rows import place_from
from runner.store.sharing import fullness
from runner.store.showing import HEADS, delivery_fields, job_views, run_fields
from runner.store.stops import hold_of_run, pause_of_run, stop_of, stopped_run, stops_of
from runner.store.tables import (
    Id,
    checkpoints,
    deliveries,
    jobs,
    part_of,
    places,
    repositories,
    runs,
    stops,
    was_cancelled,
    why_cancelled,
    within,
    workers,
)

MOST_ROWS = 1000
CHUNK = 256 * 1024
ReadLog = Callable[[int, int, str, int, int], bytes]
"""As `runner.logs.LogReader.read`."""


def status_of(attempt: ColumnElement[int]) -> ColumnElement[str]:
    """`model.run.Run.result` in SQL, for one attempt of the run of the enclosing query.

    A called workflow's jobs count through the job that called it; only whether anything has begun is theirs
    to say.
    """
    own = jobs.c.caller.is_(None)
    tolerated = and_(jobs.c.tolerated, jobs.c.result.in_(("failure", "timed_out")))
    conclusion = case((tolerated, literal("success")), else_=jobs.c.result)
    begun = and_(jobs.c.run_attempt == attempt, jobs.c.started_at.is_not(None))
    ended = case(
        (and_(was_cancelled(attempt), _count(and_(own, jobs.c.result == "cancelled")) > 0), "cancelled"),
        *[
            (_count(and_(own, conclusion == worst)) > 0, worst)
            for worst in ("failure", "timed_out", "cancelled", "success")
        ],
        else_="skipped",
    )
    status = case(
        (and_(_unfinished > 0, _count(begun) == 0, _count(jobs.c.phase == "suspended") == 0), "queued"),
        (and_(_count(_moving) == 0, _count(jobs.c.phase == "suspended") > 0), "waiting"),
        (_unfinished > 0, "running"),
        else_=ended,
    )
    return case((_broken(), literal("failure")), else_=_of_jobs(status, attempt))


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))


_moving = jobs.c.phase.in_(("ready", "pending", "queued", "running"))
_unfinished = _count(and_(jobs.c.caller.is_(None), jobs.c.phase != "finished"))


def _broken() -> ColumnElement[bool]:
    return cast(runs.c.problems, String) != "[]"


def _of_jobs(value: Any, attempt: ColumnElement[int]) -> ScalarSelect[Any]:
    mine = and_(jobs.c.run == runs.c.id, part_of(attempt))
    return select(value).where(mine).correlate(runs).scalar_subquery()


def _summaries(attempt: ColumnElement[int]) -> Select[Any]:
    own = jobs.c.run_attempt == attempt
    unfinished = _of_jobs(_unfinished, attempt)
    last = _of_jobs(func.max(jobs.c.finished_at), attempt)
    return select(
        runs,
        was_cancelled(attempt).label("cancelled"),
        func.coalesce(hold_of_run(), pause_of_run()).label("stop"),
        why_cancelled(attempt).label("over"),
        status_of(attempt).label("status"),
        _of_jobs(func.min(case((own, jobs.c.started_at))), attempt).label("started_at"),
        case((_broken(), runs.c.created_at), (unfinished == 0, last)).label("finished_at"),
    )


_newest_attempt = _summaries(runs.c.attempt)
_of_registered = jobs.join(runs).outerjoin(
    repositories, and_(repositories.c.forge == runs.c.forge, repositories.c.name == runs.c.repo)
)
_newest_status = status_of(runs.c.attempt)


class Views:
    """Reads only, each call from the newest committed state."""

    def __init__(self, database: Database, limits: Limits = NONE, read: ReadLog | None = None) -> None:
        """`limits` are the server's; `read` is that of the logs, which alone say what of a program runs."""
        self._database = database
        self._limits = limits
        self._read = read

    # --- runs ------------------------------------------------------------------------------------

    def runs(self, wanted: RunFilter) -> list[RunSummary]:
        """Newest first. Raises `Rejected` for a status that does not exist."""
        query = _newest_attempt.where(*_conditions(wanted)).order_by(runs.c.id.desc())
        with self._database.reading() as connection:
            found = connection.execute(query.limit(_limit(wanted.limit))).all()
            awaits = _awaits(connection, [row.id for row in found if row.status == "waiting"])
        return [RunSummary(**run_fields(row) | {"awaits": awaits.get(row.id, "")}) for row in found]

    def run(self, run_id: int, attempt: int | None = None) -> RunView:
        """One attempt of a run, the newest if none is named; raises `NotFound`."""
        wanted = runs.c.attempt if attempt is None else literal(attempt, Id)
        with self._database.reading() as connection:
            # The job rows are read after the run's: a run is never shown as ended with a job that has not.
            mine = and_(runs.c.id == run_id, runs.c.gone_at.is_(None))
            row = connection.execute(_summaries(wanted).where(mine)).one_or_none()
            if row is None:
                raise _no_run(run_id)
            if attempt is not None and not 1 <= attempt <= row.attempt:
                raise NotFound(f"run {run_id} has no attempt {attempt}; it has {row.attempt}")
            shown = attempt or row.attempt
            newest = shown == row.attempt
            there = _line(connection, row) if newest and row.status in UNFINISHED else ()
            # A run that was told to end may have succeeded before it heard of it.
            turn = row.turn if newest and row.status in (*UNFINISHED, "cancelled") else None
            reason = held_up(row.id, None, turn, there) or turn["reason"] if turn else ""
            reason = reason or row.over or ""
            fields = run_fields(row) | {"attempt": shown}
            fields["stopped"] = newest and fields["stopped"]
            stop = stop_of(connection, row.stop) if fields["stopped"] else None
            stopped = stop.words if stop else ""
            if newest and row.status == "waiting":
                fields |= {"awaits": _awaits(connection, [row.id]).get(row.id, "")}
            full = fullness(connection, Route(row.forge, row.repo, row.commit), self._limits)
            now = micros(self._database.now(connection))
            around = Around(now, self._offered(connection), there, reason, stopped, full)
            found, done = _jobs(connection, run_id, shown)
            parent, started = parent_view(connection, run_id), started_by(connection, run_id)
        begun = {job.id: self._begun_in(job) for job in found if are_named(job)}
        return RunView(
            **fields,
            attempts=row.attempt,
            reason=stopped or reason,
            problems=tuple(row.problems),
            pins=row.pins,
            jobs=with_started(tuple(job_views(found, done, around, begun)), started),
            parent=parent,
        )

    def _begun_in(self, job: Row[Any]) -> Sequence[Beginning]:
        """What began in the newest attempt of a job whose steps are named by a program."""
        said = bytearray()
        # What the store of objects cannot say now is no reason to show nothing of a run.
        with suppress(Unavailable):
            while self._read and (chunk := self._read(job.id, job.attempt, BEGUN, len(said), CHUNK)):
                said += chunk
        return list(beginnings_in(bytes(said)))

    def run_of(self, run_id: int, scope: Scope) -> Belonging:
        """Raises `NotFound`, also for one that somebody who sees `scope` does not."""
        seen = within(scope, runs.c.forge, runs.c.repo)
        mine = and_(runs.c.id == run_id, runs.c.gone_at.is_(None), seen)
        with self._database.reading() as connection:
            row = connection.execute(select(runs.c.forge, runs.c.repo, runs.c.actor).where(mine)).first()
        if row is None:
            raise _no_run(run_id)
        return Belonging(*row)

    def badge(
        self, repo: str, workflow: str | None = None, branch: str | None = None, event: str | None = None
    ) -> BadgeState | None:
        """The newest finished run that was not skipped, on the default branch where none is named.

        None where there is none, and for a repository that is not registered.
        """
        with self._database.reading() as connection:
            known = connection.execute(
                select(repositories.c.forge, repositories.c.default_branch)
                .where(repositories.c.name == repo)
                .limit(1)
            ).one_or_none()
            if known is None:
                return None
            wanted = RunFilter(repo, branch or known.default_branch, workflow, event)
            conditions = [*_conditions(wanted), runs.c.forge == known.forge]
            counts = _newest_status.in_(("success", "failure", "cancelled", "timed_out"))
            query = select(runs.c.name, runs.c.workflow, _newest_status.label("status"))
            row = connection.execute(
                query.where(*conditions, counts).order_by(runs.c.id.desc()).limit(1)
            ).one_or_none()
        if row is None:
            return None
        name = row.name if row.name != row.workflow else row.workflow.rpartition("/")[2]
        return BadgeState(name, row.status)

    # --- deliveries ------------------------------------------------------------------------------

    def deliveries(
        self,
        repo: str | None = None,
        status: str | None = None,
        limit: int = 30,
        before: str | None = None,
        scope: Scope = None,
    ) -> list[DeliverySummary]:
        """Newest first; ids sort by the time of arrival."""
        conditions = [within(scope, deliveries.c.forge, deliveries.c.repo), ~_of_a_former_one]
        if repo is not None:
            conditions.append(deliveries.c.repo == repo)
        if status is not None:
            conditions.append(deliveries.c.status == status)
        if before is not None:
            conditions.append(deliveries.c.id < before)
        # A payload may be a megabyte, and no list shows it.
        shown = [column for column in deliveries.c if column.name != "payload"]
        query = select(*shown).where(*conditions).order_by(deliveries.c.id.desc()).limit(_limit(limit))
        with self._database.reading() as connection:
            found = connection.execute(query).all()
            started = _runs_of(connection, [row.id for row in found])
        return [DeliverySummary(**delivery_fields(row, started.get(row.id, ()))) for row in found]

    def delivery(self, delivery_id: str) -> DeliveryView:
        """Raises `NotFound`."""
        with self._database.reading() as connection:
            mine = and_(deliveries.c.id == delivery_id, ~_of_a_former_one)
            row = connection.execute(select(deliveries).where(mine)).one_or_none()
            if row is None:
                raise _no_delivery(delivery_id)
            started = _runs_of(connection, [delivery_id]).get(delivery_id, ())
        fields = delivery_fields(row, started)
        return DeliveryView(**fields, guid=row.guid, before=row.before, payload=row.payload)

    def delivery_of(self, delivery_id: str, scope: Scope) -> Belonging:
        """As `run_of`."""
        shown = select(deliveries.c.forge, deliveries.c.repo, deliveries.c.actor)
        seen = within(scope, deliveries.c.forge, deliveries.c.repo)
        mine = and_(deliveries.c.id == delivery_id, seen, ~_of_a_former_one)
        with self._database.reading() as connection:
            row = connection.execute(shown.where(mine)).first()
        if row is None:
            raise _no_delivery(delivery_id)
        return Belonging(*row)

    # --- repositories ----------------------------------------------------------------------------

    def repositories(self, scope: Scope = None) -> list[RepositoryView]:
        query = select(repositories).where(within(scope, repositories.c.forge, repositories.c.name))
        query = query.order_by(repositories.c.name, repositories.c.forge)
        with self._database.reading() as connection:
            stopped = stops_of(connection)
            return [
                _repository(row, stopped.get((row.forge, row.name), ())) for row in connection.execute(query)
            ]

    def repository(self, forge: str, name: str) -> RepositoryView:
        """Raises `NotFound`."""
        mine = and_(repositories.c.forge == forge, repositories.c.name == name)
        with self._database.reading() as connection:
            row = connection.execute(select(repositories).where(mine)).one_or_none()
            found = stops_of(connection, and_(stops.c.forge == forge, stops.c.repo == name))
        if row is None:
            raise NotFound(f"no repository {name}; `runner repo list` shows those that are registered")
        return _repository(row, found.get((forge, name), ()))

    def _offered(self, connection: Connection) -> list[frozenset[str]]:
        """The labels of each worker that is there."""
        there = workers.c.until > micros(self._database.now(connection))
        return [frozenset(row.labels) for row in connection.execute(select(workers).where(there))]

    def held(self) -> set[tuple[int, int]]:
        """The id and the newest attempt of every job that a worker has, as far as anybody knows.

        One whose lease has run out may have been stopped for a while, and go on, until another has the job.
        """
        with self._database.reading() as connection:
            running = select(jobs.c.id, jobs.c.attempt).where(jobs.c.phase == "running")
            return {(row.id, row.attempt) for row in connection.execute(running)}

    def finished(self, ids: Iterable[int]) -> set[int]:
        """Which of these jobs have ended, or are kept no more."""
        asked = set(ids)
        query = select(jobs.c.id).where(jobs.c.id.in_(asked), jobs.c.phase != "finished")
        with self._database.reading() as connection:
            return asked - set(connection.execute(query).scalars())

    def going_on(self, deliveries: Iterable[str]) -> set[str]:
        """Which of these deliveries have a run that has not ended."""
        wanted, found = list(deliveries), set[str]()
        query = select(runs.c.delivery).join(jobs, jobs.c.run == runs.c.id)
        query = query.where(jobs.c.superseded.is_(None), jobs.c.phase != "finished").distinct()
        with self._database.reading() as connection:
            for start in range(0, len(wanted), MOST_ROWS):
                some = wanted[start : start + MOST_ROWS]
                found.update(connection.execute(query.where(runs.c.delivery.in_(some))).scalars())
        return found

    def ends(self, ids: Iterable[int]) -> dict[int, JobEnd | None]:
        """How each of these jobs ended, where its run has ended too, else None; of no other number.

        `at` is when that had: only then may the job be gone on with.
        """
        going_on, other = jobs.alias(), jobs.alias()
        unfinished = exists().where(
            going_on.c.run == jobs.c.run, going_on.c.superseded.is_(None), going_on.c.phase != "finished"
        )
        wanted, found = list(ids), dict[int, JobEnd | None]()
        with self._database.reading() as connection:
            for start in range(0, len(wanted), MOST_ROWS):
                last = select(func.max(other.c.finished_at)).where(other.c.run == jobs.c.run)
                query = select(jobs.c.id, jobs.c.phase, jobs.c.result)
                query = query.add_columns(
                    unfinished.label("going_on"),
                    last.scalar_subquery().label("ended_at"),
                    repositories.c.keep_snapshots,
                ).where(jobs.c.id.in_(wanted[start : start + MOST_ROWS]))
                for row in connection.execute(query.select_from(_of_registered).order_by(jobs.c.id)):
                    over = row.phase == "finished" and not row.going_on
                    found[row.id] = _end(row) if over else None
        return found

    def counts(self) -> Counts:
        tables = [select(func.count()).select_from(table) for table in (repositories, deliveries, runs)]
        phases = [select(func.count()).where(jobs.c.phase == phase) for phase in ("queued", "running")]
        with self._database.reading() as connection:
            return Counts(*[connection.execute(query).scalar_one() for query in (*tables, *phases)])


_of_a_former_one = exists().where(
    repositories.c.forge == deliveries.c.forge,
    repositories.c.name == deliveries.c.repo,
    repositories.c.created_at > deliveries.c.received_at,
)
"""Whether another repository had its name when a delivery came."""


def _no_run(run_id: int) -> NotFound:
    return NotFound(f"no run {run_id}; `runner runs list` shows the newest")


def _no_delivery(delivery_id: str) -> NotFound:
    return NotFound(f"no delivery {delivery_id}; `runner deliveries list` shows the newest")


def _conditions(wanted: RunFilter) -> list[ColumnElement[bool]]:
    if wanted.status is not None and wanted.status not in (*STATUSES, STOPPED):
        raise Rejected(f"no status {wanted.status!r}; there are {', '.join((*STATUSES, STOPPED))}")
    same = {
        runs.c.repo: wanted.repo,
        runs.c.ref: None if wanted.branch is None else HEADS + wanted.branch,
        runs.c.event: wanted.event,
        runs.c.actor: wanted.actor,
    }
    conditions = [column == value for column, value in same.items() if value is not None]
    conditions.append(runs.c.gone_at.is_(None))
    conditions.append(within(wanted.scope, runs.c.forge, runs.c.repo))
    if wanted.workflow is not None:
        # People name a workflow by its file, its whole path, or the name it gives itself.
        conditions.append(
            or_(
                runs.c.workflow == wanted.workflow,
                runs.c.workflow.endswith("/" + wanted.workflow, autoescape=True),
                runs.c.name == wanted.workflow,
            )
        )
    if wanted.commit is not None:
        conditions.append(runs.c.commit.startswith(wanted.commit.lower(), autoescape=True))
    if wanted.status is not None:
        stands = stopped_run() if wanted.status == STOPPED else _newest_status == wanted.status
        conditions.append(stands)
    if wanted.before is not None:
        conditions.append(runs.c.id < wanted.before)
    return conditions


def _end(row: Any) -> JobEnd:
    return JobEnd(moment(row.ended_at), row.result == "success", row.keep_snapshots)


def _limit(wanted: int) -> int:
    if not 1 <= wanted <= MOST_ROWS:
        raise Rejected(f"a limit of {wanted} is not between 1 and {MOST_ROWS}")
    return wanted


def _jobs(
    connection: Connection, run_id: int, run_attempt: int
) -> tuple[Sequence[Row[Any]], dict[int, list[Row[Any]]]]:
    """The jobs of an attempt, and of each the checkpoints in their order, also those that count no longer."""
    mine = and_(jobs.c.run == run_id, part_of(run_attempt))
    found = connection.execute(select(jobs).where(mine).order_by(jobs.c.position, jobs.c.id)).all()
    recorded = checkpoints.join(jobs, checkpoints.c.job == jobs.c.id)
    value = func.substr(checkpoints.c.value, 1, LONGEST_VALUE + 1).label("value")
    columns = [column for column in checkpoints.c if column.name != "value"]
    query = select(*columns, value).select_from(recorded).where(mine)
    ordered: Select[Any] = query.order_by(checkpoints.c.job, checkpoints.c.sequence)
    done: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(ordered):
        done.setdefault(row.job, []).append(row)
    return found, done


def _awaits(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """What the suspended jobs of runs wait for, by the run."""
    if not ids:
        return {}
    query = select(jobs.c.run, jobs.c.waits).where(
        jobs.c.run.in_(ids), jobs.c.phase == "suspended", jobs.c.superseded.is_(None)
    )
    found: dict[int, list[Any]] = {}
    for row in connection.execute(query.order_by(jobs.c.position, jobs.c.id)):
        found.setdefault(row.run, []).append(row)
    return {run: awaited_by(rows) for run, rows in found.items()}


def _line(connection: Connection, run: Row[Any]) -> list[Place]:
    """The places of all who are in the lines of the run's repository, where it has one among them."""
    if connection.execute(select(places.c.run).where(places.c.run == run.id).limit(1)).first() is None:
        return []
    mine = and_(places.c.forge == run.forge, places.c.repo == run.repo)
    query = select(places).where(mine).order_by(places.c.number)
    return [place_from(row) for row in connection.execute(query)]


def _runs_of(connection: Connection, ids: Iterable[str]) -> dict[str, tuple[int, ...]]:
    query = select(runs.c.delivery, runs.c.id).where(runs.c.delivery.in_(list(ids))).order_by(runs.c.id)
    found: dict[str, tuple[int, ...]] = {}
    for row in connection.execute(query):
        found[row.delivery] = (*found.get(row.delivery, ()), row.id)
    return found


def _repository(row: Row[Any], stopped: tuple[StopView, ...]) -> RepositoryView:
    return RepositoryView(
        row.name,
        row.forge,
        shown_url(row.url),
        row.executor,
        row.image,
        row.shared,
        row.default_branch,
        moment(row.created_at),
        limits_of(row),
        row.missed,
        Keep(row.snapshot) if row.snapshot else None,
        stopped,
    )
