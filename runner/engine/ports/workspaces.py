"""Ports to repositories as git knows them, and to the folders in which jobs work."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from runner.engine.ports.executors import Sandbox
from runner.model.source import Repository, Route


@dataclass(frozen=True, slots=True)
class History:
    """What a job's folder has for git beside its commit's files: a `.git` with all that came before.

    `ref` is what is checked out: a branch as one, all else by itself. `url` is what `origin` leads to; empty
    for none. `objects` is where steps see what `Workspaces.lent` has; None: at its own place. `owner` is the
    user and group that steps are, as of a `Sandbox`.
    """

    ref: str
    url: str = ""
    objects: str | None = None
    owner: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Large:
    """Content that a commit has only a pointer to (Git LFS): its SHA-256 in hex, and how long it is."""

    id: str
    size: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a commit is to be checked out.

    `clean`: what else is there is removed. `sparse` are lines that say which files there are, folders where
    it is a `cone`; none is all. `submodules` are the URLs of those that come into it, by name. `large` is
    what `Workspaces.fetch_large` gave. `there`: the commit's files are there as the job began with them, and
    only those that `large` names are put into their place.
    """

    clean: bool = True
    sparse: str = ""
    cone: bool = True
    submodules: Mapping[str, str] = field(default_factory=dict)
    large: Mapping[str, Large] = field(default_factory=dict)
    there: bool = False


@dataclass(frozen=True, slots=True)
class Submodule:
    """Another repository that a commit has at a path, at one of its commits; `url` is as it was written."""

    name: str
    path: str
    url: str
    commit: str


class Workspace(Protocol):
    """A folder with exactly one commit's files, and whatever steps changed in it since."""

    @property
    def path(self) -> Path: ...

    @property
    def snapshot(self) -> str:
        """What the last `save` gave; before the first, what stands for the files it was opened with."""

    def save(self, check: Callable[[], None] = lambda: None) -> str:
        """Keep the files as they are now; the same name again where nothing changed since.

        `check` is called now and then: by raising it ends the saving, and nothing is kept.
        """

    def shown(self, sandbox: "Sandbox", shared: bool) -> None:
        """Say where steps see it: in that sandbox, and whether containers beside it do too."""

    def lay(
        self, content: str, fill: Callable[["Folder"], int], check: Callable[[], None] = lambda: None
    ) -> int | None:
        """Have files in it as if `fill` had put them there, for nothing where this machine has them already.

        `content` stands for what `fill` puts into a folder that it is given, and for nothing else; it gives
        how many there are. None, and nothing is changed, where each has to be put into the workspace itself.
        `check` is called now and then, and ends it by raising.
        """

    def paths(self, spend: Callable[[int, int], None]) -> Iterable[str]:
        """Every file in it, also those behind links to its own folders, by relative path and in order.

        `spend` is called before each piece of work, with how many files and folders are looked at and how
        many bytes are read: by raising it ends this.
        """

    def digest(self, path: str, spend: Callable[[int, int], None]) -> bytes:
        """The SHA-256 of one of its files."""

    def read(self, path: str, limit: int) -> bytes:
        """A file of up to `limit` bytes at a relative path.

        Raises `NotFound` where there is none, `BrokenDefinition` where it is larger or lies outside.
        """

    def close(self) -> None:
        """Give the folder up. Snapshots stay."""


