"""What docker tells of work that takes long, such as a pull or a build: it can be cut off at any moment."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from docker import APIClient
from requests import Response

Piece = Mapping[str, Any]


class Stream:
    """Owns `client`. Docker ends the work when the connection ends over which it was asked for."""

    def __init__(self, client: APIClient, ask: Callable[[APIClient], Iterator[Piece]]) -> None:
        self._client = client
        self._ask = ask
        self._said: SimpleQueue[Piece | Exception | None] = SimpleQueue()
        self._response: Response | None = None
        self.early = False
        self._lock = Lock()
        client.hooks["response"].append(self._keep)
        self._thread = Thread(target=self._read, name="docker-stream", daemon=True)
        self._thread.start()

    def pieces(self, until: float) -> Iterator[Piece]:
        """What is said, up to the end or until `until`, a reading of `time.monotonic()`.

        Raises what went wrong. `early` says afterwards whether it was cut off.
        """
        while True:
            try:
                piece = self._said.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                self.cut()
                return
            if piece is None or self.early:
                return
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def cut(self) -> None:
        """End it, from any thread."""
        with self._lock:
            self.early = True
            response = self._response
        self._said.put(None)
        if response is not None:
            _shut(response)

    def close(self) -> None:
        """Let go of a stream that has ended, or was cut off."""
        self._thread.join()
        self._client.close()

    def _keep(self, response: Response, *_: object, **__: object) -> None:
        with self._lock:
            self._response = response
            late = self.early
        if late:
            _shut(response)

    def _read(self) -> None:
        try:
            for piece in self._ask(self._client):
                self._said.put(piece)
            self._said.put(None)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._said.put(error)
        finally:
            if self._response is not None:
                self._response.close()


def _shut(response: Response) -> None:
    # It may have ended by itself.
    with suppress(OSError, ValueError):
        response.raw.shutdown()
