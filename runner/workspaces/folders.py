"""Making a job's folder out of what git and the snapshots hold."""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from runner.engine.remove import remove
from runner.errors import NOT_NOW, BrokenDefinition, Unavailable
from runner.workspaces.layers import FICLONE, Stored, copy_range, nothing, write_all
from runner.workspaces.reading import Reader
from runner.workspaces.trees import GITLINK, Commit, Entry, HostileTree, walk

LINK_BYTES = 4095
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Blob:
    """Content that git has."""

    id: str


@dataclass(frozen=True, slots=True)
class Given:
    """Content as it is."""

    content: bytes

    def copy(self, target: int) -> None:
        write_all(target, self.content)


@dataclass(frozen=True, slots=True)
class Clone:
    """Content of a file that nobody writes to, whose blocks the new one shares."""

    path: Path

    def copy(self, target: int) -> None:
        source = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.ioctl(target, FICLONE, source)
        finally:
            os.close(source)


Attributes = tuple[tuple[str, bytes], ...]
"""Extended ones, by their names."""


@dataclass(frozen=True, slots=True)
class Copied:
    """Content that another file has, which is copied."""

    path: Path
    size: int

    def copy(self, target: int, check: Callable[[], None]) -> None:
        try:
            source = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Unavailable(f"{self.path.name} was removed from this machine just now") from None
        try:
            if copy_range(source, target, self.size, 0, check) != self.size:
                raise Unavailable(f"{self.path.name} is damaged on this machine")
        finally:
            os.close(source)


@dataclass(frozen=True, slots=True)
class File:
    mode: int
    mtime_ns: int
    source: Blob | Stored | Given | Clone | Copied
    attributes: Attributes = ()


@dataclass(frozen=True, slots=True)
class Folder:
    """`submodule`: the commit of another repository that is to be here."""

    mode: int
    submodule: str = ""
    attributes: Attributes = ()


@dataclass(frozen=True, slots=True)
class Link:
    target: str | Blob
    mtime_ns: int


Node = File | Folder | Link


def nodes_of(reader: Reader, commit: Commit) -> dict[str, Node]:
    """What a checkout of a commit holds, by path; submodules are empty folders.

    Files get the time of the commit: after a resume, what a step built from them is newer, and `make`
    does not build it again.
    """
    return nodes_at(commit.time, walk(reader, commit.tree))


def nodes_at(time: int, entries: Iterable[tuple[str, Entry]]) -> dict[str, Node]:
    """What entries of a tree become that was committed at a time."""
    mtime = time * 1_000_000_000
    nodes: dict[str, Node] = {}
    for path, entry in entries:
        if entry.is_folder:
            nodes[path] = Folder(0o755)
        elif entry.mode == GITLINK:
            nodes[path] = Folder(0o755, entry.id)
        elif stat.S_ISLNK(entry.mode):
            nodes[path] = Link(Blob(entry.id), mtime)
        else:
            nodes[path] = File(0o755 if entry.mode & 0o100 else 0o644, mtime, Blob(entry.id))
    return nodes


def write_folder(
    root: Path,
    nodes: Mapping[str, Node],
    reader: Reader,
    owner: tuple[int, int] | None,
    check: Callable[[], None] = nothing,
) -> None:
    """Make `root` and all that is in it. Nobody else can enter before it is complete.

    Symlinks come last, so nothing is ever written through one, whatever the commit calls its files.

    `check` is called now and then, and ends it by raising.
    """
    root.mkdir(mode=0o700)
    fill_folder(f"{root}/", nodes, reader, owner, check)


def fill_folder(
    base: str,
    nodes: Mapping[str, Node],
    reader: Reader,
    owner: tuple[int, int] | None,
    check: Callable[[], None] = nothing,
) -> None:
    """Make all that is in a new folder, whose path with a slash is `base`, and hand it over.

    `check` is called now and then, and ends it by raising.
    """
    folders = sorted((path, node) for path, node in nodes.items() if isinstance(node, Folder))
    for path, _ in folders:
        os.mkdir(base + path, 0o700)  # noqa: PTH102
    files = [(path, node) for path, node in nodes.items() if isinstance(node, File)]
    _write_blobs(base, files, reader, owner, check)
    _write_stored(base, files, owner)
    for path, file in files:
        if isinstance(file.source, Given | Clone):
            check()
            with _new_file(base + path, file, owner) as descriptor:
                file.source.copy(descriptor)
        elif isinstance(file.source, Copied):
            with _new_file(base + path, file, owner) as descriptor:
                file.source.copy(descriptor, check)
    _write_links(base, nodes, reader, owner)
    for path, folder in reversed(folders):
        if owner is not None:
            os.chown(base + path, *owner)
        _attribute(base + path, folder.attributes)
        os.chmod(base + path, folder.mode)  # noqa: PTH101
    if owner is not None:
        os.chown(base, *owner)


