"""SqlCaches: which caches there are of each registration, and which of them have to go."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from runner.errors import BrokenDefinition, NotFound
from runner.model.audit import Act
from runner.model.blob import Blob
from runner.model.cache import Cache, Scope
from runner.model.limits import Limits
from runner.model.source import Repository
from runner.store.audit import note
from runner.store.database import Database, micros, micros_of, moment
from runner.store.read_models import CacheFilter, CacheUsage, CacheView
from runner.store.secrets import locked, of_registration, registration_of
from runner.store.tables import caches, repositories

UNUSED = timedelta(days=7)
"""As on GitHub."""
_ALL = select(caches).join(repositories, repositories.c.id == caches.c.repository).where(of_registration)
_SORTED = {"created_at": "created_at", "last_accessed_at": "used_at", "size_in_bytes": "size"}


class SqlCaches:
    """`limits` are the server's, for repositories that have none of their own."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    def find(
        self, repository: Repository, scopes: Sequence[Scope], keys: Sequence[str], version: str
    ) -> Cache | None:
        with self._database.reading() as connection:
            found = _best(connection, repository, scopes, keys, version)
        if found is None:
            return None

        def use(connection: Connection) -> None:
            now = micros(self._database.now(connection))
            connection.execute(update(caches).where(caches.c.id == found.id).values(used_at=now))

        self._database.writing(use, durable=False)
        return found

    def there(self, repository: Repository, scope: Scope, key: str, version: str) -> bool:
        query = _ALL.where(caches.c.identity == _identity(scope, key, version))
        with self._database.reading() as connection:
            return connection.execute(query, registration_of(repository)).first() is not None

    def keep(
        self, repository: Repository, scope: Scope, key: str, version: str, blob: Blob
    ) -> Sequence[str] | None:
        identity = _identity(scope, key, version)

        def work(connection: Connection) -> Sequence[str] | None:
            mine = locked(connection, repository)
            there = (caches.c.repository == mine) & (caches.c.identity == identity)
            if connection.execute(select(caches.c.id).where(there)).first() is not None:
                return None
            own = select(repositories.c.cache_bytes).where(repositories.c.id == mine)
            most = Limits(cache_bytes=connection.execute(own).scalar_one()).over(self._limits).cache_bytes
            if most:
                _check_room(connection, mine, repository.name, scope, blob.size, most)
            now = micros(self._database.now(connection))
            row = {
                "repository": mine,
                "ref": scope.ref,
                "trusted": scope.trusted,
                "key": key,
                "version": version,
                "identity": identity,
                "blob": blob.key,
                "size": blob.size,
                "digest": blob.digest,
                "created_at": now,
                "used_at": now,
            }
            connection.execute(insert(caches).values(row))
            return _make_room(connection, mine, scope, most) if most else ()

        return self._database.writing(work)

    def drop(self, cache: Cache) -> str:
        def work(connection: Connection) -> None:
            connection.execute(delete(caches).where(caches.c.id == cache.id, caches.c.blob == cache.blob.key))

        self._database.writing(work)
        return cache.blob.key

    def unused(self, most: int) -> Sequence[str]:
        def work(connection: Connection) -> Sequence[str]:
            border = micros(self._database.now(connection)) - micros_of(UNUSED)
            old = caches.c.used_at < border
            query = select(caches.c.id).where(old).order_by(caches.c.used_at).limit(most)
            ids = connection.execute(query).scalars().all()
            # What is used at this moment has another time than it had when it was looked for.
            gone = delete(caches).where(caches.c.id.in_(ids), old).returning(caches.c.blob)
            return connection.execute(gone).scalars().all()

        return self._database.writing(work)

    def known(self, blobs: Sequence[str]) -> set[str]:
        with self._database.reading() as connection:
            query = select(caches.c.blob).where(caches.c.blob.in_(list(blobs)))
            return set(connection.execute(query).scalars())

    # --- for people ------------------------------------------------------------------------------

    def all(self, repository: Repository, wanted: CacheFilter) -> tuple[int, list[CacheView]]:
        """How many there are, and a page of them."""
        query = _ALL.where(*_of(wanted))
        column = caches.c[_SORTED[wanted.sort]]
        order = (column.asc(), caches.c.id.asc()) if wanted.ascending else (column.desc(), caches.c.id.desc())
        page = query.order_by(*order).limit(wanted.limit).offset(wanted.offset)
        with self._database.reading() as connection:
            mine = registration_of(repository)
            count = connection.execute(select(func.count()).select_from(query.subquery()), mine).scalar_one()
            return count, [_view(row) for row in connection.execute(page, mine)]

    def usage(self, repository: Repository) -> CacheUsage:
        query = _ALL.with_only_columns(func.count(), func.coalesce(func.sum(caches.c.size), 0))
        with self._database.reading() as connection:
            count, size = connection.execute(query, registration_of(repository)).one()
            return CacheUsage(repository.name, int(size), count)

    def remove(
        self,
        repository: Repository,
        act: Act | None = None,
        *,
        id: int | None = None,
        key: str | None = None,
        ref: str | None = None,
    ) -> tuple[list[CacheView], list[Blob]]:
        """Forget the one with an id, or all with a key, of one ref or of any; gives also what was in them.

        Raises `NotFound` where there is none.
        """

        def work(connection: Connection) -> tuple[list[CacheView], list[Blob]]:
            mine = locked(connection, repository)
            query = select(caches).where(caches.c.repository == mine).order_by(caches.c.id)
            for column, value in ((caches.c.id, id), (caches.c.key, key), (caches.c.ref, ref)):
                query = query if value is None else query.where(column == value)
            rows = connection.execute(query).all()
            if not rows:
                what = f"with the id {id}" if id is not None else f"with the key {str(key)[:100]!a}"
                where = f" of {ref[:100]!a}" if ref is not None else ""
                raise NotFound(
                    f"{repository.name} has no cache {what}{where}; "
                    f"`runner cache list -R {repository.name}` shows those that it has"
                )
            connection.execute(delete(caches).where(caches.c.id.in_([row.id for row in rows])))
            note(connection, act, micros(self._database.now(connection)), count=len(rows))
            return [_view(row) for row in rows], [_from(row).blob for row in rows]

        return self._database.writing(work)


