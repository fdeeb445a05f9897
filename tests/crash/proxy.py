"""A network between a process and its server that can fail: stall, be cut, or lose what one side sends."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum


class Weather(Enum):
    FAIR = "everything comes through"
    STALLED = "connections stand, new ones too, and nothing comes through"
    HALF_OPEN = "what the process says comes through, and no answer"
    CUT = "connections end, and new ones at once"


class Proxy:
    """Listens on a port of its own and hands everything on to `target`, as the weather lets it."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._weather = Weather.FAIR
        self._carried = 0
        self._toll: tuple[int, Callable[[], None]] | None = None
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        self._begin(self._accept)

    def becomes(self, weather: Weather) -> None:
        with self._changed:
            self._weather = weather
            self._changed.notify_all()
        if weather is Weather.CUT:
            self.cut()

    def cut(self) -> None:
        """End the connections that there are, and lose what is on its way."""
        with self._changed:
            there = list(self._open)
        for one in there:
            _end(one)

    def after(self, carried: int, act: Callable[[], None]) -> None:
        """Once so many more bytes have come through, both ways taken together, act before the next do."""
        with self._changed:
            self._toll = (self._carried + carried, act)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            there = list(self._open)
        for one in (self._listener, *there):
            _end(one)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _begin(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, name="proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            if self._weather is Weather.CUT:
                _end(ours)
                ours.close()
                continue
            try:
                theirs = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                _end(ours)
                ours.close()
                continue
            with self._changed:
                self._open |= {ours, theirs}
            left = [2]
            self._begin(self._pump, ours, theirs, left, False)
            self._begin(self._pump, theirs, ours, left, True)

    def _pump(self, source: socket.socket, sink: socket.socket, left: list[int], answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or not self._holds_back(answers))
                    if self._closed:
                        break
                    self._carried += len(data)
                    due = self._toll if self._toll and self._carried > self._toll[0] else None
                    self._toll = None if due else self._toll
                if due:
                    due[1]()
                sink.sendall(data)
        # Whoever reads the other way wakes up and ends too.
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._changed:
            left[0] -= 1
            last = left[0] == 0
            self._open -= {source, sink} if last else set()
        if last:
            source.close()
            sink.close()

    def _holds_back(self, answers: bool) -> bool:
        return self._weather is Weather.STALLED or (answers and self._weather is Weather.HALF_OPEN)


def _end(one: socket.socket) -> None:
    """Wake up whoever waits for it in a thread, which closes it."""
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    made = Proxy(target)
    try:
        yield made
    finally:
        made.close()
