"""Store what a forge told us, once, before anything else is done with it."""

from collections.abc import Sequence

from runner.engine.ports import Arrival, Dispatcher, Store
from runner.model.audit import Act
from runner.model.source import Delivery, Event


def receive(
    event: Event, guid: str, digest: str, *, store: Store, dispatcher: Dispatcher, act: Act | None = None
) -> Delivery:
    """Store an event and ring for its admission; the same delivery again gets the same answer.

    `guid` is the forge's own id of the delivery. It is not under the signature, so `digest`, the
    SHA-256 of the signed bytes, makes a copy under another id the same delivery too.
    """
    return receive_all([Arrival(event, guid, digest, act)], store=store, dispatcher=dispatcher)[0]


def receive_all(arrivals: Sequence[Arrival], *, store: Store, dispatcher: Dispatcher) -> list[Delivery]:
    """`receive` for many that came at the same moment: one transaction costs little more than one event."""
    stored = store.receive_all(arrivals)
    for delivery, new in stored:
        if new and delivery.status == "received":
            dispatcher.admit(delivery.id, delivery.event.forge, delivery.event.repo)
    return [delivery for delivery, _ in stored]
