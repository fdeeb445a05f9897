"""What the engine needs from the world, each port hiding one subject entirely."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from runner.errors import RunnerError
from runner.model.artifact import Artifact, NewArtifact
from runner.model.audit import Act
from runner.model.blob import Blob
from runner.model.cache import Cache, Scope
from runner.model.children import Start
from runner.model.environment import Environment
from runner.model.log import Section, StoredLog
from runner.model.run import Envelope, Job, Lease, Run
from runner.model.snapshot import BASE, Layer, StoredLayer
from runner.model.source import Delivery, Event, Repository, Route
from runner.model.step import Checkpoint, Result
from runner.model.turns import Turn
from runner.model.waits import Signal
from runner.workflow.containers import ContainerSpec

# --- git -------------------------------------------------------------------------------------


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

    def target(self, path: str) -> str:
        """Where a symlink leads."""

    def make(self, path: str, mode: int = 0o755) -> None:
        """Have a folder there, and those around it. One that is there keeps its mode."""

    def writing(
        self, path: str, mode: int = 0o644, mtime_ns: int | None = None
    ) -> AbstractContextManager[BinaryIO]:
        """A file that appears there, in place of what was, when the block ends, and not where it fails."""

    def link(self, path: str, target: str) -> None:
        """Put a symlink there, in place of a file or link."""

    def settle(self, path: str, mode: int, mtime_ns: int) -> None:
        """Give a folder that is there its mode and time, when all that is to be in it is there."""

    def held(self) -> "AbstractContextManager[Folder]":
        """The same folder, for many paths in a row: what leads to the last one of them stays open."""


# --- objects ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """An object that is there, and since when."""

    key: str
    size: int
    at: datetime


class Objects(Protocol):
    """Blobs that outlast a job. Errors: `Unavailable` where they can be neither kept nor read now."""

    def put(self, place: str, write: Callable[[BinaryIO], None]) -> Blob:
        """Keep what `write` writes to a file, durably and whole; not at all where it raises.

        `place` sets kinds and tenants apart: words of small letters and digits, such as `artifacts/12`.
        """

    def open(self, blob: Blob) -> AbstractContextManager[BinaryIO]:
        """Its content, checked before any of it is handed out, as a file that can be sought in.

        Raises `NotFound` where there is none, `Damaged` where it is not what was written.
        """

    def part(self, key: str, begin: int, size: int) -> bytes:
        """So many of its bytes, or as many as there are, unchecked: whoever asks knows what they must be.

        Raises `NotFound`.
        """

    def remove(self, key: str) -> None:
        """One that does not exist is fine."""

    def kept(self, place: str) -> Iterator[Kept]:
        """All that there is at a place and below it."""

    def mark(self, whose: str) -> str:
        """Say whose all of these are, unless that was said before; gives what is said."""


class Artifacts(Protocol):
    """Which artifacts there are, and in which objects."""

    def add(
        self, new: NewArtifact, instead_of: Collection[int] | None = ()
    ) -> tuple[Artifact, Sequence[str]]:
        """Have an artifact in the place of those with these ids, under the fence of the job that makes it.

        Gives also the keys of the objects that are no artifact's any more. None is whatever has its name in
        that attempt of the run. Replaced anyhow is what the same step made before it was written down, and
        what its job made before it started over. Raises `LeaseLost`, `NameTaken`, and `BrokenDefinition`
        where the repository or the job has too many.
        """

    def of_run(self, route: Route, run: int) -> Sequence[Artifact]:
        """Those of a run that have not expired, of all its attempts. Raises `NotFound` for no such run."""


class ExpiringArtifacts(Protocol):
    """Artifacts as those see them who keep them for a while only."""

    def expired(self, most: int) -> Sequence[str]:
        """Remove up to `most` whose time is over; gives the keys of their objects."""

    def known(self, keys: Collection[str]) -> Collection[str]:
        """Those that are the object of an artifact."""


# --- snapshots as objects --------------------------------------------------------------------


class Layers(Protocol):
    """Layers of jobs' snapshots on this machine, each as a stream that is the same however it is kept here.

    Errors: `SnapshotGone` where a layer is missing or damaged, `Unavailable` where the disk is in trouble.
    """

    def chain(self, name: str, snapshot: str, above: str = BASE) -> Sequence[Layer]:
        """The layers of a snapshot of job `name` that lie above another one, the lowest one first."""

    def content(self, name: str, layer: str) -> str:
        """The SHA-256 of what a layer holds."""

    def pack(self, name: str, layer: str, file: BinaryIO) -> None:
        """Write a layer into a file, compressed."""

    def unpack(self, name: str, layer: str, content: str, file: BinaryIO, check: Callable[[], None]) -> None:
        """Have a layer of that content as it was packed, whole or not at all.

        `check` is called now and then, and ends it by raising.
        """


class Archived(Protocol):
    """Which objects jobs' layers are. Every method is one transaction."""

    def note(self, job: int, place: str, layers: Sequence[Layer]) -> Sequence[str]:
        """Say that they are to be objects, at that place; gives those that are none yet, in their order.

        Of a job that there is no more, none.
        """

    def share(self, job: int, layer: str, content: str) -> bool:
        """Have it be the object that another layer of the same content and place is; False where none is."""

    def stored(self, job: int, layer: str, content: str, blob: Blob) -> bool:
        """Say which object it has become; False where nothing needs it, as it is noted no more."""

    def chain(self, job: int, line: Sequence[int], snapshot: str) -> Sequence[StoredLayer] | None:
        """The layers of a job's snapshot, the first one first; None where not all of them are objects.

        Where it has none of its own, they are those of the first of the jobs of `line` that has: from now on
        its own too, whatever becomes of theirs.
        """

    def pending(self) -> Sequence[tuple[int, str, tuple[str, ...]]]:
        """Of which jobs and places layers are to be objects and are none: the names of these."""

    def expired(self, kept: timedelta, most: int) -> Sequence[str]:
        """Forget the layers of up to `most` jobs that ended so long ago, of runs that have ended too.

        What their repository says of that counts more.

        Gives the keys of objects that no layer is any more.
        """

    def known(self, keys: Collection[str]) -> Collection[str]:
        """Which of these are keys of objects that a layer is."""


