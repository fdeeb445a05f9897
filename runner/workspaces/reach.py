"""A folder in which steps write too, reached from outside without being led elsewhere.

Every name is opened in the folder that was opened before it, and no link is followed then: where a step swaps
a folder for a link between the look and the opening, that is an error and no way out.
"""

import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from runner.engine.ports import Entry, Folder
from runner.errors import NOT_NOW, BrokenDefinition, NotFound
from runner.workspaces.scanning import Beneath, Unkeepable, Vanished, opened_folder
from runner.workspaces.trees import FOLDER_DEPTH, TREE_ENTRIES

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Reach(Folder):
    """`owner`: the uid and gid of what is made here, for which we must be root."""

    def __init__(self, root: Path, owner: tuple[int, int] | None) -> None:
        self._root = Path(os.path.realpath(root))
        self._owner = owner

    def walk(self, below: str = "") -> Iterator[Entry]:
        with _told(below), self._folder(self._real(below)) as descriptor:
            yield from _walked(descriptor, f"{below}/" if below else "", 0)

    def look(self, path: str) -> Entry | None:
        try:
            with self._parent(path) as (parent, name):
                return _entry(path, os.stat(name, dir_fd=parent, follow_symlinks=False))
        except (NotFound, FileNotFoundError, NotADirectoryError):
            return None

    @contextmanager
    def reading(self, path: str) -> Iterator[BinaryIO]:
        try:
            with (
                Beneath(self._root) as beneath,
                beneath.file(self._real(path)) as descriptor,
                os.fdopen(descriptor, "rb", closefd=False) as file,
            ):
                yield file
        except Vanished:
            raise NotFound(f"there is no file {path}") from None

    def target(self, path: str) -> str:
        with _told(path), self._parent(path) as (parent, name):
            return os.readlink(name, dir_fd=parent)

    def make(self, path: str, mode: int = 0o755) -> None:
        with _told(path), self._made(self._real(path), mode):
            return

    @contextmanager
    def writing(self, path: str, mode: int = 0o644, mtime_ns: int | None = None) -> Iterator[BinaryIO]:
        with _told(path), self._parent(path, make=True) as (parent, name):
            aside = f".runner-{token_hex(8)}"
            descriptor = os.open(aside, _NEW, 0o600, dir_fd=parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    yield file
                    file.flush()
                    if self._owner is not None:
                        os.fchown(descriptor, *self._owner)
                    os.fchmod(descriptor, mode)
                    if mtime_ns is not None:
                        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
                os.rename(aside, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                os.unlink(aside, dir_fd=parent)
                raise

    def link(self, path: str, target: str) -> None:
        with _told(path), self._parent(path, make=True) as (parent, name):
            aside = f".runner-{token_hex(8)}"
            os.symlink(target, aside, dir_fd=parent)
            try:
                if self._owner is not None:
                    os.chown(aside, *self._owner, dir_fd=parent, follow_symlinks=False)
                os.rename(aside, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                os.unlink(aside, dir_fd=parent)
                raise

    def settle(self, path: str, mode: int, mtime_ns: int) -> None:
        with _told(path), self._parent(path) as (parent, name), opened_folder(name, parent) as descriptor:
            os.fchmod(descriptor, mode)
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))

    @contextmanager
    def held(self) -> Iterator[Folder]:
        with ExitStack() as opened:
            yield Held(self._root, self._owner, opened)

    def _real(self, path: str) -> str:
        """The same place without a link on the way to it, below the root. Raises `BrokenDefinition`."""
        root = str(self._root)
        real = os.path.realpath(posixpath.join(root, path)) if "\0" not in path else ""
        if real != root and not real.startswith(f"{root}/"):
            raise BrokenDefinition(f"{path[:200]!a} leads out of the folder")
        return real[len(root) + 1 :]

    @contextmanager
    def _parent(self, path: str, make: bool = False) -> Iterator[tuple[int, str]]:
        """The folder that a path's last name is in, and that name."""
        above, _, name = path.rstrip("/").rpartition("/")
        if not _is_name(name):
            raise BrokenDefinition(f"{path[:200]!a} is no name for a file")
        opened = self._made if make else self._folder
        with opened(self._real(above)) as descriptor:
            yield descriptor, name

    @contextmanager
    def _folder(self, path: str) -> Iterator[int]:
        with self._entered(path, None) as descriptor:
            yield descriptor

    @contextmanager
    def _made(self, path: str, mode: int = 0o755) -> Iterator[int]:
        def missing(name: str, parent: int) -> None:
            os.mkdir(name, mode, dir_fd=parent)
            if self._owner is not None:
                os.chown(name, *self._owner, dir_fd=parent, follow_symlinks=False)

        with self._entered(path, missing) as descriptor:
            yield descriptor

    @contextmanager
    def _entered(self, path: str, missing: Callable[[str, int], None] | None) -> Iterator[int]:
        """A folder by its real path, one name after the other."""
        with opened_folder(str(self._root), None) as root:
            current = os.dup(root)
            try:
                for name in path.split("/") if path else ():
                    try:
                        deeper = os.open(name, _FOLDER, dir_fd=current)
                    except FileNotFoundError:
                        if missing is None:
                            raise
                        missing(name, current)
                        deeper = os.open(name, _FOLDER, dir_fd=current)
                    os.close(current)
                    current = deeper
                yield current
            finally:
                os.close(current)


class Held(Reach):
    """Has the folder open that the last path was in, for as long as `opened` is."""

    def __init__(self, root: Path, owner: tuple[int, int] | None, opened: ExitStack) -> None:
        super().__init__(root, owner)
        self._opened = opened
        self._above: str | None = None
        self._descriptor = -1

    @contextmanager
    def reading(self, path: str) -> Iterator[BinaryIO]:
        with self._read(path) or super().reading(path) as file:
            yield file

    def _read(self, path: str) -> BinaryIO | None:
        """The file, where nothing is to be said about it but that it is one."""
        try:
            with self._parent(path) as (parent, name):
                descriptor = os.open(name, _FILE, dir_fd=parent)
        except (OSError, NotFound):
            return None
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "rb")
        os.close(descriptor)
        return None

    @contextmanager
    def _parent(self, path: str, make: bool = False) -> Iterator[tuple[int, str]]:
        above, _, name = path.rstrip("/").rpartition("/")
        if above != self._above or not _is_name(name):
            self._above = None
            self._opened.close()
            self._descriptor, _ = self._opened.enter_context(super()._parent(path, make))
            self._above = above
        yield self._descriptor, name


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..") and "\0" not in name


