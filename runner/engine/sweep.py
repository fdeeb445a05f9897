"""The clock's round: ring again for whatever is due and has nobody working on it.

A message may be lost with the broker, a worker with its machine. The rows are still there, each with
the time at which somebody should look again.
"""

from datetime import timedelta

from runner.engine.advance import tell
from runner.engine.ports import Dispatcher, Store


def sweep(*, store: Store, dispatcher: Dispatcher, everything: bool = False) -> timedelta | None:
    """Ring for what is due; `everything` where the caller knows that no worker is alive.

    Gives how long nothing else is due; None while nothing is at all.
    """
    due = store.stranded(everything)
    for delivery_id in due.deliveries:
        event = store.delivery(delivery_id).event
        dispatcher.admit(delivery_id, event.forge, event.repo)
    for envelope in due.plans:
        dispatcher.plan(envelope)
    for envelope in due.envelopes:
        dispatcher.perform(envelope)
    tell(due.stirred, store=store, dispatcher=dispatcher)
    return due.rest
