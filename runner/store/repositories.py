"""SqlRepositories: the administrator's list, the only place a clone URL or a webhook secret comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from runner.errors import NotFound, Rejected
from runner.model.access import Scope
from runner.model.audit import Act
from runner.model.limits import Limits
from runner.model.snapshot import Keep
from runner.model.source import Repository
from runner.store.audit import note
from runner.store.database import Database, micros
from runner.store.lines import dissolve
from runner.store.secrets import forget_given
from runner.store.standings import forget
from runner.store.stops import forget_stops
from runner.store.tables import jobs, repositories, runs

_mine = (repositories.c.forge == bindparam("forge")) & (repositories.c.name == bindparam("name"))
_registered, _secret = select(repositories).where(_mine), select(repositories.c.secret).where(_mine)


class SqlRepositories:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, repository: Repository, secret: str, act: Act | None = None) -> None:
        """Raises `Rejected` where the name is taken."""
        row = {
            "forge": repository.forge,
            "name": repository.name,
            "url": repository.url,
            "secret": secret,
            "executor": repository.executor,
            "image": repository.image,
            "shared": repository.shared,
        } | asdict(repository.limits)

        def work(connection: Connection) -> None:
            now = micros(self._database.now(connection))
            # Also what was admitted for another one of its name only after that was removed.
            _part_with_runs(connection, repository, now)
            connection.execute(insert(repositories), row | {"created_at": now})
            note(connection, act, now)

        try:
            self._database.writing(work)
        except IntegrityError:
            raise Rejected(
                f"{repository.forge} repository {repository.name} is registered already; "
                f"`runner repo show {repository.name}` shows it"
            ) from None

    def get(self, forge: str, name: str) -> Repository:
        return _from(self._row(forge, name))

    def alike(self, name: str) -> Sequence[Repository]:
        """All that have the name, on whichever forge and in whichever case."""
        with self._database.reading() as connection:
            mine = func.lower(repositories.c.name) == name.lower()
            return [_from(row) for row in connection.execute(select(repositories).where(mine)).all()]

    def shared(self, forge: str) -> Sequence[Repository]:
        """All of a forge that the workflows of others may use."""
        with self._database.reading() as connection:
            mine = (repositories.c.forge == forge) & repositories.c.shared
            found = select(repositories).where(mine).order_by(repositories.c.name)
            return [_from(row) for row in connection.execute(found).all()]

    def named(self, name: str, scope: Scope = None) -> Repository:
        """The repository of that name on whichever forge; raises `NotFound`, `Rejected` if several.

        Whoever does not see all of them learns nothing of the others, not even that they are there.
        """
        with self._database.reading() as connection:
            found = connection.execute(select(repositories).where(repositories.c.name == name)).all()
        if scope is not None:
            row = found[0] if found else self._row(*_parted(name))
            if len(found) > 1 or (row.forge, row.name) not in scope:
                raise _unknown(name)
            return _from(row)
        if len(found) > 1:
            forges = ", ".join(row.forge for row in found)
            raise Rejected(f"repository {name} is on several forges ({forges}); say which, as forge:{name}")
        if not found:
            return self.get(*_parted(name))
        return _from(found[0])

    def secret(self, forge: str, name: str) -> str | None:
        """The webhook secret; None for a repository that is not registered."""
        with self._database.reading() as connection:
            mine = {"forge": forge, "name": name}
            found: str | None = connection.execute(_secret, mine).scalar_one_or_none()
            return found

    def all(self) -> list[Repository]:
        with self._database.reading() as connection:
            return [
                _from(row) for row in connection.execute(select(repositories).order_by(repositories.c.name))
            ]

    def change(
        self, repository: Repository, changed: Mapping[str, int | str | None], act: Act | None = None
    ) -> None:
        """Change what is said of a repository: by the names of `Limits`, what `missed` schedules become, or
        what becomes of files as a `snapshot`.

        What waits is looked at anew.
        """
        mine = (repositories.c.forge == repository.forge) & (repositories.c.name == repository.name)
        waiting = (jobs.c.repository == f"{repository.forge}:{repository.name}") & (jobs.c.phase == "queued")

        def work(connection: Connection) -> None:
            now = micros(self._database.now(connection))
            note(connection, act, now, changed=bool(changed))
            if not changed:
                return
            connection.execute(update(repositories).where(mine).values(changed))
            rung = update(jobs).where(waiting, jobs.c.ring_at > now, jobs.c.due_at.is_(None))
            connection.execute(rung.values(ring_at=now))

        self._database.writing(work)

    def remove(self, repository: Repository, act: Act | None = None) -> None:
        """Forget the registration and all that was set for it or was its own: its runs are shown no more.

        `Retention` removes what is left of them.
        """
        mine = (repositories.c.forge == repository.forge) & (repositories.c.name == repository.name)

        def work(connection: Connection) -> None:
            now = self._database.now(connection)
            # Runs and jobs before whatever those may wait for who hold them.
            _part_with_runs(connection, repository, micros(now))
            forget_stops(connection, repository.forge, repository.name, micros(now))
            _silence_jobs(connection, repository)
            # Locked, so that nobody gives it a secret meanwhile.
            query = select(repositories.c.id).where(mine).with_for_update()
            for registered in connection.execute(query).scalars().all():
                forget_given(connection, registered)
            forget(connection, repository.forge, repository.name)
            dissolve(connection, repository.forge, repository.name)
            connection.execute(delete(repositories).where(mine))
            note(connection, act, micros(now))

        self._database.writing(work)

    def _row(self, forge: str, name: str) -> Row[Any]:
        with self._database.reading() as connection:
            row = connection.execute(_registered, {"forge": forge, "name": name}).one_or_none()
        if row is None:
            raise _unknown(name)
        return row


def _part_with_runs(connection: Connection, repository: Repository, now: int) -> None:
    its = (runs.c.forge == repository.forge) & (runs.c.repo == repository.name)
    connection.execute(update(runs).where(its, runs.c.gone_at.is_(None)).values(gone_at=now))


def _silence_jobs(connection: Connection, repository: Repository) -> None:
    """Nobody is rung for those that have not ended, nor do they count for whoever gets the name."""
    its = (jobs.c.repository == f"{repository.forge}:{repository.name}") & (jobs.c.phase != "finished")
    nothing = {"ring_at": None, "queue": None, "repository": None}
    connection.execute(update(jobs).where(its).values(nothing))


def _parted(name: str) -> tuple[str, str]:
    """The forge and the name in `forge:name`."""
    forge, colon, own = name.partition(":")
    return (forge, own) if colon else ("git", name)


def _unknown(name: str) -> NotFound:
    return NotFound(f"no repository {name}; `runner repo list` shows those that are registered")


def _from(row: Row[Any]) -> Repository:
    # SQLite gives the id of a removed row to the next one.
    registration = f"{row.id}.{row.created_at}"
    return Repository(
        row.forge,
        row.name,
        row.url,
        row.executor,
        row.image,
        registration,
        row.shared,
        limits_of(row),
        Keep(row.snapshot) if row.snapshot else None,
    )


def limits_of(row: Row[Any]) -> Limits:
    return Limits(**{one.name: getattr(row, one.name) for one in fields(Limits)})
