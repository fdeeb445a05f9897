"""Snapshots in the store of objects, so that a job goes on with its files on another machine.

A layer goes there in the background, while the job's next step runs; who ends a job, or lets it wait, waits
for the newest one. What could not be stored is tried again for as long as this process lives, and by the next
one in the same home. A row says which object a layer is, so one whose upload was cut off is part of nothing.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from runner.engine.leftovers import remove, sweep
from runner.engine.ports import Archived, Layers, Objects
from runner.errors import Damaged, NotFound, SnapshotGone, Unavailable
from runner.model.snapshot import BASE, NONE, Keep
from runner.model.source import Repository
from runner.workflow.built_in import BadWait, wait_named
from runner.workflow.document import StepDef, Steps, Uses

PLACE = "snapshots"
"""Where the objects are, by tenant."""
PATIENCE = 60.0
"""How many seconds the end of a job waits for its newest files to be stored."""
ROUND = 100
_GLANCE = 0.2
_IDLE = 60.0
_AGAIN = (1.0, 5.0, 15.0, 60.0)
"""After how many seconds storing is tried again, the last one over and over."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Errand:
    """What of one job is on its way into the store: all up to `wanted`, of which `stored` is there.

    `lost` says why what was wanted last never will be. Its thread stays while the job is at work: to begin
    one takes longer than to keep a step's files.
    """

    place: str
    wanted: str
    stored: str = BASE
    over: bool = False
    failures: int = 0
    trouble: str = ""
    lost: str = ""


