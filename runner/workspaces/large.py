"""The contents of files that are in Git LFS, kept beside a repository's mirror for whoever may read that.

Whoever knows the digest of a content could ask for it by a pointer of their own: so contents belong to one
mirror, as commits do, and never to the machine. What has its name was read whole, had its size and its
SHA-256, and is never written again: a checkout has a copy, which shares its blocks where the file system can.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from runner.engine.ports import Large
from runner.errors import Unavailable
from runner.workspaces.holding import Held, alone
from runner.workspaces.layers import write_all

PATIENCE_SECONDS = 3600.0
"""For somebody else who fetches: contents may be many gigabytes."""
_ASIDE = ".aside-"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class WrongContent(Unavailable):
    """What was sent is not what was asked for."""


class Shelf:
    """The contents that are kept in one folder. Any number of threads and processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, one: Large) -> Path:
        return self._folder / one.id[:2] / one.id[2:4] / one.id

    def take(self, one: Large) -> bool:
        """Whether it is here; from now on it counts as used."""
        path = self.place(one)
        try:
            if path.lstat().st_size != one.size:
                path.unlink()
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def lacks(self, wanted: Iterable[Large]) -> set[Large]:
        return {one for one in set(wanted) if not self.take(one)}

    def put(self, one: Large, chunks: Iterable[bytes]) -> None:
        """Keep a content that comes in pieces. Raises `WrongContent`, and then keeps nothing."""
        path = self.place(one)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = self._folder / f"{_ASIDE}{token_hex(8)}"
        descriptor = os.open(aside, _NEW_FILE, 0o600)
        try:
            found, size = hashlib.sha256(), 0
            for chunk in chunks:
                size += len(chunk)
                if size > one.size:
                    raise WrongContent(f"more than the {one.size} bytes of it were sent")
                found.update(chunk)
                write_all(descriptor, chunk)
            if size != one.size:
                raise WrongContent(f"{size} bytes were sent instead of {one.size}")
            if found.hexdigest() != one.id:
                raise WrongContent("what was sent has another SHA-256")
            os.fsync(descriptor)
            aside.rename(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    @contextmanager
    def filling(self, check: Callable[[], None]) -> Iterator[None]:
        """Be the only one who fetches contents. `check` is called while another does, to end it.

        Raises `Unavailable` where that one is stopped, or takes longer than anything should.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ExitStack() as held:
            try:
                held.enter_context(alone(self._folder / ".lock", PATIENCE_SECONDS, check))
            except Held as error:
                raise Unavailable(f"contents of LFS cannot be fetched: {error}") from None
            for left in self._folder.glob(f"{_ASIDE}*"):
                # Of one who was killed.
                left.unlink(missing_ok=True)
            yield

    def kept(self) -> Iterator[tuple[float, int, Path]]:
        """When each was used last, the space that it takes, and where it is."""
        for path in self._folder.glob("??/??/*"):
            with suppress(FileNotFoundError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield status.st_mtime, status.st_blocks * 512, path
