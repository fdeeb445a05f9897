"""Repositories as git knows them, job folders at exactly one commit, and snapshots of what steps left.

Promise: a run gets the bytes of its commit for as long as its keep-ref holds them, whatever happens to the
branch; a snapshot is restored byte for byte, or not at all (`SnapshotGone`); our git never runs in a folder
that a step has touched, and nothing that a repository wrote is ever run by it.

Decisions:

* **One bare mirror per repository, with full history.** The next fetch sends only what is new, path filters
  find the commit before, and there are no shallow borders to get wrong. `before` of a force-push is fetched
  by its id; where the repository has it no longer, every file counts as changed, so that a path filter
  starts the workflow, as GitHub does when it cannot compare.
* **Of what others have only the commits themselves** (`history=False`): of an action nothing else is ever
  read, and there are some with a gigabyte of history.
* **No git process where the commit is here.** Objects come from `git cat-file --batch` processes that stay
  open; keep-refs are files that we write. A mirror is a cache: with no job running it can be deleted.
* **We write a checkout ourselves**, blob by blob. It is as fast as `git checkout-index` (the file system is
  what takes the time), has no place where a filter, hook or attribute could run, and gives exactly the
  committed bytes: no end-of-line conversion, LFS pointers as they are, submodules as empty folders.
* **A job's folder is an overlay where one can be mounted**, which is tried once: below it the commit's tree,
  unpacked once for all jobs (`bases`), on it what steps change (`overlay`). Opening one and keeping what a
  step left then cost what changed, not what there is. Everything that a file system keeps is kept. A file has
  the time of the commit for which its bytes were first unpacked here.
* **Elsewhere a snapshot is the commit and a chain of layers**, each one file with what changed since the
  last. What changed is seen from status alone. Hard links come back as separate files; owners, extended
  attributes, fifos, sockets and devices are not kept. A job goes on in the way in which it began.
* **Who goes on where a job stopped has that job's layers as hard links**, made before it opens its folder: so
  each job's snapshots can be removed whatever others do, and what they share takes its space once.
* **A clone URL leads to the public internet, or where the administrator says**: see `hosts`.
* **`fsckObjects` is off.** It refuses old but honest repositories, while each tree is checked by us when it
  is used (`HostileTree`).

In `home`: `mirrors/`, `bases/<tree>/`, `workspaces/<job>/<attempt>/`, `snapshots/<job>/<attempt>.<n>`,
`layers/<token>/`; one file system.
"""

import errno
import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import cache, partial
from glob import escape
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Self

from runner.engine.ports import Folder, History, Large, Submodule, Wanted, Workspace
from runner.errors import BrokenDefinition, Rejected, SnapshotGone, Unavailable
from runner.model.refs import checked_ref
from runner.model.snapshot import BASE
from runner.model.source import FULL_COMMIT_ID, Repository, Route
from runner.workspaces.bases import Base, Bases
from runner.workspaces.checkouts import Checkout, commit
from runner.workspaces.fetching import CONFIG, fetch_large, large_files
from runner.workspaces.folders import (
    Blob,
    Copied,
    File,
    Link,
    Node,
    fill_folder,
    nodes_at,
    nodes_of,
    placing,
    write_folder,
)
from runner.workspaces.folders import Folder as MadeFolder
from runner.workspaces.git import Git
from runner.workspaces.histories import nodes as git_nodes
from runner.workspaces.histories import wanted_tag
from runner.workspaces.hosts import Hosts, Lookup, Network, lookup
from runner.workspaces.indexes import Tracked, index_of, keep_index, newest_index, sizes_in
from runner.workspaces.keeping import Kept, measured
from runner.workspaces.keys import command_with
from runner.workspaces.layers import nothing
from runner.workspaces.lending import lend, open_for
from runner.workspaces.mirrors import Mirror
from runner.workspaces.mounts import clear
from runner.workspaces.names import Address, address_of, file_name
from runner.workspaces.overlay import OverlayWorkspace, problem
from runner.workspaces.pool import FOLDER, Layers
from runner.workspaces.reach import Reach
from runner.workspaces.reading import Reader, Readers
from runner.workspaces.recent import Recent
from runner.workspaces.removal import Trash
from runner.workspaces.scanning import Unkeepable
from runner.workspaces.snapshots import Line, chain, inherit, restored
from runner.workspaces.sparse import Sparse, sparse_of
from runner.workspaces.submodules import submodules_in
from runner.workspaces.syncing import Syncing
from runner.workspaces.trees import (
    GITLINK,
    Commit,
    Entry,
    HostileTree,
    differences,
    folder_in,
    printable,
    read_commit,
    walk,
)
from runner.workspaces.workspace import GitWorkspace

