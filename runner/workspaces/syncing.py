"""Getting to the disk, behind the jobs' backs, what they must not wait for."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from runner.workspaces.mounts import sync

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def boot() -> str:
    """Which start of this machine this is. What is not on the disk yet is lost with it."""
    return str(UUID(_BOOT.read_text().strip()))


class Syncing:
    """Has a file system written to the disk from time to time, and says so of what was there before.

    A process that dies before loses nothing: only a machine does.
    """

    def __init__(self, folder: Path, pause: float = 1.0) -> None:
        self._folder = folder
        self._pause = pause
        self._due: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def then(self, say: Callable[[], None]) -> None:
        """Call `say` once all that is written by now is on the disk; the disk may say no, then never."""
        with self._changed:
            if self._closed:
                return
            self._due.append(say)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="syncing", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Have done what is due, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                # Many that come close together are written at once.
                self._changed.wait_for(lambda: self._closed, self._pause)
                due, self._due = self._due, []
                if not due:
                    self._thread = None
                    return
            try:
                sync(self._folder)
            except OSError:
                continue
            for say in due:
                # What is not said can be said later, or is made again.
                with suppress(OSError):
                    say()
