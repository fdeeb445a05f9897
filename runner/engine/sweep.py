"""The clock's round: ring again for whatever is due and has nobody working on it.

A message may be lost with the broker, a worker with its machine. The rows are still there, each with
the time at which somebody should look again.
"""

import logging
from datetime import datetime, timedelta

from runner.engine.advance import advance, tell
from runner.engine.ports import Dispatcher, Overdue, Store
from runner.errors import Unavailable
from runner.model.ending import give_up, time_out
from runner.model.run import Run

log = logging.getLogger(__name__)


def sweep(
    *, store: Store, dispatcher: Dispatcher, everything: bool = False, at: datetime | None = None
) -> timedelta | None:
    """Ring for what is due; `everything` where the caller knows that no worker is alive.

    `at`: until when, by the database's clock, where that is believed no further. Gives how long nothing else
    is due; None while nothing is at all.
    """
    due = store.stranded(everything, at)
    for delivery_id in due.deliveries:
        event = store.delivery(delivery_id).event
        dispatcher.admit(delivery_id, event.forge, event.repo)
    for envelope in due.plans:
        dispatcher.plan(envelope)
    for envelope in due.envelopes:
        dispatcher.perform(envelope)
    tell(due.stirred, store=store, dispatcher=dispatcher)
    for late in due.overdue:
        _end(late, store, dispatcher)
    return due.rest


def _end(late: Overdue, store: Store, dispatcher: Dispatcher) -> None:
    """End what took too long; what fails for one of them is found again, and keeps none of the others."""
    job = late.job

    def change(run: Run, now: datetime) -> Run:
        return time_out(run, late.limit, now) if job is None else give_up(run, job, late.limit, now)

    try:
        advance(late.run, change, store=store, dispatcher=dispatcher)
    except Unavailable:
        raise
    except Exception:
        log.exception("what took too long did not end by a bug", extra={"run": late.run})