class Archive:
    """The store of snapshots, as one worker uses it. `name` says how a job's workspace is called."""

    def __init__(
        self, layers: Layers, objects: Objects, archived: Archived, name: Callable[[int], str]
    ) -> None:
        self._layers = layers
        self._objects = objects
        self._archived = archived
        self._name = name
        self._errands: dict[int, _Errand] = {}
        self._changed = threading.Condition()
        self._closed = False

    def keep(self, job: int, place: str, snapshot: str) -> None:
        """Begin to store a snapshot with all that it stands on."""
        if snapshot == BASE:
            return
        with self._changed:
            errand = self._errands.get(job)
            if errand is not None:
                errand.wanted, errand.over = snapshot, False
                self._changed.notify_all()
                return
            self._errands[job] = _Errand(place, snapshot)
        threading.Thread(target=self._run, args=(job,), name=f"archive-{job}", daemon=True).start()

    def settle(self, job: int, hurried: Callable[[], bool], patience: float = PATIENCE) -> str | None:
        """Wait until the newest snapshot of a job is stored; why it is not, if it is not.

        What fails is not waited for, nor is anything once the caller is `hurried`; it is tried again, if need
        be by the next process in this home.
        """
        end, why = time.monotonic() + patience, ""
        with self._changed:
            errand = self._errands.get(job)
            if errand is None:
                return None
            errand.over = True
            self._changed.notify_all()
            while errand.stored != errand.wanted and not why:
                late = hurried() or time.monotonic() > end
                why = errand.trouble or ("it takes too long" if late else "")
                if not why:
                    self._changed.wait(_GLANCE)
        why = why or errand.lost
        if not why:
            return None
        with suppress(Unavailable):
            self._note(job, errand, errand.wanted)
        return why

    def restore(self, job: int, line: Sequence[int], snapshot: str, check: Callable[[], None]) -> None:
        """Have a job's snapshot here as it was stored, if need be for one of the jobs of `line`.

        Raises `SnapshotGone` where it was not, or cannot be used. `check` ends it by raising.
        """
        chain = self._archived.chain(job, line, snapshot)
        if chain is None:
            raise SnapshotGone(f"the snapshot {snapshot} is not in the store")
        for layer in chain:
            check()
            if self._is_here(job, layer.name, layer.content):
                continue
            try:
                with self._objects.open(layer.blob) as file:
                    self._layers.unpack(self._name(job), layer.name, layer.content, file, check)
            except (NotFound, Damaged) as error:
                raise SnapshotGone(f"the snapshot {snapshot} cannot be used: {error}") from None
        log.info("files from the store", extra={"snapshot": snapshot, "layers": len(chain)})

    def make_up(self) -> None:
        """Go on with what a process in this home did not come to store. Raises `Unavailable`."""
        for job, place, names in self._archived.pending():
            newest = max(names, key=_order)
            try:
                self._layers.chain(self._name(job), newest)
            except SnapshotGone:
                # It is another machine's to store, or nobody's any more.
                continue
            with self._changed:
                errand = self._errands.get(job)
                busy = errand is not None and errand.stored != errand.wanted
            if not busy:
                self.keep(job, place, newest)

    def close(self) -> None:
        """Begin nothing more; what was not stored is left to the next process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_here(self, job: int, layer: str, content: str) -> bool:
        try:
            return self._layers.content(self._name(job), layer) == content
        except SnapshotGone:
            return False

    def _run(self, job: int) -> None:
        errand = self._errands[job]
        while True:
            with self._changed:
                wanted = errand.wanted
            trouble = self._try(job, errand, wanted)
            with self._changed:
                errand.failures = errand.failures + 1 if trouble else 0
                errand.trouble = trouble
                if not trouble:
                    errand.stored = wanted
                self._changed.notify_all()
                if trouble:
                    seconds = _AGAIN[min(errand.failures, len(_AGAIN)) - 1]
                    self._changed.wait_for(lambda: self._closed, seconds)
                else:
                    self._changed.wait_for(lambda: self._is_due(errand) or errand.over, _IDLE)
                if self._closed or not self._is_due(errand):
                    del self._errands[job]
                    return

    def _is_due(self, errand: _Errand) -> bool:
        return self._closed or errand.wanted != errand.stored

    def _try(self, job: int, errand: _Errand, snapshot: str) -> str:
        """Store a snapshot; why that is to be tried again, if it is."""
        errand.lost = ""
        try:
            self._store(job, errand, snapshot)
        except SnapshotGone as gone:
            log.warning("a snapshot is not stored", extra={"job": job, "error": str(gone)})
            errand.lost = str(gone)
        except (Unavailable, OSError) as error:
            log.warning("a snapshot is not stored yet", extra={"job": job, "error": str(error)})
            return str(error)
        except Exception as error:
            log.exception("a snapshot is not stored by a bug", extra={"job": job})
            return f"internal error: {type(error).__name__}"
        return ""

    def _note(self, job: int, errand: _Errand, snapshot: str) -> Sequence[str]:
        # Nothing below what is stored is looked at again.
        layers = self._layers.chain(self._name(job), snapshot, above=errand.stored)
        return self._archived.note(job, errand.place, layers)

    def _store(self, job: int, errand: _Errand, snapshot: str) -> None:
        name, place = self._name(job), errand.place
        for layer in self._note(job, errand, snapshot):
            if self._closed:
                raise Unavailable("this worker is going down")
            content = self._layers.content(name, layer)
            if self._archived.share(job, layer, content):
                continue
            blob = self._objects.put(place, lambda file, layer=layer: self._layers.pack(name, layer, file))  # type: ignore[misc]
            if not self._archived.stored(job, layer, content, blob):
                self._objects.remove(blob.key)


def _order(layer: str) -> tuple[int, ...]:
    return tuple(int(number) for number in layer.split(".") if number.isdecimal())


@dataclass(frozen=True, slots=True)
class Keeping:
    """What becomes of the files that the steps of a job leave."""

    job: int
    how: Keep
    place: str
    archive: Archive | None

    @property
    def off(self) -> bool:
        return self.how is Keep.OFF

    def saved(self, snapshot: str) -> None:
        """Hear that there is a new snapshot."""
        if self.how is Keep.DURABLE and self.archive is not None:
            self.archive.keep(self.job, self.place, snapshot)

    def named(self, snapshot: str) -> str:
        """What a checkpoint calls it."""
        return NONE if self.off else snapshot


def keeping(
    job: int, body: Steps, repository: Repository, otherwise: Keep, archive: Archive | None
) -> Keeping:
    """What the job says, else its repository, else the server.

    A job that waits, or tries its steps again, comes back to its files: it cannot do without.
    """
    how = body.keep or repository.snapshot or otherwise
    if how is Keep.OFF and _comes_back(body):
        how = Keep.LOCAL
    return Keeping(job, how, repository.place(PLACE), archive)


def _comes_back(body: Steps) -> bool:
    # What a function asks for is known only when it does.
    return body.function is not None or any(step.retry is not None or _waits(step) for step in body.steps)


def _waits(step: StepDef) -> bool:
    try:
        return isinstance(step.body, Uses) and wait_named(step.body.action) is not None
    except BadWait:
        return False


def expire(*, archived: Archived, objects: Objects, kept: timedelta) -> None:
    """Remove the snapshots of jobs that ended long enough ago from the store. Raises `Unavailable`."""
    remove(objects, archived.expired(kept, ROUND))


def sweep_store(*, archived: Archived, objects: Objects) -> None:
    """Remove objects that nothing needs: whoever put or was to remove them died. Raises `Unavailable`."""
    sweep(objects, PLACE, archived.known)
