"""Rows of deliveries that have not been judged yet."""

import hashlib
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from runner.engine.ports import Arrival
from runner.model.source import Delivery, Event
from runner.store.database import MICROSECOND, micros, moment
from runner.store.identifiers import uuid7
from runner.store.tables import deliveries


def born(event: Event, now: int) -> Delivery:
    status, reason = ("ignored", event.ignored) if event.ignored else ("received", "")
    return Delivery(uuid7(now), event, status, reason, moment(now))


def new_delivery(one: Delivery, arrival: Arrival, ring_in: timedelta) -> dict[str, Any]:
    event, now = arrival.event, micros(one.received_at)
    return {
        "id": one.id,
        "guid": arrival.guid,
        "digest": arrival.digest,
        "received_at": now,
        "status": one.status,
        "reason": one.reason,
        "ring_at": None if event.ignored else now + ring_in // MICROSECOND,
        "forge": event.forge,
        "repo": event.repo,
        "kind": event.kind,
        "ref": event.ref,
        "commit": event.commit,
        "before": event.before,
        "actor": event.actor,
        "default_branch": event.default_branch,
        "payload": dict(event.payload),
    }


def insert_once(connection: Connection) -> Any:
    """Inserts rows that are not there yet; gives the ids of those that it inserted."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(deliveries).on_conflict_do_nothing().returning(deliveries.c.id)


def post(connection: Connection, event: Event, guid: str, now: int) -> None:
    """Store an event of our own with what brought it about; `guid` makes it one however often it is tried.

    Nobody rings for it now: whoever brought it about may die before. The clock does at its next round.
    """
    digest = hashlib.sha256(guid.encode()).hexdigest()
    row = new_delivery(born(event, now), Arrival(event, guid, digest), timedelta())
    connection.execute(insert_once(connection), row)
