"""The `.git` of jobs: a history that costs nothing, for its objects are the mirror's own.

lent/<job>/<attempt>/         the objects of each mirror that a job's histories refer to
lent/<job>/<attempt>.git/     the history of the job's own commit, where its folder is an overlay
"""

import hashlib
import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from runner.engine.ports import History, Large, Wanted
from runner.errors import Rejected, Unavailable
from runner.model.source import Route
from runner.workspaces.bases import Base
from runner.workspaces.folders import Blob, File, Folder, Link, Node, nodes_of, write_folder
from runner.workspaces.histories import nodes as git_nodes
from runner.workspaces.histories import wanted_tag
from runner.workspaces.indexes import Tracked, index_of, keep_index, newest_index, sizes_in
from runner.workspaces.lending import lend, lend_borrowed, open_for
from runner.workspaces.looking import inside
from runner.workspaces.mirrors import Mirror
from runner.workspaces.names import file_name
from runner.workspaces.reading import Reader
from runner.workspaces.repositories import Repositories
from runner.workspaces.sparse import Sparse, sparse_of
from runner.workspaces.trees import GITLINK, Commit

_SECOND = 1_000_000_000
LAYER = ".git"
"""How the name of a folder ends that has an attempt's history, beside the objects that it is lent."""

log = logging.getLogger(__name__)


class Histories:
    """All histories of jobs on this machine, in `folder`. `owner` is the uid and gid that they belong to."""

    def __init__(self, folder: Path, repositories: Repositories, owner: tuple[int, int] | None) -> None:
        self.folder = folder
        self._repositories = repositories
        self._owner = owner

    def lent(self, name: str, attempt: int) -> Path:
        """A folder of git's objects, to which the histories of a job's attempt refer: for steps to read."""
        folder = self.folder / file_name(name) / str(attempt)
        open_for(folder, self._owner)
        return folder

    def is_lent(self, mirror: str) -> bool:
        """Whether some job still sees objects of a mirror, by the name of its folder."""
        attempts = (attempt for job in inside(self.folder) for attempt in inside(job))
        return any((attempt / mirror).exists() for attempt in attempts)

    def layer(
        self,
        reader: Reader,
        route: Route,
        commit: Commit,
        below: Base,
        name: str,
        attempt: int,
        history: History,
    ) -> list[Path]:
        """A folder with nothing but a `.git`, to lie on the commit's base; none where there can be none."""
        nodes = partial(based, reader, commit, below)
        look = f"{commit.tree}-{_mark(below)}"
        found = self._files(route, nodes, look, name, attempt, history, Wanted())
        if not found:
            return []
        layer = self.folder / file_name(name) / f"{attempt}{LAYER}"
        write_folder(layer, found, reader, self._owner)
        self.trust(history, layer)
        return [layer]

    def trust(self, history: History | None, folder: Path | str) -> None:
        """Have git trust a folder: it reads no repository that is another user's than the steps' own.

        Where they see this machine's files as they are, that is us.
        """
        if history is None or self._owner is None:
            return
        ours = (os.geteuid(), os.getegid())
        owner = history.owner or (ours if history.objects is None else self._owner)
        if owner != self._owner:
            for path in (folder, f"{folder}/.git"):
                with suppress(FileNotFoundError):
                    os.chown(path, *owner, follow_symlinks=False)

    def files(
        self,
        route: Route,
        commit: Commit,
        nodes: Mapping[str, Node],
        name: str,
        attempt: int,
        history: History,
        wanted: Wanted,
    ) -> dict[str, Node]:
        """The files of a job's `.git` where its folder is made of `nodes`, which are all that a commit has.

        None where its objects cannot be shown to it.
        """
        return self._files(route, lambda: nodes, _look(commit), name, attempt, history, wanted)

    def index(self, route: Route, commit: Commit, nodes: Callable[[], Mapping[str, Node]]) -> bytes:
        """Git's index of a checkout of all that a commit holds, which are `nodes`."""
        return self._index(self._repositories.at(route), nodes, _look(commit), None)

    def _files(
        self,
        route: Route,
        nodes: Callable[[], Mapping[str, Node]],
        look: str,
        name: str,
        attempt: int,
        history: History,
        wanted: Wanted,
    ) -> dict[str, Node]:
        mirror = self._repositories.at(route)
        borrowed = mirror.borrowed
        top = self.lent(name, attempt)
        objects = top / mirror.path.stem
        origin = self._origin(route, mirror, history)
        # What a fetch brought just now is lent too.
        lend(mirror.path / "objects", objects)
        if borrowed and history.objects and not lend_borrowed(borrowed.rstrip("\n"), objects):
            # They are in somebody's own checkout, which no sandbox sees.
            return {}
        sparse = sparse_of(wanted.sparse, wanted.cone)
        seen = f"{history.objects}/{objects.name}" if history.objects else f"{objects}\n{borrowed}".rstrip()
        return git_nodes(
            history,
            route.commit,
            origin,
            seen,
            self._index(mirror, nodes, look, sparse, wanted.large),
            shallow=mirror.shallow(route.commit),
            sparse=sparse,
            submodules=wanted.submodules,
        )

    def _origin(self, route: Route, mirror: Mirror, history: History) -> Mapping[str, str]:
        """The branches and tags of the repository, with the tag that is checked out among them."""
        origin, tag = mirror.refs.origin(), wanted_tag(history)
        repo = self._repositories.fetched(route)
        if tag is not None and tag not in origin and repo is not None and not mirror.shallow(route.commit):
            try:
                mirror.refresh(self._repositories.address(repo))
            except (Rejected, Unavailable) as error:
                log.info("a tag is not known yet", extra={"tag": tag, "error": str(error)})
            origin = mirror.refs.origin()
        return origin

    def _index(
        self,
        mirror: Mirror,
        nodes: Callable[[], Mapping[str, Node]],
        look: str,
        sparse: Sparse | None,
        large: Mapping[str, Large] = MappingProxyType({}),
    ) -> bytes:
        """The index of a checkout, which is the same for every job.

        `nodes` are all files of the commit, as they look where they were not touched; `look` names that look.
        Git takes a file for unchanged that has the size and the time that the index says: so of one that is
        `large` it says the size of the content, though what git has of it is a pointer.
        """
        kept = mirror.path / "indexes" / look
        whole = sparse is None and not large
        if whole:
            with suppress(FileNotFoundError):
                os.utime(kept)
                return kept.read_bytes()
        found = dict(_tracked(nodes()))
        near = newest_index(kept.parent)
        sizes = sizes_in(near) if near else {}
        sizes |= mirror.contents.sizes(
            {id for mode, id, _ in found.values() if mode != GITLINK} - sizes.keys()
        )
        index = index_of(
            Tracked(
                os.fsencode(path),
                mode,
                id,
                large[path].size if path in large else 0 if mode == GITLINK else sizes.get(id, 0),
                at,
                sparse is not None and not sparse.has(path),
            )
            for path, (mode, id, at) in found.items()
        )
        if whole:
            keep_index(kept, index)
        return index


