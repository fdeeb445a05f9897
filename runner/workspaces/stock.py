"""What is the same for many jobs, unpacked once for this machine and never written again: a layer for each.

    stock/<key>/files        as a job's folder would have them
    stock/<key>/about.json   their size and digest; a snapshot that needs them has another name of this
    stock/<key>/settled      there once all of it is on the disk

Each is made aside and renamed, so what has its name is whole; of two who make the same the first counts. It
is a cache for as long as no snapshot needs it: what is damaged or gone is made again by who asks next.
"""

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import time

from runner.engine.ports import Folder
from runner.errors import BrokenDefinition
from runner.workspaces.fitting import Spare
from runner.workspaces.holding import begin, hold
from runner.workspaces.looking import entries, measure
from runner.workspaces.notes import read, write
from runner.workspaces.reach import Held
from runner.workspaces.removal import Trash
from runner.workspaces.syncing import Syncing, boot

_ABOUT, _SETTLED = "about.json", "settled"
_FORMAT = 1
_USED_SECONDS = 60
"""How exactly it is known when something was used last."""
_MAKING, _DAMAGED = ".making-", ".damaged-"


@dataclass(frozen=True, slots=True)
class _About:
    """`count` is what `fill` gave."""

    count: int
    passed: list[str]
    size: int
    digest: str
    boot: str


@dataclass(frozen=True, slots=True)
class Stocked:
    """Files to lie on others. Until it is closed nobody removes them.

    `passed` are folders of which nothing is said but what is in them: where one is there, it stays as it is.
    """

    key: str
    path: Path
    count: int
    passed: frozenset[str]
    held: int

    @property
    def files(self) -> Path:
        return self.path / "files"

    def name(self, path: Path) -> None:
        """Have it kept for as long as there is that path."""
        os.link(self.path / _ABOUT, path)

    def close(self) -> None:
        os.close(self.held)


class Stock:
    """All that this machine has of it."""

    def __init__(self, folder: Path, trash: Trash, syncing: Syncing | None) -> None:
        self._folder = folder
        self._trash = trash
        self._syncing = syncing
        self._good: set[str] = set()

    def take(
        self, content: str, owner: tuple[int, int] | None, fill: Callable[[Folder], int]
    ) -> Stocked | None:
        """What `content` stands for, put by `fill` into an empty folder where it is not here yet.

        `owner` is whose it is. None where it cannot be made by itself, without what it is to lie on.
        """
        key = hashlib.sha256(repr((_FORMAT, content, owner)).encode()).hexdigest()[:40]
        return self._found(key) or self._made(key, owner, fill)

    def files(self, key: str) -> Path | None:
        """The folder of what a snapshot needs; None where it is damaged or gone."""
        path = self._folder / key
        return path / "files" if self._is_good(key, path) else None

    def clean(self) -> None:
        """Remove what was never finished."""
        for prefix in (_MAKING, _DAMAGED):
            for left in self._folder.glob(f"{prefix}*"):
                self._remove(left)

    def spares(self) -> Iterator[Spare]:
        """All of it, to be removed where no snapshot and nobody else needs it."""
        for path in self._folder.glob("[!.]*"):
            if (about := _about(path)) is not None:
                yield Spare(_used(path), about.size, partial(self._remove, path))

    def _found(self, key: str) -> Stocked | None:
        path = self._folder / key
        held = hold(path)
        if held is None:
            return None
        about = _about(path)
        if about is None or not self._is_good(key, path):
            os.close(held)
            # Whoever uses it goes on with what there still is of it.
            with suppress(FileNotFoundError):
                path.rename(self._folder / f"{_DAMAGED}{secrets.token_hex(8)}")
            self._good.discard(key)
            return None
        if time() - _used(path) > _USED_SECONDS:
            os.utime(held)
        return Stocked(key, path, about.count, frozenset(about.passed), held)

    def _is_good(self, key: str, path: Path) -> bool:
        """Whether it is as it was made; looked at closely once in the life of a process."""
        if key in self._good:
            return (path / "files").is_dir()
        about = _about(path)
        there = about is not None and (about.boot == boot() or (path / _SETTLED).exists())
        if about is None or not there or measure(path / "files")[1] != about.digest:
            return False
        self._good.add(key)
        return True

    def _made(self, key: str, owner: tuple[int, int] | None, fill: Callable[[Folder], int]) -> Stocked | None:
        aside, held = begin(self._folder, _MAKING)
        try:
            files = aside / "files"
            files.mkdir(mode=0o755)
            with ExitStack() as opened:
                noting = _Noting(files, owner, opened)
                count = fill(noting)
            passed = [
                path
                for path, status, _ in entries(files)
                if stat.S_ISDIR(status.st_mode) and path not in noting.said
            ]
            size, digest = measure(files)
            write(aside / _ABOUT, asdict(_About(count, passed, size, digest, boot())))
            path = self._folder / key
            aside.rename(path)
        except BaseException as error:
            self._trash.remove(aside)
            os.close(held)
            if isinstance(error, BrokenDefinition):
                return None
            if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return self._found(key)
            raise
        self._good.add(key)
        if self._syncing is not None:
            self._syncing.then(lambda: _say_settled(path))
        return Stocked(key, path, count, frozenset(passed), held)

    def _remove(self, path: Path) -> bool:
        """Remove it, unless somebody holds it, or gave it one more name before they let go of it."""
        held = hold(path, alone=True)
        if held is None:
            return False
        try:
            with suppress(FileNotFoundError):
                if (path / _ABOUT).stat().st_nlink > 1:
                    return False
            self._trash.remove(path)
        finally:
            os.close(held)
        self._good.discard(path.name)
        return True


class _Noting(Held):
    """Notes of which folders it was said what they are to be like."""

    def __init__(self, root: Path, owner: tuple[int, int] | None, opened: ExitStack) -> None:
        super().__init__(root, owner, opened)
        self.said: set[str] = set()

    def settle(self, path: str, mode: int, mtime_ns: int) -> None:
        super().settle(path, mode, mtime_ns)
        self.said.add(path)


def _about(path: Path) -> _About | None:
    with suppress(TypeError):
        return _About(**read(path / _ABOUT))
    return None


def _used(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0


def _say_settled(path: Path) -> None:
    with suppress(FileNotFoundError):
        (path / _SETTLED).touch()
