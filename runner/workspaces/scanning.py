"""Looking at a folder that a step's background processes may change at the same moment.

Every folder is opened relative to its parent and never through a symlink, so nothing outside the
workspace is ever read. What vanishes or is replaced meanwhile counts as it was found.
"""

import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from runner.engine.remove import readable
from runner.errors import BrokenDefinition
from runner.workspaces.layers import SMALL_BYTES, digest
from runner.workspaces.trees import FOLDER_DEPTH, PATH_BYTES, TREE_ENTRIES

Mark = tuple[int, ...]
"""What tells two states of one path apart: type and mode, and for files and symlinks also size, both
times and the inode. The time of a folder says nothing that its entries do not say."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_REPLACED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EINVAL, errno.ESTALE)
_KIND = 0o170000
_KEPT = (stat.S_IFREG, stat.S_IFLNK)
_COARSE = 5  # CLOCK_REALTIME_COARSE, which time has no name for


class Unkeepable(BrokenDefinition):
    """The steps left files that no snapshot can hold."""


def file_clock() -> int:
    """The clock that file times are taken from, which moves in steps of 1 to 10 ms.

    A file whose time is before this can change no more without getting another one. A file whose time
    is not can: its mark alone does not prove that it is the same.
    """
    return time.clock_gettime_ns(_COARSE)


class Vanished(Exception):
    """What was here a moment ago is gone, or something else."""


def mark_of(status: os.stat_result) -> Mark:
    """The mark of a folder, a file or a symlink."""
    if stat.S_ISDIR(status.st_mode):
        return (status.st_mode,)
    return (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def is_settled(mark: Mark, clock: int) -> bool:
    """Can what it marks change no more without another mark, given the file clock before it was taken?"""
    return len(mark) == 1 or mark[3] < clock


def settled_status(descriptor: int) -> tuple[os.stat_result, bool]:
    """A file's status once it is settled, and False where something keeps on writing to it."""
    for _ in range(20):
        clock, status = file_clock(), os.fstat(descriptor)
        if status.st_ctime_ns < clock:
            return status, True
        time.sleep(0.001)
    return status, False


def scan(root: Path) -> dict[str, Mark]:
    """The marks of everything in a folder by path; empty where it is gone."""
    found: dict[str, Mark] = {}
    with suppress(FileNotFoundError, NotADirectoryError), opened_folder(str(root), None) as descriptor:
        _scan_into(found, descriptor, "", 0)
    return found


def _scan_into(found: dict[str, Mark], descriptor: int, prefix: str, depth: int) -> None:
    if depth > FOLDER_DEPTH:
        raise Unkeepable(f"the steps left folders more than {FOLDER_DEPTH} deep: {prefix[:100]!a}...")
    folders: list[tuple[str, Mark]] = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            kind = status.st_mode & _KIND
            if kind == stat.S_IFDIR:
                folders.append((entry.name, mark_of(status)))
            elif kind in _KEPT:
                found[prefix + entry.name] = mark_of(status)
    if len(found) > TREE_ENTRIES:
        raise Unkeepable(f"the steps left more than {TREE_ENTRIES} files and folders")
    if len(prefix) > PATH_BYTES // 4 and len(os.fsencode(prefix)) > PATH_BYTES - 256:
        raise Unkeepable(f"the steps left paths of more than {PATH_BYTES} bytes: {prefix[:100]!a}...")
    for name, mark in folders:
        # Swapped for something else since: the next look finds that.
        with suppress(FileNotFoundError, NotADirectoryError), opened_folder(name, descriptor) as child:
            found[prefix + name] = mark
            _scan_into(found, child, f"{prefix}{name}/", depth + 1)


@contextmanager
def opened_folder(name: str, parent: int | None) -> Iterator[int]:
    """A folder that is no symlink, also where its owner, who we are, took away their own right to it."""
    with ExitStack() as held:
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=parent)
        except PermissionError:
            held.enter_context(readable(name, parent))
            descriptor = os.open(name, _FOLDER, dir_fd=parent)
        held.callback(os.close, descriptor)
        if os.geteuid() and os.fstat(descriptor).st_mode & 0o500 != 0o500:
            held.enter_context(readable(name, parent))
        yield descriptor


@contextmanager
def _vanishing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _REPLACED:
            raise Vanished(path) from error
        raise


class Beneath:
    """Opens what is in a folder by its path, one component after the other, no symlink among them."""

    def __init__(self, root: Path) -> None:
        self._names: list[str] = []
        self._folders: list[tuple[int, ExitStack]] = []
        self._enter(str(root), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._folders:
            self._leave()

    @contextmanager
    def file(self, path: str) -> Iterator[int]:
        """A file for reading. Raises `Vanished`."""
        with _vanishing(path):
            folder, name = self._folder_of(path)
            try:
                descriptor = os.open(name, _FILE, dir_fd=folder)
            except PermissionError:
                with readable(name, folder):
                    descriptor = os.open(name, _FILE, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Vanished(path)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def folder(self, path: str) -> Iterator[int]:
        """A folder by its path. Raises `Vanished`."""
        with _vanishing(path):
            above, name = self._folder_of(path)
            descriptor = os.open(name, _FOLDER, dir_fd=above)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def link(self, path: str) -> tuple[str, os.stat_result]:
        """A symlink's target and status. Raises `Vanished`."""
        with _vanishing(path):
            folder, name = self._folder_of(path)
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            return os.readlink(name, dir_fd=folder), status

    def _folder_of(self, path: str) -> tuple[int, str]:
        *names, last = path.split("/")
        common = 0
        while common < min(len(names), len(self._names)) and names[common] == self._names[common]:
            common += 1
        while len(self._names) > common:
            self._names.pop()
            self._leave()
        for name in names[common:]:
            self._enter(name, self._folders[-1][0])
            self._names.append(name)
        return self._folders[-1][0], last

    def _enter(self, name: str, parent: int | None) -> None:
        held = ExitStack()
        self._folders.append((held.enter_context(opened_folder(name, parent)), held))

    def _leave(self) -> None:
        self._folders.pop()[1].close()


def digest_of(beneath: Beneath, path: str, mark: Mark) -> str:
    """What a file or symlink holds now, as a digest; empty, which is like nothing, where that is gone."""
    try:
        if stat.S_ISLNK(mark[0]):
            return digest(os.fsencode(beneath.link(path)[0]))
        with beneath.file(path) as descriptor:
            if mark[1] <= SMALL_BYTES:
                return digest(os.read(descriptor, mark[1] + 1))
            file = os.fdopen(descriptor, "rb", closefd=False)
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except (OSError, Vanished):
        return ""
