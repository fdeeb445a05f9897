"""`POST /hooks/signals/{repository}`: a signal to the repository's runs, signed with its webhook secret.

Whoever can sign deliveries of a repository can send its runs signals, and needs no token for it.
"""

import hashlib
import hmac
import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runner.engine import control
from runner.errors import NotFound, Rejected, RunnerError, Unauthorized
from runner.forges.github import REFUSED
from runner.forges.payload import read_json
from runner.model.answers import Unheard
from runner.model.audit import Act
from runner.model.source import FULL_COMMIT_ID, Repository
from runner.model.waits import Signal
from runner.store.read_models import UNFINISHED, RunFilter
from runner.web.answers import Conflict, answer, failure, refusal
from runner.web.bodies import Asked, Gone, read_body
from runner.web.names import REPOSITORY
from runner.web.site import Site

PREFIX = "/hooks/signals/"
BODY_BYTES = control.PAYLOAD_BYTES + 64 * 1024
"""A payload of the largest size, and what is around it."""
SENDER = "webhook"
MOST_RUNS = 100
"""How many runs of a commit one request reaches."""

log = logging.getLogger(__name__)


class Sent(Asked):
    """What is in the body: a signal to one run, or to all of a commit that go on."""

    signal: str
    run: int | None = None
    attempt: int | None = Field(default=None, ge=1)
    commit: str | None = None
    workflow: str | None = None
    payload: Any = None
    key: str | None = Field(default=None, min_length=1)


class SignalHook:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await failure(405, "method", "signals are POSTed")(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            body = await read_body(scope["headers"], receive, BODY_BYTES)
            name = scope["path"].removeprefix(PREFIX)
            response = await run_in_threadpool(self._answer, name, headers, body)
        except Gone:
            return
        except RunnerError as error:
            log.info("signal refused", extra={"error": str(error)})
            response = refusal(error)
        await response(scope, receive, send)

    def _answer(self, name: str, headers: dict[str, str], body: bytes) -> Response:
        repository = self._signer(name, headers.get("x-hub-signature-256", ""), body)
        said = _read(body, headers.get("content-type", ""))
        # A header is not signed: whoever saw a request could send it again with another one.
        key = said.key or hashlib.sha256(body).hexdigest()
        # What is signed need not say of which attempt: what was for one is not sent again to the next.
        signal = Signal(said.signal, key, SENDER, said.payload, repeatable=False)
        runs, lenient = self._runs(repository, said), said.run is None
        sent = list(self._sent(runs, signal, said.attempt, lenient=lenient))
        if not sent:
            raise Conflict(f"no run of commit {said.commit} goes on; a signal would reach nobody")
        return answer(200, {"signal": signal.name, "key": key, "runs": sent})

    def _signer(self, name: str, signature: str, body: bytes) -> Repository:
        """The repository whose secret has signed the body. Raises `Unauthorized` alike for all causes."""
        forge, _, own = name.rpartition(":")
        found = self._site.repositories.alike(own) if REPOSITORY.fullmatch(own) else ()
        there = [one for one in found if one.name == own and forge in ("", one.forge)]
        signers = [one for one in there if self._fits(one, signature, body)]
        if not there:
            # An unknown repository costs the same HMAC as a known one.
            _is_signed(body, "unknown", signature)
        if not signers:
            raise Unauthorized(REFUSED)
        if len(signers) > 1:
            forges = ", ".join(one.forge for one in signers)
            raise Rejected(f"repository {own} is on several forges ({forges}); say which, as forge:{own}")
        return signers[0]

    def _fits(self, repository: Repository, signature: str, body: bytes) -> bool:
        secret = self._site.repositories.secret(repository.forge, repository.name)
        return secret is not None and _is_signed(body, secret, signature)

    def _runs(self, repository: Repository, said: Sent) -> list[int]:
        if said.run is not None:
            missing = NotFound(f"{repository.name} has no run {said.run}")
            try:
                route = self._site.store.load(said.run).route
            except NotFound:
                raise missing from None
            if (route.forge, route.repo) != (repository.forge, repository.name):
                raise missing
            return [said.run]
        found = [
            one
            for status in UNFINISHED
            for one in self._site.views.runs(
                RunFilter(
                    repository.name,
                    workflow=said.workflow,
                    commit=said.commit,
                    status=status,
                    limit=MOST_RUNS + 1,
                    scope=frozenset({(repository.forge, repository.name)}),
                )
            )
        ]
        if len(found) > MOST_RUNS:
            raise Rejected(
                f"more than {MOST_RUNS} runs of commit {said.commit} go on, too many for one signal; "
                "name a workflow, or a run"
            )
        return sorted(one.id for one in found)

    def _sent(
        self, runs: Iterable[int], signal: Signal, attempt: int | None, *, lenient: bool
    ) -> Iterable[dict[str, Any]]:
        act = Act(SENDER, "signal", details={"name": signal.name, "key": signal.key})
        send = partial(
            control.signal,
            attempt=attempt,
            store=self._site.store,
            dispatcher=self._site.dispatcher,
            act=act,
        )
        for run in runs:
            try:
                made = send(run, signal)
            except Unheard as error:
                # Of those of a commit it may have ended meanwhile.
                if lenient:
                    continue
                raise Conflict(str(error)) from None
            # What else a run waits for is told to who may read it.
            yield {"run": run, "repeated": not made.fresh, "taken": made.taken}


def _is_signed(body: bytes, secret: str, signature: str) -> bool:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"sha256={digest}".encode(), signature.encode())


def _read(body: bytes, content_type: str) -> Sent:
    try:
        said = Sent.model_validate(read_json(body, content_type))
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, one['loc'])) or 'the body'}: {one['msg']}" for one in error.errors())
        raise Rejected("; ".join(wrong)) from None
    if (said.run is None) == (said.commit is None):
        raise Rejected('the body needs either "run", a number, or "commit", of which all runs are meant')
    if said.run is not None and said.workflow is not None:
        raise Rejected('"workflow" goes with "commit"; a run is of one workflow anyway')
    if said.run is None and said.attempt is not None:
        raise Rejected('"attempt" goes with "run"; a commit may have runs at any')
    if said.workflow is not None and not said.workflow.isprintable():
        raise Rejected(f"{said.workflow[:100]!a} names no workflow")
    if said.commit is not None and not FULL_COMMIT_ID.fullmatch(said.commit):
        raise Rejected(f"{said.commit[:100]!a} is no full commit id of 40 lower-case hex digits")
    return said
