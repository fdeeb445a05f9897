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
  unpacked once for all jobs (`bases`), on it what steps change (`overlay`), and between them what caches hold
  (`stock`). Opening one and keeping what a
  step left then cost what changed, not what there is. Everything that a file system keeps is kept. A file has
  the time of the commit for which its bytes were first unpacked here.
* **Elsewhere its files are written,** as clones of the unpacked ones where the file system can share blocks,
  else from what git has.
* **There a snapshot is the commit and a chain of layers**, each one file with what changed since the
  last. What changed is seen from status alone. Hard links come back as separate files; owners, extended
  attributes, fifos, sockets and devices are not kept. A job goes on in the way in which it began where it
  can; what an overlay has kept is put on the commit's files where there are none (`merging`).
* **Who goes on where a job stopped has that job's layers as hard links**, made before it opens its folder: so
  each job's snapshots can be removed whatever others do, and what they share takes its space once.
* **A clone URL leads to the public internet, or where the administrator says**: see `hosts`.
* **`fsckObjects` is off.** It refuses old but honest repositories, while each tree is checked by us when it
  is used (`HostileTree`).

In `home`: `mirrors/`, `bases/<tree>/`, `workspaces/<job>/<attempt>/`, `snapshots/<job>/<attempt>.<n>`,
`layers/<token>/`, `stock/<key>/`; one file system.
"""

import errno
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Self

from runner.engine.ports import Folder, History, Large, Submodule, Wanted, Workspace
from runner.errors import Unavailable
from runner.model.refs import checked_ref
from runner.model.snapshot import BASE
from runner.model.source import FULL_COMMIT_ID, Repository, Route
from runner.workspaces.bases import Bases
from runner.workspaces.checkouts import Checkout, commit
from runner.workspaces.cloning import Clones
from runner.workspaces.commits import WORKFLOW_BYTES, Commits
from runner.workspaces.dotgit import LAYER, Histories, based
from runner.workspaces.fetching import CONFIG, large_files, large_nodes
from runner.workspaces.folders import Folder as MadeFolder
from runner.workspaces.folders import Node, fill_folder, nodes_at, nodes_of, placing, write_folder
from runner.workspaces.hosts import Lookup, Network, lookup
from runner.workspaces.keeping import Kept, measured
from runner.workspaces.layers import nothing
from runner.workspaces.looking import inside
from runner.workspaces.names import file_name
from runner.workspaces.overlays import Overlays, clear_away
from runner.workspaces.reach import Reach
from runner.workspaces.removal import Trash
from runner.workspaces.repositories import Repositories
from runner.workspaces.scanning import Unkeepable
from runner.workspaces.snapshots import chain, inherit, restored
from runner.workspaces.sparse import Sparse, sparse_of
from runner.workspaces.syncing import Syncing
from runner.workspaces.trees import HostileTree, read_commit, walk
from runner.workspaces.workspace import GitWorkspace

__all__ = ["WORKFLOW_BYTES", "GitWorkspaces", "HostileTree", "Unkeepable"]


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
        self._workspaces, self._snapshots = home / "workspaces", home / "snapshots"
        self._trash = Trash(self._workspaces / ".trash")
        self._owner = owner
        self._keeping = keeping
        # What is not kept has no need to get to the disk either.
        self._syncing = Syncing(home) if keeping else None
        self._repositories = Repositories(
            home / "mirrors",
            self._trash,
            protocols,
            environment=environment,
            networks=networks,
            lookup=lookup,
            timeout=timeout,
            fetch_bytes=fetch_bytes,
        )
        self._commits = Commits(self._repositories)
        self._histories = Histories(home / "lent", self._repositories, owner)
        bases = Bases(home / "bases", self._trash, owner, self._syncing)
        self._overlays = Overlays(home, self._trash, self._syncing, owner, self._histories, bases, hindrance)
        self._clones = Clones(home, self._trash, bases, keeping)

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
            closing.callback(self._repositories.close)
            closing.callback(self._overlays.close)

    # --- the repository --------------------------------------------------------------------------

    def check(self, repo: Repository) -> None:
        """Raises `Rejected` where the repository's URL is none that may be fetched from."""
        self._repositories.check(repo)

    def resolve(
        self, repo: Repository, ref: str, *, tag_first: bool = False, seconds: float | None = None
    ) -> str:
        """The full commit id that `ref` names in the repository right now.

        `ref` is a full ref, `HEAD`, a branch, else a tag, or the other way round where it is `tag_first`; a
        full commit id is its own answer.
        """
        if FULL_COMMIT_ID.fullmatch(checked_ref(ref)):
            return ref
        with self._repositories.asking(repo, seconds) as mirror:
            return mirror.remote.resolve(self._repositories.address(repo), ref, tag_first)

    def default_branch(self, repo: Repository) -> str | None:
        """The branch that the repository's HEAD names right now; None where it names none."""
        with self._repositories.asking(repo) as mirror:
            return mirror.remote.default_branch(self._repositories.address(repo))

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
        with self._repositories.asking(repo, seconds) as mirror:
            mirror.fetch(self._repositories.address(repo), route.commit, keep, history, check)

    def release(self, route: Route, keep: str) -> None:
        """Let go of a keep-ref; one that does not exist is fine."""
        self._repositories.at(route).release(keep)

    def let_go(self, keep: str) -> None:
        """Release that keep-ref and all whose names begin with it, in every repository that is here."""
        for mirror in self._repositories.all():
            for name in mirror.refs.kept(keep):
                mirror.release(name)

    def adopt(self, repo: Repository, checkout: Checkout, environment: Mapping[str, str]) -> tuple[str, str]:
        """Have a checkout of this machine as it is now, though it was never pushed, as a commit of `repo`.

        Gives its id, and what could not be read and so is not part of it. Only where nothing was fetched
        for `repo` yet.
        """
        mirror = self._repositories.named(repo.forge, repo.name)
        made = commit(checkout, mirror.path, environment)
        mirror.belong_from_birth(repo.registration)
        return made

    # --- what a commit holds ---------------------------------------------------------------------

    def read(self, route: Route, folder: str, names: Collection[str] | None = None) -> Mapping[str, bytes]:
        """The regular files directly in `folder` at that commit, by path; empty where it is missing."""
        return self._commits.read(route, folder, names)

    def listed(self, route: Route, folder: str) -> Collection[str]:
        """The names of what is directly in `folder` at that commit, also folders; empty where it is none."""
        return self._commits.listed(route, folder)

    def message(self, route: Route) -> str:
        """What its author wrote about the commit."""
        return self._commits.message(route)

    def parents(self, route: Route) -> Sequence[str]:
        """The commits that it was made from: two or more where it is a merge."""
        return self._commits.parents(route)

    def parting(self, route: Route, other: str) -> str | None:
        """The newest commit that both have in their history; None where they have none in common."""
        return self._commits.parting(route, other)

    def changed(self, route: Route, before: str | None) -> Sequence[str]:
        """Paths that differ between `before` (None: the empty tree) and the route's commit.

        Where `before` cannot be had any more, every path of the commit. A rename is both its names.
        """
        return self._commits.changed(route, before)

    def submodules(self, route: Route) -> Sequence[Submodule]:
        """What other repositories the commit has in it, as its `.gitmodules` says."""
        return self._commits.submodules(route)

    # --- jobs ------------------------------------------------------------------------------------

    def open(
        self,
        route: Route,
        name: str,
        attempt: int,
        snapshot: str | None,
        history: History | None = None,
        check: Callable[[], None] = nothing,
    ) -> Workspace:
        """A fresh folder for job `name`: the commit's files, its history, then those of `snapshot`.

        Folders of this and of earlier attempts are removed first. `check` is called now and then: by raising
        it ends this. Raises `SnapshotGone`.
        """
        snapshot = snapshot or BASE
        path, layers = self._workspaces / file_name(name) / str(attempt), self._snapshots / file_name(name)
        with self._repositories.reading(route) as reader, _disk_errors(path):
            commit = read_commit(reader, route.commit)
            line = chain(layers, snapshot, route.commit)
            sealed = self._overlays.layers(layers, line)
            path.parent.mkdir(parents=True, exist_ok=True)
            for folder in (path.parent, self._histories.folder / file_name(name)):
                self._clear_until(attempt, folder)
            if sealed is not None:
                return self._overlays.open(
                    path, reader, route, commit, layers, snapshot, sealed, history, check
                )
            nodes = nodes_of(reader, commit)
            if history is not None:
                nodes |= self._histories.files(route, commit, nodes, name, attempt, history, Wanted())
            with self._clones.made(reader, commit, f"{route.forge}/{route.repo}", nodes, check) as made:
                made = restored(layers, line, made, self._overlays.files)
                write_folder(path, made, reader, self._owner, check)
            self._histories.trust(history, path)
            return GitWorkspace(path, self._trash, layers, route.commit, snapshot)

    def overlay_problem(self) -> str | None:
        """Why jobs' folders are no overlays here, or None where they are."""
        return self._overlays.problem()

    def clone_problem(self) -> str | None:
        """Why files of jobs' folders that are no overlays are no clones either, or None where they are."""
        return self._clones.problem()

    def _clear_until(self, attempt: int, folder: Path) -> None:
        """Remove what is of this and of earlier attempts of a job."""
        for former in inside(folder):
            # A worker that was thought dead may come this far, but not to a later attempt's files.
            number = former.name.removesuffix(LAYER)
            if not number.isdecimal() or int(number) <= attempt:
                clear_away(former, self._trash)

    def lent(self, name: str, attempt: int) -> Path:
        """A folder of git's objects, to which the histories of a job's attempt refer: for steps to read."""
        return self._histories.lent(name, attempt)

    def place(self, route: Route, name: str, root: Path, path: Sequence[str]) -> None:
        """Put the commit's files into the folder that the names of `path` lead to, below a job's `root`."""
        with self._repositories.reading(route) as reader, _disk_errors(root):
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
        with self._repositories.reading(route) as reader, _disk_errors(root):
            commit = read_commit(reader, route.commit)
            below = self._overlays.base(root) if wanted.there else None
            nodes = based(reader, commit, below) if below is not None else nodes_of(reader, commit)
            made = self._histories.files(route, commit, nodes, name, attempt, history, wanted)
            if sparse is not None:
                nodes = _only(sparse, nodes)
            nodes = made | nodes | large_nodes(self._repositories.at(route).shelf, nodes, wanted.large)
            if wanted.there:
                nodes = _with_folders(nodes, {*wanted.large, *({".git/index"} & made.keys())})
            with placing(root, path, wanted.clean and not wanted.there) as folder:
                fill_folder(folder, nodes, reader, self._owner, check)
                self._histories.trust(history, folder)

    def fetch_large(
        self, repo: Repository, route: Route, wanted: Wanted, check: Callable[[], None] = nothing
    ) -> Mapping[str, Large]:
        """Have the contents here of the files that the commit has in Git LFS; says which, by path."""
        mirror, settings = self._repositories.of(repo), dict[str, str]()
        if CONFIG in self.read(route, "", [CONFIG]):
            settings = dict(mirror.contents.settings_at(f"{route.commit}:{CONFIG}"))
        with self._repositories.reading(route) as reader:
            commit = read_commit(reader, route.commit)
            entries = dict(walk(reader, commit.tree))
            index = self._histories.index(route, commit, lambda: nodes_at(commit.time, entries.items()))
            sparse = sparse_of(wanted.sparse, wanted.cone)
            found = large_files(mirror, reader, entries, index, settings, sparse, check)
        with _disk_errors(mirror.path):
            self._repositories.fetch_large(repo, found, settings, check)
        return found

    def inherit(self, name: str, line: Sequence[str], snapshot: str) -> None:
        """Have a snapshot as one of job `name`'s own, from the first of the jobs of `line` that has it.

        Raises `SnapshotGone` where none has it.
        """
        own = self._snapshots / file_name(name)
        with _disk_errors(own):
            inherit(own, [self._snapshots / file_name(one) for one in line], snapshot)

    def names(self) -> set[str]:
        """Of which jobs there are folders here."""
        folders = self._workspaces, self._histories.folder
        return {path.name for folder in folders for path in _entries(folder)}

    def kept(self) -> Iterator[Kept]:
        """What is kept of each job that has snapshots here."""
        sizes = self._overlays.sizes()
        return (kept for path in _entries(self._snapshots) if (kept := measured(path, sizes)) is not None)

    def retire(self, name: str) -> None:
        """Remove the folders of job `name`, which has ended; its snapshots stay for who goes on from it."""
        clear_away(self._workspaces / file_name(name), self._trash)
        self._trash.remove(self._histories.folder / file_name(name))
        if not self._keeping:
            self._trash.remove(self._snapshots / file_name(name))
            self._overlays.sweep()
        self._trash.empty()

    def forget(self, name: str) -> None:
        """Remove every snapshot and folder of job `name`."""
        clear_away(self._workspaces / file_name(name), self._trash)
        for folder in (self._histories.folder, self._snapshots):
            self._trash.remove(folder / file_name(name))
        self._overlays.sweep()
        self._trash.empty()

    def tidy(self, limit: int) -> None:
        """Remove what processes that are gone left half-made, and keep to so many bytes.

        They count for what is unpacked once for all jobs: commits, and what those restore from caches. Some
        of the commits are read again, and dropped where they are not what git has.
        """
        self._overlays.tidy(limit)
        self._overlays.reread(self._repositories.reading_of)
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
        self._repositories.tend(limit, self._histories.is_lent, needed)


def _entries(folder: Path) -> list[Path]:
    return [path for path in inside(folder) if not path.name.startswith(".")]


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


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE):
            raise Unavailable(f"cannot make {path}: {error.strerror}") from error
        raise
