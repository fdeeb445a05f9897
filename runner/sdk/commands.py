"""A command of a step: its process, what that prints, and how it is brought down."""

import os
import selectors
import signal
import subprocess
from contextlib import suppress
from typing import Callable

from runner.sdk.line import CHUNK

LADDERS = {
    "timeout": ((signal.SIGTERM, 2.0),),
    "cancel": ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5)),
}
"""Signals to a command's processes, each with the seconds that these have to end by it; then comes KILL."""
MARKS = ("RUNNER_TEMP", "RUNNER_STEP")
MOST_SWEEPS = 20
MOST_LEFT = 1024 * 1024
"""Bytes that a pipe can hold."""

Out = Callable[[bytes], None]


def follow(process: "subprocess.Popen[bytes]", out: Out) -> None:
    """Hand on what it prints until it ends: what it left in the background may keep the pipe open."""
    assert process.stdout is not None
    with process.stdout as stdout, selectors.DefaultSelector() as ready:
        pipe = stdout.fileno()
        ready.register(pipe, selectors.EVENT_READ)
        ended = _end_of(process)
        if ended >= 0:
            ready.register(ended, selectors.EVENT_READ)
        try:
            while ended not in (events := [key.fd for key, _ in ready.select(None if ended >= 0 else 0.05)]):
                data = os.read(pipe, CHUNK) if pipe in events else b"."
                if not data or (not events and process.poll() is not None):
                    break
                if events:
                    out(data)
            process.wait()
        finally:
            if ended >= 0:
                os.close(ended)
        _rest(pipe, out)


def _rest(pipe: int, out: Out) -> None:
    """What is in the pipe by now, and no more: others may go on to write into it."""
    os.set_blocking(pipe, False)
    for _ in range(MOST_LEFT // CHUNK):
        try:
            data = os.read(pipe, CHUNK)
        except BlockingIOError:
            return
        if not data:
            return
        out(data)


def _end_of(process: "subprocess.Popen[bytes]") -> int:
    """A file that can be read when it has ended; -1 where the kernel has none."""
    try:
        return os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        return -1


def bring_down(process: "subprocess.Popen[bytes]", marks: "frozenset[bytes]", why: str) -> None:
    """End it and what it began. `marks`: variables that only its processes have, also out of its group."""
    for number, patience in LADDERS.get(why, LADDERS["cancel"]):
        if not _signal(process, number):
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        break
    _signal(process, signal.SIGKILL)
    _kill_marked(marks)


def _signal(process: "subprocess.Popen[bytes]", number: int) -> bool:
    """Tell the process and all that share its group; False where none is left."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def _kill_marked(marks: "frozenset[bytes]") -> None:
    """Kill all processes that have these variables, and those that they begin meanwhile."""
    for _ in range(MOST_SWEEPS):
        found = [int(name) for name in os.listdir("/proc") if name.isdecimal() and _is_marked(name, marks)]
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def _is_marked(pid: str, marks: "frozenset[bytes]") -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return marks <= {*file.read().split(b"\0")}
    except OSError:
        # It is another user's, or has ended since.
        return False
