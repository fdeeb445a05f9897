"""UserCaches: the caches of one user's checkouts, for runs that leave nothing else."""

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from sqlalchemy.exc import DatabaseError

from runner.engine.ports import Caches
from runner.errors import NotFound, Rejected, Unavailable
from runner.model.blob import Blob
from runner.model.cache import Cache, Scope
from runner.model.limits import Limits
from runner.model.source import Repository
from runner.store.caches import SqlCaches
from runner.store.database import Database
from runner.store.repositories import SqlRepositories


class UserCaches(Caches):
    """As a server's, in a database of their own in `folder`, which is made once one is asked for.

    Checkouts are told apart by their folder, which is their clone URL.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._limits = Limits(cache_bytes=most)
        self._made: Database | None = None
        # Jobs of a run ask on threads of their own.
        self._making = Lock()

    def find(
        self, repository: Repository, scopes: Sequence[Scope], keys: Sequence[str], version: str
    ) -> Cache | None:
        return self._rows.find(self._registered(repository), scopes, keys, version)

    def there(self, repository: Repository, scope: Scope, key: str, version: str) -> bool:
        return self._rows.there(self._registered(repository), scope, key, version)

    def keep(
        self, repository: Repository, scope: Scope, key: str, version: str, blob: Blob
    ) -> Sequence[str] | None:
        return self._rows.keep(self._registered(repository), scope, key, version, blob)

    def drop(self, cache: Cache) -> str:
        return self._rows.drop(cache)

    def unused(self, most: int) -> Sequence[str]:
        return self._rows.unused(most)

    def known(self, blobs: Sequence[str]) -> set[str]:
        return self._rows.known(blobs)

    @property
    def used(self) -> bool:
        """Whether any was asked for."""
        return self._made is not None

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    @property
    def _rows(self) -> SqlCaches:
        return SqlCaches(self._database, self._limits)

    @property
    def _database(self) -> Database:
        with self._making:
            if self._made is None:
                self._made = self._opened()
            return self._made

    def _opened(self) -> Database:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            database = Database(f"sqlite:///{self._folder / 'caches.db'}")
            database.migrate()
        except (OSError, Rejected, DatabaseError, sqlite3.Error) as error:
            raise Unavailable(f"caches cannot be kept in {self._folder}: {error}") from None
        return database

    def _registered(self, repository: Repository) -> Repository:
        known, name = SqlRepositories(self._database), hashlib.sha256(repository.url.encode()).hexdigest()
        try:
            return known.get(repository.forge, name)
        except NotFound:
            # Another run of this checkout may be faster.
            with suppress(Rejected):
                known.add(Repository(repository.forge, name, repository.url), "")
            return known.get(repository.forge, name)