__all__ = ["WORKFLOW_BYTES", "GitWorkspaces", "HostileTree", "Unkeepable"]

WORKFLOW_BYTES = 512 * 1024
"""The largest file that `read` hands out."""

FOLDER_BYTES = 16 * 1024 * 1024
"""The most that `read` hands out of one folder."""

RECENT_BYTES = 2 * FOLDER_BYTES
"""How much of what `read` handed out is kept, in case that it is asked for again."""

_NO_COMMIT = "0" * 40
_SECOND = 1_000_000_000
_LAYER = ".git"
"""How the name of a folder ends that has an attempt's history, beside the objects that it is lent."""
IDLE_SECONDS = 3600.0
"""A mirror that was used within them is not removed, however little space there is."""

log = logging.getLogger(__name__)


class GitWorkspaces:
    """The ports `Workspaces` and `Workspace` on real git, in the folder `home`.

    `protocols` is git's GIT_ALLOW_PROTOCOL; `owner` the uid and gid that job folders belong to, for
    which we must be root; `environment` what git's network needs (proxies, certificates, ssh);
    `networks` what may be fetched from besides public addresses; `lookup` finds a host's addresses;
    `timeout` is the seconds that one word with a repository may take, and `fetch_bytes` what one fetch may
    bring, where 0 is no limit; `keeping` whether what a job leaves is kept when it has ended; `hindrance` why
    no job's folder may be an overlay, None where it may.
    """

    def __init__(
        self,
        home: Path,
        protocols: str = "https:ssh",
        owner: tuple[int, int] | None = None,
        *,
        environment: Mapping[str, str] = MappingProxyType({}),
        networks: Collection[Network] = (),
        lookup: Lookup = lookup,
        timeout: float = 600,
        keeping: bool = True,
        fetch_bytes: int = 0,
        hindrance: Callable[[], str | None] = lambda: None,
    ) -> None:
        home = home.absolute()
        self._mirrors, self._workspaces, self._snapshots, self._lent = (
            home / name for name in ("mirrors", "workspaces", "snapshots", "lent")
        )
        self._trash = Trash(self._workspaces / ".trash")
        self._protocols = protocols
        self._owner = owner
        self._timeout = timeout
        self._fetch_bytes = fetch_bytes
        self._keeping = keeping
        self._environment = environment
        self._git = Git(protocols, environment)
        self._hosts = Hosts(networks, environment, lookup)
        self._readers = Readers(self._git)
        self._fetched: dict[tuple[str, str], Repository] = {}
        # What is not kept has no need to get to the disk either.
        self._syncing = Syncing(home) if keeping else None
        self._bases = Bases(home / "bases", self._trash, owner, self._syncing)
        self._layers = Layers(home / "layers", self._trash, self._syncing)
        self._open: list[OverlayWorkspace] = []
        self._opening = Lock()
        self._problem = cache(lambda: hindrance() or problem(home, self._trash))
        self._recent = Recent(RECENT_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what is still open, and end the git processes that wait for the next use.

        Those also end when this process dies; what was mounted then is taken off by who comes next.
        """
        with ExitStack() as closing:
            if self._syncing is not None:
                closing.callback(self._syncing.close)
            closing.callback(self._readers.close)
            for opened in self._open:
                closing.callback(opened.close)

    # --- the repository --------------------------------------------------------------------------

    def check(self, repo: Repository) -> None:
        """Raises `Rejected` where the repository's URL is none that may be fetched from."""
        self._hosts.check(repo.name, address_of(repo, self._protocols))

    def resolve(
        self, repo: Repository, ref: str, *, tag_first: bool = False, seconds: float | None = None
    ) -> str:
        """The full commit id that `ref` names in the repository right now.

        `ref` is a full ref, `HEAD`, a branch, else a tag, or the other way round where it is `tag_first`; a
        full commit id is its own answer.
        """
        if FULL_COMMIT_ID.fullmatch(checked_ref(ref)):
            return ref
        with self._let_in(repo) as git:
            return self._mirror_of(repo, seconds, git).resolve(self._address(repo), ref, tag_first)

    def default_branch(self, repo: Repository) -> str | None:
        """The branch that the repository's HEAD names right now; None where it names none."""
        with self._let_in(repo) as git:
            return self._mirror_of(repo, git=git).default_branch(self._address(repo))

    def fetch(
        self,
        repo: Repository,
        route: Route,
        keep: str,
        *,
        history: bool = True,
        seconds: float | None = None,
        check: Callable[[], None] = nothing,
    ) -> None:
        """Have that commit here, and hold it under the keep-ref named `keep` until it is released.

        `history`: whether also what came before it. A repository is fetched either always with it or never.
        `check` is called now and then: by raising it ends the fetch.
        """
        with self._let_in(repo) as git:
            mirror = self._mirror_of(repo, seconds, git)
            mirror.fetch(self._address(repo), route.commit, keep, history, check)

    def release(self, route: Route, keep: str) -> None:
        """Let go of a keep-ref; one that does not exist is fine."""
        self._mirror(route.forge, route.repo).release(keep)

    def let_go(self, keep: str) -> None:
        """Release that keep-ref and all whose names begin with it, in every repository that is here."""
        for path in self._mirrors.glob("*.git"):
            mirror = self._named(path)
            for name in mirror.kept(keep):
                mirror.release(name)

    def adopt(self, repo: Repository, checkout: Checkout, environment: Mapping[str, str]) -> tuple[str, str]:
        """Have a checkout of this machine as it is now, though it was never pushed, as a commit of `repo`.

        Gives its id, and what could not be read and so is not part of it. Only where nothing was fetched
        for `repo` yet.
        """
        mirror = self._mirror(repo.forge, repo.name)
        made = commit(checkout, mirror.path, environment)
        mirror.belong_from_birth(repo.registration)
        return made

    # --- what a commit holds ---------------------------------------------------------------------

    def read(self, route: Route, folder: str, names: Collection[str] | None = None) -> Mapping[str, bytes]:
        """The regular files directly in `folder` at that commit, by path; empty where it is missing."""
        folder = folder.strip("/")
        known = self._fetched.get((route.forge, route.repo))
        # Whoever gets a name that another repository had gets nothing of that one.
        what = route, known and known.registration, folder, None if names is None else frozenset(names)
        return self._recent.get(what, lambda: self._read(route, folder, names))

    def _read(self, route: Route, folder: str, names: Collection[str] | None) -> dict[str, bytes]:
        with self._reading(route) as reader:
            tree = read_commit(reader, route.commit).tree
            entries = [
                (f"{folder}/{name}" if folder else name, entry)
                for name, entry in folder_in(reader, tree, folder).items()
                if not entry.is_folder and (names is None or name in names)
            ]
            return _read_files(reader, entries)

    def message(self, route: Route) -> str:
        """What its author wrote about the commit."""
        with self._reading(route) as reader:
            return read_commit(reader, route.commit).message

    def parents(self, route: Route) -> Sequence[str]:
        """The commits that it was made from: two or more where it is a merge."""
        with self._reading(route) as reader:
            return read_commit(reader, route.commit).parents

    def parting(self, route: Route, other: str) -> str | None:
        """The newest commit that both have in their history; None where they have none in common."""
        if not self._obtained(route, other):
            return None
        return self._mirror(route.forge, route.repo).parting(route.commit, other)

    def changed(self, route: Route, before: str | None) -> Sequence[str]:
        """Paths that differ between `before` (None: the empty tree) and the route's commit.

        Where `before` cannot be had any more, every path of the commit. A rename is both its names.
        """
        if before is not None and not self._obtained(route, before):
            before = None
        with self._reading(route) as reader:
            old = read_commit(reader, before).tree if before else None
            return printable(differences(reader, old, read_commit(reader, route.commit).tree))

    def _obtained(self, route: Route, before: str) -> bool:
        """Have a commit here for a moment, from where this process fetched the route's commit."""
        if not FULL_COMMIT_ID.fullmatch(before):
            raise Rejected(f"{before[:100]!a} is no full commit id")
        repo = self._fetched.get((route.forge, route.repo))
        try:
            if before == _NO_COMMIT or self._mirror(route.forge, route.repo).has(before):
                return before != _NO_COMMIT
            if repo is not None:
                self._mirror_of(repo).download(self._address(repo), before)
            return repo is not None
        except Rejected:
            return False

    # --- jobs ------------------------------------------------------------------------------------

    def open(
        self, route: Route, name: str, attempt: int, snapshot: str | None, history: History | None = None
    ) -> Workspace:
        """A fresh folder for job `name`: the commit's files, its history, then those of `snapshot`.

        Folders of this and of earlier attempts are removed first. Raises `SnapshotGone`.
        """
        snapshot = snapshot or BASE
        jobs, layers = self._workspaces / file_name(name), self._snapshots / file_name(name)
        path = jobs / str(attempt)
        with self._reading(route) as reader, _disk_errors(path):
            made_from = read_commit(reader, route.commit)
            line = chain(layers, snapshot, route.commit)
            overlaid = self._overlaid(layers, line)
            jobs.mkdir(parents=True, exist_ok=True)
            for folder in (jobs, self._lent / file_name(name)):
                self._clear_until(attempt, folder)
            if overlaid is not None:
                below = self._bases.take(reader, made_from, f"{route.forge}/{route.repo}")
                return self._overlay(
                    reader, made_from, below, route, path, layers, snapshot, overlaid, history
                )
            nodes = nodes_of(reader, made_from)
            if history is not None:
                whole = nodes
                nodes = whole | self._history(
                    route, lambda: whole, _look(made_from), name, attempt, history, Wanted()
                )
            write_folder(path, restored(layers, line, nodes), reader, self._owner)
            self._trusted_by(history, path)
            return GitWorkspace(path, self._trash, layers, route.commit, snapshot)

    def overlay_problem(self) -> str | None:
        """Why jobs' folders are no overlays here, or None where they are."""
        return self._problem()

    def _overlaid(self, folder: Path, line: Line) -> list[Path] | None:
        """The folders of a snapshot's layers, the topmost first; None where all files are to be written."""
        kinds = {FOLDER in layer for _, layer in line}
        if kinds == {False}:
            return None
        why = self.overlay_problem()
        if why is None and kinds != {True, False}:
            return [self._layers.files(layer, str(folder / name)) for name, layer in reversed(line)]
        if not line:
            return None
        why = why or "some of its layers are none"
        raise SnapshotGone(f"the snapshot {folder / line[-1][0]} is one of an overlay: {why}")

    def _overlay(
        self,
        reader: Reader,
        made_from: Commit,
        below: Base,
        route: Route,
        path: Path,
        snapshots: Path,
        snapshot: str,
        sealed: list[Path],
        history: History | None,
    ) -> OverlayWorkspace:
        """Closes `below` where it fails."""
        try:
            if history is not None:
                layer = self._history_layer(reader, made_from, below, route, path, snapshots.name, history)
                below = replace(below, folders=(*layer, *below.folders))
            opened = OverlayWorkspace(
                path, self._trash, snapshots, route.commit, snapshot, below, sealed, self._layers
            )
        except BaseException:
            self._clear(path)
            below.close()
            raise
        with self._opening:
            self._open = [*(one for one in self._open if not one.closed), opened]
        return opened

    def _history_layer(
        self,
        reader: Reader,
        made_from: Commit,
        below: Base,
        route: Route,
        path: Path,
        name: str,
        history: History,
    ) -> list[Path]:
        """A folder with nothing but a `.git`, to lie on a base; none where there can be none."""
        nodes = partial(_based, reader, made_from, below)
        found = self._history(
            route, nodes, f"{made_from.tree}-{_mark(below)}", name, int(path.name), history, Wanted()
        )
        if not found:
            return []
        layer = self._lent / name / f"{path.name}{_LAYER}"
        write_folder(layer, found, reader, self._owner)
        self._trusted_by(history, layer)
        return [layer]

    def _clear(self, folder: Path) -> None:
        """Remove a folder in which something may be mounted."""
        clear(folder)
        self._trash.remove(folder)

    def _clear_until(self, attempt: int, folder: Path) -> None:
        """Remove what is of this and of earlier attempts of a job."""
        for former in _all_in(folder):
            # A worker that was thought dead may come this far, but not to a later attempt's files.
            number = former.name.removesuffix(_LAYER)
            if not number.isdecimal() or int(number) <= attempt:
                self._clear(former)

    def lent(self, name: str, attempt: int) -> Path:
        """A folder of git's objects, to which the histories of a job's attempt refer: for steps to read."""
        folder = self._lent / file_name(name) / str(attempt)
        open_for(folder, self._owner)
        return folder

    def place(self, route: Route, name: str, root: Path, path: Sequence[str]) -> None:
        """Put the commit's files into the folder that the names of `path` lead to, below a job's `root`."""
        with self._reading(route) as reader, _disk_errors(root):
            nodes = nodes_of(reader, read_commit(reader, route.commit))
            with placing(root, path) as folder:
                fill_folder(folder, nodes, reader, self._owner)

    def check_out(
        self,
        route: Route,
        name: str,
        attempt: int,
        root: Path,
        path: Sequence[str],
        history: History,
        wanted: Wanted,
        check: Callable[[], None] = nothing,
    ) -> None:
        """As `place`, with a history and for steps to change; no `path` is all of `root`.

        `check` is called now and then: by raising it ends this, and nothing is changed.
        """
        sparse = sparse_of(wanted.sparse, wanted.cone)
        with self._reading(route) as reader, _disk_errors(root):
            commit = read_commit(reader, route.commit)
            nodes = self._nodes_there(reader, commit, root) if wanted.there else nodes_of(reader, commit)
            made = self._history(route, lambda: nodes, _look(commit), name, attempt, history, wanted)
            if sparse is not None:
                nodes = _only(sparse, nodes)
            nodes = made | nodes | self._large_nodes(route, nodes, wanted.large)
            if wanted.there:
                nodes = _with_folders(nodes, {*wanted.large, *({".git/index"} & made.keys())})
            with placing(root, path, wanted.clean and not wanted.there) as folder:
                fill_folder(folder, nodes, reader, self._owner, check)
                self._trusted_by(history, folder)

    def _nodes_there(self, reader: Reader, commit: Commit, root: Path) -> dict[str, Node]:
        """What a commit holds, as a job's folder has it that was made for it."""
        with self._opening:
            below = next((one.base for one in self._open if one.path == root and not one.closed), None)
        return _based(reader, commit, below) if below else nodes_of(reader, commit)

    def _large_nodes(
        self, route: Route, nodes: Mapping[str, Node], large: Mapping[str, Large]
    ) -> dict[str, Node]:
        """The files with their contents in the place of pointers."""
        shelf = self._mirror(route.forge, route.repo).shelf
        return {
            path: replace(node, source=Copied(shelf.place(one), one.size))
            for path, one in large.items()
            if isinstance(node := nodes.get(path), File)
        }

    def fetch_large(
        self, repo: Repository, route: Route, wanted: Wanted, check: Callable[[], None] = nothing
    ) -> Mapping[str, Large]:
        """Have the contents here of the files that the commit has in Git LFS; says which, by path."""
        mirror = self._mirror_of(repo)
        settings: dict[str, str] = {}
        if CONFIG in self.read(route, "", [CONFIG]):
            settings = dict(mirror.settings_at(f"{route.commit}:{CONFIG}"))
        with self._reading(route) as reader:
            commit = read_commit(reader, route.commit)
            entries = dict(walk(reader, commit.tree))
            index = self._index(mirror, lambda: nodes_at(commit.time, entries.items()), _look(commit), None)
            sparse = sparse_of(wanted.sparse, wanted.cone)
            found = large_files(mirror, reader, entries, index, settings, sparse, check)
        with _disk_errors(mirror.path), self._let_in(repo) as git:
            fetch_large(
                repo.name,
                self._address(repo),
                found,
                settings,
                mirror.shelf,
                git=git,
                hosts=self._hosts,
                protocols=self._protocols,
                environment=self._environment,
                most=self._fetch_bytes,
                check=check,
            )
        return found

    def _trusted_by(self, history: History | None, folder: Path | str) -> None:
        """Git reads no repository that is another user's than the steps' own.

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

    def _history(
        self,
        route: Route,
        nodes: Callable[[], Mapping[str, Node]],
        look: str,
        name: str,
        attempt: int,
        history: History,
        wanted: Wanted,
    ) -> dict[str, Node]:
        """The files of a job's `.git`; none where its objects cannot be shown to it."""
        mirror = self._mirror(route.forge, route.repo)
        borrowed = mirror.borrowed
        if borrowed and history.objects:
            # They are in somebody's own checkout, which no sandbox sees.
            return {}
        top = self.lent(name, attempt)
        objects = top / mirror.path.stem
        origin = self._origin(route, mirror, history)
        # What a fetch brought just now is lent too.
        lend(mirror.path / "objects", objects)
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
        origin, tag = mirror.origin(), wanted_tag(history)
        repo = self._fetched.get((route.forge, route.repo))
        if tag is not None and tag not in origin and repo is not None and not mirror.shallow(route.commit):
            try:
                mirror.refresh(self._address(repo))
            except (Rejected, Unavailable) as error:
                log.info("a tag is not known yet", extra={"tag": tag, "error": str(error)})
            origin = mirror.origin()
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
        sizes |= mirror.sizes({id for mode, id, _ in found.values() if mode != GITLINK} - sizes.keys())
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

    def submodules(self, route: Route) -> Sequence[Submodule]:
        """What other repositories the commit has in it, as its `.gitmodules` says."""
        if ".gitmodules" not in self.read(route, "", [".gitmodules"]):
            return ()
        with self._reading(route) as reader:
            tree = read_commit(reader, route.commit).tree
            mirror = self._mirror(route.forge, route.repo)
            return tuple(submodules_in(reader, tree, mirror.settings_at(f"{route.commit}:.gitmodules")))

    def inherit(self, name: str, line: Sequence[str], snapshot: str) -> None:
        """Have a snapshot as one of job `name`'s own, from the first of the jobs of `line` that has it.

        Raises `SnapshotGone` where none has it.
        """
        own = self._snapshots / file_name(name)
        with _disk_errors(own):
            inherit(own, [self._snapshots / file_name(one) for one in line], snapshot)

    def names(self) -> set[str]:
        """Of which jobs there are folders here."""
        return {path.name for folder in (self._workspaces, self._lent) for path in _entries(folder)}

    def kept(self) -> Iterator[Kept]:
        """What is kept of each job that has snapshots here."""
        sizes = self._layers.sizes()
        return (kept for path in _entries(self._snapshots) if (kept := measured(path, sizes)) is not None)

    def retire(self, name: str) -> None:
        """Remove the folders of job `name`, which has ended; its snapshots stay for who goes on from it."""
        self._clear(self._workspaces / file_name(name))
        self._trash.remove(self._lent / file_name(name))
        if not self._keeping:
            self._trash.remove(self._snapshots / file_name(name))
            self._layers.sweep()
        self._trash.empty()

    def forget(self, name: str) -> None:
        """Remove every snapshot and folder of job `name`."""
        self._clear(self._workspaces / file_name(name))
        for folder in (self._lent, self._snapshots):
            self._trash.remove(folder / file_name(name))
        self._layers.sweep()
        self._trash.empty()

    def tidy(self, bases: int) -> None:
        """Remove what processes that are gone left half-made, and the bases that exceed so many bytes."""
        self._layers.sweep()
        self._bases.sweep(bases)
        self._trash.empty()

    def reach(self, root: Path) -> Folder:
        """A folder of a job, `root` as we see it, for what the engine itself does there."""
        return Reach(root, self._owner)

    # --- the folder of mirrors ---

    def tend(self, limit: int, needed: Callable[[Collection[str]], bool] = lambda keeps: False) -> None:
        """Have mirrors in good order, and no more of them than fit into `limit` bytes, where that is not 0.

        Those go first that were not used for longest; one that a job still sees objects of stays, and one
        whose keep-refs, by their names, are still `needed`: its repository may have their commits no longer.
        """
        mirrors = [self._named(path) for path in self._mirrors.glob("*.git")]
        for mirror in mirrors:
            mirror.tidy()
        if not limit:
            return
        sizes = {mirror.path: mirror.size() for mirror in mirrors}
        over = sum(sizes.values()) - limit
        idle = time.time() - IDLE_SECONDS
        # What can be fetched again without the rest goes first.
        for used, size, path in sorted(one for mirror in mirrors for one in mirror.shelf.kept()):
            if over <= 0 or used > idle:
                break
            path.unlink(missing_ok=True)
            over -= size
        for mirror in sorted(mirrors, key=lambda one: one.used_at()):
            if over <= 0 or mirror.used_at() > idle:
                return
            if any(self._lent.glob(f"*/*/{escape(mirror.path.stem)}")) or needed(mirror.kept()):
                continue
            if mirror.remove(self._trash):
                log.info("a mirror is removed", extra={"mirror": mirror.path.stem})
                over -= sizes[mirror.path]

    def _named(self, path: Path) -> Mirror:
        return Mirror(path, path.stem, self._git, self._hosts, self._readers, self._timeout)

    # --- between them ----------------------------------------------------------------------------

    @contextmanager
    def _let_in(self, repo: Repository) -> Iterator[Git]:
        """Git that may go where a repository is, with the key that was given for it."""
        if repo.key is None or not repo.key.private:
            yield self._git
            return
        with command_with(repo.key) as command:
            yield self._git.beside({"GIT_SSH_COMMAND": command})

    def _mirror(self, forge: str, repo: str, seconds: float | None = None, git: Git | None = None) -> Mirror:
        path = self._mirrors / f"{file_name(f'{forge}/{repo}')}.git"
        timeout = self._timeout if seconds is None else min(seconds, self._timeout)
        return Mirror(path, repo, git or self._git, self._hosts, self._readers, timeout, self._fetch_bytes)

    def _mirror_of(self, repo: Repository, seconds: float | None = None, git: Git | None = None) -> Mirror:
        mirror = self._mirror(repo.forge, repo.name, seconds, git)
        mirror.belong(repo.registration, self._trash)
        return mirror

    def _address(self, repo: Repository) -> Address:
        self._fetched[repo.forge, repo.name] = replace(repo, key=None)
        return address_of(repo, self._protocols)

    @contextmanager
    def _reading(self, route: Route) -> Iterator[Reader]:
        with self._mirror(route.forge, route.repo).reading(route.commit) as reader:
            yield reader


def _entries(folder: Path) -> list[Path]:
    return [path for path in _all_in(folder) if not path.name.startswith(".")]


def _all_in(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _based(reader: Reader, commit: Commit, base: Base) -> dict[str, Node]:
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


def _mark(base: Base) -> str:
    """Sets a base apart from others of the same tree, whose files may have other times."""
    found = (folder.stat() for folder in base.folders)
    said = repr([(one.st_ino, one.st_mtime_ns) for one in found]).encode()
    return hashlib.sha256(said).hexdigest()[:16]


def _look(commit: Commit) -> str:
    """What the files of a commit look like that were made for it."""
    return f"{commit.tree}-{commit.time}"


def _tracked(nodes: Mapping[str, Node]) -> Iterator[tuple[str, tuple[int, str, int]]]:
    """The files and submodules of a commit as its trees have them: by path their mode, id and time."""
    for path, node in nodes.items():
        match node:
            case File(mode, mtime, Blob(id)):
                yield path, (mode, id, mtime // _SECOND)
            case Link(Blob(id), mtime):
                yield path, (stat.S_IFLNK, id, mtime // _SECOND)
            case MadeFolder(_, id) if id:
                yield path, (GITLINK, id, 0)


def _only(sparse: Sparse, nodes: Mapping[str, Node]) -> dict[str, Node]:
    """What a sparse checkout has of a commit, with the folders around it."""
    return _with_folders(
        nodes,
        [path for path, node in nodes.items() if not isinstance(node, MadeFolder) and sparse.has(path)],
    )


def _with_folders(nodes: Mapping[str, Node], kept: Collection[str]) -> dict[str, Node]:
    """What is kept of them, with the folders around it."""
    kept = set(kept)
    around = {
        "/".join(names[:depth])
        for path in kept
        for names in [path.split("/")]
        for depth in range(1, len(names))
    }
    return {path: node for path, node in nodes.items() if path in kept or path in around}


def _read_files(reader: Reader, entries: Sequence[tuple[str, Entry]]) -> dict[str, bytes]:
    for path, entry in entries:
        if not stat.S_ISREG(entry.mode):
            kind = "a symlink" if stat.S_ISLNK(entry.mode) else "a submodule"
            raise BrokenDefinition(f"{path} is {kind}; put a regular file there")
    files: dict[str, bytes] = {}
    total = 0
    for (path, _), content in zip(entries, reader.contents([entry.id for _, entry in entries]), strict=True):
        total += content.size
        if content.size > WORKFLOW_BYTES:
            raise BrokenDefinition(
                f"{path} has {content.size} bytes; "
                f"a workflow file has at most {WORKFLOW_BYTES} (WORKFLOW_BYTES)"
            )
        if total > FOLDER_BYTES:
            raise BrokenDefinition(f"{path} makes its folder larger than {FOLDER_BYTES} bytes (FOLDER_BYTES)")
        files[path] = content.whole()
    return files


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE):
            raise Unavailable(f"cannot make {path}: {error.strerror}") from error
        raise
