"""Rings without keeping a request waiting: what is stored is answered, whatever the broker does."""

import logging
import queue
import threading
from collections.abc import Callable

from runner.engine.ports import Dispatcher
from runner.errors import Unavailable
from runner.model.run import Envelope, Run

WAITING = 10_000
"""Rings that may wait; beyond them the clock rings in our place."""

log = logging.getLogger(__name__)


class Bell(Dispatcher):
    """A dispatcher that never fails and never blocks. A ring it cannot deliver is logged."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._rings: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._deliver, name="bell", daemon=True)
        self._thread.start()

    def admit(self, delivery_id: str, forge: str, repo: str) -> None:
        self._put(lambda: self._dispatcher.admit(delivery_id, forge, repo))

    def perform(self, envelope: Envelope) -> None:
        self._put(lambda: self._dispatcher.perform(envelope))

    def plan(self, envelope: Envelope) -> None:
        self._put(lambda: self._dispatcher.plan(envelope))

    def report(self, run: Run) -> None:
        self._put(lambda: self._dispatcher.report(run))

    def close(self) -> None:
        """Deliver what waits, and end."""
        self._rings.put(None)
        self._thread.join(timeout=5)

    def _put(self, ring: Callable[[], None]) -> None:
        try:
            self._rings.put_nowait(ring)
        except queue.Full:
            log.error("too many messages wait for the broker; the clock will send this one")

    def _deliver(self) -> None:
        while (ring := self._rings.get()) is not None:
            try:
                ring()
            except Unavailable as error:
                log.error("message not sent; the clock will send it", extra={"error": str(error)})
            except Exception:
                # One message that cannot be sent must not silence all that follow.
                log.exception("message not sent by a bug; the clock will send it")
