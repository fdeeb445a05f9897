"""Keeps a worker's leases alive, stops the steps of one that is lost, interrupts those of a cancelled job.

Two threads, both asleep while nothing is held. One renews every lease each beat and learns what was
cancelled. The other watches the time: a renewal may hang on a dead connection, and a step must be
stopped before its lease ends all the same.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import timedelta
from enum import Enum
from typing import Any

from runner.engine.ports import Store
from runner.errors import Unavailable
from runner.model.run import Lease

BEAT = 1.0
"""Seconds between renewals at the most, and so the longest that a cancel waits to be seen."""

CANCEL_SECONDS = 300.0
"""What a job may still do after it was cancelled, as on GitHub."""

log = logging.getLogger(__name__)


class Why(Enum):
    """Why a job has to stop."""

    LOST = "another worker may have the job"
    RELEASED = "this worker is going down and hands the job back"
    PAUSED = "its run is paused, or blocked"
    LATE = "it was cancelled, and did not end in time"


class Hold:
    """A lease while its job is performed.

    `why` is set, once, when the job has to stop at once; `cancelled`, a reading of `time.monotonic()`, when
    it has to come to its end; `yields` while it has to be handed back before its next step. `resists`: it was
    told to, and that failed.
    """

    def __init__(self, lease: Lease, deadline: float) -> None:
        self.lease = lease
        self.deadline = deadline
        self.why: Why | None = None
        self.cancelled: float | None = None
        self.yields: Why | None = None
        self.resists = False
        self._stop: Callable[[], None] | None = None
        self._interrupt: Callable[[], None] | None = None
        self._heard: Callable[[], None] | None = None
        self._lock = threading.Lock()
        # Whoever stops the job, it is said with the job's own names.
        self._context = copy_context()

    @property
    def over(self) -> bool:
        """Whether the lease has ended by now, as far as this worker can know."""
        return time.monotonic() > self.deadline

    def stops(self, stop: Callable[[], None], interrupt: Callable[[], None]) -> None:
        """Call `stop` when the job has to stop, `interrupt` when it is cancelled; now, if it is."""
        with self._lock:
            self._stop, self._interrupt = stop, interrupt
            late = self.why is not None or self.cancelled is not None
        if late:
            self.insist()

    def listen(self, heard: Callable[[], None] | None) -> None:
        """Call `heard`, from any thread, whenever the job has to stop, to end or to be handed back."""
        self._heard = heard

    def cancel(self) -> None:
        with self._lock:
            if self.cancelled is not None:
                return
            self.cancelled = time.monotonic()
        self._log(log.info, "cancelled")
        self.insist()
        self._tell()

    def stop(self, why: Why) -> None:
        with self._lock:
            if self.why is not None:
                return
            self.why = why
        self._log(log.info, "stopping", extra={"why": why.value})
        self.insist()
        self._tell()

    def hand_back(self, why: Why) -> None:
        """Let the step that runs come to its end, and have the job handed back before the next."""
        with self._lock:
            # Its run may go on again before the step has ended, and this worker does not.
            if self.yields not in (None, Why.PAUSED):
                return
            self.yields = why
        self._log(log.info, "handing back", extra={"why": why.value})
        self._tell()

    def pause(self, paused: bool) -> None:
        """The same for as long as its run is paused."""
        with self._lock:
            if self.yields in (None, Why.PAUSED):
                self.yields = Why.PAUSED if paused else None
        if paused:
            self._tell()

    def _tell(self) -> None:
        if (heard := self._heard) is not None:
            heard()

    def insist(self) -> None:
        """Stop what has to stop, once more if need be; never raises, as other jobs' leases wait meanwhile."""
        act = self._interrupt if self.why is None else self._stop
        if act is None:
            return
        try:
            act()
            self.resists = False
        except Exception:  # noqa: BLE001 - logged with the job's own names
            self.resists = True
            self._log(log.exception, "a job could not be stopped")

    def _log(self, say: Callable[..., None], *words: Any, **given: Any) -> None:
        self._context.copy().run(say, *words, **given)


