"""The line between the worker and a job's agent: commands one way, output and answers the other."""

import array
import fcntl
import os
import select
import signal
import subprocess
import termios
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Protocol

from runner.errors import Unavailable

CHUNK = 65536
LONGEST_WAIT = 3600.0
SECONDS_TO_DIE = 10.0


class Heard(NamedTuple):
    """What came over a line: some of the steps' output, some of the agent's answers, and whether it ended."""

    output: bytes = b""
    answers: bytes = b""
    ended: bool = False


class Line(Protocol):
    """Errors: `BrokenPipeError` where the agent is gone."""

    def hold(self) -> None:
        """The agent has answered for the first time."""

    @property
    def namespace(self) -> int | None:
        """A pidfd of the agent, or of a process in its namespaces; None where it is not known."""

    def send(self, command: str) -> None: ...

    def receive(self, seconds: float) -> Heard:
        """Wait at most so long for something to come."""

    def drain(self) -> Iterator[bytes]:
        """What was printed up to now and not yet received."""

    def kill(self) -> None:
        """End every process of the job, from any thread; does not wait."""

    def close(self) -> None:
        """Kill, wait until all are dead, and let go of everything."""


Spawn = Callable[..., "subprocess.Popen[bytes]"]


class Pipes:
    """A line to an agent on this machine, through three pipes.

    `kill` ends the job's processes, given the process that was spawned. Where it is None that process
    is taken for the parent of a PID namespace's first process, which nothing inside outlives.
    `after` is called when all are dead.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        kill: Callable[[], None] | None = None,
        after: Callable[[], None] | None = None,
        passed: Collection[int] = (),
        spawn: Spawn = subprocess.Popen,
    ) -> None:
        theirs, self._commands = os.pipe()
        self._output, output = os.pipe()
        self._answers, answers = os.pipe()
        ours = (self._commands, self._output, self._answers)
        self._open = list(ours)
        try:
            self._process = spawn(
                argv,
                env=env,
                stdin=theirs,
                stdout=output,
                stderr=answers,
                pass_fds=passed,
                start_new_session=True,
            )
        except OSError as error:
            self._shut()
            raise Unavailable(f"cannot start {argv[0]}: {error}") from error
        finally:
            for fd in (theirs, output, answers):
                os.close(fd)
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN)
        self._poll.register(self._answers, select.POLLIN)
        self._kill = kill
        self._after = after
        self._first: int | None = None
        self._lock = Lock()

    def hold(self) -> None:
        # By then the spawned process has become, or made, the namespace's first one.
        if self._kill is not None:
            return
        pid = self._process.pid
        with suppress(OSError, ValueError, IndexError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            self._first = os.pidfd_open(int(children.split()[0]))
            self._open.append(self._first)

    @property
    def namespace(self) -> int | None:
        return self._first

    def send(self, command: str) -> None:
        os.write(self._commands, f"{command}\n".encode())

    def receive(self, seconds: float) -> Heard:
        output = answers = b""
        ended = False
        for fd, _ in self._poll.poll(min(seconds, LONGEST_WAIT) * 1000 + 0.5):
            data = os.read(fd, CHUNK)
            if fd == self._output:
                output = data
            else:
                answers, ended = data, not data
            if not data:
                self._poll.unregister(fd)
        return Heard(output, answers, ended)

    def drain(self) -> Iterator[bytes]:
        # A service that an earlier step left may print for ever, so this never waits for an end.
        waiting = array.array("i", [0])
        fcntl.ioctl(self._output, termios.FIONREAD, waiting)
        while waiting[0] > 0:
            printed = os.read(self._output, min(waiting[0], CHUNK))
            waiting[0] -= len(printed)
            yield printed

    def kill(self) -> None:
        with self._lock:
            if not self._open:
                return
            if self._kill is not None:
                self._kill()
            elif self._first is not None:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._first, signal.SIGKILL)
            elif self._process.poll() is None:
                self._kill_newborn()

    def _kill_newborn(self) -> None:
        """Kill what may be in the middle of making a namespace.

        The namespace's first process waits for the one that made it, and would do so for ever; it dies with
        it only later. Until it goes its own way it is in the same group.
        """
        pid = self._process.pid
        os.kill(pid, signal.SIGSTOP)
        with suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for child in map(int, children):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        os.killpg(pid, signal.SIGKILL)

    def close(self) -> None:
        self.kill()
        try:
            # Popen's own wait with a timeout looks now and then.
            if self._process.poll() is None and not _ends(self._process.pid, SECONDS_TO_DIE):
                raise Unavailable(f"the job's processes under {self._process.pid} do not die")
            self._process.wait()
        finally:
            with self._lock:
                self._shut()
            if self._after is not None:
                self._after()

    def _shut(self) -> None:
        while self._open:
            os.close(self._open.pop())


def _ends(pid: int, within: float) -> bool:
    """Whether a child of ours ends in so many seconds."""
    process = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        return bool(poll.poll(within * 1000))
    finally:
        os.close(process)
