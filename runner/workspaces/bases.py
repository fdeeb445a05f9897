"""The trees of commits, unpacked once and read-only: what workspaces lie on.

    bases/<tree id>/files        all files of the tree; or, of a thin one, what differs from its parent's
    bases/<tree id>/about.json

A base is made aside and renamed, so what has its name is whole. A thin one holds the files that the tree adds
or changes, and marks of overlayfs for those that it has no more: a commit that changes ten files costs ten
files. So a file has the time of the commit for which its bytes were first unpacked here, as it has in a clone
that is pulled into.

Each thin base is smaller than the one it lies on: where it would not be, it lies deeper, and holds what that
one holds as other names of the same files. So few lie on one another, however many commits there are.

A base is a cache: what is damaged or gone is made again from the mirror, by whoever needs it next. Damage is
told by sizes, times and modes when a process first uses it, and by contents once a day, a little at a time.
"""

import errno
import json
import logging
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from time import time

from runner.errors import Unavailable
from runner.workspaces.fitting import Spare
from runner.workspaces.folders import Folder, Node, nodes_at, write_folder
from runner.workspaces.holding import Held, alone, begin, hold
from runner.workspaces.layers import nothing
from runner.workspaces.looking import measure
from runner.workspaces.notes import write
from runner.workspaces.reading import MissingObject, Reader
from runner.workspaces.removal import Trash
from runner.workspaces.rereading import Differs, reread
from runner.workspaces.syncing import Syncing, boot
from runner.workspaces.trees import Commit, changes, read_commit, walk

_ABOUT, _SETTLED = "about.json", "settled"
_DAY = 86_400
PATIENCE = 300.0
"""For how many seconds is waited for who makes a base."""
_USED_SECONDS = 60
"""How exactly it is known when a base was used last."""
_MAKING, _LOCK, _DAMAGED = ".making-", ".lock-", ".damaged-"


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _About:
    """`time` is that of the commit it was made for, `entries` how many paths its tree has about.

    `changed`: how many paths are other ones in its parent, a thin one's.
    """

    repository: str
    time: int
    owner: list[int] | None
    parent: str | None
    parent_time: int
    changed: int
    entries: int
    size: int
    digest: str
    boot: str


@dataclass(frozen=True, slots=True)
class Base:
    """A commit's tree as folders, the topmost first. Until it is closed nobody removes them."""

    folders: tuple[Path, ...]
    held: tuple[int, ...]

    def close(self) -> None:
        for descriptor in self.held:
            os.close(descriptor)


