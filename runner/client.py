"""The REST API from the outside, for the command line and for whoever writes Python.

Errors come back as the families that the server raised. On the machine of `runner serve` the address
and the token are found through the home folder.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import httpx2

from runner.errors import (
    BrokenDefinition,
    Forbidden,
    NotFound,
    Rejected,
    RunnerError,
    Unauthorized,
    Unavailable,
)
from runner.settings import Settings

PATIENCE = 30.0
"""Seconds for which `watch` looks for a server that went away."""
RETRY_SECONDS = 0.2
# A silent stream says every 15 s that it is still there.
STREAM_TIMEOUT = httpx2.Timeout(10, read=45)
# A large file is looked through before its first byte is sent.
FILE_TIMEOUT = httpx2.Timeout(10, read=300)
EVENT_BYTES = 64 * 1024 * 1024
FAMILIES: Mapping[str, type[RunnerError]] = {
    "unauthorized": Unauthorized,
    "forbidden": Forbidden,
    "not_found": NotFound,
    "unavailable": Unavailable,
    "broken_definition": BrokenDefinition,
}
Values = dict[str, Any]


class NotAllowed(Unauthorized):
    """The token is missing or is not the server's."""


class ServerNotRunning(Unavailable):
    """The server of this home was killed: it said where it is, and never that it goes."""

    def __init__(self, home: Path, url: str) -> None:
        super().__init__(
            f"the server of {home}, last at {url}, is not running: it was killed, or it crashed; start it "
            "again with `runner serve`, and its runs go on; or set RUNNER_URL to another server"
        )


