"""A folder in which steps write too, reached from outside without being led elsewhere.

Every name is opened in the folder that was opened before it, and no link is followed then: where a step swaps
a folder for a link between the look and the opening, that is an error and no way out.
"""

import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from runner.engine.ports import Entry, Folder
from runner.errors import NOT_NOW, BrokenDefinition, NotFound
from runner.workspaces.layers import write_all
from runner.workspaces.scanning import Beneath, Unkeepable, Vanished, opened_folder
from runner.workspaces.trees import FOLDER_DEPTH, TREE_ENTRIES

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_OPEN = 64
"""How many folders on the way to a path stay open."""


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

    def read(self, path: str, most: int) -> bytes:
        with self.reading(path) as file:
            return file.read(most)

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
                    self._finish(descriptor, mode, mtime_ns)
                os.rename(aside, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                os.unlink(aside, dir_fd=parent)
                raise

    def put(self, path: str, content: bytes, mode: int, mtime_ns: int | None = None) -> None:
        with self.writing(path, mode, mtime_ns) as file:
            file.write(content)

    def link(self, path: str, target: str) -> None:
        with _told(path), self._parent(path, make=True) as (parent, name):
            try:
                self._link(name, target, parent)
            except FileExistsError:
                aside = f".runner-{token_hex(8)}"
                self._link(aside, target, parent)
                try:
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
        inside, name = _split(path)
        opened = self._made if make else self._folder
        with opened(self._real(inside)) as descriptor:
            yield descriptor, name

    @contextmanager
    def _folder(self, path: str) -> Iterator[int]:
        with self._entered(path, None) as descriptor:
            yield descriptor

    @contextmanager
    def _made(self, path: str, mode: int = 0o755) -> Iterator[int]:
        with self._entered(path, lambda name, parent: self._make(name, parent, mode)) as descriptor:
            yield descriptor

    def _make(self, name: str, parent: int, mode: int) -> None:
        os.mkdir(name, mode, dir_fd=parent)
        if self._owner is not None:
            os.chown(name, *self._owner, dir_fd=parent, follow_symlinks=False)

    def _link(self, name: str, target: str, parent: int) -> None:
        os.symlink(target, name, dir_fd=parent)
        if self._owner is not None:
            os.chown(name, *self._owner, dir_fd=parent, follow_symlinks=False)

    def _finish(self, descriptor: int, mode: int, mtime_ns: int | None) -> None:
        """Have a file that is written be as it is to be."""
        if self._owner is not None:
            os.fchown(descriptor, *self._owner)
        os.fchmod(descriptor, mode)
        if mtime_ns is not None:
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))

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
    """Has the folders open that the last path led through, for as long as `opened` is."""

    def __init__(self, root: Path, owner: tuple[int, int] | None, opened: ExitStack) -> None:
        super().__init__(root, owner)
        self._opened = opened
        self._trail: list[tuple[str, int]] = []
        """From the root on: what the paths in a folder begin with, and the folder."""

    @contextmanager
    def reading(self, path: str) -> Iterator[BinaryIO]:
        descriptor = self._file(path)
        if descriptor is None:
            with super().reading(path) as file:
                yield file
            return
        with os.fdopen(descriptor, "rb") as file:
            yield file

    def read(self, path: str, most: int) -> bytes:
        descriptor = self._file(path)
        if descriptor is None:
            return super().read(path, most)
        try:
            content = os.read(descriptor, most)
            while content and len(content) < most and (more := os.read(descriptor, most - len(content))):
                content += more
            return content
        finally:
            os.close(descriptor)

    def make(self, path: str, mode: int = 0o755) -> None:
        with _told(path):
            self._at(f"{path.rstrip('/')}/" if path else "", mode)

    def put(self, path: str, content: bytes, mode: int, mtime_ns: int | None = None) -> None:
        inside, name = _split(path)
        try:
            parent = self._at(inside, 0o755)
            # Of many small files most time would go into other names that they have at first.
            descriptor = os.open(name, _NEW, 0o600, dir_fd=parent)
            try:
                write_all(descriptor, content)
                self._finish(descriptor, mode, mtime_ns)
            except BaseException:
                with suppress(OSError):
                    os.unlink(name, dir_fd=parent)
                raise
            finally:
                os.close(descriptor)
        except FileExistsError:
            super().put(path, content, mode, mtime_ns)
        except OSError as error:
            raise _meant(path, error) from error

    def _file(self, path: str) -> int | None:
        """The file, where nothing is to be said about it but that it is one."""
        try:
            inside, name = _split(path)
            descriptor = os.open(name, _FILE, dir_fd=self._at(inside))
        except (OSError, NotFound):
            return None
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        return None

    @contextmanager
    def _parent(self, path: str, make: bool = False) -> Iterator[tuple[int, str]]:
        inside, name = _split(path)
        yield self._at(inside, 0o755 if make else None), name

    def _at(self, inside: str, mode: int | None = None) -> int:
        """The folder of paths that begin so, made where a mode is given; open until one begins otherwise."""
        trail = self._trail
        if trail and trail[-1][0] == inside:
            return trail[-1][1]
        if not trail:
            trail.append(("", self._opened.enter_context(opened_folder(str(self._root), None))))
            self._opened.callback(self._back)
        self._back(inside)
        there, descriptor = trail[-1]
        names = inside[len(there) :].split("/")[:-1]
        if len(trail) + len(names) > _MOST_OPEN or not all(map(_is_name, names)):
            return self._led(inside, mode)
        for name in names:
            try:
                descriptor = self._below(name, descriptor, mode)
            except NotADirectoryError:
                return self._led(inside, mode)
            there += f"{name}/"
            trail.append((there, descriptor))
        return descriptor

    def _below(self, name: str, parent: int, mode: int | None) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=parent)
        except FileNotFoundError:
            if mode is None:
                raise
        self._make(name, parent, mode)
        return os.open(name, _FOLDER, dir_fd=parent)

    def _led(self, inside: str, mode: int | None) -> int:
        """The same with links on the way, or too many folders."""
        self._back()
        real = self._real(inside)
        with self._folder(real) if mode is None else self._made(real, mode) as found:
            descriptor = os.dup(found)
        self._trail.append((inside, descriptor))
        return descriptor

    def _back(self, inside: str = "") -> None:
        """Close what does not lead there."""
        while not inside.startswith(self._trail[-1][0]):
            os.close(self._trail.pop()[1])


def _split(path: str) -> tuple[str, str]:
    """What a path begins with up to the name of its file, and that."""
    path = path.rstrip("/")
    cut = path.rfind("/") + 1
    name = path[cut:]
    if not _is_name(name):
        raise BrokenDefinition(f"{path[:200]!a} is no name for a file")
    return path[:cut], name


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
    except OSError as error:
        raise _meant(path, error) from error


def _meant(path: str, error: OSError) -> Exception:
    if isinstance(error, FileNotFoundError):
        return NotFound(f"there is no {path[:200]!a}")
    if error.errno in NOT_NOW:
        return error
    # Whatever else it is, a name or a step made it so.
    return BrokenDefinition(f"{path[:200]!a}: {error.strerror}")
