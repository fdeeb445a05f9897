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
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from secrets import token_hex
from threading import Lock
from types import MappingProxyType
from typing import Self

from runner.engine.ports import Folder, Workspace
from runner.errors import BrokenDefinition, Rejected, SnapshotGone, Unavailable
from runner.model.refs import checked_ref
from runner.model.source import FULL_COMMIT_ID, Repository, Route
from runner.workspaces.bases import Bases
from runner.workspaces.checkouts import Checkout, commit
from runner.workspaces.folders import move_beneath, nodes_of, write_folder
from runner.workspaces.git import Git
from runner.workspaces.hosts import Hosts, Lookup, Network, lookup
from runner.workspaces.keeping import Kept, measured
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
from runner.workspaces.snapshots import BASE, Line, chain, inherit, restored
from runner.workspaces.syncing import Syncing
from runner.workspaces.trees import (
    Commit,
    Entry,
    HostileTree,
    differences,
    folder_in,
    printable,
    read_commit,
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


class GitWorkspaces:
    """The ports `Workspaces` and `Workspace` on real git, in the folder `home`.

    `protocols` is git's GIT_ALLOW_PROTOCOL; `owner` the uid and gid that job folders belong to, for
    which we must be root; `environment` what git's network needs (proxies, certificates, ssh);
    `networks` what may be fetched from besides public addresses; `lookup` finds a host's addresses;
    `timeout` is the seconds that one word with a repository may take; `keeping` whether what a job leaves is
    kept when it has ended; `hindrance` why no job's folder may be an overlay, None where it may.
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
        hindrance: Callable[[], str | None] = lambda: None,
    ) -> None:
        home = home.absolute()
        self._mirrors, self._workspaces, self._snapshots = (
            home / name for name in ("mirrors", "workspaces", "snapshots")
        )
        self._trash = Trash(self._workspaces / ".trash")
        self._protocols = protocols
        self._owner = owner
        self._timeout = timeout
        self._keeping = keeping
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
        return self._mirror_of(repo, seconds).resolve(self._address(repo), ref, tag_first)

    def default_branch(self, repo: Repository) -> str | None:
        """The branch that the repository's HEAD names right now; None where it names none."""
        return self._mirror_of(repo).default_branch(self._address(repo))

    def fetch(
        self,
        repo: Repository,
        route: Route,
        keep: str,
        *,
        history: bool = True,
        seconds: float | None = None,
    ) -> None:
        """Have that commit here, and hold it under the keep-ref named `keep` until it is released.

        `history`: whether also what came before it. A repository is fetched either always with it or never.
        """
        self._mirror_of(repo, seconds).fetch(self._address(repo), route.commit, keep, history)

    def release(self, route: Route, keep: str) -> None:
        """Let go of a keep-ref; one that does not exist is fine."""
        self._mirror(route.forge, route.repo).release(keep)

    def let_go(self, keep: str) -> None:
        """Release that keep-ref and all whose names begin with it, in every repository that is here."""
        for path in self._mirrors.glob("*.git"):
            mirror = Mirror(path, path.stem, self._git, self._hosts, self._readers, self._timeout)
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

    def open(self, route: Route, name: str, attempt: int, snapshot: str | None) -> Workspace:
        """A fresh folder for job `name`: the commit's files, then those of `snapshot`.

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
            for former in list(jobs.iterdir()):
                # A worker that was thought dead may come this far, but not to a later attempt's files.
                if not former.name.isdecimal() or int(former.name) <= attempt:
                    self._clear(former)
            if overlaid is not None:
                return self._overlay(reader, made_from, route, path, layers, snapshot, overlaid)
            nodes = restored(layers, line, nodes_of(reader, made_from))
            write_folder(path, nodes, reader, self._owner)
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
        route: Route,
        path: Path,
        snapshots: Path,
        snapshot: str,
        sealed: list[Path],
    ) -> OverlayWorkspace:
        base = self._bases.take(reader, made_from, f"{route.forge}/{route.repo}")
        try:
            opened = OverlayWorkspace(
                path, self._trash, snapshots, route.commit, snapshot, base, sealed, self._layers
            )
        except BaseException:
            self._clear(path)
            base.close()
            raise
        with self._opening:
            self._open = [*(one for one in self._open if not one.closed), opened]
        return opened

    def _clear(self, folder: Path) -> None:
        """Remove a folder in which something may be mounted."""
        clear(folder)
        self._trash.remove(folder)

    def place(self, route: Route, name: str, root: Path, path: Sequence[str]) -> None:
        """Put the commit's files into the folder that the names of `path` lead to, below job `name`'s `root`.

        They are written where no step can be, and moved there.
        """
        jobs = self._workspaces / file_name(name)
        aside = jobs / f".aside-{token_hex(8)}"
        with self._reading(route) as reader, _disk_errors(root):
            nodes = nodes_of(reader, read_commit(reader, route.commit))
            jobs.mkdir(parents=True, exist_ok=True)
            try:
                write_folder(aside, nodes, reader, self._owner)
                move_beneath(aside, root, path)
            finally:
                # Not there any more where it was moved.
                self._trash.remove(aside)

    def inherit(self, name: str, line: Sequence[str], snapshot: str) -> None:
        """Have a snapshot as one of job `name`'s own, from the first of the jobs of `line` that has it.

        Raises `SnapshotGone` where none has it.
        """
        own = self._snapshots / file_name(name)
        with _disk_errors(own):
            inherit(own, [self._snapshots / file_name(one) for one in line], snapshot)

    def names(self) -> set[str]:
        """Of which jobs there are folders here."""
        return {path.name for path in _entries(self._workspaces)}

    def kept(self) -> Iterator[Kept]:
        """What is kept of each job that has snapshots here."""
        sizes = self._layers.sizes()
        return (kept for path in _entries(self._snapshots) if (kept := measured(path, sizes)) is not None)

    def retire(self, name: str) -> None:
        """Remove the folders of job `name`, which has ended; its snapshots stay for who goes on from it."""
        self._clear(self._workspaces / file_name(name))
        if not self._keeping:
            self._trash.remove(self._snapshots / file_name(name))
            self._layers.sweep()
        self._trash.empty()

    def forget(self, name: str) -> None:
        """Remove every snapshot and folder of job `name`."""
        self._clear(self._workspaces / file_name(name))
        self._trash.remove(self._snapshots / file_name(name))
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

    # --- between them ----------------------------------------------------------------------------

    def _mirror(self, forge: str, repo: str, seconds: float | None = None) -> Mirror:
        path = self._mirrors / f"{file_name(f'{forge}/{repo}')}.git"
        timeout = self._timeout if seconds is None else min(seconds, self._timeout)
        return Mirror(path, repo, self._git, self._hosts, self._readers, timeout)

    def _mirror_of(self, repo: Repository, seconds: float | None = None) -> Mirror:
        mirror = self._mirror(repo.forge, repo.name, seconds)
        mirror.belong(repo.registration, self._trash)
        return mirror

    def _address(self, repo: Repository) -> Address:
        self._fetched[repo.forge, repo.name] = repo
        return address_of(repo, self._protocols)

    @contextmanager
    def _reading(self, route: Route) -> Iterator[Reader]:
        with self._mirror(route.forge, route.repo).reading(route.commit) as reader:
            yield reader


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


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
