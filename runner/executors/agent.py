"""A job's sandbox as the engine holds it: the worker's end of the conversation with `agent.sh`."""

import os
import secrets
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, RLock
from typing import NamedTuple

from runner.engine.ports import Command, Executor, Exit
from runner.engine.remove import remove
from runner.errors import RunnerError, Unavailable
from runner.executors.channel import SocketChannel
from runner.executors.launch import NOT_EXECUTABLE, Unlaunchable, launch
from runner.executors.line import Line
from runner.executors.place import LAUNCH, Place

SECONDS_TO_START = 30.0
Ladder = Sequence[tuple[str, float]]
"""Signals, one after the other, each with the seconds that a step has to end by it; then comes KILL."""

TIME_IS_UP: Ladder = (("TERM", 2.0),)
CANCELLED: Ladder = (("INT", 7.5), ("TERM", 2.5))
"""https://docs.github.com/actions/reference/workflows-and-actions/workflow-cancellation"""

SECONDS_TO_DIE = 5.0
LAST = ("STOP", "KILL")
"""A process that forks faster than it is killed must be stopped first."""
NAP = 0.05
PULSE = 5.0
"""Seconds after which a silent agent is tried: one that is dead cannot say so."""

KILLED = 137
INTERRUPTED = 130
LONGEST_ANSWER = 65536


class Answer(NamedTuple):
    """One line from the agent: `ready` PID, `end` EXIT CODE or `found` PROCESSES."""

    kind: str
    number: int


