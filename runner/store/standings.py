"""SqlStandings: what default branches ask for, and the events that the clock makes of it."""

import logging
from functools import partial
from typing import Any

from sqlalchemy import Column, Connection, Row, and_, bindparam, delete, exists, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from runner.engine.standings import ADOPTED, TOLERANCE, Following, due_event, left_out, sync_event
from runner.model.source import Repository
from runner.model.standing import DueTimes, Follows, Missed, Scheduled, Standing
from runner.store.arrivals import post
from runner.store.database import Database, micros, moment
from runner.store.tables import repositories, schedules, standings

log = logging.getLogger(__name__)
ROUND = 500
"""How many rows the clock takes in one transaction; the rest follow in its next round."""
_adopted = exists().where(standings.c.forge == repositories.c.forge, standings.c.repo == repositories.c.name)
_strangers = select(repositories).where(~_adopted)
_one_stranger = _strangers.limit(1)
_one_due = select(schedules.c.id).where(schedules.c.due_at <= bindparam("now")).limit(1)
_standing, _schedules = (
    select(table).where(table.c.forge == bindparam("forge"), table.c.repo == bindparam("repo"))
    for table in (standings, schedules)
)


class SqlStandings:
    def __init__(self, database: Database) -> None:
        self._database = database

    def standing(self, forge: str, repo: str) -> tuple[int, Standing]:
        """What is stored, and its revision; 0 where nothing is."""
        with self._database.reading() as connection:
            return _read(connection, forge, repo)

    def stand(self, repository: Repository, revision: int, wanted: Standing, following: Following) -> bool:
        """Store what a default branch asks for; False where somebody did since that revision.

        What it asked for before stays due when it was. A registration that is gone asks for nothing.
        """

        def work(connection: Connection) -> bool:
            # Locked, so that it is not removed meanwhile.
            mine = _of(repositories, repository.forge, repository.name)
            found = connection.execute(select(repositories).where(mine).with_for_update()).one_or_none()
            if found is None or f"{found.id}.{found.created_at}" != repository.registration:
                return True
            adopt(connection, repository.forge, repository.name)
            now = self._database.now(connection)
            changed = (
                update(standings)
                .where(_of(standings, repository.forge, repository.name), standings.c.revision == revision)
                .values(revision=revision + 1, commit=wanted.commit, events=_events(wanted))
                .execution_options(preserve_rowcount=True)
            )
            if not connection.execute(changed).rowcount:
                return False
            _, before = _read(connection, repository.forge, repository.name)
            for gone in before.schedules - wanted.schedules:
                connection.execute(delete(schedules).where(_the(repository, gone)))
            for new in sorted(wanted.schedules - before.schedules):
                due = following(new, None, now)
                row = _columns(repository, new) | {"due_at": None if due is None else micros(due)}
                connection.execute(insert(schedules), row)
            return True

        return self._database.writing(work)

    def due(self, forge: str, repo: str) -> DueTimes:
        """When each of a repository's schedules is due next."""
        return self._times(schedules.c.due_at, forge, repo)

    def skipped(self, forge: str, repo: str) -> DueTimes:
        """The newest due time of each that was left out; None where none was."""
        return self._times(schedules.c.skipped_at, forge, repo)

    def _times(self, which: Column[int], forge: str, repo: str) -> DueTimes:
        query = select(schedules).where(_of(schedules, forge, repo))
        with self._database.reading() as connection:
            return {
                _scheduled(row): None if (at := row._mapping[which]) is None else moment(at)
                for row in connection.execute(query)
            }

    def fire(self, following: Following) -> None:
        """Store an event for each schedule that is due, and one for each repository that is new here.

        An event and the next due time are one transaction, so however many clocks there are, and whenever
        one dies, each due time has one event.
        """
        with self._database.reading() as connection:
            now = micros(self._database.now(connection))
            # The round of an idle server takes no lock.
            waiting = connection.execute(_one_due, {"now": now}).first()
            idle = waiting is None and connection.execute(_one_stranger).first() is None
        if not idle:
            self._database.writing(partial(self._fire, following))

    def _fire(self, following: Following, connection: Connection) -> None:
        at = self._database.now(connection)
        now = micros(at)
        due = (
            select(schedules)
            .where(schedules.c.due_at <= now)
            .order_by(schedules.c.due_at)
            .limit(ROUND)
            .with_for_update(skip_locked=True)
        )
        rows = connection.execute(due).all()
        missed = _missed(connection) if rows else {}
        for row in rows:
            one, since = _scheduled(row), moment(row.due_at)
            later = following(one, since, at)
            values = {"due_at": None if later is None else micros(later)}
            said = {"schedule": str(one), "repository": row.repo, "due": str(since), "next": str(later)}
            late = (at - since).total_seconds()
            if left_out(missed.get((row.forge, row.repo), "once"), since, at):
                log.warning("a due time was missed and is left out", extra={**said, "seconds": late})
                values["skipped_at"] = row.due_at
            else:
                if at - since > TOLERANCE:
                    log.warning("what was missed is made good once", extra={**said, "seconds": late})
                event = due_event(row.forge, row.repo, one)
                guid = f"schedule {one.workflow} {one.cron} {one.timezone} {since.isoformat()}"
                post(connection, event, guid, now)
            connection.execute(update(schedules).where(schedules.c.id == row.id).values(values))
        for row in connection.execute(_strangers.limit(ROUND)).all():
            if adopt(connection, row.forge, row.name):
                event = sync_event(row.forge, row.name, ADOPTED)
                post(connection, event, f"sync {row.id}.{row.created_at}", now)