# --- executors -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """One step as a sandbox runs it.

    `argv` is complete, its paths as seen inside. `env` is the whole environment. `timeout` is in
    seconds. `cwd` is absolute, as seen inside. `cancellable`: whether `Sandbox.interrupt` ends it.
    """

    argv: tuple[str, ...]
    # What a traceback shows of a command must not show the secrets in it.
    env: Mapping[str, str] = field(repr=False)
    cwd: str
    timeout: float
    cancellable: bool = True


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended: its exit code (128 + N for a signal), or why it was stopped.

    `stopped` is `timeout` where its time was up, `cancel` where `Sandbox.interrupt` ended it, `stop`
    where `Sandbox.stop` did.
    """

    code: int
    stopped: str | None = None


class ChannelClosed(RunnerError):
    """A program that talks has ended, or what it says is no conversation; `exit` is how, if that is known."""

    def __init__(self, exit: "Exit | None", reason: str) -> None:
        super().__init__(reason or "it has ended")
        self.exit = exit
        self.reason = reason


class Channel(Protocol):
    """A conversation with a program in a sandbox; `runner.sdk.wire` says what a message is.

    Errors: `ChannelClosed`; `Unavailable` where the place itself breaks.
    """

    def connect(self, seconds: float) -> bool:
        """Wait for the program to be there, so many seconds at the most; whether it is."""

    def send(self, message: Mapping[str, Any]) -> None: ...

    def receive(self, seconds: float) -> Mapping[str, Any] | None:
        """The next message; None where none came within so many seconds, or somebody called `wake`."""

    def wake(self) -> None:
        """Have `receive` return at once, from any thread."""

    def ended(self, seconds: float) -> "Exit | None":
        """How the program ended; None where it does not within so many seconds."""

    def close(self) -> None:
        """Let go of it; the program is ended with the sandbox."""


