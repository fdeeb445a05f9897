"""SqlEnvironments: the protection rules of the environments that repositories deploy to."""

from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, select, update

from runner.errors import NotFound, Rejected
from runner.model.audit import Act
from runner.model.environment import Environment
from runner.model.source import Repository
from runner.store.audit import note
from runner.store.database import Database, micros, moment
from runner.store.read_models import EnvironmentView
from runner.store.secrets import locked, of_registration, registration_of
from runner.store.tables import environments, repositories

MOST = 100
"""Environments of a repository."""
_ALL = (
    select(environments)
    .join(repositories, repositories.c.id == environments.c.repository)
    .where(of_registration)
    .order_by(environments.c.key)
)


class SqlEnvironments:
    """Every method is one transaction, or one query."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rules(self, repository: Repository, name: str) -> Environment | None:
        with self._database.reading() as connection:
            query = _ALL.where(environments.c.key == name.casefold())
            row = connection.execute(query, registration_of(repository)).one_or_none()
        return None if row is None else _from(row)

    def all(self, repository: Repository) -> list[EnvironmentView]:
        with self._database.reading() as connection:
            return [_view(row) for row in connection.execute(_ALL, registration_of(repository))]

    def named(self, repository: Repository, name: str) -> EnvironmentView:
        """Raises `NotFound`."""
        for one in self.all(repository):
            if one.name.casefold() == name.casefold():
                return one
        raise _none(repository, name)

    def keep(self, repository: Repository, rules: Environment, act: Act | None = None) -> bool:
        """Keep rules in the place of those of that environment; False where there were some.

        Jobs whose turn has come wait for what was asked of them then.
        """

        def work(connection: Connection) -> bool:
            mine = locked(connection, repository)
            this = and_(environments.c.repository == mine, environments.c.key == rules.key)
            now = micros(self._database.now(connection))
            row = _columns(rules) | {"updated_at": now}
            changed = update(environments).where(this).values(row)
            if connection.execute(changed.execution_options(preserve_rowcount=True)).rowcount:
                note(connection, act, now, new=False)
                return False
            others = select(func.count()).where(environments.c.repository == mine)
            if (count := connection.execute(others).scalar_one()) >= MOST:
                raise Rejected(
                    f"{repository.name} has {count} environments, and {MOST} are the limit; "
                    "`runner environment remove` takes one away"
                )
            new = {"repository": mine, "key": rules.key, "created_at": now, **row}
            connection.execute(insert(environments).values(new))
            note(connection, act, now, new=True)
            return True

        return self._database.writing(work)

    def remove(self, repository: Repository, name: str, act: Act | None = None) -> None:
        """Raises `NotFound`. Jobs that wait already go on waiting."""

        def work(connection: Connection) -> None:
            mine = locked(connection, repository)
            this = and_(environments.c.repository == mine, environments.c.key == name.casefold())
            gone = delete(environments).where(this).execution_options(preserve_rowcount=True)
            if not connection.execute(gone).rowcount:
                raise _none(repository, name)
            note(connection, act, micros(self._database.now(connection)))

        self._database.writing(work)


def _none(repository: Repository, name: str) -> NotFound:
    return NotFound(
        f"{repository.name} has no rules for an environment {name[:100]!a}; "
        f"`runner environment list -R {repository.name}` shows those that it has"
    )


def _columns(rules: Environment) -> dict[str, Any]:
    return {
        "name": rules.name,
        "reviewers": list(rules.reviewers),
        "wait_timer": rules.wait_timer,
        "branches": list(rules.branches),
        "prevent_self_review": rules.prevent_self_review,
    }


def _from(row: Row[Any]) -> Environment:
    return Environment(
        row.name, tuple(row.reviewers), row.wait_timer, tuple(row.branches), row.prevent_self_review
    )


def _view(row: Row[Any]) -> EnvironmentView:
    return EnvironmentView(
        row.name,
        tuple(row.reviewers),
        row.wait_timer,
        tuple(row.branches),
        row.prevent_self_review,
        moment(row.created_at),
        moment(row.updated_at),
    )
