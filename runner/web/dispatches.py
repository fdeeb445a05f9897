"""/api/v1/repos/NAME/…: runs that are asked for, at GitHub's addresses, and those that are due."""

import hashlib
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from runner.engine.dispatch import DISPATCH
from runner.engine.receive import receive
from runner.engine.standings import SYNC
from runner.engine.subject import HEAD
from runner.model.access import Actor
from runner.model.source import Event
from runner.store.read_models import RepositoryView
from runner.web.access import Acting
from runner.web.answers import answer, failure
from runner.web.audit import about
from runner.web.bodies import Asked
from runner.web.repositories import Triggered, full_ref, head_of, shown
from runner.web.site import Site

LONGEST_WAIT = 25.0
POLL_SECONDS = 0.05
VERBS = {DISPATCH: "trigger", "repository_dispatch": "dispatch", SYNC: "sync"}
"""What they are called in the audit log."""


class Dispatch(Asked):
    """`ref` is a branch, a tag or a full ref, the default branch if not given."""

    ref: str | None = None
    inputs: dict[str, Any] = Field(default_factory=dict)


class RepositoryDispatch(Asked):
    """Starts the workflows on the default branch whose `repository_dispatch` takes this `event_type`."""

    event_type: str = Field(min_length=1, max_length=100)
    client_payload: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dispatched(Triggered):
    """`runs` are those that it started, and the rest is of the first one; 0 and empty while it waits."""

    runs: tuple[int, ...] = ()
    workflow_run_id: int = 0
    run_url: str = ""
    html_url: str = ""


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A cron time of a workflow on the default branch. `due_at` is null for a day that never comes.

    `skipped_at` is the newest due time that started nothing, as it was missed and its repository skips such.
    """

    workflow: str
    cron: str
    timezone: str
    due_at: datetime | None
    skipped_at: datetime | None


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["repositories"])

    @router.post(
        "/repos/{name:path}/actions/workflows/{workflow}/dispatches",
        response_model=Dispatched,
        responses={202: {"model": Dispatched, "description": "It is stored, and not judged yet."}},
    )
    def dispatch_workflow(
        name: str,
        workflow: str,
        wanted: Dispatch,
        actor: Acting,
        wait: Annotated[
            float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait until it is judged.")
        ] = 10.0,
    ) -> Response:
        found = shown(site, name)
        ref = _ref(wanted.ref) if wanted.ref else full_ref(found.default_branch or head_of(site, found))
        payload = {"inputs": wanted.inputs, "ref": ref, "workflow": workflow}
        made = _received(site, found, DISPATCH, ref, payload, actor)
        return _judged(site, made, time.monotonic() + wait)

    @router.post("/repos/{name:path}/dispatches", status_code=202)
    def dispatch_repository(name: str, wanted: RepositoryDispatch, actor: Acting) -> Triggered:
        found = shown(site, name)
        said = {"action": wanted.event_type, "client_payload": wanted.client_payload}
        return _received(site, found, "repository_dispatch", HEAD, said, actor)

    @router.get("/repos/{name:path}/schedules")
    def list_schedules(name: str) -> list[ScheduleView]:
        found = shown(site, name)
        due = site.standings.due(found.forge, found.name)
        skipped = site.standings.skipped(found.forge, found.name)
        return [
            ScheduleView(one.workflow, one.cron, one.timezone, due[one], skipped.get(one))
            for one in sorted(due)
        ]

    @router.post("/repos/{name:path}/sync", status_code=202)
    def sync(name: str, actor: Acting) -> Triggered:
        found = shown(site, name)
        return _received(site, found, SYNC, HEAD, {"reason": "somebody asked for it"}, actor)

    return router


def _received(
    site: Site, found: RepositoryView, kind: str, ref: str, said: dict[str, Any], actor: Actor
) -> Triggered:
    guid = str(uuid4())
    payload = {
        **said,
        "repository": {"full_name": found.name, "default_branch": found.default_branch},
        "sender": {"login": actor.name},
    }
    event = Event(
        kind=kind,
        forge=found.forge,
        repo=found.name,
        ref=ref,
        actor=actor.name,
        payload=payload,
        default_branch=found.default_branch,
    )
    digest = hashlib.sha256(f"{kind} {guid}".encode()).hexdigest()
    named = {name: said[name] for name in ("workflow", "action") if name in said}
    act = about(actor, VERBS[kind], found, ref=ref, **named)
    delivery = receive(event, guid, digest, store=site.store, dispatcher=site.dispatcher, act=act)
    url = f"{site.settings.address}/api/v1/deliveries/{delivery.id}"
    return Triggered(delivery.id, delivery.status, url)


def _judged(site: Site, made: Triggered, until: float) -> Response:
    """What became of it, as soon as it is known; a delivery that waits longer is judged all the same."""
    while True:
        found = site.store.delivery(made.delivery)
        if found.status not in ("received", "admitted"):
            return failure(422, "rejected", found.reason)
        if found.runs:
            api, address = f"{site.settings.address}/api/v1", site.settings.address
            run = found.runs[0]
            links = (run, f"{api}/runs/{run}", f"{address}/runs/{run}")
            done = Dispatched(made.delivery, found.status, made.url, found.runs, *links)
            return answer(200, asdict(done))
        if time.monotonic() >= until:
            return answer(202, asdict(Dispatched(made.delivery, found.status, made.url)))
        time.sleep(POLL_SECONDS)


def _ref(ref: str) -> str:
    """A short name may be a branch's or a tag's: which one is seen when it is admitted."""
    full_ref(ref)
    return ref