class Sandbox(Protocol):
    """One job's place to run steps: what a step starts in the background lives until `close`.

    `workspace` and `temp` are folders as the step sees them; `host_temp` is `temp` as we see it.
    Errors: `Unavailable` where the place itself breaks.
    """

    workspace: str
    temp: str
    host_temp: Path
    path: str
    """The PATH that a step begins with."""
    home: str
    """The HOME that a step begins with: an empty folder of the job's own, as the step sees it."""
    owner: tuple[int, int] | None
    """The user and group that steps are, seen from outside; None: whoever this process is."""
    container: str
    """The id of the container that it is; empty where it is none."""

    @property
    def namespace(self) -> int | None:
        """A pidfd of a process in it, as soon as a command has run; None where that is not known."""

    def run(self, command: Command, log: Callable[[bytes], None]) -> Exit:
        """Run to the end, handing output on as it comes, stdout and stderr in one stream."""

    def talk(self, command: Command, log: Callable[[bytes], None]) -> Channel:
        """Run a program to talk with: it is given one argument more, the path of a socket to connect to.

        As long as it runs, nothing else does: `run` waits for its end.
        """

    def interrupt(self) -> None:
        """End the running command and all it started, from any thread, with time to end by itself.

        A later command that may be cancelled ends at once; others run.
        """

    def stop(self) -> None:
        """End everything in the sandbox, from any thread; `run` then returns, and every later one at once."""

    def close(self) -> None:
        """End every process of the job, also those that called setsid, and remove `temp`."""


BOX_OBJECTS = "/run/git"
"""Where steps that do not see this machine's files find what `Workspaces.lent` has."""


class Executor(Protocol):
    """A way to isolate a job."""

    objects: str | None
    """Where a sandbox shows what `lent` has; None where steps see it at its own place."""

    def open(
        self,
        workspace: Path,
        temp: Path,
        label: str,
        container: ContainerSpec | None,
        lent: Path | None = None,
    ) -> Sandbox:
        """A sandbox over `workspace`. `temp` is a fresh folder for the step's own files.

        `lent` is a folder that steps can read only.

        `label` names the job's attempt, unique among all jobs, as SITE-JOB-ATTEMPT; leftovers under the
        same label are ended first. `container` is what the job asks for where it is to be one.
        """

    def check(self) -> str | None:
        """Why this executor cannot work on this machine, or None where it can."""

    def sweep(self, site: str, living: Callable[[], Collection[str]]) -> None:
        """End whatever outlived its worker of the jobs whose labels begin with `site-` and are not living.

        Raises `Unavailable`.
        """


# --- containers beside a sandbox -------------------------------------------------------------

BOX_WORKSPACE = "/github/workspace"
BOX_TEMP = "/github/runner_temp"
"""Where a step in a container of its own finds the job's folders, as on GitHub.

Steps can write in both, and docker follows links as root: so nothing below them is mounted by itself.
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A job as its containers see it: its folders, and for whom an image is kept that it made or was given.

    `inside`: the job itself is in a container.
    """

    label: str
    workspace: Path
    temp: Path
    inside: bool
    tenant: str
    lent: tuple[Path, str] | None = None
    """What steps can read only, and where they find it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image that is yet to be made, of a Dockerfile and the files of its `folder` below `root`."""

    root: Path
    folder: str
    dockerfile: str


@dataclass(frozen=True, slots=True)
class Boxed:
    """A step in a container of its own. What is None or empty is the image's own.

    `env` comes on top of the image's variables. `owner` is the user and group that it is, as of a
    `Sandbox`. `timeout` is in seconds, `cancellable` as of a `Command`.
    """

    image: str | Recipe
    entrypoint: str | None
    args: tuple[str, ...]
    env: Mapping[str, str]
    owner: tuple[int, int] | None
    timeout: float
    cancellable: bool = True


@dataclass(frozen=True, slots=True)
class Service:
    """A service that runs: its container, and the ports of localhost that lead to its own."""

    id: str
    ports: Mapping[str, str]


class Dock(Protocol):
    """One job's containers beside its sandbox, on a network of the job's own.

    Errors: `Unavailable` where docker does not answer, `BrokenDefinition` where a container cannot be had.
    """

    network: str

    def start(
        self, services: Mapping[str, ContainerSpec], seconds: float, log: Callable[[bytes], None]
    ) -> Mapping[str, Service]:
        """Start services, and wait until those that can tell say that they are healthy.

        Returns early where the job is interrupted or stopped meanwhile.
        """

    def run(self, step: Boxed, log: Callable[[bytes], None], note: Callable[[bytes], None]) -> Exit:
        """Have the step's image, and run it to the end as `Sandbox.run` does.

        `note` is told how the image came about.
        """

    def interrupt(self) -> None:
        """As of a `Sandbox`: for the step that runs. Services go on."""

    def stop(self) -> None:
        """End everything, from any thread."""

    def close(self, log: Callable[[bytes], None]) -> None:
        """Show what the services said, and remove all containers and volumes, and the network."""


