"""The whole site as one ASGI app."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runner.errors import Rejected, RunnerError
from runner.forges import FORGES
from runner.web.answers import answer, failure, refusal
from runner.web.api import PREFIX, create_api
from runner.web.auth import Guard, admin_token
from runner.web.badges import Badges
from runner.web.bell import Bell
from runner.web.bodies import BoundedBodies
from runner.web.health import Health
from runner.web.intake import Intake
from runner.web.live import Streams
from runner.web.pages import Pages
from runner.web.signals import BODY_BYTES as SIGNAL_BYTES
from runner.web.signals import PREFIX as SIGNALS
from runner.web.signals import SignalHook
from runner.web.site import Site
from runner.web.webhooks import Webhooks
from runner.wiring import Services

API_BYTES = 256 * 1024
"""The limit of a request to the API; a delivery has a limit of its own."""


class IdConvertor(IntegerConvertor):
    """An id in a path. Python reads no number of thousands of digits, and nothing has such an id."""

    regex = "[0-9]{1,1000}"


register_url_convertor("id", IdConvertor())


def create_app(services: Services) -> "App":
    """The site over one process's services. Whoever serves it calls `end` and then `close`."""
    settings = services.settings
    bell = Bell(services.dispatcher)
    site = Site(
        settings=settings,
        database=services.database,
        store=services.store,
        repositories=services.repositories,
        views=services.views,
        standings=services.standings,
        secrets=services.secrets,
        variables=services.variables,
        stops=services.stops,
        tokens=services.tokens,
        audit=services.audit,
        environments=services.environments,
        artifacts=services.artifacts,
        objects=services.objects,
        caches=services.cache_rows,
        discard=services.caches.remove,
        vault=services.vault,
        logs=services.logs,
        forges=FORGES,
        executors=tuple(services.executors),
        dispatcher=bell,
        check_broker=services.dispatcher.check,
        check_address=services.workspaces.check,
        default_branch=services.workspaces.default_branch,
        guard=Guard(admin_token(settings), settings.address, services.tokens),
    )
    return App(site, bell.close)


def _api_bytes(path: str) -> int:
    return SIGNAL_BYTES if path.endswith("/signal") else API_BYTES


class App:
    """Webhooks go straight in, everything else by its route; routes are tried in their order."""

    def __init__(self, site: Site, close: Callable[[], None]) -> None:
        self._site = site
        self._close = close
        self._api: FastAPI | None = None
        # Several ask for it at once, each on a thread.
        self._making = Lock()
        self._intake = Intake(site.store, site.repositories, site.dispatcher)
        self._webhooks = Webhooks(site.forges, self._intake, site.settings.address)
        self._signals = SignalHook(site)
        self._streams = Streams(site)
        pages, badges, health = Pages(site, lambda: self.api.openapi()), Badges(site), Health(site)
        self.site = Starlette(
            routes=[
                Route(f"{PREFIX}/runs/{{run_id:id}}/stream", self._streams),
                Route(f"{PREFIX}/openapi.json", self._openapi),
                Mount(PREFIX, Guarded(BoundedBodies(self._ask_api, _api_bytes), site.guard)),
                Route("/badges/{repo:path}.svg", badges.picture),
                Route("/badges/{repo:path}.json", badges.endpoint),
                Route("/{repo:path}/actions/workflows/{workflow}/badge.svg", badges.picture),
                Route("/healthz", health.alive),
                Route("/readyz", health.ready),
                Route("/version", health.version),
                Route("/", pages.runs),
                Route("/runs/{run_id:id}", pages.run),
                Route("/docs", pages.docs),
                Route("/login", pages.login, methods=["GET"]),
                Route("/login", pages.sign_in, methods=["POST"]),
                Route("/logout", pages.sign_out, methods=["POST"]),
                Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
            ],
            exception_handlers={RunnerError: _refused, HTTPException: _http_error, Exception: _bug},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "\0" in scope["path"] or b"%00" in scope.get("query_string", b""):
            # PostgreSQL has no such character, in whatever it is asked for.
            await refusal(Rejected("an address cannot hold a NUL character"))(scope, receive, send)
        elif scope["path"].startswith(SIGNALS):
            await self._signals(scope, receive, send)
        elif scope["path"].startswith("/hooks/"):
            await self._webhooks(scope, receive, send)
        else:
            await self.site(scope, receive, send)

    def end(self) -> None:
        """Let the open streams come to their end."""
        self._site.ending.set()

    def close(self) -> None:
        """Finish what was accepted."""
        self._intake.close()
        self._streams.close()
        self._close()

    async def _openapi(self, request: Request) -> Response:
        return answer(200, await run_in_threadpool(lambda: self.api.openapi()))

    @property
    def api(self) -> FastAPI:
        """Made when it is first asked for: that takes as long as a server otherwise takes to begin."""
        with self._making:
            if self._api is None:
                self._api = create_api(self._site)
            return self._api

    async def _ask_api(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (made := self._api) is None:
            made = await run_in_threadpool(lambda: self.api)
        await made(scope, receive, send)


class Guarded:
    """Lets only those through to `app` who are known, before anything else is read of a request.

    Who it is, the app finds as the scope's `actor`. What it answers is for whoever asked: nobody in between
    keeps it.
    """

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def unkept(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["cache-control"] = "no-store"
            await send(message)

        try:
            actor = await run_in_threadpool(self._guard.check, scope["method"], Request(scope).headers)
        except RunnerError as error:
            await refusal(error)(scope, receive, unkept)
            return
        await self._app({**scope, "actor": actor}, receive, unkept)


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RunnerError):
        raise error
    return refusal(error)


async def _bug(request: Request, error: Exception) -> Response:
    """The answer; the server then logs the traceback."""
    return failure(500, "internal", "the server failed; its log says why")


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404:
        return failure(404, "not_found", f"nothing is at {request.url.path[:200]}; the API is at {PREFIX}")
    return failure(error.status_code, "method", str(error.detail))
