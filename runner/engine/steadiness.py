"""Whether the database's clock can be believed about leases."""

import logging
from datetime import datetime, timedelta

log = logging.getLogger(__name__)


class Steadiness:
    """Compares a clock with the time that passed.

    Where it jumps ahead, set by hand or with a machine that slept, every lease seems to have run out,
    though its worker lives: it is believed again when workers have had the time to renew theirs.
    """

    def __init__(self, lease: timedelta) -> None:
        self._lease = lease.total_seconds()
        self._seen: tuple[datetime, float] | None = None
        self._from = float("-inf")

    def holds(self, at: datetime, passed: float) -> bool:
        """Whether leases can be judged `at` that time of the clock; `passed` is `time.monotonic()` then."""
        before, self._seen = self._seen, (at, passed)
        if before is not None:
            ahead = (at - before[0]).total_seconds() - (passed - before[1])
            # A lease that was renewed a beat ago outlasts less.
            if ahead > self._lease / 3:
                log.warning("the database's clock jumped ahead", extra={"seconds": round(ahead)})
                self._from = passed + self._lease
        return passed >= self._from
