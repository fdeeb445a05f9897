"""Copying a layer that is in use: what overlayfs wrote in it, while steps go on writing."""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runner.workspaces.layers import copy_range
from runner.workspaces.looking import entries
from runner.workspaces.scanning import Unkeepable, Vanished, file_clock, opened_folder
from runner.workspaces.trees import PATH_BYTES, TREE_ENTRIES

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Mark = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a layer, and of what it is one: each path's mark, and those that prove nothing yet.

    A file that was written within the same tick of the clock that dates files may have changed unseen.
    """

    files: Path
    marks: dict[str, Mark]
    unproven: frozenset[str]

    def shows(self, path: str, mark: Mark) -> bool:
        return self.marks.get(path) == mark and path not in self.unproven


def marks_in(layer: Path, check: Callable[[], None]) -> tuple[dict[str, Mark], frozenset[str]]:
    """The mark of everything in a layer, and which of them prove nothing yet. Raises `Unkeepable`."""
    clock = file_clock()
    marks: dict[str, Mark] = {}
    unproven = []
    for path, status, _ in entries(layer):
        check()
        marks[path] = _mark(status)
        if status.st_ctime_ns >= clock:
            unproven.append(path)
        if len(marks) > TREE_ENTRIES:
            raise Unkeepable(f"the steps left more than {TREE_ENTRIES} files and folders")
        if len(path) > PATH_BYTES // 4 and len(os.fsencode(path)) > PATH_BYTES:
            raise Unkeepable(f"the steps left paths of more than {PATH_BYTES} bytes: {path[:100]!a}...")
    return marks, frozenset(unproven)


def copy(layer: Path, target: Path, former: Copy | None, check: Callable[[], None]) -> Copy:
    """Copy all that is in a layer to the folder `target`; what `former` has already gets another name there.

    Never a link to what is still written to. `check` is called now and then, and ends it by raising.
    """
    marks, unproven = marks_in(layer, check)
    folders: list[tuple[str, os.stat_result]] = []
    linked: dict[tuple[int, ...], Path] = {}
    for path, status, parent in entries(layer):
        check()
        mark, there, name = marks.get(path), target / path, path.rpartition("/")[2]
        if mark is None:
            # It came since the look around: the next copy has it.
            continue
        with suppress(FileNotFoundError, Vanished):
            if stat.S_ISDIR(status.st_mode):
                there.mkdir(mode=0o700)
                folders.append((path, status))
                with opened_folder(name, parent) as descriptor:
                    _copy_attributes(descriptor, there)
            elif not stat.S_ISREG(status.st_mode):
                _copy_node(name, parent, there, status)
            elif former is not None and former.shows(path, mark):
                os.link(former.files / path, there)
            elif mark in linked:
                os.link(linked[mark], there)
            else:
                _copy_file(name, parent, there, check)
                if status.st_nlink > 1:
                    linked[mark] = there
    for path, status in reversed(folders):
        os.chown(target / path, status.st_uid, status.st_gid)
        (target / path).chmod(stat.S_IMODE(status.st_mode))
        os.utime(target / path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return Copy(target, marks, unproven)


def _mark(status: os.stat_result) -> Mark:
    if stat.S_ISDIR(status.st_mode):
        return (status.st_mode, status.st_ino, status.st_uid)
    return (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _copy_file(name: str, parent: int, there: Path, check: Callable[[], None]) -> None:
    try:
        source = os.open(name, _FILE, dir_fd=parent)
    except OSError as error:
        raise Vanished(name) from error
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            raise Vanished(name)
        target = os.open(there, _NEW_FILE, 0o600)
        try:
            copy_range(source, target, status.st_size, 0, check)
            os.fchown(target, status.st_uid, status.st_gid)
            _copy_attributes(source, there)
            os.fchmod(target, stat.S_IMODE(status.st_mode))
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_node(name: str, parent: int, there: Path, status: os.stat_result) -> None:
    """A symlink, a mark of what is gone, a fifo or the like."""
    if stat.S_ISLNK(status.st_mode):
        there.symlink_to(os.readlink(name, dir_fd=parent))
    else:
        os.mknod(there, status.st_mode, status.st_rdev)
    os.chown(there, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        there.chmod(stat.S_IMODE(status.st_mode))
    os.utime(there, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _copy_attributes(source: int, there: Path) -> None:
    """Those of steps, and those by which overlayfs knows that a folder is new, or what it was called."""
    for name in os.listxattr(source):
        with suppress(FileNotFoundError):
            os.setxattr(there, name, os.getxattr(source, name), follow_symlinks=False)
