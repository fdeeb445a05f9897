"""A workflow's end of the channel to the engine."""

import os
import socket
import threading

from runner.sdk import wire

CHUNK = 65536


class Diverted(Exception):
    """The engine is gone, or has no more use for this process."""


class Line:
    """This end of the channel. Any thread may send."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The path may be longer than the address of a socket can be.
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._socket.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
        finally:
            os.close(folder)
        self._lock = threading.Lock()
        self._rest = bytearray()
        self._unsent = bytearray()

    def send(self, message: wire.Message, soon: bool = True) -> None:
        """Send it; `soon`, or with what follows: the engine is woken once instead of twice."""
        data = wire.pack(message)
        with self._lock:
            self._unsent += data
            if soon or len(self._unsent) > CHUNK:
                self._flush()

    def flush(self) -> None:
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, bytearray()
        if unsent:
            self._socket.sendall(unsent)

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> wire.Message:
        """Raises `Diverted` at the end."""
        while True:
            message = wire.unpack(self._rest)
            if message is not None:
                return message
            data = self._socket.recv(CHUNK)
            if not data:
                raise Diverted("the engine is gone")
            self._rest += data
