"""Ports to what is kept as objects: artifacts, caches, snapshots."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, Protocol

from runner.model.artifact import Artifact, NewArtifact
from runner.model.blob import Blob
from runner.model.cache import Cache, Scope
from runner.model.snapshot import BASE, Layer, StoredLayer
from runner.model.source import Repository, Route


@dataclass(frozen=True, slots=True)
class Kept:
    """An object that is there, and since when."""

    key: str
    size: int
    at: datetime


class Objects(Protocol):
    """Blobs that outlast a job. Errors: `Unavailable` where they can be neither kept nor read now."""

    def put(self, place: str, write: Callable[[BinaryIO], None]) -> Blob:
        """Keep what `write` writes to a file, durably and whole; not at all where it raises.

        `place` sets kinds and tenants apart: words of small letters and digits, such as `artifacts/12`.
        """

    def open(self, blob: Blob) -> AbstractContextManager[BinaryIO]:
        """Its content, checked before any of it is handed out, as a file that can be sought in.

        Raises `NotFound` where there is none, `Damaged` where it is not what was written.
        """

    def part(self, key: str, begin: int, size: int) -> bytes:
        """So many of its bytes, or as many as there are, unchecked: whoever asks knows what they must be.

        Raises `NotFound`.
        """

    def remove(self, key: str) -> None:
        """One that does not exist is fine."""

    def kept(self, place: str) -> Iterator[Kept]:
        """All that there is at a place and below it."""

    def mark(self, whose: str) -> str:
        """Say whose all of these are, unless that was said before; gives what is said."""


class Artifacts(Protocol):
    """Which artifacts there are, and in which objects."""

    def add(
        self, new: NewArtifact, instead_of: Collection[int] | None = ()
    ) -> tuple[Artifact, Sequence[str]]:
        """Have an artifact in the place of those with these ids, under the fence of the job that makes it.

        Gives also the keys of the objects that are no artifact's any more. None is whatever has its name in
        that attempt of the run. Replaced anyhow is what the same step made before it was written down, and
        what its job made before it started over. Raises `LeaseLost`, `NameTaken`, and `BrokenDefinition`
        where the repository or the job has too many.
        """

    def of_run(self, route: Route, run: int) -> Sequence[Artifact]:
        """Those of a run that have not expired, of all its attempts. Raises `NotFound` for no such run."""


class ExpiringArtifacts(Protocol):
    """Artifacts as those see them who keep them for a while only."""

    def expired(self, most: int) -> Sequence[str]:
        """Remove up to `most` whose time is over; gives the keys of their objects."""

    def known(self, keys: Collection[str]) -> Collection[str]:
        """Those that are the object of an artifact."""


class Layers(Protocol):
    """Layers of jobs' snapshots on this machine, each as a stream that is the same however it is kept here.

    Errors: `SnapshotGone` where a layer is missing or damaged, `Unavailable` where the disk is in trouble.
    """

    def chain(self, name: str, snapshot: str, above: str = BASE) -> Sequence[Layer]:
        """The layers of a snapshot of job `name` that lie above another one, the lowest one first."""

    def content(self, name: str, layer: str) -> str:
        """The SHA-256 of what a layer holds."""

    def pack(self, name: str, layer: str, file: BinaryIO) -> None:
        """Write a layer into a file, compressed."""

    def unpack(self, name: str, layer: str, content: str, file: BinaryIO, check: Callable[[], None]) -> None:
        """Have a layer of that content as it was packed, whole or not at all.

        `check` is called now and then, and ends it by raising.
        """


class Archived(Protocol):
    """Which objects jobs' layers are. Every method is one transaction."""

    def note(self, job: int, place: str, layers: Sequence[Layer]) -> Sequence[str]:
        """Say that they are to be objects, at that place; gives those that are none yet, in their order.

        Of a job that there is no more, none.
        """

    def share(self, job: int, layer: str, content: str) -> bool:
        """Have it be the object that another layer of the same content and place is; False where none is."""

    def stored(self, job: int, layer: str, content: str, blob: Blob) -> bool:
        """Say which object it has become; False where nothing needs it, as it is noted no more."""

    def chain(self, job: int, line: Sequence[int], snapshot: str) -> Sequence[StoredLayer] | None:
        """The layers of a job's snapshot, the first one first; None where not all of them are objects.

        Where it has none of its own, they are those of the first of the jobs of `line` that has: from now on
        its own too, whatever becomes of theirs.
        """

    def pending(self) -> Sequence[tuple[int, str, tuple[str, ...]]]:
        """Of which jobs and places layers are to be objects and are none: the names of these."""

    def expired(self, kept: timedelta, most: int) -> Sequence[str]:
        """Forget the layers of up to `most` jobs that ended so long ago, of runs that have ended too.

        What their repository says of that counts more.

        Gives the keys of objects that no layer is any more.
        """

    def known(self, keys: Collection[str]) -> Collection[str]:
        """Which of these are keys of objects that a layer is."""


class Caches(Protocol):
    """Which caches there are: those of one registration of a repository, each of one scope.

    Errors: `Unavailable`, and `NotFound` where the repository is not registered any more.
    """

    def find(
        self, repository: Repository, scopes: Sequence[Scope], keys: Sequence[str], version: str
    ) -> Cache | None:
        """The best for the keys, which counts as a use: the first scope with one has it, then the first key.

        One with that very key, else the newest whose key begins so. After `scopes` comes the default branch
        where the repository's is known, for those who are trusted and for all others.
        """

    def there(self, repository: Repository, scope: Scope, key: str, version: str) -> bool:
        """Whether that very one is kept; asking is no use of it."""

    def keep(
        self, repository: Repository, scope: Scope, key: str, version: str, blob: Blob
    ) -> Sequence[str] | None:
        """The first one of a scope, key and version stays: None where there is one.

        Gives the keys of the blobs that nothing needs any more, as the repository has only so much space.
        Raises `BrokenDefinition` where it is more than that alone.
        """

    def drop(self, cache: Cache) -> str:
        """Forget one; gives its blob's key."""

    def unused(self, most: int) -> Sequence[str]:
        """Forget up to `most` that have not been used for long enough; gives their blobs' keys."""

    def known(self, blobs: Sequence[str]) -> set[str]:
        """Which of these keys of blobs are those of caches."""
