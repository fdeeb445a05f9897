"""The home folder of a server: one process at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.errors import Unavailable
from runner.wiring import making


class HomeInUse(Unavailable):
    """Another process serves from this home folder."""


@contextmanager
def owned(home: Path) -> Iterator[None]:
    """Be the only server of a home folder; the lock goes with the process, however it ends."""
    with making(home):
        home.mkdir(mode=0o711, parents=True, exist_ok=True)
        opened = os.open(home / "server.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    with os.fdopen(opened, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = file.read().strip() or "unknown"
            raise HomeInUse(
                f"home is in use by pid {owner} ({home}); stop that server, or give another --home"
            ) from None
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
