import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from runner.web.server import Server, TimedProtocol
from tests.web.conftest import Web


class Hasty(TimedProtocol):
    header_seconds = 0.2
    request_seconds = 0.4


@pytest.fixture
def hasty(web: Web) -> Iterator[socket.socket]:
    """A connection to a server that waits for nobody."""
    ready = threading.Event()
    server = Server(web.app, ready.set, web.app.end, protocol=Hasty)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [web.listener]})
    thread.start()
    assert ready.wait(10)
    with socket.create_connection(("127.0.0.1", web.site.settings.port), timeout=10) as connection:
        yield connection
    server.should_exit = True
    thread.join()


def rest_of(connection: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            found += data
    return found


@pytest.mark.parametrize("sent", [b"", b"POST /hooks/git HTTP/1.1\r\nhost"])
def test_whoever_sends_no_whole_head_is_cut_off(hasty: socket.socket, sent: bytes) -> None:
    hasty.sendall(sent)

    assert rest_of(hasty) == b""


@pytest.mark.parametrize("path", [b"/hooks/git", b"/api/v1/repos", b"/login"])
def test_whoever_sends_no_whole_body_is_cut_off(hasty: socket.socket, web: Web, path: bytes) -> None:
    head = b"POST %s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ncontent-length: 100\r\n\r\n{"
    hasty.sendall(head % (path, web.token.encode()))

    assert not rest_of(hasty).startswith(b"HTTP/1.1 2")


def test_a_refused_body_that_never_ends_is_cut_off_after_its_answer(hasty: socket.socket) -> None:
    hasty.sendall(b"POST /hooks/git HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n" + b"x" * 1000)

    assert rest_of(hasty).startswith(b"HTTP/1.1 413 ")


def test_a_connection_may_be_used_again_and_again(hasty: socket.socket) -> None:
    for _ in range(3):
        hasty.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert hasty.recv(65536).startswith(b"HTTP/1.1 200 ")