def _best(
    connection: Connection,
    repository: Repository,
    scopes: Sequence[Scope],
    keys: Sequence[str],
    version: str,
) -> Cache | None:
    mine = registration_of(repository)
    default = connection.execute(select(repositories.c.default_branch).where(of_registration), mine)
    branch = default.scalar_one_or_none()
    everybodys = (Scope(f"refs/heads/{branch}", True),) if branch else ()
    for scope in dict.fromkeys((*scopes, *everybodys)):
        in_scope = _ALL.where(
            caches.c.ref == scope.ref, caches.c.trusted == scope.trusted, caches.c.version == version
        )
        for key in keys:
            begins = func.substr(caches.c.key, 1, len(key)) == key
            exact = (caches.c.key == key).desc()
            query = in_scope.where(begins).order_by(exact, caches.c.created_at.desc(), caches.c.id.desc())
            row = connection.execute(query.limit(1), mine).one_or_none()
            if row is not None:
                return _from(row)
    return None


def _check_room(
    connection: Connection, repository: int, name: str, scope: Scope, size: int, most: int
) -> None:
    """What a fork keeps takes the place of nothing but what forks have kept."""
    staying = 0 if scope.trusted else _size(connection, repository, caches.c.trusted.is_(True))
    if staying + size > most:
        besides = f" with the {staying} of those that no fork made" if staying else ""
        raise BrokenDefinition(
            f"it is {size} bytes, and all caches of {name} together may have {most}{besides} (cache-bytes)"
        )


def _size(connection: Connection, repository: int, *which: ColumnElement[bool]) -> int:
    query = select(func.coalesce(func.sum(caches.c.size), 0)).where(caches.c.repository == repository, *which)
    return int(connection.execute(query).scalar_one())


def _make_room(connection: Connection, repository: int, scope: Scope, most: int) -> Sequence[str]:
    size, gone = _size(connection, repository), []
    if size > most:
        query = select(caches).where(caches.c.repository == repository)
        query = query if scope.trusted else query.where(caches.c.trusted.is_(False))
        query = query.order_by(caches.c.used_at, caches.c.id)
        for row in connection.execute(query):
            if size <= most:
                break
            size -= row.size
            gone.append(row)
        connection.execute(delete(caches).where(caches.c.id.in_([row.id for row in gone])))
    return [row.blob for row in gone]


def _identity(scope: Scope, key: str, version: str) -> str:
    said = "\n".join((scope.ref, str(scope.trusted), version, key))
    return hashlib.sha256(said.encode()).hexdigest()


def _of(wanted: CacheFilter) -> list[Any]:
    found = []
    if wanted.key is not None:
        found.append(func.substr(caches.c.key, 1, len(wanted.key)) == wanted.key)
    if wanted.ref is not None:
        found.append(caches.c.ref == wanted.ref)
    return found


def _from(row: Row[Any]) -> Cache:
    blob = Blob(row.blob, row.size, row.digest)
    return Cache(row.id, row.key, row.version, Scope(row.ref, row.trusted), blob, moment(row.created_at))


def _view(row: Row[Any]) -> CacheView:
    return CacheView(
        row.id, row.ref, row.key, row.version, moment(row.used_at), moment(row.created_at), row.size
    )
