"""SqlSecrets and SqlVariables: what a repository's workflows are given that no file of theirs says.

Whether something is a repository's is decided by its registration, so that one that is removed leaves nothing
to whatever is registered under its name later. Secrets come here sealed, and are never opened here.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Table, and_, bindparam, delete, func, insert, select, text, update

from runner.errors import NotFound, Rejected
from runner.model.audit import Act
from runner.model.secret import SECRET, VARIABLE, Kind, Place, Sealed
from runner.model.source import Repository
from runner.store.audit import note
from runner.store.database import Database, micros, moment
from runner.store.read_models import SecretView, VariableView
from runner.store.tables import caches, environments, repositories, secrets, variables

SEALING = 727167
"""PostgreSQL's lock of who seals: two who begin at once seal with one key all the same."""
Seal = Callable[[Collection[str]], Sealed]
"""Seals a value; is told which keys there are secrets of."""
Sealeds = Mapping[Place, Sealed]
of_registration = and_(
    repositories.c.id == bindparam("id"),
    repositories.c.created_at == bindparam("at"),
    repositories.c.forge == bindparam("forge"),
)


def _of(table: Table, *columns: Any) -> Any:
    """Those of one registration. Made once, for every job asks, and making it takes as long as asking."""
    joined = table.join(repositories, repositories.c.id == table.c.repository)
    return select(*columns).select_from(joined).where(of_registration).order_by(table.c.name)


_SEALED = _of(secrets, secrets.c.name, secrets.c.key, secrets.c.sealed)
_SHOWN = _of(secrets, secrets.c.name, secrets.c.created_at, secrets.c.updated_at)
_VALUES = _of(variables, variables.c.name, variables.c.value)
_VARIABLES = _of(variables, variables)
_REGISTERED = select(repositories.c.id).where(of_registration).with_for_update()


class SqlSecrets:
    """Every method is one transaction, or one query."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sealed(self, repository: Repository) -> Mapping[str, Sealed]:
        with self._database.reading() as connection:
            found = connection.execute(_SEALED, registration_of(repository))
            return {row.name: Sealed(row.key, row.sealed) for row in found}

    def all(self, repository: Repository) -> list[SecretView]:
        """What people may know of them."""
        with self._database.reading() as connection:
            return [
                SecretView(row.name, moment(row.created_at), moment(row.updated_at))
                for row in connection.execute(_SHOWN, registration_of(repository))
            ]

    def keys(self) -> Mapping[str, int]:
        """How many secrets there are of each key."""
        query = select(secrets.c.key, func.count()).group_by(secrets.c.key)
        with self._database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def keep(self, repository: Repository, name: str, seal: Seal, act: Act | None = None) -> bool:
        """Keep a secret in the place of the one of that name; False where there was one.

        Raises `NotFound` where the registration is gone, `Rejected` where there are too many.
        """

        def work(connection: Connection) -> bool:
            self._alone(connection)
            mine = locked(connection, repository)
            used = connection.execute(select(secrets.c.key).distinct()).scalars().all()
            sealed = seal(used)
            row, now = {"key": sealed.key, "sealed": sealed.data}, self._now(connection)
            new = _put(connection, secrets, SECRET, repository, mine, name, row, now)
            note(connection, act, now, new=new)
            return new

        return self._database.writing(work)

    def remove(self, repository: Repository, name: str, act: Act | None = None) -> None:
        """Raises `NotFound`."""

        def work(connection: Connection) -> None:
            _remove(connection, secrets, SECRET, repository, name)
            note(connection, act, self._now(connection))

        self._database.writing(work)

    def reseal(self, change: Callable[[Sealeds], Sealeds]) -> None:
        """Seal every secret anew, or none. Nobody else seals one meanwhile."""

        def work(connection: Connection) -> None:
            self._alone(connection)
            query = select(
                secrets, repositories.c.forge, repositories.c.created_at.label("registered_at")
            ).join(repositories, repositories.c.id == secrets.c.repository)
            rows = {
                Place(row.forge, f"{row.repository}.{row.registered_at}", row.name): row
                for row in connection.execute(query)
            }
            before = {place: Sealed(row.key, row.sealed) for place, row in rows.items()}
            for place, sealed in change(before).items():
                if sealed != before[place]:
                    this = and_(secrets.c.repository == rows[place].repository, secrets.c.name == place.name)
                    values = {"key": sealed.key, "sealed": sealed.data}
                    connection.execute(update(secrets).where(this).values(values))

        self._database.writing(work)

    def _alone(self, connection: Connection) -> None:
        # SQLite has one writer at a time anyway.
        if not self._database.lite:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({SEALING})"))

    def _now(self, connection: Connection) -> int:
        return micros(self._database.now(connection))


class SqlVariables:
    """Every method is one transaction, or one query."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def values(self, repository: Repository) -> Mapping[str, str]:
        with self._database.reading() as connection:
            return {row.name: row.value for row in connection.execute(_VALUES, registration_of(repository))}

    def all(self, repository: Repository) -> list[VariableView]:
        with self._database.reading() as connection:
            return [
                VariableView(row.name, row.value, moment(row.created_at), moment(row.updated_at))
                for row in connection.execute(_VARIABLES, registration_of(repository))
            ]

    def keep(self, repository: Repository, name: str, value: str, act: Act | None = None) -> bool:
        """Keep a variable in the place of the one of that name; False where there was one.

        Raises `NotFound` where the registration is gone, `Rejected` where there are too many, or too much.
        """

        def work(connection: Connection) -> bool:
            mine = locked(connection, repository)
            others = select(variables.c.value).where(variables.c.repository == mine, variables.c.name != name)
            held = sum(len(other.encode()) for other in connection.execute(others).scalars())
            size = len(value.encode())
            if held + size > VARIABLE.together:
                raise Rejected(
                    f"with the {size} bytes of {name}, the variables of {repository.name} would have "
                    f"{held + size} bytes together; the limit is {VARIABLE.together}"
                )
            now = micros(self._database.now(connection))
            new = _put(connection, variables, VARIABLE, repository, mine, name, {"value": value}, now)
            note(connection, act, now, new=new)
            return new

        return self._database.writing(work)

    def remove(self, repository: Repository, name: str, act: Act | None = None) -> None:
        """Raises `NotFound`."""

        def work(connection: Connection) -> None:
            _remove(connection, variables, VARIABLE, repository, name)
            note(connection, act, micros(self._database.now(connection)))

        self._database.writing(work)