class Containers(Protocol):
    """Where jobs have containers beside their sandboxes."""

    def dock(self, site: Site) -> Dock:
        """A dock without services; what earlier attempts of the job left is ended first."""


# --- the store -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run that is about to exist, with jobs that have no ids; `problems` are why it cannot run.

    `title` is asked for the run's title once it has an id and a number; `turn` for its turn in a concurrency
    group, which raises `BrokenDefinition` where the run cannot have one.
    """

    workflow: str
    name: str
    jobs: tuple[Job, ...] = ()
    problems: tuple[str, ...] = ()
    pins: Mapping[str, str] = field(default_factory=dict)
    title: Callable[[Run], str] | None = None
    turn: Callable[[Run], Turn] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a delivery: `admitted` with runs, else `ignored` or `failed` with the reason."""

    status: str
    reason: str = ""
    route: Route | None = None
    runs: tuple[NewRun, ...] = ()
    ref: str | None = None
    """What the delivery's HEAD stood for; None keeps its ref."""


@dataclass(frozen=True, slots=True)
class Change:
    """A run before and after a change. `stirred` are others that have to hear of it."""

    before: Run
    after: Run
    stirred: tuple[int, ...] = ()
    fresh: bool = True
    """False where the signal that came with it was a copy of one that came before."""
    limited: bool = True
    """Whether the repository may only have so many jobs running: where one ends, another may begin."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a ring led to: the change of a run, and which of its jobs was claimed."""

    change: Change
    job: int


@dataclass(frozen=True, slots=True)
class Overdue:
    """A run that goes on for longer than `limit`, or one of its jobs for which no worker came for as long."""

    run: int
    limit: timedelta
    job: int | None = None


@dataclass(frozen=True, slots=True)
class Stranded:
    """What is due and has nobody working on it."""

    deliveries: tuple[str, ...] = ()
    plans: tuple[Envelope, ...] = ()
    """Jobs whose definition is to be evaluated."""
    envelopes: tuple[Envelope, ...] = ()
    stirred: tuple[int, ...] = ()
    """Runs that have not heard yet what became of their turns in concurrency groups, or whose time is up."""
    overdue: tuple[Overdue, ...] = ()
    """What has to end."""
    rest: timedelta | None = timedelta()
    """How long nothing else is due after this; None while nothing is at all."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a heartbeat learned: leases that are gone, and those whose run was cancelled or stands still."""

    lost: frozenset[Lease] = field(default_factory=frozenset)
    cancelled: frozenset[Lease] = field(default_factory=frozenset)
    stopped: frozenset[Lease] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event as a forge sent it: with the forge's own id of it, and the SHA-256 of what was signed.

    `act` is whose doing it is, where somebody brought it about through the API.
    """

    event: Event
    guid: str
    digest: str
    act: Act | None = None
    start: Start | None = None
    """The step that has made it of a run of its own, under the fence of its job."""


class Store(Protocol):
    """The queue of record. Every method is one transaction, durable when it returns."""

    def receive(self, event: Event, guid: str, digest: str) -> tuple[Delivery, bool]:
        """Store an event once; a repeated `guid` or `digest` answers the first delivery and False."""

    def receive_all(self, arrivals: Sequence[Arrival]) -> Sequence[tuple[Delivery, bool]]:
        """`receive` for each, in their order, in one transaction."""

    def delivery(self, delivery_id: str) -> Delivery:
        """Raises `NotFound`."""

    def event(self, delivery_id: str) -> Event:
        """What was delivered. Raises `NotFound`."""

    def settle(self, delivery_id: str, verdict: Verdict) -> tuple[Run, ...]:
        """Say what became of a delivery and create its runs, decided once; the first call counts.

        A later call changes nothing and answers no runs: the clock rings for those that exist.
        """

    def load(self, run_id: int) -> Run:
        """Raises `NotFound`."""

    def update(
        self,
        run_id: int,
        change: Callable[[Run, datetime], Run],
        *,
        durable: bool = True,
        signal: Signal | None = None,
        act: Act | None = None,
    ) -> Change:
        """Apply a pure change under the run's lock, at the database's time; may call it again.

        What others did to the run's turns in concurrency groups is heard first; what the change means for the
        turns of others is stored with it.
        `durable`: whether a loss of power must not undo it. The death of a process never does.
        `signal`: is put into the run's inbox with it. Whatever jobs wait for there they are given, each once.
        `act`: what somebody did, written down with it.
        """

    def claim(self, rung: Envelope, take: Callable[[Run, int, datetime], Run]) -> Claim | None:
        """Apply `take` to a run and the id of its job that is to be claimed for a ring, as `update` does.

        That is a job with the labels of the rung one, of the repository that has the fewest running; the rung
        one itself where none is fairer. None where nothing may be claimed. No loss of power is survived.
        Raises `Rejected` where the message's Route is not the run's, and what `take` does of the rung job.
        """

    def freed(self, route: Route) -> Sequence[Envelope]:
        """What a repository with a limit of jobs may begin once one of them has ended: rung for again."""

    def recall(self, job: Job) -> Mapping[str, Checkpoint]:
        """The checkpoints that count for a job, by key, oldest first."""

    def record(self, lease: Lease, checkpoint: Checkpoint) -> None:
        """Write a checkpoint under the fence. Raises `LeaseLost`."""

    def renew(self, leases: Iterable[Lease]) -> Renewal:
        """Extend what is still held."""

    def stranded(self, everything: bool = False) -> Stranded:
        """Take what is due to be rung for; each is handed out again later, ever more rarely.

        `everything`: the caller knows that no worker is alive; all leases end and all work is due.
        """


# --- the rest --------------------------------------------------------------------------------


class Repositories(Protocol):
    """The administrator's list of repositories."""

    def get(self, forge: str, name: str) -> Repository:
        """Raises `NotFound`."""

    def alike(self, name: str) -> Sequence[Repository]:
        """All that have the name, on whichever forge and in whichever case."""

    def shared(self, forge: str) -> Sequence[Repository]:
        """All of a forge that the workflows of others may use."""


