"""/api/v1/repos: what is registered, its hook, and runs by hand."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from pydantic import Field

from runner.engine.receive import receive
from runner.errors import Rejected, Unavailable
from runner.model.access import Actor
from runner.model.limits import Limits
from runner.model.snapshot import Keep
from runner.model.source import FULL_COMMIT_ID, Event, Repository, shown_url
from runner.model.standing import Missed
from runner.settings import Span
from runner.store.read_models import RepositoryView
from runner.web.access import Acting
from runner.web.answers import Conflict
from runner.web.audit import about
from runner.web.bodies import Asked
from runner.web.hook import hook_script
from runner.web.names import checked_executor, checked_image, checked_name
from runner.web.site import Site

SECRET_LETTERS = 200
Count = Annotated[int | None, Field(ge=0, le=10**6)]
Time = Span | None


class AskedLimits(Asked):
    """What a repository may use: 0 is no limit, null is what the server's settings say.

    Times are in seconds, or as people write them: `90d`, `24h`, `1h30m`.
    """

    max_jobs: Count = None
    max_queued: Count = None
    queue_timeout: Time = None
    run_timeout: Time = None
    keep_logs: Time = None
    keep_runs: Time = None
    keep_artifacts: Time = None
    keep_snapshots: Time = None
    cache_bytes: Annotated[int | None, Field(ge=0, le=2**50)] = None

    @property
    def said(self) -> dict[str, int | None]:
        return {name: getattr(self, name) for name in self.model_fields_set}


class NewRepository(Asked):
    """A repository to register; its webhook secret is made up where none is given.

    `shared`: whether workflows of the other repositories here may use its actions and workflows.
    """

    name: str
    url: str
    forge: str = "git"
    secret: str | None = Field(default=None, min_length=8, max_length=SECRET_LETTERS)
    executor: str | None = None
    image: str | None = None
    shared: bool = False
    limits: AskedLimits = AskedLimits()


class Changes(Asked):
    """What is to be changed of a repository; of its limits only those that are named.

    `missed` is what becomes of the due times of its schedules that pass while no clock runs: `once` starts
    one run for all of them, `skip` none. `snapshot` is what becomes of the files that its steps leave, and
    `default` what the server's settings say.
    """

    limits: AskedLimits = AskedLimits()
    missed: Missed | None = None
    snapshot: Keep | Literal["default"] | None = None


class Trigger(Asked):
    """What to run: `ref` is a branch, a tag or a full ref; `commit` a full commit id."""

    ref: str | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Registered:
    """A repository that has just been registered. The secret is not shown again."""

    name: str
    forge: str
    url: str
    executor: str | None
    image: str | None
    shared: bool
    limits: Limits
    secret: str
    hook: str
    """Where a forge posts its deliveries."""


@dataclass(frozen=True, slots=True)
class Triggered:
    delivery: str
    status: str
    url: str


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["repositories"])

    @router.get("/repos")
    def list_repositories(asking: Acting) -> list[RepositoryView]:
        return site.views.repositories(asking.scope)

    @router.post("/repos", status_code=201)
    def add_repository(new: NewRepository, actor: Acting) -> Registered:
        return _register(site, new, actor)

    @router.get("/repos/{name:path}/hook", response_model=None)
    def print_hook(name: str, actor: Acting) -> PlainTextResponse:
        return PlainTextResponse(_hook(site, name, actor), media_type="text/x-shellscript")

    @router.post("/repos/{name:path}/trigger", status_code=202)
    def trigger(name: str, wanted: Trigger, actor: Acting) -> Triggered:
        return _trigger(site, name, wanted, actor)

    @router.get("/repos/{name:path}")
    def show_repository(name: str) -> RepositoryView:
        return shown(site, name)

    @router.patch("/repos/{name:path}")
    def change_repository(name: str, wanted: Changes, actor: Acting) -> RepositoryView:
        found = site.repositories.named(name)
        changed: dict[str, int | str | None] = {**wanted.limits.said}
        changed |= {"missed": wanted.missed} if wanted.missed is not None else {}
        if wanted.snapshot is not None:
            changed |= {"snapshot": None if wanted.snapshot == "default" else wanted.snapshot}
        site.repositories.change(found, changed, about(actor, "change-repository", found, **changed))
        return shown(site, name)

    @router.delete("/repos/{name:path}", status_code=204)
    def remove_repository(name: str, actor: Acting) -> None:
        found = site.repositories.named(name)
        site.repositories.remove(found, about(actor, "remove-repository", found))

    return router


def _register(site: Site, new: NewRepository, actor: Actor) -> Registered:
    if new.forge not in site.forges:
        raise Rejected(f"no forge {new.forge!r}; there are {', '.join(sorted(site.forges))}")
    secret = new.secret or secrets.token_urlsafe(32)
    if not secret.isprintable():
        raise Rejected("a webhook secret is printable text")
    repository = Repository(
        new.forge,
        checked_name(new.name),
        new.url,
        checked_executor(new.executor, site.executors),
        checked_image(new.image),
        shared=new.shared,
        limits=Limits(**new.limits.said),
    )
    site.check_address(repository)
    said = {"executor": repository.executor, "image": repository.image, "shared": repository.shared}
    act = about(actor, "add-repository", repository, url=shown_url(repository.url), **said)
    try:
        site.repositories.add(repository, secret, act)
    except Rejected as error:
        raise Conflict(str(error)) from None
    hook = f"{site.settings.address}/hooks/{new.forge}"
    return Registered(
        repository.name,
        repository.forge,
        shown_url(repository.url),
        repository.executor,
        repository.image,
        repository.shared,
        repository.limits,
        secret,
        hook,
    )


def shown(site: Site, name: str) -> RepositoryView:
    found = site.repositories.named(name)
    return site.views.repository(found.forge, found.name)


def _hook(site: Site, name: str, actor: Actor) -> str:
    found = site.repositories.named(name)
    if found.forge != "git":
        raise Rejected(
            f"{name} is on {found.forge}, which has webhooks of its own: let it post JSON to "
            f"{site.settings.address}/hooks/{found.forge} with the repository's secret"
        )
    # Whoever has the hook can send pushes in the repository's name.
    site.audit.write(about(actor, "print-hook", found))
    secret = site.repositories.secret(found.forge, found.name) or ""
    return hook_script(site.settings.address, found.name, secret)


def _trigger(site: Site, name: str, wanted: Trigger, actor: Actor) -> Triggered:
    found = shown(site, name)
    if wanted.commit is not None and not FULL_COMMIT_ID.fullmatch(wanted.commit):
        raise Rejected(f"{wanted.commit[:100]!a} is no full commit id of 40 lower-case hex digits")
    ref = full_ref(wanted.ref or found.default_branch or head_of(site, found))
    guid = str(uuid4())
    payload: dict[str, Any] = {
        "id": guid,
        "repository": {"full_name": found.name, "default_branch": found.default_branch},
        "ref": ref,
        "before": None,
        "after": wanted.commit,
        "pusher": {"name": actor.name},
        "by_hand": True,
    }
    event = Event(
        kind="push",
        forge=found.forge,
        repo=found.name,
        ref=ref,
        commit=wanted.commit,
        actor=actor.name,
        payload=payload,
        default_branch=found.default_branch,
    )
    digest = hashlib.sha256(f"trigger {guid}".encode()).hexdigest()
    act = about(actor, "trigger", found, ref=ref, commit=wanted.commit)
    delivery = receive(event, guid, digest, store=site.store, dispatcher=site.dispatcher, act=act)
    url = f"{site.settings.address}/api/v1/deliveries/{delivery.id}"
    return Triggered(delivery.id, delivery.status, url)


def head_of(site: Site, found: RepositoryView) -> str:
    """The default branch of a repository that has not told it yet."""
    try:
        return site.default_branch(site.repositories.get(found.forge, found.name)) or "HEAD"
    except (Rejected, Unavailable):
        # Admission says why, in a delivery that can be replayed.
        return "HEAD"


def full_ref(ref: str) -> str:
    if any(not letter.isprintable() for letter in ref) or len(ref) > 1000:
        raise Rejected(f"{ref[:100]!a} is no ref; give a branch, refs/tags/NAME or a full ref")
    if ref.startswith("refs/") and not ref.startswith(("refs/heads/", "refs/tags/")):
        # What is elsewhere is not of those who may push, as a fork's pull request.
        raise Rejected(f"{ref[:100]!a} is no branch and no tag, which alone are started by hand")
    return ref if ref == "HEAD" or ref.startswith("refs/") else f"refs/heads/{ref}"