class AgentSandbox:
    """A sandbox whose agent is at the other end of a line.

    An error that `log` raises ends the sandbox: the step it comes from can no longer be followed.
    """

    def __init__(self, line: Line, place: Place, container: str = "") -> None:
        """The agent starts while the caller prepares the first step, which waits until it is ready."""
        self.workspace = place.workspace
        self.temp = place.temp
        self.host_temp = place.host_temp
        self.path = place.path
        self.home = place.home
        self.owner = place.owner
        self.container = container
        self._line = line
        self._heard: deque[Answer] = deque()
        self._rest = b""
        self._interrupted = False
        self._stopped = False
        self._closed = False
        self._state = Lock()
        # Held while a step runs, so that `close` does not take the line away from under it.
        self._running = RLock()
        self._name = secrets.token_hex(4)
        self._size = 0
        self._greeted = False
        self._failure: Unavailable | None = None
        try:
            self._file = self._launch_file()
        except BaseException:
            self._line.close()
            raise

    @property
    def namespace(self) -> int | None:
        # Where somebody is about to run something, that is as good as having waited.
        if not self._greeted and self._running.acquire(blocking=False):
            try:
                # Whoever runs something is told.
                with suppress(Unavailable):
                    self.ready()
            finally:
                self._running.release()
        return self._line.namespace

    def ready(self) -> None:
        """Wait until the agent is. Raises `Unavailable` with what it said instead of being ready."""
        with self._running:
            if self._failure is not None:
                raise self._failure
            if self._greeted or self._stopped:
                return
            try:
                self._greet()
            except BaseException as error:
                self._failure = error if isinstance(error, Unavailable) else None
                self.stop()
                raise

    def _greet(self) -> None:
        said = b""
        until = time.monotonic() + SECONDS_TO_START
        while (left := until - time.monotonic()) > 0:
            heard = self._line.receive(left)
            said += heard.answers
            self._parse(heard.answers)
            if self._heard:
                self._line.hold()
                self._send(f"worker {self._heard.popleft().number}")
                self._greeted = True
                return
            if heard.ended:
                break
        if self._stopped:
            return
        why = said.decode(errors="replace").strip() or "its agent said nothing"
        raise Unavailable(f"the sandbox did not start: {why}")

    def run(self, command: Command, log: Callable[[bytes], None]) -> Exit:
        """Run to the end, handing output on as it comes, stdout and stderr in one stream."""
        with self._running:
            self.ready()
            if self._stopped:
                return Exit(KILLED, "stop")
            if self._interrupted and command.cancellable:
                return Exit(INTERRUPTED, "cancel")
            try:
                script = launch(command)
            except Unlaunchable as problem:
                log(f"runner: {problem}\n".encode())
                return Exit(NOT_EXECUTABLE)
            try:
                self._write(script)
                return self._follow(command, log)
            except (_Ended, BrokenPipeError, ConnectionResetError):
                if self._stopped:
                    return Exit(KILLED, "stop")
                raise Unavailable("the sandbox ended under the step; something killed its agent") from None
            except BaseException:
                self.stop()
                raise

    def talk(self, command: Command, log: Callable[[bytes], None]) -> SocketChannel:
        """Run a program to talk with, on a thread of its own, in which `log` is called too."""
        return SocketChannel(self.host_temp, self.temp, self.owner, self.run, command, log)

    def interrupt(self) -> None:
        """End the running command as GitHub does, and at once every later one that may be cancelled."""
        with self._state:
            self._interrupted = True
            if self._greeted and not self._stopped:
                # Whoever follows the command is woken by the answer.
                with suppress(BrokenPipeError, ConnectionResetError):
                    self._send("signal 0")

    def stop(self) -> None:
        """End the sandbox with all that runs in it; every later `run` answers at once that it was stopped."""
        with self._state:
            self._stopped = True
            # Also where it was stopped before: the kill may have failed.
            if not self._closed:
                self._line.kill()

    def close(self) -> None:
        """End every process of the job, also those that called setsid, and remove `temp`."""
        self.stop()
        with self._running:
            if not self._closed:
                self._closed = True
                os.close(self._file)
                try:
                    self._line.close()
                finally:
                    remove(self.host_temp)

    def _launch_file(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self.host_temp / f"{LAUNCH}{self._name}", flags, 0o600)
        except OSError as error:
            raise Unavailable(f"cannot write to {self.host_temp}: {error}") from error
        if self.owner:
            os.fchown(fd, *self.owner)
        return fd

    def _write(self, script: bytes) -> None:
        """Make it what the agent reads next.

        One file for all steps, as making one costs more than starting a short step. It is written by its
        descriptor: a step that puts something else in its place gets at nothing but its own job.
        """
        try:
            written = 0
            while written < len(script):
                written += os.pwrite(self._file, script[written:], written)
            # A shorter file is rare between steps of one job, and cutting one is slow.
            if written < self._size:
                os.ftruncate(self._file, written)
            self._size = written
        except OSError as error:
            raise Unavailable(f"cannot write the step's command to {self.host_temp}: {error}") from error

    def _follow(self, command: Command, log: Callable[[bytes], None]) -> Exit:
        self._heard.clear()
        self._send(f"run {self._name}")
        until = time.monotonic() + command.timeout
        while (left := until - time.monotonic()) > 0:
            heard = self._hear(log, min(left, PULSE))
            while self._heard:
                answer = self._heard.popleft()
                if answer.kind == "end":
                    self._drain(log)
                    return Exit(answer.number)
            if self._interrupted and command.cancellable:
                return self._cut_short(log, CANCELLED, "cancel")
            if not heard:
                self._send("")
        return self._cut_short(log, TIME_IS_UP, "timeout")

    def _cut_short(self, log: Callable[[bytes], None], ladder: Ladder, why: str) -> Exit:
        """Signal the step's processes until it has ended and none of them is left."""
        code: int | None = None
        for signals, seconds in [*(((name,), wait) for name, wait in ladder), (LAST, SECONDS_TO_DIE)]:
            until = time.monotonic() + seconds
            sent = signals
            while time.monotonic() < until:
                left: int | None = None
                for signal in sent:
                    self._send(f"signal {signal}")
                    left, code = self._tally(log, code, until + SECONDS_TO_DIE)
                if left == 0 and code is not None:
                    self._drain(log)
                    return Exit(code, why)
                if signals is not LAST:
                    self._hear(log, NAP)
                    # One that is about to start has not heard the signal.
                    sent = ("0",) if left else signals
        self._line.kill()
        return Exit(KILLED, why)

    def _tally(
        self, log: Callable[[bytes], None], code: int | None, until: float
    ) -> tuple[int | None, int | None]:
        """How many processes the agent found, and the exit code if the step has ended by then."""
        while (left := until - time.monotonic()) > 0:
            while self._heard:
                answer = self._heard.popleft()
                if answer.kind == "found":
                    return answer.number, code
                code = answer.number
            self._hear(log, left)
        return None, code

    def _send(self, command: str) -> None:
        self._line.send(command)

    def _hear(self, log: Callable[[bytes], None], seconds: float) -> bool:
        """Whether there was anything to hear within so many seconds."""
        heard = self._line.receive(seconds)
        if heard.output:
            log(heard.output)
        self._parse(heard.answers)
        if heard.ended and not self._heard:
            self._drain(log)
            raise _Ended
        return bool(heard.output or heard.answers)

    def _drain(self, log: Callable[[bytes], None]) -> None:
        for printed in self._line.drain():
            if printed:
                log(printed)

    def _parse(self, data: bytes) -> None:
        # Steps may run as the agent's user and can then write here too: nonsense is passed over.
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-LONGEST_ANSWER:]
        for line in lines:
            kind, _, number = line.decode(errors="replace").partition(" ")
            if (
                kind in ("ready", "end", "found")
                and number.isascii()
                and number.isdigit()
                and len(number) < 10
            ):
                self._heard.append(Answer(kind, int(number)))


class _Ended(Exception):
    """The agent is gone."""


def probe(executor: Executor) -> str | None:
    """Why `true` cannot be run by an executor, or None where it can."""
    base = Path(tempfile.mkdtemp(prefix="runner-check-"))
    try:
        base.chmod(0o755)
        (base / "workspace").mkdir()
        (base / "temp").mkdir()
        sandbox = executor.open(base / "workspace", base / "temp", f"check-{secrets.token_hex(4)}", None)
        try:
            said: list[bytes] = []
            command = Command(("true",), {"PATH": sandbox.path}, sandbox.workspace, 30)
            exit = sandbox.run(command, said.append)
        finally:
            sandbox.close()
    except RunnerError as error:
        return str(error)
    finally:
        remove(base)
    return None if exit.code == 0 else b"".join(said).decode(errors="replace").strip()