class Environments(Protocol):
    """The protection rules of the environments that repositories deploy to."""

    def rules(self, repository: Repository, name: str) -> Environment | None:
        """Those of one environment, whatever the case of its name; None where there are none."""


class Caches(Protocol):
    """Which caches there are: those of one registration of a repository, each of one scope.

    Errors: `Unavailable`, and `NotFound` where the repository is not registered any more.
    """

    def find(
        self, repository: Repository, scopes: Sequence[Scope], keys: Sequence[str], version: str
    ) -> Cache | None:
        """The best for the keys, which counts as a use: the first scope with one has it, then the first key.

        One with that very key, else the newest whose key begins so. After `scopes` comes the default branch
        where the repository's is known, for those who are trusted and for all others.
        """

    def there(self, repository: Repository, scope: Scope, key: str, version: str) -> bool:
        """Whether that very one is kept; asking is no use of it."""

    def keep(
        self, repository: Repository, scope: Scope, key: str, version: str, blob: Blob
    ) -> Sequence[str] | None:
        """The first one of a scope, key and version stays: None where there is one.

        Gives the keys of the blobs that nothing needs any more, as the repository has only so much space.
        Raises `BrokenDefinition` where it is more than that alone.
        """

    def drop(self, cache: Cache) -> str:
        """Forget one; gives its blob's key."""

    def unused(self, most: int) -> Sequence[str]:
        """Forget up to `most` that have not been used for long enough; gives their blobs' keys."""

    def known(self, blobs: Sequence[str]) -> set[str]:
        """Which of these keys of blobs are those of caches."""


class Vault(Protocol):
    """What workflows are given that no file of theirs says. Secrets leave it for processes only.

    Each time it is asked it gives what there is now. Errors: `Unavailable` where secrets cannot be opened.
    """

    def secrets(self, repository: Repository) -> Mapping[str, str]: ...

    def variables(self, repository: Repository) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Status:
    """What a forge shows beside a commit; `result` is None while the run goes on."""

    route: Route
    workflow: str
    result: Result | None
    url: str