def _walked(descriptor: int, prefix: str, depth: int) -> Iterator[Entry]:
    if depth > FOLDER_DEPTH:
        raise Unkeepable(f"folders are more than {FOLDER_DEPTH} deep: {prefix[:100]!a}...")
    with os.scandir(descriptor) as entries:
        # More are never all of them wanted, and to sort them would take this machine's memory.
        found = list(islice(entries, TREE_ENTRIES + 1))
        if len(found) > TREE_ENTRIES:
            raise Unkeepable(f"a folder has more than {TREE_ENTRIES} files and folders: {prefix[:100]!a}")
        for entry in sorted(found, key=lambda entry: entry.name):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield _entry(prefix + entry.name, status)
            if stat.S_ISDIR(status.st_mode):
                try:
                    with opened_folder(entry.name, descriptor) as child:
                        yield from _walked(child, f"{prefix}{entry.name}/", depth + 1)
                except (FileNotFoundError, NotADirectoryError):
                    continue


def _entry(path: str, status: os.stat_result) -> Entry:
    return Entry(path, status.st_mode, status.st_size, status.st_mtime_ns)


@contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"there is no {path[:200]!a}") from None
    except OSError as error:
        if error.errno in NOT_NOW:
            raise
        # Whatever else it is, a name or a step made it so.
        raise BrokenDefinition(f"{path[:200]!a}: {error.strerror}") from error
