"""The artifacts of the run that a step belongs to: how they come to be, and how they are read."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from runner.engine.errands.errand import Errand
from runner.engine.errands.search import Finds, Found
from runner.engine.errands.zips import Packing, packing, repack
from runner.engine.leftovers import remove
from runner.engine.library import Halted
from runner.engine.ports import Folder
from runner.errors import NOT_NOW, BrokenDefinition, Damaged, DatabaseUnavailable, NotFound, Unavailable
from runner.model.artifact import Artifact, Maker, NameTaken, NewArtifact
from runner.model.blob import Blob
from runner.model.step import step_key


@dataclass(frozen=True)
class Shelf:
    """The artifacts of a step's run, and the objects that they are in."""

    errand: Errand

    def there(self, run: int | None = None) -> Sequence[Artifact]:
        """Those of another run of the repository, or of this one."""
        maker = self._maker
        try:
            return self.errand.stage.station.artifacts.of_run(maker.route, maker.run if run is None else run)
        except NotFound as error:
            raise BrokenDefinition(str(error)) from None

    def is_own(self, one: Artifact) -> bool:
        """Whether this very step has made it, and was not written down then."""
        maker = self._maker
        return (one.job, one.step) == (maker.job, maker.step)

    def packed(self, finds: Finds, level: int) -> Blob:
        return self._put(lambda target: self._pack(target, finds, level))

    def add_to(self, name: str, finds: Finds, level: int, days: int | None) -> Artifact:
        """Have files in an artifact beside those that are in it already, as of old."""
        while True:
            self.errand.check()
            former = self._of_name(name)
            count = len(finds.files)
            if former is None:
                blob = self.packed(finds, level)
            else:
                blob, count = self._added(former, finds, level)
            try:
                return self.keep(name, blob, count, days, [former.id] if former else [])
            except NameTaken:
                # Another job was faster: it is added to what that one made.
                continue

    def keep(
        self, name: str, blob: Blob, count: int, days: int | None, instead_of: Collection[int] | None = ()
    ) -> Artifact:
        """As of the port: an object that no artifact is made of is gone again."""
        station = self.errand.stage.station
        try:
            made, gone = station.artifacts.add(NewArtifact(self._maker, name, blob, count, days), instead_of)
        except BrokenDefinition:
            remove(station.objects, [blob.key])
            raise
        remove(station.objects, gone)
        return made

    def merged(self, sources: Iterable[tuple[Artifact, str]], level: int) -> tuple[Blob, int]:
        """All files of artifacts, each below a folder; of one path the last one counts."""
        given = list(sources)
        count = 0

        def write(target: BinaryIO) -> None:
            nonlocal count
            added = set[str]()
            with packing(target, level, self.errand.check) as into:
                for one, below in reversed(given):
                    with named(one), self.opened(one.blob) as file:
                        added.update(repack(file, into, below, added))
            count = len(added)

        return self._put(write), count

    @contextmanager
    def opened(self, blob: Blob) -> Iterator[BinaryIO]:
        with reaching(), self.errand.stage.station.objects.open(blob) as file:
            yield file

    def _added(self, former: Artifact, finds: Finds, level: int) -> tuple[Blob, int]:
        count = 0

        def write(target: BinaryIO) -> None:
            nonlocal count
            with packing(target, level, self.errand.check) as into:
                own = self._fill(into, finds)
                with named(former), self.opened(former.blob) as file:
                    count = len(own) + len(repack(file, into, "", own))

        return self._put(write), count

    def _pack(self, target: BinaryIO, finds: Finds, level: int) -> None:
        with packing(target, level, self.errand.check) as into:
            self._fill(into, finds)

    def _fill(self, into: Packing, finds: Finds) -> set[str]:
        added = set[str]()
        folder: Folder | None = None
        with ExitStack() as holding:
            for path, one in finds.named():
                self.errand.check()
                if one.folder is not folder:
                    holding.close()
                    folder = one.folder
                    held = holding.enter_context(folder.held())
                with _reading(one, held) as file:
                    into.add(path, file, one.mode, one.at)
                added.add(path)
        return added

    def _put(self, write: Callable[[BinaryIO], None]) -> Blob:
        with reaching():
            return self.errand.stage.station.objects.put(f"artifacts/{self._maker.run}", write)

    def _of_name(self, name: str) -> Artifact | None:
        attempt = self._maker.run_attempt
        return next((one for one in self.there() if (one.name, one.run_attempt) == (name, attempt)), None)

    @property
    def _maker(self) -> Maker:
        scene = self.errand.stage.scene
        run, job = scene.asked.run, scene.job
        step = self.errand.key or step_key(self.errand.path)
        trusted = scene.asked.event.trusted
        return Maker(run.route, run.id, run.attempt, job.id, job.attempt, job.base, step, trusted)


@contextmanager
def reaching() -> Iterator[None]:
    """What does not answer now is asked again later, by the job that then goes on."""
    try:
        yield
    except (DatabaseUnavailable, Damaged, Halted):
        raise
    except Unavailable as error:
        raise Halted(str(error)) from error


@contextmanager
def named(one: Artifact) -> Iterator[None]:
    """Names the artifact that cannot be read, or does not fit where it is to be."""
    try:
        yield
    except (Damaged, NotFound, BrokenDefinition) as error:
        raise BrokenDefinition(f"artifact {one.name} (ID: {one.id}) cannot be unpacked: {error}") from error


@contextmanager
def _reading(one: Found, folder: Folder) -> Iterator[BinaryIO]:
    try:
        with folder.reading(one.place) as file:
            yield file
    except NotFound:
        raise BrokenDefinition(
            f"{one.path[:200]!a} went away, or became something else, while it was read"
        ) from None
    except OSError as error:
        if error.errno in NOT_NOW:
            raise
        raise BrokenDefinition(f"{one.path[:200]!a} cannot be read: {error.strerror}") from error