class Heart:
    """`length` is how long a claim or a renewal lasts, as the store was told."""

    def __init__(self, store: Store, length: timedelta) -> None:
        self._store = store
        self._length = length.total_seconds()
        self._beat = min(BEAT, self._length / 6)
        self._holds: set[Hold] = set()
        self._changed = threading.Condition()
        self._asleep = 0
        self._leaving = threading.Event()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._renew, name="heartbeat", daemon=True),
            threading.Thread(target=self._guard, name="lease-guard", daemon=True),
        ]

    @contextmanager
    def hold(self, lease: Lease, claimed: float) -> Iterator[Hold]:
        """Keep a lease alive inside the block. `claimed` is `time.monotonic()` before it was claimed."""
        hold = Hold(lease, claimed + self._length)
        with self._changed:
            if not self._threads[0].is_alive():
                for thread in self._threads:
                    thread.start()
            self._holds.add(hold)
            if self._asleep:
                self._changed.notify_all()
        if self.leaving:
            hold.stop(Why.RELEASED)
        try:
            yield hold
        finally:
            with self._changed:
                self._holds.discard(hold)
                if self.leaving:
                    self._changed.notify_all()

    @property
    def leaving(self) -> bool:
        """Whether nothing is begun any more."""
        return self._leaving.is_set()

    def leaves(self, seconds: float) -> bool:
        """Wait until it does, `seconds` at the most; whether that is so."""
        return self._leaving.wait(seconds)

    def drain(self) -> None:
        """Have every job handed back before its next step, and every one that is still begun."""
        self._leaving.set()
        for hold in self._held():
            hold.hand_back(Why.RELEASED)

    def empty(self, seconds: float) -> bool:
        """Wait until nothing is held, `seconds` at the most; whether that is so. After `drain`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._holds, seconds)

    def release(self) -> None:
        """Stop every job so that it is handed back, and every one that is still begun."""
        self._leaving.set()
        for hold in self._held():
            hold.stop(Why.RELEASED)

    def holding(self) -> set[tuple[int, int]]:
        """The id and attempt of every job that is performed here."""
        return {(hold.lease.job, hold.lease.attempt) for hold in self._held()}

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _held(self) -> list[Hold]:
        with self._changed:
            return list(self._holds)

    def _renew(self) -> None:
        while self._wait(self._beat):
            holds = {hold.lease: hold for hold in self._held()}
            asked = time.monotonic()
            try:
                renewal = self._store.renew(holds)
            except Unavailable as error:
                log.warning("leases not renewed", extra={"error": str(error), "jobs": len(holds)})
                continue
            except Exception:
                log.exception("leases not renewed by a bug")
                continue
            for lease, hold in holds.items():
                if lease not in renewal.lost:
                    hold.deadline = asked + self._length
                hold.pause(lease in renewal.stopped)
            for lease in renewal.lost:
                holds[lease].stop(Why.LOST)
            for lease in renewal.cancelled:
                holds[lease].cancel()

    def _guard(self) -> None:
        # A fifth of the lease is left to end the step's processes.
        while self._wait(self._length / 10):
            for hold in self._held():
                if hold.resists:
                    hold.insist()
                elif time.monotonic() > hold.deadline - self._length / 5:
                    hold.stop(Why.LOST)
                elif hold.cancelled is not None and time.monotonic() > hold.cancelled + CANCEL_SECONDS:
                    hold.stop(Why.LATE)

    def _wait(self, seconds: float) -> bool:
        """Sleep while nothing is held, else for `seconds`; False once closed."""
        with self._changed:
            if self._closed:
                return False
            if self._holds:
                self._changed.wait(seconds)
            else:
                self._asleep += 1
                self._changed.wait()
                self._asleep -= 1
            return not self._closed
