"""The pages: the newest runs, one run with its live log, the API's description, and signing in.

Text that strangers wrote reaches a page through autoescaping, the summaries of steps through `Summaries`, and
no page may run a script that is not ours.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from runner.errors import Forbidden, RunnerError
from runner.model.access import Actor
from runner.store.read_models import ArtifactView, RunFilter, RunView
from runner.web.answers import ERRORS
from runner.web.auth import COOKIE, SESSION_SECONDS
from runner.web.bodies import read_body
from runner.web.markdown import Summaries
from runner.web.site import Site
from runner.web.text import in_units, place_of, visible

SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
FILTERS = ("repo", "branch", "workflow", "event", "actor", "commit", "status")
LEVELS = ("error", "warning", "notice")
FORM_BYTES = 16 * 1024


class Pages:
    """`document` makes the API's OpenAPI document, which takes a server longer than all else of its start."""

    def __init__(self, site: Site, document: Callable[[], dict[str, Any]]) -> None:
        self._site = site
        self._document = document
        self._templates = Environment(
            loader=PackageLoader("runner.web"), autoescape=True, undefined=StrictUndefined
        )
        self._templates.filters |= {
            "visible": visible,
            "since": _span,
            "moment": _moment,
            "in_units": in_units,
        }
        self._templates.globals |= {"place_of": place_of, "LEVELS": LEVELS}

    async def runs(self, request: Request) -> Response:
        actor = await run_in_threadpool(self._site.guard.session, request.headers)
        if actor is None:
            return _to_login(request)
        wanted: dict[str, Any] = {name: request.query_params.get(name) or None for name in FILTERS}
        try:
            found = await run_in_threadpool(
                self._site.views.runs, RunFilter(**wanted, limit=50, scope=actor.scope)
            )
        except RunnerError as error:
            return self._error(error)
        return self._page("runs.html", runs=found, wanted=wanted)

    async def run(self, request: Request) -> Response:
        actor = await run_in_threadpool(self._site.guard.session, request.headers)
        if actor is None:
            return _to_login(request)
        said = request.query_params.get("attempt", "")
        attempt = int(said) if said.isdecimal() and len(said) < 9 else None
        try:
            run, artifacts = await run_in_threadpool(self._run, actor, request.path_params["run_id"], attempt)
        except RunnerError as error:
            return self._error(error)
        # Strangers' Markdown may take a while to read.
        return await run_in_threadpool(
            self._page, "run.html", run=run, artifacts=artifacts, rendered=Summaries()
        )

    def _run(self, actor: Actor, run_id: int, attempt: int | None) -> tuple[RunView, list[ArtifactView]]:
        self._site.views.run_of(run_id, actor.scope)
        return self._site.views.run(run_id, attempt), self._site.artifacts.shown_of(run_id)

    async def docs(self, request: Request) -> Response:
        return self._page("docs.html", document=await run_in_threadpool(self._document))

    # --- signing in ------------------------------------------------------------------------------

    async def login(self, request: Request) -> Response:
        return self._page("login.html", to=_local(request.query_params.get("to")), wrong=False)

    async def sign_in(self, request: Request) -> Response:
        try:
            fields = await self._form(request)
        except RunnerError as error:
            return self._error(error)
        to = _local(fields.get("to"))
        guard = self._site.guard
        session = await run_in_threadpool(guard.begin_session, fields.get("token", "").strip())
        if session is None:
            return self._page("login.html", 401, to=to, wrong=True)
        response = RedirectResponse(to, 303)
        response.set_cookie(
            COOKIE,
            session,
            max_age=SESSION_SECONDS,
            httponly=True,
            secure=guard.secure,
            samesite="strict",
        )
        return response

    async def sign_out(self, request: Request) -> Response:
        try:
            self._site.guard.check_origin(request.headers)
        except Forbidden as error:
            return self._error(error)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    async def _form(self, request: Request) -> dict[str, str]:
        self._site.guard.check_origin(request.headers)
        body = await read_body(request.scope["headers"], request.receive, FORM_BYTES)
        fields = parse_qs(body.decode("utf-8", errors="replace"))
        return {name: values[-1] for name, values in fields.items()}

    def _error(self, error: RunnerError) -> Response:
        status = next((status for family, status, _ in ERRORS if isinstance(error, family)), 500)
        return self._page("error.html", status, message=str(error))

    def _page(self, template: str, status: int = 200, **content: Any) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(content), status, SECURITY)


def _to_login(request: Request) -> Response:
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?to={quote(path, safe='/')}", 303)


def _local(path: str | None) -> str:
    """Where to go after signing in: never to another site, which `//` and `/\\` would name."""
    if path and path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable():
        return path
    return "/"


def _span(begin: datetime | None, end: datetime | None) -> str:
    if begin is None or end is None:
        return ""
    seconds = (end - begin).total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _moment(at: datetime | None) -> str:
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S UTC")
