"""Processes of ours that begin with every module loaded, which costs a second of a core otherwise.

A nursery, one to each process of pytest that needs it, imports what they need and then forks each of them.
They are processes like any other: they have a pid, an environment and an end of their own. The nursery has
no threads, so what it forks is as good as new.
"""

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from tempfile import TemporaryFile
from typing import Any, Self, TextIO

MODULES = (
    "tests.crash.victim",
    "runner.cli.main",
    "runner.store.migrating",
    "runner.workspaces",
    "runner.executors.host",
    "runner.executors.bubblewrap",
    "runner.executors.docker",
    "alembic.command",
    "celery.concurrency.thread",
    "celery.worker.consumer",
    "kombu.transport.memory",
    "kombu.transport.redis",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
)
COMMAND = "runner.cli.main:main"
MOST_BYTES = 128 * 1024
"""What a request may have; a packet of the kernel's can have more."""


class Forked:
    """One process, as `subprocess.Popen` has it; `stdout` is what it prints."""

    def __init__(self, pid: int, held: int, status: int, stdout: TextIO) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._held = held
        self._status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        with selectors.PollSelector() as ended:
            ended.register(self._status, selectors.EVENT_READ)
            if self.returncode is None and not ended.select(timeout):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        with self._lock:
            if self.returncode is None:
                self.returncode = int(os.read(self._status, 16))
            return self.returncode

    def send_signal(self, number: int) -> None:
        with self._lock:
            if self.returncode is None:
                # It may have ended, and nobody have asked yet.
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._held, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill it, and let go of it."""
        self.kill()
        self.wait()
        self.stdout.close()
        os.close(self._status)
        os.close(self._held)


def forked(
    main: str,
    args: Sequence[str],
    env: Mapping[str, str],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int,
    cwd: Path | None = None,
) -> Forked:
    """Call what `main` names, as `module:function`, in a process of its own.

    Its arguments are the program's. It is given files by their numbers, and its output has a pipe unless
    `stdout` is one.
    """
    request = json.dumps([main, list(args), dict(env), str(cwd or Path.cwd())]).encode()
    status, status_end = os.pipe()
    out, out_end = os.pipe()
    with Path(os.devnull).open() as nothing:
        given = nothing.fileno() if stdin == subprocess.DEVNULL else stdin
        shown = out_end if stdout == subprocess.PIPE else stdout
        try:
            with _asking:
                nursery = _nursery()
                socket.send_fds(nursery, [request], [given, shown, stderr, status_end])
                answer, (held,), _, _ = socket.recv_fds(nursery, MOST_BYTES, 1)
        finally:
            os.close(status_end)
            os.close(out_end)
    return Forked(int(answer), held, status, os.fdopen(out))


def command(
    *args: str, env: Mapping[str, str] = os.environ, said: str = "", cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """`runner` with these arguments, as a process of its own, `said` on its standard input."""
    with TemporaryFile("w+") as given, TemporaryFile("w+") as out, TemporaryFile("w+") as error:
        given.write(said)
        given.seek(0)
        process = forked(
            COMMAND,
            args,
            env,
            stdin=given.fileno(),
            stdout=out.fileno(),
            stderr=error.fileno(),
            cwd=cwd,
        )
        with process:
            status = process.wait()
        out.seek(0)
        error.seek(0)
        return subprocess.CompletedProcess(args, status, out.read(), error.read())


_asking = threading.Lock()
_open: list[tuple[int, socket.socket]] = []


def _nursery() -> socket.socket:
    """This process's own: one that a fork of ours has begun is not."""
    if not _open or _open[0][0] != os.getpid():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        _open[:] = [(os.getpid(), ours)]
        atexit.register(_end, ours, process)
    return _open[0][1]


def _end(nursery: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    nursery.close()
    process.wait()


# --- the nursery itself ------------------------------------------------------------------------


def serve(requests: socket.socket) -> Callable[[], Any] | None:
    """Fork for each request. Returns in each child, with what it is to do, and at the end, with nothing."""
    children: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as events:
        events.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.fd in children:
                    pid, status = children.pop(key.fd)
                    events.unregister(key.fd)
                    os.close(key.fd)
                    _, code = os.waitpid(pid, 0)
                    os.write(status, str(os.waitstatus_to_exitcode(code)).encode())
                    os.close(status)
                    continue
                request, fds, _, _ = socket.recv_fds(requests, MOST_BYTES, 4)
                if not request:
                    for held in children:
                        signal.pidfd_send_signal(held, signal.SIGKILL)
                    return None
                *given, status = fds
                pid = os.fork()
                if pid == 0:
                    for number, fd in enumerate(given):
                        os.dup2(fd, number)
                    for fd in (*fds, *children, *(one for _, one in children.values())):
                        os.close(fd)
                    requests.close()
                    return partial(_become, *json.loads(request))
                held = os.pidfd_open(pid)
                children[held] = (pid, status)
                events.register(held, selectors.EVENT_READ)
                for fd in given:
                    os.close(fd)
                socket.send_fds(requests, [str(pid).encode()], [held])


def _become(main: str, args: list[str], env: dict[str, str], cwd: str) -> Any:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv[1:] = args
    return resolve_name(main)()


def _load() -> None:
    for name in MODULES:
        import_module(name)
    if threading.active_count() > 1:
        raise RuntimeError(f"a module starts threads: {threading.enumerate()}")
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _load()
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        work = serve(asked)
    if work is not None:
        sys.exit(work())