class Forge(Protocol):
    """One kind of forge: how its webhooks are signed and shaped, how it is told of results."""

    def parse(
        self, headers: Mapping[str, str], body: bytes, secret: Callable[[str], str | None]
    ) -> tuple[Event, str]:
        """The event of a delivery and the forge's own id of it.

        `headers` by lower-case name; `secret` gives a repository's webhook secret by its name.
        Errors: `Unauthorized` alike for a bad signature and an unknown repository; `Rejected` for
        what is no delivery at all.
        """

    @property
    def reports(self) -> bool:
        """Whether it has a place to show how a run stands; one that has none is not told."""

    def report(self, status: Status) -> None:
        """Raises `Unavailable` where it should be tried again."""


class Dispatcher(Protocol):
    """The doorbell. Losing a ring is a short delay, so none raises; ringing twice is harmless."""

    def admit(self, delivery_id: str, forge: str, repo: str) -> None: ...

    def plan(self, envelope: Envelope) -> None: ...

    def perform(self, envelope: Envelope) -> None: ...

    def report(self, run: Run) -> None: ...


class Logs(Protocol):
    """What steps print, by job, attempt and step key."""

    def append(self, job: int, attempt: int, step: str, chunk: bytes) -> None: ...

    def flush(self, job: int) -> None:
        """Make everything appended so far visible to every reader, and durable as a checkpoint is."""


class KeptLogs(Logs, Protocol):
    """Logs as those see them who keep them for a while only."""

    def printed(self, job: int) -> Sequence[tuple[int, str]]:
        """Attempt and step of each log that a job has."""

    def remove(self, job: int) -> None:
        """Remove all that a job has printed."""


class LivingLogs(KeptLogs, Protocol):
    """Logs as they are while something may be added to them."""

    def read(self, job: int, attempt: int, step: str, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes from `offset`; empty at the end, and where nothing was printed."""

    def let_go(self, job: int, attempt: int) -> None:
        """Remove what an attempt has printed: each of its logs at once, or not at all."""


class ArchivedLogs(Protocol):
    """Which logs are kept in another way, by job and attempt. Every method is one transaction."""

    def due(self, settled: timedelta, most: int) -> Sequence[tuple[int, str, Sequence[int]]]:
        """Up to `most` jobs that ended at least so long ago, and of which not all attempts are settled.

        Each with the place of its objects, and these attempts in their order.
        """

    def add(self, job: int, attempt: int, stored: StoredLog) -> bool:
        """Say how a log is kept; False where that was said before, or it is removed."""

    def settle(self, job: int, attempt: int) -> None:
        """Say that nothing is left to do up to that attempt."""

    def of(self, job: int, attempt: int) -> StoredLog | None: ...

    def sections(self, job: int) -> Mapping[int, Sequence[Section]]:
        """What there is of a job, by attempt."""

    def forget(self, job: int) -> Sequence[str]:
        """Know of no log of a job any more, nor of any of its attempts so far; gives the keys of objects."""

    def known(self, keys: Collection[str]) -> Collection[str]:
        """Which of these are keys of objects that a log is in."""


@dataclass(frozen=True, slots=True)
class Silenced:
    """Jobs whose run ended so long ago that their logs are to go: each by its id and newest attempt."""

    run: int
    attempt: int
    jobs: tuple[tuple[int, int], ...]
    after: timedelta


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A run that is no more, with its jobs; `keep` names keep-refs that nothing needs any more, if any.

    `objects` are the keys of what held its artifacts and logs.
    """

    run: int
    jobs: tuple[int, ...]
    keep: str | None
    objects: tuple[str, ...] = ()


class Retention(Protocol):
    """What is kept for a while only. Nothing of a run that goes on is ever given out."""

    def silenced(self, most: int) -> Sequence[Silenced]:
        """Up to `most` runs whose logs have been kept for long enough."""

    def silence(self, run: Silenced) -> None:
        """Say that the logs are gone. A newer attempt that has begun meanwhile has its own."""

    def forget(self, most: int) -> Sequence[Forgotten]:
        """Remove up to `most` runs that have been kept for long enough, each in a transaction of its own.

        First those whose repository is removed, whatever they are doing. Of the others not the newest one of
        a workflow and branch, nor the newest one there that counts for a badge.
        """

    def known(self, keys: Sequence[str]) -> Collection[str]:
        """Those that are the object of what a step gave."""