def _missed(connection: Connection) -> dict[tuple[str, str], Missed]:
    """What each repository does with what it missed, but for those that make it good."""
    query = select(repositories).where(repositories.c.missed != "once")
    return {(row.forge, row.name): row.missed for row in connection.execute(query)}


def adopt(connection: Connection, forge: str, repo: str) -> bool:
    """Have a row for a repository; False where there is one already."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = {"forge": forge, "repo": repo, "revision": 0, "commit": "", "events": []}
    new = dialect.insert(standings).values(row).on_conflict_do_nothing().returning(standings.c.forge)
    return connection.execute(new).first() is not None


def forget(connection: Connection, forge: str, repo: str) -> None:
    """What a repository asked for that is removed."""
    for table in (schedules, standings):
        connection.execute(delete(table).where(_of(table, forge, repo)))


def _read(connection: Connection, forge: str, repo: str) -> tuple[int, Standing]:
    mine = {"forge": forge, "repo": repo}
    row = connection.execute(_standing, mine).one_or_none()
    if row is None:
        return 0, Standing()
    found = connection.execute(_schedules, mine)
    follows = frozenset(Follows(stage, tuple(names)) for stage, names in row.events)
    return row.revision, Standing(row.commit, frozenset(map(_scheduled, found)), follows)


def _events(wanted: Standing) -> list[Any]:
    return [[one.stage, list(one.workflows)] for one in sorted(wanted.follows)]


def _of(table: Any, forge: str, repo: str) -> Any:
    return and_(table.c.forge == forge, (table.c.name if table is repositories else table.c.repo) == repo)


def _the(repository: Repository, one: Scheduled) -> Any:
    row = _columns(repository, one)
    return and_(*(schedules.c[name] == value for name, value in row.items()))


def _columns(repository: Repository, one: Scheduled) -> dict[str, Any]:
    return {
        "forge": repository.forge,
        "repo": repository.name,
        "workflow": one.workflow,
        "cron": one.cron,
        "timezone": one.timezone,
    }


def _scheduled(row: Row[Any]) -> Scheduled:
    return Scheduled(row.workflow, row.cron, row.timezone)
