import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

import pytest

from runner.web.server import TimedProtocol
from tests.web.conftest import PATIENCE, Web, serving

IDLE = 2.5


class HastyWithHeads(TimedProtocol):
    header_seconds = 0.2


class HastyWithRequests(TimedProtocol):
    request_seconds = 0.4


class LessHasty(TimedProtocol):
    """Waits for nobody, but long enough for a request or an answer to come through on a busy machine."""

    header_seconds = 2.0
    request_seconds = 2.0


@contextmanager
def connected(web: Web, protocol: type[TimedProtocol]) -> Iterator[socket.socket]:
    address = ("127.0.0.1", web.site.settings.port)
    with serving(web, protocol), socket.create_connection(address, timeout=PATIENCE) as connection:
        yield connection


def rest_of(connection: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            found += data
    return found


@pytest.mark.parametrize("sent", [b"", b"POST /hooks/git HTTP/1.1\r\nhost"])
def test_whoever_sends_no_whole_head_is_cut_off(web: Web, sent: bytes) -> None:
    with connected(web, HastyWithHeads) as connection:
        connection.sendall(sent)

        assert rest_of(connection) == b""


@pytest.mark.parametrize("path", [b"/hooks/git", b"/api/v1/repos", b"/login"])
def test_whoever_sends_no_whole_body_is_cut_off(web: Web, path: bytes) -> None:
    head = b"POST %s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ncontent-length: 100\r\n\r\n{"
    with connected(web, HastyWithRequests) as connection:
        connection.sendall(head % (path, web.token.encode()))

        assert not rest_of(connection).startswith(b"HTTP/1.1 2")


def test_a_refused_body_that_never_ends_is_cut_off_after_its_answer(web: Web) -> None:
    with connected(web, LessHasty) as connection:
        connection.sendall(
            b"POST /hooks/git HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n" + b"x" * 1000
        )

        assert rest_of(connection).startswith(b"HTTP/1.1 413 ")


def test_a_connection_may_rest_between_requests(web: Web) -> None:
    with serving(web, LessHasty):
        connection = HTTPConnection("127.0.0.1", web.site.settings.port, timeout=PATIENCE)
        try:
            for _ in range(3):
                connection.request("GET", "/healthz")
                answer = connection.getresponse()
                assert (answer.status, answer.read()) == (200, b'{"status":"ok"}')
            rests = connection.sock
            rests.settimeout(IDLE)
            with pytest.raises(TimeoutError):
                rests.recv(1)
            rests.settimeout(PATIENCE)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
        finally:
            connection.close()
