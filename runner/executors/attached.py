"""A line to a container's main process, which may be an agent, over the socket docker attaches to it."""

import os
import secrets
import select
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

from docker import APIClient
from docker.errors import APIError, DockerException, NotFound

from runner.errors import Unavailable
from runner.executors.line import CHUNK, LONGEST_WAIT, SECONDS_TO_DIE, Heard

HEADER = 8
"""Bytes before each piece of output: the stream's number, three of nothing, the length in four."""
OUTPUT, ANSWERS = 1, 2


class Attached:
    """Owns `client`, and a container that was created and not started.

    What can be read from `wake` ends a `receive` too.
    """

    def __init__(self, client: APIClient, container: str, wake: int | None = None) -> None:
        self._client = client
        self._container = container
        params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        self._stream = client.attach_socket(container, params=params)
        self._socket: socket.socket = getattr(self._stream, "_sock", self._stream)
        self._socket.settimeout(None)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        if wake is not None:
            self._poll.register(wake, select.POLLIN)
        self._raw = b""
        self._number = self._left = 0
        self._early = b""
        self._ended = False
        self._first: int | None = None

    def hold(self) -> None:
        """The agent has answered for the first time."""
        with suppress(DockerException, OSError):
            state = self._client.inspect_container(self._container)["State"]
            self._first = os.pidfd_open(int(state["Pid"]))

    @property
    def namespace(self) -> int | None:
        # Where docker has another machine, or processes of its own, it is a process of somebody else.
        return self._first

    def send(self, command: str) -> None:
        self._socket.sendall(f"{command}\n".encode())

    def receive(self, seconds: float) -> Heard:
        if early := self._early:
            self._early = b""
            return Heard(output=early)
        ready = self._poll.poll(min(seconds, LONGEST_WAIT) * 1000 + 0.5)
        if self._socket.fileno() not in [fd for fd, _ in ready]:
            return Heard()
        try:
            data = self._socket.recv(CHUNK)
        except ConnectionResetError:
            data = b""
        self._ended = self._ended or not data
        pieces = {OUTPUT: b"", ANSWERS: b""}
        for number, piece in self._pieces(data):
            pieces[number] = pieces.get(number, b"") + piece
        return Heard(pieces[OUTPUT], pieces[ANSWERS], self._ended)

    def _pieces(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._raw += data
        while self._raw:
            if not self._left:
                if len(self._raw) < HEADER:
                    return
                self._number = self._raw[0]
                self._left = int.from_bytes(self._raw[4:HEADER], "big")
                self._raw = self._raw[HEADER:]
            piece = self._raw[: self._left]
            self._left -= len(piece)
            self._raw = self._raw[len(piece) :]
            yield self._number, piece

    def drain(self) -> Iterator[bytes]:
        # Docker copies the two streams independently, so that a step has ended may be known before all
        # it printed is here. The agent prints a word that nobody else can know, behind all of that.
        if self._ended:
            return
        word = secrets.token_hex(16)
        self.send(f"mark {word}")
        end = f"{word}\n".encode()
        printed = b""
        until = time.monotonic() + SECONDS_TO_DIE * 6
        while (left := until - time.monotonic()) > 0:
            heard = self.receive(left)
            printed += heard.output
            before, found, after = printed.partition(end)
            if found:
                self._early = after
                yield before
                return
            if heard.ended:
                yield printed
                return
            yield printed[: -len(end)]
            printed = printed[-len(end) :]
        raise BrokenPipeError("the container does not answer")

    def kill(self) -> None:
        # First this end: while it takes no output, the daemon may wait for it with everything else.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(DockerException, OSError):
            self._client.kill(self._container)

    def close(self) -> None:
        try:
            remove(self._client, self._container)
        finally:
            if response := getattr(self._stream, "_response", None):
                response.close()
            if self._first is not None:
                os.close(self._first)
                self._first = None
            self._stream.close()
            self._socket.close()
            self._client.close()


def remove(client: APIClient, container: str) -> None:
    """Kill a container with all its processes, and wait until it is gone."""
    until = time.monotonic() + SECONDS_TO_DIE
    while time.monotonic() < until:
        try:
            client.remove_container(container, force=True, v=True)
            return
        except NotFound:
            return
        except APIError as error:
            # The daemon is at it already, as the container was to be removed at its end.
            if error.status_code != 409:
                raise Unavailable(f"docker cannot remove container {container[:12]}: {error}") from error
        except OSError as error:
            raise Unavailable(f"docker cannot remove container {container[:12]}: {error}") from error
        time.sleep(0.02)
    raise Unavailable(f"docker does not come to an end with removing container {container[:12]}")
