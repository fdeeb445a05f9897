"""/api/v1/deliveries: what forges told us and what became of it."""

import logging
from typing import Annotated

from fastapi import APIRouter, Query

from runner.errors import Rejected
from runner.model.access import Actor
from runner.model.audit import Act
from runner.model.source import Delivery
from runner.store.read_models import DeliverySummary, DeliveryView
from runner.web.access import Acting
from runner.web.answers import Conflict
from runner.web.names import checked_delivery
from runner.web.site import Site

log = logging.getLogger(__name__)
STATUSES = ("received", "admitted", "ignored", "failed")


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["deliveries"])

    @router.get("/deliveries")
    def list_deliveries(
        asking: Acting,
        repo: str | None = None,
        status: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 30,
        before: Annotated[str | None, Query(description="Only deliveries older than this id.")] = None,
    ) -> list[DeliverySummary]:
        if status is not None and status not in STATUSES:
            raise Rejected(f"no status {status!r}; there are {', '.join(STATUSES)}")
        if before is not None:
            checked_delivery(before)
        return site.views.deliveries(repo, status, limit, before, asking.scope)

    @router.get("/deliveries/{delivery_id}")
    def show_delivery(delivery_id: str) -> DeliveryView:
        return site.views.delivery(delivery_id)

    @router.post("/deliveries/{delivery_id}/replay", status_code=202)
    def replay(delivery_id: str, actor: Acting) -> DeliveryView:
        site.views.delivery_of(delivery_id, actor.scope)
        found = site.store.delivery(delivery_id)
        if found.status == "admitted":
            raise Conflict(
                f"delivery {delivery_id} started {', '.join(f'run {one}' for one in found.runs)}; "
                f"`runner runs rerun` runs it again"
            )
        again = site.store.replay(delivery_id, _act(actor, "replay", found))
        site.dispatcher.admit(again.id, again.event.forge, again.event.repo)
        return site.views.delivery(delivery_id)

    @router.post("/deliveries/{delivery_id}/approve", status_code=202)
    def approve(delivery_id: str, actor: Acting) -> DeliveryView:
        site.views.delivery_of(delivery_id, actor.scope)
        found = site.store.delivery(delivery_id)
        if found.event.fork is None:
            raise Conflict(f"delivery {delivery_id} brings no code of a fork and needs no approval")
        if found.status != "ignored" or found.event.commit is None:
            raise Conflict(
                f"delivery {delivery_id} is {found.status}: {found.reason or 'it is not held back'}"
            )
        log.info("a fork's code may run", extra={"delivery": delivery_id, "commit": found.event.commit})
        again = site.store.approve(delivery_id, _act(actor, "approve-delivery", found))
        site.dispatcher.admit(again.id, again.event.forge, again.event.repo)
        return site.views.delivery(delivery_id)

    return router


def _act(actor: Actor, verb: str, found: Delivery) -> Act:
    event = found.event
    details = {
        "delivery": found.id,
        "event": event.kind,
        "started_by": event.actor,
        "commit": event.commit,
        "fork": event.fork,
    }
    return Act(actor.name, verb, event.forge, event.repo, details=details)