class Workspaces(Protocol):
    """Repositories as git knows them: one bare mirror each, hidden with its locks and fetches.

    Errors: `Unavailable` where the repository does not answer, `Rejected` where it has no such
    commit or ref, or what was asked for is no ref name.
    """

    def resolve(
        self, repo: Repository, ref: str, *, tag_first: bool = False, seconds: float | None = None
    ) -> str:
        """The full commit id that `ref` names in the repository right now.

        Of a branch and a tag of one name it is the branch, unless it is `tag_first`. Raises `RefNotFound`.
        `seconds`: how long it may take at the most.
        """

    def default_branch(self, repo: Repository) -> str | None:
        """The branch that the repository's HEAD names right now; None where it names none."""

    def fetch(
        self,
        repo: Repository,
        route: Route,
        keep: str,
        *,
        history: bool = True,
        seconds: float | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Have that commit here, and hold it under the keep-ref named `keep` until it is released.

        `history`: whether also what came before it. A repository is fetched either always with it or never.
        `check` is called now and then: by raising it ends the fetch.
        """

    def release(self, route: Route, keep: str) -> None:
        """Let go of a keep-ref; one that does not exist is fine."""

    def read(self, route: Route, folder: str, names: Collection[str] | None = None) -> Mapping[str, bytes]:
        """The regular files directly in `folder` at that commit, by path; empty where it is missing.

        `names`: only those that are called so.
        A file over the limit of `WORKFLOW_BYTES` or one that is a symlink raises `BrokenDefinition`.
        """

    def listed(self, route: Route, folder: str) -> Collection[str]:
        """The names of what is directly in `folder` at that commit, also folders; empty where it is none."""

    def message(self, route: Route) -> str:
        """What its author wrote about the commit."""

    def parents(self, route: Route) -> Sequence[str]:
        """The commits that it was made from: two or more where it is a merge."""

    def parting(self, route: Route, other: str) -> str | None:
        """The newest commit that both have in their history; None where they have none in common."""

    def changed(self, route: Route, before: str | None) -> Sequence[str]:
        """Paths that differ between `before` (None: the empty tree) and the route's commit."""

    def open(
        self,
        route: Route,
        name: str,
        attempt: int,
        snapshot: str | None,
        history: History | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> Workspace:
        """A fresh folder for job `name`: the commit's files, its history, then those of `snapshot`.

        `check` is called now and then: by raising it ends this. Raises `SnapshotGone` where the snapshot is
        not on this machine.
        """

    def lent(self, name: str, attempt: int) -> Path:
        """A folder of git's objects, to which the histories of a job's attempt refer: for steps to read only.

        What is checked out later adds to it.
        """

    def check_out(
        self,
        route: Route,
        name: str,
        attempt: int,
        root: Path,
        path: Sequence[str],
        history: History,
        wanted: Wanted,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """As `place`, with a history and for steps to change; no `path` is all of `root`.

        `check` is called now and then: by raising it ends this, and nothing is changed.
        """

    def fetch_large(
        self, repo: Repository, route: Route, wanted: Wanted, check: Callable[[], None] = lambda: None
    ) -> Mapping[str, Large]:
        """Have the contents here of the files that the commit has in Git LFS; says which they are, by path.

        `check` is called now and then: by raising it ends this. Errors: `Rejected`, `BrokenDefinition`,
        `Unavailable`.
        """

    def submodules(self, route: Route) -> Sequence[Submodule]:
        """What other repositories the commit has in it, as its `.gitmodules` says."""

    def place(self, route: Route, name: str, root: Path, path: Sequence[str]) -> None:
        """Put the commit's files into the folder that the names of `path` lead to, below job `name`'s `root`.

        Steps may write below `root`: no link is followed that is there, and what is in the way is removed.
        """

    def inherit(self, name: str, line: Sequence[str], snapshot: str) -> None:
        """Have a snapshot as one of job `name`'s own, from the first of the jobs of `line` that has it.

        Whatever becomes of theirs, it stays. Twice is fine. Raises `SnapshotGone` where none has it.
        """

    def retire(self, name: str) -> None:
        """Remove the folders of job `name`, which has ended; its snapshots stay for who goes on from it."""

    def forget(self, name: str) -> None:
        """Remove every snapshot and folder of job `name`."""

    def let_go(self, keep: str) -> None:
        """Release that keep-ref and all whose names begin with it, in every repository that is here."""

    def reach(self, root: Path) -> "Folder":
        """A folder of a job, `root` as we see it, for what the engine itself does there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or symlink: its path below the folder, and `mode` with the kind as `stat` has it."""

    path: str
    mode: int
    size: int
    mtime_ns: int


class Folder(Protocol):
    """A folder in which steps write too: no link leads out of it, whatever they do meanwhile.

    Paths are relative, with slashes. Links to what is below the folder are followed on the way to a path, but
    the last name is what it is. Errors: `BrokenDefinition` for a path that leads out, or where something is
    in the way; `NotFound` where there is nothing.
    """

    def walk(self, below: str = "") -> Iterator[Entry]:
        """All that is below a folder of it, by name, a folder before what is in it; follows no link."""

    def look(self, path: str) -> Entry | None:
        """What is there; None where there is nothing."""

    def reading(self, path: str) -> AbstractContextManager[BinaryIO]:
        """A regular file."""

    def read(self, path: str, most: int) -> bytes:
        """The first `most` bytes of a regular file."""

    def target(self, path: str) -> str:
        """Where a symlink leads."""

    def make(self, path: str, mode: int = 0o755) -> None:
        """Have a folder there, and those around it. One that is there keeps its mode."""

    def writing(
        self, path: str, mode: int = 0o644, mtime_ns: int | None = None
    ) -> AbstractContextManager[BinaryIO]:
        """A file that appears there, in place of what was, when the block ends, and not where it fails."""

    def put(self, path: str, content: bytes, mode: int, mtime_ns: int | None = None) -> None:
        """As `writing`, of a small file. Where nothing was, it may be seen before it is whole."""

    def link(self, path: str, target: str) -> None:
        """Put a symlink there, in place of a file or link."""

    def settle(self, path: str, mode: int, mtime_ns: int) -> None:
        """Give a folder that is there its mode and time, when all that is to be in it is there."""

    def held(self) -> "AbstractContextManager[Folder]":
        """The same folder, for many paths in a row: what leads to the last one of them stays open."""