def based(reader: Reader, commit: Commit, base: Base) -> dict[str, Node]:
    """What a commit holds, each file with the time that it has in its base."""
    nodes = nodes_of(reader, commit)
    for path, node in nodes.items():
        if isinstance(node, File | Link) and (at := _time_of(base, path)) is not None:
            nodes[path] = replace(node, mtime_ns=at)
    return nodes


def _time_of(base: Base, path: str) -> int | None:
    """When the topmost file of that path was changed; without `Path`, as there are many."""
    for folder in base.folders:
        with suppress(FileNotFoundError, NotADirectoryError):
            status = os.lstat(f"{folder}/{path}")
            if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                return status.st_mtime_ns
    return None


def _look(commit: Commit) -> str:
    """Names how a commit's files look where they have its time."""
    return f"{commit.tree}-{commit.time}"


def _mark(base: Base) -> str:
    """Sets a base apart from others of the same tree, whose files may have other times."""
    found = (folder.stat() for folder in base.folders)
    said = repr([(one.st_ino, one.st_mtime_ns) for one in found]).encode()
    return hashlib.sha256(said).hexdigest()[:16]


def _tracked(nodes: Mapping[str, Node]) -> Iterator[tuple[str, tuple[int, str, int]]]:
    """The files and submodules of a commit as its trees have them: by path their mode, id and time."""
    for path, node in nodes.items():
        match node:
            case File(mode, mtime, Blob(id)):
                yield path, (mode, id, mtime // _SECOND)
            case Link(Blob(id), mtime):
                yield path, (stat.S_IFLNK, id, mtime // _SECOND)
            case Folder(_, id) if id:
                yield path, (GITLINK, id, 0)
