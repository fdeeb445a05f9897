"""uvicorn with what it lacks: deadlines for requests that never end, and an orderly end."""

import asyncio
import contextlib
import signal
import threading
from asyncio.events import TimerHandle
from collections.abc import Callable, Generator
from socket import socket
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 15.0
REQUEST_SECONDS = 30.0
"""How long a whole request may take to arrive. A body that nobody reads any more is cut off then too."""
GRACE_SECONDS = 5
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TimedProtocol(HttpToolsProtocol):
    """One HTTP connection that is closed when a request does not arrive in time."""

    header_seconds = HEADER_SECONDS
    request_seconds = REQUEST_SECONDS
    _deadline: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._within(self.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._within(self.header_seconds)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._within(self.request_seconds)

    def on_message_complete(self) -> None:
        self._arrived()
        super().on_message_complete()

    def _within(self, seconds: float) -> None:
        self._arrived()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Server(uvicorn.Server):
    """Serves until a signal, then lets requests end. `ended_by` is the signal.

    `ready` is called once connections are taken, `ending` before the open ones are waited for. `draining` is
    called on a thread of its own at a first SIGTERM, and served on until it returns; a second signal is not
    kept waiting.
    """

    def __init__(
        self,
        app: ASGIApp,
        ready: Callable[[], None],
        ending: Callable[[], None],
        draining: Callable[[], None] | None = None,
        protocol: type[TimedProtocol] = TimedProtocol,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=protocol,
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self.ended_by: int | None = None
        self._ready = ready
        self._ending = ending
        self._draining = draining

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        first, self.ended_by = self.ended_by is None, sig
        if first and sig == signal.SIGTERM and self._draining is not None:
            threading.Thread(target=self._drain, args=(self._draining,), name="drain", daemon=True).start()
            return
        super().handle_exit(sig, frame)

    def _drain(self, draining: Callable[[], None]) -> None:
        try:
            draining()
        finally:
            self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # uvicorn raises the signal again when it is done, which would end the process before the
        # worker has handed its jobs back.
        before = {one: signal.signal(one, self.handle_exit) for one in SIGNALS}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)
