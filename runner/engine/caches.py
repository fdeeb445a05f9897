"""What jobs keep for later runs: which there are is rows, what is in them objects.

A row comes after its object and goes before it. So what is found is there, but for what is removed at that
moment; and an object that nobody finds any more is swept.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from runner.engine.leftovers import remove, sweep
from runner.engine.ports import Caches, Objects
from runner.errors import Damaged, NotFound, Unavailable
from runner.model.blob import Blob
from runner.model.cache import Cache, Scope
from runner.model.source import Repository

PLACE = "caches"
ROUND = 500
"""How many are dealt with in one transaction."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CacheStore:
    rows: Caches
    objects: Objects

    def find(
        self, repository: Repository, scopes: Sequence[Scope], keys: Sequence[str], version: str
    ) -> Cache | None:
        """As the port says."""
        return self.rows.find(repository, scopes, keys, version)

    def there(self, repository: Repository, scope: Scope, key: str, version: str) -> bool:
        """As the port says."""
        return self.rows.there(repository, scope, key, version)

    @contextmanager
    def reading(self, cache: Cache) -> Iterator[BinaryIO]:
        """Its content. One that cannot be read any more is forgotten, so that another may take its place.

        Raises `Unavailable`, and `NotFound` where it has just been removed.
        """
        with ExitStack() as opened:
            with self._forgotten(cache, Damaged, NotFound):
                file = opened.enter_context(self.objects.open(cache.blob))
            # What is not found then is missing where the files go, which is no fault of the cache.
            with self._forgotten(cache, Damaged):
                yield file

    def keep(
        self,
        repository: Repository,
        scope: Scope,
        key: str,
        version: str,
        write: Callable[[BinaryIO], None],
    ) -> bool:
        """Keep what `write` writes; False where somebody else has kept something under that key before.

        The repository's that were not used for the longest go for it where they are too much together.
        """
        blob = self.objects.put(repository.place(PLACE), write)
        gone: Sequence[str] | None = None
        try:
            gone = self.rows.keep(repository, scope, key, version, blob)
        finally:
            # Where it is not known whether the row is there, the object stays until that is known.
            if gone is None:
                self._unless_known(blob)
        self._remove(gone or ())
        return gone is not None

    def remove(self, gone: Sequence[Blob]) -> None:
        """Remove the content of caches whose rows are gone."""
        self._remove([blob.key for blob in gone])

    def tidy(self) -> None:
        """Remove what has not been used for long enough, and objects that no cache has. May be done twice."""
        while gone := self.rows.unused(ROUND):
            log.info("caches were not used for long enough", extra={"count": len(gone)})
            self._remove(gone)
        sweep(self.objects, PLACE, self.rows.known)

    @contextmanager
    def _forgotten(self, cache: Cache, *causes: type[Exception]) -> Iterator[None]:
        try:
            yield
        except causes:
            self._remove([self.rows.drop(cache)])
            raise

    def _unless_known(self, blob: Blob) -> None:
        try:
            known = self.rows.known([blob.key])
        except Unavailable:
            return
        if not known:
            self._remove([blob.key])

    def _remove(self, keys: Sequence[str]) -> None:
        remove(self.objects, keys)
