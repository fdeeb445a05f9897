"""A program in a sandbox that talks: messages over a socket in the job's own temp folder."""

import os
import secrets
import select
import socket
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from runner.engine.ports import ChannelClosed, Command, Exit
from runner.errors import RunnerError, Unavailable
from runner.sdk import wire

CHUNK = 256 * 1024
SECONDS_TO_SEND = 30.0
"""After which a program that takes nothing counts as gone."""

Run = Callable[[Command, Callable[[bytes], None]], Exit]


class SocketChannel:
    """Runs a command, given the path of a socket beside its arguments, and talks with who connects to it.

    The first one to connect is the only one: the command itself, as nothing else of the job runs yet.
    """

    def __init__(
        self,
        folder: Path,
        inside: str,
        owner: tuple[int, int] | None,
        run: Run,
        command: Command,
        log: Callable[[bytes], None],
    ) -> None:
        self._name = f".channel-{secrets.token_hex(4)}"
        self._folder = folder
        self._heard = bytearray()
        self._messages: deque[Mapping[str, Any]] = deque()
        self._peer: socket.socket | None = None
        self._exit: Exit | None = None
        self._failure: RunnerError | None = None
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._listener = self._listen(owner)
        except OSError as error:
            os.close(self._wake)
            os.close(self._woken)
            raise Unavailable(f"no socket can be made in {folder}: {error}") from error
        argv = (*command.argv, f"{inside}/{self._name}")
        whole = Command(argv, command.env, command.cwd, command.timeout, command.cancellable)
        self._thread = Thread(target=self._follow, args=(run, whole, log), name="conversation", daemon=True)
        self._thread.start()

    def _listen(self, owner: tuple[int, int] | None) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # The path may be longer than the address of a socket can be.
            address = f"/proc/self/fd/{folder}/{self._name}"
            made.bind(address)
            if owner:
                os.chown(self._name, *owner, dir_fd=folder, follow_symlinks=False)
            made.listen(1)
        except BaseException:
            made.close()
            raise
        finally:
            os.close(folder)
        return made

    def _follow(self, run: Run, command: Command, log: Callable[[bytes], None]) -> None:
        try:
            self._exit = run(command, log)
        except RunnerError as error:
            self._failure = error
        except BaseException as error:  # noqa: BLE001 - whoever waits for the command is told
            self._failure = Unavailable(f"the sandbox broke: {type(error).__name__}: {error}")
        finally:
            self.wake()

    def send(self, message: Mapping[str, Any]) -> None:
        """Errors: `ChannelClosed`; `wire.TooLong`, and then nothing was sent.

        A program that has ended takes nothing: `receive` gives what it had said before, and then its end.
        """
        data = wire.pack(dict(message))
        if self._peer is None:
            raise self._closed()
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                self._peer.sendall(data)
        except OSError:
            raise self._closed() from None

    def receive(self, seconds: float) -> Mapping[str, Any] | None:
        """The next message; None where none came in time, or somebody called `wake`."""
        if self._peer is None:
            raise self._closed()
        if not self._messages and self._ready(self._peer, seconds):
            self._take(self._peer)
        return self._messages.popleft() if self._messages else None

    def connect(self, seconds: float) -> bool:
        """Wait for the command to connect, so many seconds at the most; whether it has."""
        if self._peer is None and self._ready(self._listener, seconds):
            self._accept()
        elif self._peer is None and (self._exit is not None or self._failure is not None):
            # Its thread may live for a moment yet, and wakes nobody a second time.
            raise self._closed()
        return self._peer is not None

    def _ready(self, end: socket.socket, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(end, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(max(seconds, 0.0) * 1000 + 0.5)]
        if self._wake in ready:
            with suppress(BlockingIOError):
                os.read(self._wake, CHUNK)
        return end.fileno() in ready

    def _accept(self) -> None:
        try:
            self._peer, _ = self._listener.accept()
        except BlockingIOError:
            return
        self._peer.settimeout(SECONDS_TO_SEND)
        self._listener.close()

    def _take(self, peer: socket.socket) -> None:
        try:
            data = peer.recv(CHUNK)
        except OSError:
            data = b""
        if not data:
            raise self._closed()
        self._heard += data
        try:
            while (message := wire.unpack(self._heard)) is not None:
                self._messages.append(message)
        except wire.TooLong as error:
            raise ChannelClosed(None, f"what it says is no conversation: {error}") from None

    def _closed(self) -> RunnerError:
        self._thread.join(SECONDS_TO_SEND)
        return self._failure or ChannelClosed(self._exit, "")

    def wake(self) -> None:
        """Have `receive` return at once, from any thread."""
        with suppress(BlockingIOError, OSError):
            os.write(self._woken, b".")

    def close(self) -> None:
        """Let go of the channel. Whoever opened the sandbox ends the command with it."""
        if self._peer is not None:
            self._peer.close()
        self._listener.close()
        self._thread.join(SECONDS_TO_SEND)
        os.close(self._wake)
        os.close(self._woken)
