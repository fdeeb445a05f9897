"""Store what a forge told us, once, before anything else is done with it."""

from runner.engine.ports import Dispatcher, Store
from runner.model.source import Delivery, Event


def receive(event: Event, guid: str, digest: str, *, store: Store, dispatcher: Dispatcher) -> Delivery:
    """Store an event and ring for its admission; the same delivery again gets the same answer.

    `guid` is the forge's own id of the delivery. It is not under the signature, so `digest`, the
    SHA-256 of the signed bytes, makes a copy under another id the same delivery too.
    """
    delivery, new = store.receive(event, guid, digest)
    if new and delivery.status == "received":
        dispatcher.admit(delivery.id, event.forge, event.repo)
    return delivery