@contextmanager
def placing(root: Path, path: Sequence[str], clean: bool = True) -> Iterator[str]:
    """Have what the block puts into a new folder at a place below `root`; it is given the folder's path.

    The names of `path` lead there; none at all is `root` itself. Steps may write below `root`: each name is
    looked up in the folder that was opened before it, no link is followed, and what is in the way is removed.
    The new folder can be entered by us alone until it is complete. Not `clean`: what else is there stays.
    """
    if any(one in ("", ".", "..") or "/" in one or "\0" in one for one in path):
        raise BrokenDefinition(f"{'/'.join(path)!a} is no place for files")
    aside = f".runner-{token_hex(8)}"
    top = os.open(root, _FOLDER)
    try:
        os.mkdir(aside, 0o700, dir_fd=top)
        new = os.open(aside, _FOLDER, dir_fd=top)
        try:
            yield f"/proc/self/fd/{new}/"
            _put(new, aside, top, path, clean)
        except OSError as error:
            if error.errno in NOT_NOW:
                raise
            # Whatever else it is, a name or a step made it so.
            where = "/".join(path)[:200] or "the top of the workspace"
            raise BrokenDefinition(f"no files can be put at {where}: {error.strerror}") from error
        finally:
            os.close(new)
            with suppress(OSError):
                _clear(aside, top)
    finally:
        os.close(top)


def _put(new: int, aside: str, top: int, path: Sequence[str], clean: bool) -> None:
    if not path:
        if clean:
            for name in os.listdir(top):
                if name != aside:
                    _clear(name, top)
        _merge(new, top)
        return
    *parents, name = path
    descriptor = os.dup(top)
    try:
        for parent in parents:
            inner = _entered(parent, descriptor)
            os.close(descriptor)
            descriptor = inner
        if clean:
            _clear(name, descriptor)
            os.rename(aside, name, src_dir_fd=top, dst_dir_fd=descriptor)
            return
        there = _entered(name, descriptor)
        try:
            _merge(new, there)
        finally:
            os.close(there)
    finally:
        os.close(descriptor)


def _merge(new: int, there: int) -> None:
    """Move all that is in one folder into another, over what is there."""
    for name in os.listdir(new):
        inner = _folder_at(name, new)
        below = None if inner is None else _folder_at(name, there)
        try:
            if inner is not None and below is not None:
                _merge(inner, below)
                continue
            _clear(name, there)
            os.rename(name, name, src_dir_fd=new, dst_dir_fd=there)
        finally:
            for one in (inner, below):
                if one is not None:
                    os.close(one)


def _folder_at(name: str, above: int) -> int | None:
    try:
        return os.open(name, _FOLDER, dir_fd=above)
    except OSError:
        return None


def _entered(name: str, above: int) -> int:
    """The folder of that name, made where there is none."""
    try:
        return os.open(name, _FOLDER, dir_fd=above)
    except FileNotFoundError:
        pass
    except OSError:
        _clear(name, above)
    os.mkdir(name, 0o755, dir_fd=above)
    return os.open(name, _FOLDER, dir_fd=above)


def _clear(name: str, above: int) -> None:
    try:
        os.unlink(name, dir_fd=above)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        if not remove(name, above):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY)) from None


@contextmanager
def _new_file(path: str, file: File, owner: tuple[int, int] | None) -> Iterator[int]:
    descriptor = os.open(path, _NEW_FILE, 0o600)
    try:
        yield descriptor
        if owner is not None:
            os.fchown(descriptor, *owner)
        _attribute(descriptor, file.attributes)
        os.fchmod(descriptor, file.mode)
        os.utime(descriptor, ns=(file.mtime_ns, file.mtime_ns))
    finally:
        os.close(descriptor)


def _attribute(there: str | int, attributes: Attributes) -> None:
    for name, value in attributes:
        try:
            os.setxattr(there, name, value)
        except OSError as error:
            # A file system need not have them.
            if error.errno != errno.ENOTSUP:
                raise


def _write_blobs(
    base: str,
    files: list[tuple[str, File]],
    reader: Reader,
    owner: tuple[int, int] | None,
    check: Callable[[], None],
) -> None:
    wanted = [(path, file, file.source.id) for path, file in files if isinstance(file.source, Blob)]
    contents = reader.contents([id for *_, id in wanted])
    for (path, file, _), content in zip(wanted, contents, strict=True):
        check()
        with _new_file(base + path, file, owner) as descriptor:
            for chunk in content.chunks():
                write_all(descriptor, chunk)


def _write_stored(base: str, files: list[tuple[str, File]], owner: tuple[int, int] | None) -> None:
    layers: dict[Path, list[tuple[str, File, Stored]]] = {}
    for path, file in files:
        if isinstance(file.source, Stored):
            layers.setdefault(file.source.layer, []).append((path, file, file.source))
    for layer, stored in layers.items():
        with layer.open("rb", buffering=0) as opened:
            for path, file, source in stored:
                with _new_file(base + path, file, owner) as descriptor:
                    source.copy(opened.fileno(), descriptor)


def _write_links(base: str, nodes: Mapping[str, Node], reader: Reader, owner: tuple[int, int] | None) -> None:
    links = [(path, node) for path, node in nodes.items() if isinstance(node, Link)]
    contents = reader.contents([link.target.id for _, link in links if isinstance(link.target, Blob)])
    for path, link in links:
        target = link.target
        if isinstance(target, Blob):
            content = next(contents)
            text = content.whole() if content.size <= LINK_BYTES else b""
            if not text or b"\0" in text:
                raise HostileTree(f"the commit holds a symlink {path!a} that points to no possible path")
            target = os.fsdecode(text)
        os.symlink(target, base + path)  # noqa: PTH211
        if owner is not None:
            os.chown(base + path, *owner, follow_symlinks=False)
        os.utime(base + path, ns=(link.mtime_ns, link.mtime_ns), follow_symlinks=False)
    for _ in contents:
        pass