class Client:
    """Speaks to one server. Close it, or use it as a context."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # A proxy for the way out cannot reach a server on this machine.
        self._http = httpx2.Client(timeout=30, trust_env=not self._local)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    @property
    def url(self) -> str:
        """Where the server is now: a restarted one may be at another port."""
        return (
            self._settings.url.rstrip("/") or published_address(self._settings.home) or self._settings.address
        )

    @property
    def exposed(self) -> bool:
        """Whether those on the way to the server can read what is sent there."""
        return urlsplit(self.url).scheme == "http" and not self._local

    @property
    def _local(self) -> bool:
        return urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")

    def get(self, path: str, **query: object) -> Any:
        return self._asked("GET", path, query).json()

    def text(self, path: str, **query: object) -> Iterator[str]:
        """A text as it arrives."""
        with self._reaching(), self._http.stream("GET", self._at(path), **self._sent(query)) as response:
            self._check(response)
            yield from response.iter_text()

    def save(self, path: str, file: BinaryIO) -> None:
        """Write what is there to a file."""
        with (
            self._reaching(),
            self._http.stream("GET", self._at(path), timeout=FILE_TIMEOUT, **self._sent({})) as response,
        ):
            self._check(response)
            for piece in response.iter_bytes():
                file.write(piece)

    def post(self, path: str, content: Mapping[str, object] | None = None) -> Values:
        answer: Values = self._asked("POST", path, {}, json={} if content is None else dict(content)).json()
        return answer

    def patch(self, path: str, content: Mapping[str, object]) -> Values:
        answer: Values = self._asked("PATCH", path, {}, json=dict(content)).json()
        return answer

    def put(self, path: str, content: Mapping[str, object]) -> None:
        self._asked("PUT", path, {}, json=dict(content))

    def delete(self, path: str, **query: object) -> None:
        self._asked("DELETE", path, query)

    def watch(self, run_id: int, attempt: int | None = None) -> Iterator[tuple[str, Values]]:
        """A run's events until its end. A server that restarts is found again, and nothing comes twice.

        Raises `Unavailable` where it is away for longer than `PATIENCE`.
        """
        cursor, heard = "", None
        while True:
            try:
                for event in self._events(f"/runs/{run_id}/stream", attempt, cursor):
                    cursor, heard = event.id or cursor, time.monotonic()
                    yield event.event, json.loads(event.data)
                    if event.event == "end":
                        return
                heard = heard or time.monotonic()
            except Unavailable:
                if heard is None or time.monotonic() - heard > PATIENCE:
                    raise
            time.sleep(RETRY_SECONDS)

    def _events(self, path: str, attempt: int | None, cursor: str) -> Iterator[httpx2.ServerSentEvent]:
        sent = self._sent({"attempt": attempt})
        if cursor:
            sent["headers"]["last-event-id"] = cursor
        with (
            self._reaching(),
            self._http.stream("GET", self._at(path), timeout=STREAM_TIMEOUT, **sent) as stream,
        ):
            self._check(stream)
            yield from httpx2.EventSource(stream, max_event_size=EVENT_BYTES)

    def _asked(self, method: str, path: str, query: Mapping[str, object], **content: Any) -> httpx2.Response:
        with self._reaching():
            response = self._http.request(method, self._at(path), **self._sent(query), **content)
        self._check(response)
        return response

    def _at(self, path: str) -> str:
        # Whoever took the port since must not be sent the token.
        if not self._settings.url and _abandoned(self._settings.home):
            raise ServerNotRunning(self._settings.home, self.url)
        return f"{self.url}/api/v1{path}"

    def _sent(self, query: Mapping[str, object]) -> Values:
        asked = {name: str(value) for name, value in query.items() if value is not None}
        return {"params": asked, "headers": {"authorization": f"Bearer {self._token()}"}}

    def _token(self) -> str:
        if self._settings.token:
            return _sendable(self._settings.token, "RUNNER_TOKEN")
        try:
            found = self._settings.token_file.read_bytes().decode(errors="replace")
            return _sendable(found.strip(), str(self._settings.token_file))
        except OSError as error:
            if error.errno in (13, 1):
                raise NotAllowed(
                    f"{self._settings.token_file} may not be read by you; set RUNNER_TOKEN"
                ) from None
            raise self._away() from None

    def _check(self, response: httpx2.Response) -> None:
        if response.is_success:
            return
        response.read()
        try:
            said = response.json()
            family, message = FAMILIES.get(said["error"], Rejected), str(said["message"])
        except (ValueError, KeyError, TypeError):
            family = Unavailable if response.status_code >= 500 else Rejected
            message = (
                f"{self.url} answers {response.status_code}, and not as runner does; is RUNNER_URL right?"
            )
        if family is Unauthorized:
            raise NotAllowed(
                f"the server at {self.url} does not take this token, or no longer; set RUNNER_TOKEN to "
                "its admin token, or to one that `runner token create` has made"
            )
        raise family(message)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx2.ConnectError:
            raise self._away() from None
        except httpx2.TransportError as error:
            raise Unavailable(
                f"the server at {self.url} broke off: {error or type(error).__name__}"
            ) from None
        except httpx2.InvalidURL as error:
            raise Rejected(f"RUNNER_URL is no address: {error}") from None

    def _away(self) -> Unavailable:
        return Unavailable(f"no server at {self.url}; start one with `runner serve`, or set RUNNER_URL")


def _sendable(token: str, where: str) -> str:
    if not (token.isascii() and token.isprintable()):
        raise NotAllowed(f"{where} holds what is in no token; set RUNNER_TOKEN to the server's admin token")
    return token


# --- how a server is found by those at home -------------------------------------------------------


@contextmanager
def published(home: Path, url: str) -> Iterator[None]:
    """Say in the home folder where the server of this process is, while the block runs.

    The file stays locked so long, by the kernel: one that nobody locks is of a server that was killed.
    """
    draft = home / f".server-{os.getpid()}.json"
    with draft.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump({"url": url, "pid": os.getpid()}, file)
        file.flush()
        draft.replace(_address_file(home))
        try:
            yield
        finally:
            # Another process may have published its own since.
            if _published(home).get("pid") == os.getpid():
                _address_file(home).unlink(missing_ok=True)


def published_address(home: Path) -> str | None:
    url = _published(home).get("url")
    return url if isinstance(url, str) else None


def _abandoned(home: Path) -> bool:
    """Whether the server that said where it is has ended without taking it back."""
    try:
        with _address_file(home).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
    except OSError:
        return False


def _published(home: Path) -> Values:
    try:
        found = json.loads(_address_file(home).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _address_file(home: Path) -> Path:
    return home / "server.json"
