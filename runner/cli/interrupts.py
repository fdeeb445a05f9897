"""Being told to stop: once to end in order, twice to end at once."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click


class Interrupts:
    """Ctrl-C, SIGTERM and SIGHUP: the first ends runs in order, the second at once.

    Not in the midst of something: what was interrupted there may hold what a job has to have to come to its
    end. Only a third one does that, where whatever goes on there does not end.
    """

    def __init__(self) -> None:
        self.status = 0
        self._running = False
        self._wanted = False
        self._insisted = False
        self._tidying = False

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        first, self.status = not self.status, 128 + number
        if self._tidying:
            return
        if self._running and not self._insisted:
            self._wanted, self._insisted = first, not first
            return
        self.tidy()
        raise KeyboardInterrupt

    @contextmanager
    def during(self) -> Iterator[None]:
        """Inside the block there are runs that can be ended in order."""
        self._running = True
        try:
            yield
        finally:
            self._running = False

    def tidy(self) -> None:
        """From now on it is only tidied up: however impatient somebody is, that must be done."""
        self._tidying = True

    def carry_out(self, cancel: Callable[[], None]) -> None:
        """What was asked for since the last time. Raises `KeyboardInterrupt`."""
        if self._wanted:
            self._wanted = False
            click.echo("runner: cancelling; once more ends it at once", err=True)
            cancel()
        if self._insisted:
            self.tidy()
            raise KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    made = Interrupts()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before: dict[int, Any] = {number: signal.signal(number, made) for number in numbers}
    try:
        yield made
    except KeyboardInterrupt:
        sys.exit(made.status or 130)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def told_to_end() -> Iterator[Callable[[], int]]:
    """SIGTERM and Ctrl-C end nothing in the block; gives what waits for one, and answers the status it means.

    After the first one they do again, so that an end which takes too long can be cut short.
    """
    # The kernel may give a signal to any thread. Of another one Python tells its main thread when that next
    # runs, and one that waits for a lock does not: it is woken by what the signal itself writes.
    # https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    before: dict[int, Any] = {one: signal.signal(one, _nothing) for one in (signal.SIGINT, signal.SIGTERM)}
    earlier = signal.set_wakeup_fd(tell)

    def restore() -> None:
        for one, handler in before.items():
            signal.signal(one, handler)

    def wait() -> int:
        (number,) = os.read(told, 1)
        restore()
        return 130 if number == signal.SIGINT else 0

    try:
        yield wait
    finally:
        restore()
        signal.set_wakeup_fd(earlier)
        os.close(told)
        os.close(tell)


def _nothing(number: int, frame: FrameType | None) -> None:
    """What is told is told by the number that the signal writes."""