class Bases:
    """All bases of this machine. `owner` is the uid and gid that their files belong to."""

    def __init__(
        self, folder: Path, trash: Trash, owner: tuple[int, int] | None, syncing: Syncing | None
    ) -> None:
        self._folder = folder
        self._trash = trash
        self._owner = list(owner) if owner else None
        self._syncing = syncing
        self._good: set[str] = set()
        self._reread = "", 0
        """Which one is being read again, and how many of its paths have been."""

    def take(
        self, reader: Reader, commit: Commit, repository: str, check: Callable[[], None] = nothing
    ) -> Base:
        """The tree of a commit of a repository, made where it is not here yet.

        `check` is called while another makes it, and ends the waiting by raising. Who takes too long, or is
        stopped, is not waited for: what is made twice counts once. Raises `HostileTree`, and `MissingObject`
        where the mirror lacks something.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = self._folder / f"{_LOCK}{commit.tree}"
        with ExitStack() as held:
            try:
                held.enter_context(alone(lock, PATIENCE, check))
                held.callback(lock.unlink, missing_ok=True)
            except Held as error:
                log.warning("a base is made twice", extra={"tree": commit.tree, "error": str(error)})
            found = self._found(reader, commit.tree, repository)
            if found is not None:
                return found
            near = self._near(reader, commit, repository)
            return self._made(reader, commit.tree, commit.time, repository, near)

    def clean(self) -> None:
        """Remove what was never finished."""
        for prefix in (_MAKING, _DAMAGED):
            for left in self._folder.glob(f"{prefix}*"):
                self._remove(left)

    def spares(self) -> Sequence[Spare]:
        """All of them, to be removed where nobody uses one, and no other lies on it."""
        found = {path.name: about for path in self._all() if (about := _read(path)) is not None}

        def remove(tree: str) -> bool:
            if tree in {one.parent for one in found.values()} or not self._remove(self._folder / tree):
                return False
            del found[tree]
            self._good.discard(tree)
            return True

        return [Spare(self._used(tree), about.size, partial(remove, tree)) for tree, about in found.items()]

    def reread(self, reading: Callable[[str], AbstractContextManager[Reader]], most: int) -> None:
        """Read `most` bytes again of the one that was not read for longest, and drop it where it is damaged.

        Each is read once a day. `reading` opens the mirror of a repository.
        """
        due = sorted((self._read_at(path), path) for path in self._all())
        if not due or due[0][0] > time() - _DAY:
            return
        path = due[0][1]
        done = self._reread[1] if self._reread[0] == path.name else 0
        about, held = _read(path), hold(path)
        if held is None:
            return
        left: int | None = None
        try:
            if about is None:
                raise Differs("nothing says what it is")
            with reading(about.repository) as reader:
                if measure(path / "files")[1] != about.digest:
                    raise Differs("files are missing, or have been written to")
                with suppress(MissingObject):
                    left = reread(path / "files", dict(walk(reader, path.name)), done, most)
        except Unavailable:
            # Its mirror is gone, and nothing says what it should be.
            pass
        except (Differs, OSError) as error:
            log.warning("a damaged base is dropped", extra={"tree": path.name, "error": str(error)})
            self._drop(path)
            # Others may have the same files by other names.
            for other in self._all():
                with suppress(FileNotFoundError):
                    os.utime(other / _ABOUT, (0, 0))
            return
        finally:
            os.close(held)
        self._reread = path.name, left or 0
        if left is None:
            with suppress(FileNotFoundError):
                os.utime(path / _ABOUT)

    def _read_at(self, path: Path) -> float:
        """When a base was read last, or written."""
        with suppress(FileNotFoundError):
            return (path / _ABOUT).stat().st_mtime
        return time()

    def _drop(self, path: Path) -> None:
        """Whoever uses it goes on with what there still is of it."""
        with suppress(FileNotFoundError):
            path.rename(self._folder / f"{_DAMAGED}{secrets.token_hex(8)}")
        self._good.discard(path.name)

    # --- finding one -----------------------------------------------------------------------------

    def _found(self, reader: Reader, tree: str, repository: str) -> Base | None:
        path = self._folder / tree
        held = hold(path)
        if held is None:
            return None
        try:
            about = _read(path)
            if about is not None and self._is_good(tree, path, about):
                if time() - self._used(tree) > _USED_SECONDS:
                    os.utime(held)
                if about.parent is None:
                    return Base((path / "files",), (held,))
                below = self._found(reader, about.parent, repository)
                if below is None:
                    below = self._made(reader, about.parent, about.parent_time, repository, None)
                return Base((path / "files", *below.folders), (held, *below.held))
        except MissingObject:
            # What it lay on is gone, and the mirror has forgotten it.
            pass
        except BaseException:
            os.close(held)
            raise
        os.close(held)
        self._drop(path)
        return None

    def _is_good(self, tree: str, path: Path, about: _About) -> bool:
        """Whether it is as it was made; looked at closely once in the life of a process."""
        if tree in self._good:
            return (path / "files").is_dir()
        there = about.boot == boot() or (path / _SETTLED).exists()
        if not there or about.owner != self._owner or measure(path / "files")[1] != about.digest:
            return False
        self._good.add(tree)
        return True

    # --- making one ------------------------------------------------------------------------------

    def _near(self, reader: Reader, commit: Commit, repository: str) -> str | None:
        """A tree of the repository that is here and as near as can be told."""
        with suppress(MissingObject):
            for parent in commit.parents:
                tree = read_commit(reader, parent).tree
                if (self._folder / tree).is_dir():
                    return tree
        for _, tree in sorted(((self._used(path.name), path.name) for path in self._all()), reverse=True):
            about = _read(self._folder / tree)
            if about is not None and about.repository == repository:
                return tree
        return None

    def _made(self, reader: Reader, tree: str, at: int, repository: str, near: str | None) -> Base:
        if near is not None:
            made = self._made_thin(reader, tree, at, repository, near)
            if made is not None:
                return made
        entries = dict(walk(reader, tree))
        nodes = nodes_at(at, entries.items())
        about = _About(repository, at, self._owner, None, 0, 0, len(entries), 0, "", boot())
        return self._named(reader, tree, self._written(reader, nodes, [], {}), about, Base((), ()))

    def _made_thin(self, reader: Reader, tree: str, at: int, repository: str, near: str) -> Base | None:
        """None where the whole tree would be cheaper."""
        found = self._found(reader, near, repository)
        if found is None:
            return None
        with ExitStack() as held:
            held.callback(found.close)
            parent, about = near, _read(self._folder / near)
            if about is None:
                return None
            try:
                entries, gone = changes(reader, near, tree)
                lately = entries
                while about.parent is not None and about.changed <= len(entries) + len(gone):
                    parent, about = about.parent, _read(self._folder / about.parent)
                    if about is None:
                        return None
                    entries, gone = changes(reader, parent, tree)
            except MissingObject:
                return None
            changed = len(entries) + len(gone)
            if 2 * changed > about.entries:
                return None
            below = found if parent == near else self._found(reader, parent, repository)
            if below is None:
                return None
            if below is not found:
                held.callback(below.close)
            # Other names of files that are here already.
            same = {
                path: there
                for path, entry in entries.items()
                if path not in lately and not entry.is_folder and (there := top(found.folders, path))
            }
            nodes: dict[str, Node] = {}
            for path in (*entries, *gone):
                for folder in PurePosixPath(path).parents[:-1]:
                    nodes[str(folder)] = Folder(0o755)
            nodes |= nodes_at(at, ((path, one) for path, one in entries.items() if path not in same))
            made = self._written(reader, nodes, gone, same)
            new = _About(
                repository,
                at,
                self._owner,
                parent,
                about.time,
                changed,
                about.entries + len(entries),
                0,
                "",
                boot(),
            )
            named = self._named(reader, tree, made, new, below)
            held.pop_all()
            if below is not found:
                found.close()
            return named

    def _written(
        self, reader: Reader, nodes: dict[str, Node], gone: list[str], same: dict[str, Path]
    ) -> tuple[Path, int]:
        """A folder aside, and the hold that says until it has its name that it is not left over.

        `same`: files that are here already.
        """
        aside, held = begin(self._folder, _MAKING)
        try:
            owner = (self._owner[0], self._owner[1]) if self._owner else None
            write_folder(aside / "files", nodes, reader, owner)
            for path in gone:
                os.mknod(aside / "files" / path, stat.S_IFCHR, 0)
            for path, there in same.items():
                os.link(there, aside / "files" / path, follow_symlinks=False)
        except BaseException:
            self._trash.remove(aside)
            os.close(held)
            raise
        return aside, held

    def _named(self, reader: Reader, tree: str, made: tuple[Path, int], about: _About, below: Base) -> Base:
        """Give what was made its name; where somebody was faster, theirs counts."""
        aside, held = made
        size, digest = measure(aside / "files")
        write(aside / _ABOUT, {**asdict(about), "size": size, "digest": digest})
        path = self._folder / tree
        try:
            aside.rename(path)
        except OSError as error:
            self._trash.remove(aside)
            os.close(held)
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            below.close()
            return self._found(reader, tree, about.repository) or self._made(
                reader, tree, about.time, about.repository, None
            )
        self._good.add(tree)
        if self._syncing is not None:
            self._syncing.then(lambda: _say_settled(path))
        return Base((path / "files", *below.folders), (held, *below.held))

    # --- all of them -----------------------------------------------------------------------------

    def _all(self) -> list[Path]:
        try:
            return [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        except FileNotFoundError:
            return []

    def _used(self, tree: str) -> float:
        with suppress(FileNotFoundError):
            return (self._folder / tree).stat().st_mtime
        return 0

    def _remove(self, path: Path) -> bool:
        held = hold(path, alone=True)
        if held is None:
            return False
        try:
            self._trash.remove(path)
        finally:
            os.close(held)
        return True


def top(folders: Sequence[Path], path: str) -> Path | None:
    """The topmost file of that path."""
    found = (folder / path for folder in folders)
    return next((one for one in found if one.is_symlink() or one.is_file()), None)


def _say_settled(path: Path) -> None:
    with suppress(FileNotFoundError):
        (path / _SETTLED).touch()


def _read(path: Path) -> _About | None:
    try:
        return _About(**json.loads((path / _ABOUT).read_text()))
    except (OSError, ValueError, TypeError):
        return None