def forget_given(connection: Connection, registered: int) -> None:
    """What is a repository's that is removed."""
    for table in (secrets, variables, environments, caches):
        connection.execute(delete(table).where(table.c.repository == registered))


def registration_of(repository: Repository) -> Mapping[str, int | str]:
    identity, _, at = repository.registration.partition(".")
    return {"id": int(identity or 0), "at": int(at or 0), "forge": repository.forge}


def locked(connection: Connection, repository: Repository) -> int:
    """The id of a registration, which stays until the transaction ends."""
    found: int | None = connection.execute(_REGISTERED, registration_of(repository)).scalar_one_or_none()
    if found is None:
        raise NotFound(f"no repository {repository.name} any more; `runner repo list` shows those there are")
    return found


def _put(
    connection: Connection,
    table: Table,
    kind: Kind,
    repository: Repository,
    mine: int,
    name: str,
    row: Mapping[str, Any],
    now: int,
) -> bool:
    this = and_(table.c.repository == mine, table.c.name == name)
    changed = update(table).where(this).values({**row, "updated_at": now})
    if connection.execute(changed.execution_options(preserve_rowcount=True)).rowcount:
        return False
    count = connection.execute(select(func.count()).where(table.c.repository == mine)).scalar_one()
    if count >= kind.most:
        raise Rejected(
            f"{repository.name} has {count} {kind.word}s, and {kind.most} are the limit; "
            f"`runner {kind.word} remove` takes one away"
        )
    new = {"repository": mine, "name": name, "created_at": now, "updated_at": now, **row}
    connection.execute(insert(table).values(new))
    return True


def _remove(connection: Connection, table: Table, kind: Kind, repository: Repository, name: str) -> None:
    mine = locked(connection, repository)
    gone = delete(table).where(table.c.repository == mine, table.c.name == name)
    if not connection.execute(gone.execution_options(preserve_rowcount=True)).rowcount:
        raise NotFound(
            f"{repository.name} has no {kind.word} {name}; `runner {kind.word} list` shows those that it has"
        )
