"""Holding a folder or a lock against other processes: the hold ends with the process, by `kill -9` too."""

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runner.workspaces.layers import nothing

STOPPED_SECONDS = 10.0
"""How long is waited for somebody who is stopped, as by SIGSTOP, and may never go on."""
_SHORTEST, _LONGEST = 0.001, 0.05
"""Seconds between two looks at a lock that is another's."""


class Held(Exception):
    """A lock stays another's; the message says whose, and since when."""


@contextmanager
def alone(lock: Path, patience: float, check: Callable[[], None] = nothing) -> Iterator[None]:
    """Hold a lock, which is a file of its own, against all threads and processes.

    `check` is called while it is another's, and ends the waiting by raising. Raises `Held` once it has been
    another's for `patience` seconds, or for a few while that one is stopped. Who holds it may remove it.
    """
    begun, pause = time.monotonic(), _SHORTEST
    while (descriptor := _taken(lock)) is None:
        check()
        waited = time.monotonic() - begun
        if waited > min(patience, STOPPED_SECONDS):
            pid, stopped = _holder(lock)
            who = f"process {pid}" if pid else "another process"
            if stopped:
                raise Held(f"{who} holds it, and is stopped")
            if waited > patience:
                raise Held(f"{who} has held it for {waited:.0f} seconds")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST)
    try:
        yield
    finally:
        os.close(descriptor)


def _taken(lock: Path) -> int | None:
    """A descriptor whose life is the hold; None where it is another's just now."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return _locked(descriptor, lock, fcntl.LOCK_EX)


def _locked(descriptor: int, path: Path, how: int) -> int | None:
    """The descriptor, locked; None, and it is closed, where another holds it or has taken `path` away."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == path.lstat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _holder(lock: Path) -> tuple[int | None, bool]:
    """Who holds a lock, as far as can be seen from here, and whether that one is stopped."""
    with suppress(OSError, ValueError, IndexError):
        inode = str(lock.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].split(":")[2] == inode and int(fields[4]) > 0:
                pid = int(fields[4])
                said = Path(f"/proc/{pid}/stat").read_text()
                return pid, said[said.rindex(")") + 2] in "Tt"
    return None, False


def begin(folder: Path, prefix: str = "") -> tuple[Path, int]:
    """A new folder of nobody else's in `folder`, whose name begins so, and the hold on it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    while True:
        path = folder / f"{prefix}{secrets.token_hex(8)}"
        path.mkdir(mode=0o700)
        # Another process may be about to take away what nobody holds.
        if (held := hold(path)) is not None:
            return path, held


def hold(folder: Path, alone: bool = False) -> int | None:
    """A descriptor whose life is the hold; None where the folder is not there.

    `alone`: only where nobody else holds it, else None.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    return _locked(descriptor, folder, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
