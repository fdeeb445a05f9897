"""Ports that remember or do what a test says, for what cannot be brought about with the real ones."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from runner.engine.ports import (
    Boxed,
    Channel,
    Command,
    Dispatcher,
    Dock,
    Executor,
    Exit,
    Folder,
    History,
    Large,
    Logs,
    Sandbox,
    Service,
    Site,
    Submodule,
    Wanted,
)
from runner.engine.sources import OPEN
from runner.errors import NotFound, RefNotFound, Rejected, SnapshotGone, Unavailable
from runner.model.run import Envelope, Run
from runner.model.source import Repository, Route
from runner.workflow.containers import ContainerSpec
from runner.workspaces.reach import Reach

Act = Callable[[Command], Exit]


@dataclass
class RecordingDispatcher(Dispatcher):
    admitted: list[str] = field(default_factory=list)
    plans: list[Envelope] = field(default_factory=list)
    rung: list[Envelope] = field(default_factory=list)
    reported: list[int] = field(default_factory=list)

    def admit(self, delivery_id: str, forge: str, repo: str) -> None:
        self.admitted.append(delivery_id)

    def plan(self, envelope: Envelope) -> None:
        self.plans.append(envelope)

    def perform(self, envelope: Envelope) -> None:
        self.rung.append(envelope)

    def report(self, run: Run) -> None:
        self.reported.append(run.id)


@dataclass
class FakeSandbox:
    host_temp: Path
    act: Act
    workspace: str = "/workspace"
    path: str = "/usr/bin:/bin"
    prints: Callable[[Command], bytes] = lambda command: b""
    owner: tuple[int, int] | None = None
    container: str = ""
    namespace: int | None = None
    interrupted: threading.Event = field(default_factory=threading.Event)
    stopped: bool = False
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when it is told to stop."""
    talks: Callable[[Command], Channel] | None = None
    """Who is talked with."""

    def talk(self, command: Command, log: Callable[[bytes], None]) -> Channel:
        assert self.talks is not None, "nobody is there to talk with"
        return self.talks(command)

    closed: bool = False

    temp: str = ""
    home: str = ""

    def __post_init__(self) -> None:
        self.temp = str(self.host_temp)
        self.home = f"{self.temp}/home"

    def run(self, command: Command, log: Callable[[bytes], None]) -> Exit:
        if self.stopped:
            return Exit(137, "stop")
        if self.interrupted.is_set() and command.cancellable:
            return Exit(130, "cancel")
        ended = self.act(command)
        log(self.prints(command))
        return ended

    def interrupt(self) -> None:
        self.interrupted.set()

    def stop(self) -> None:
        self.stopped = True
        self.ended.set()

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeExecutor(Executor):
    """Answers each command by `act`, and keeps every command, script and sandbox it was asked for."""

    act: Act = lambda command: Exit(0)
    prints: Callable[[Command], bytes] = lambda command: b""
    scripts: list[str] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    sandboxes: list[FakeSandbox] = field(default_factory=list)
    containers: list[ContainerSpec | None] = field(default_factory=list)

    objects: str | None = None

    def open(
        self,
        workspace: Path,
        temp: Path,
        label: str,
        container: ContainerSpec | None,
        lent: Path | None = None,
    ) -> FakeSandbox:
        self.containers.append(container)

        def act(command: Command) -> Exit:
            self.commands.append(command)
            if (script := Path(command.argv[-1])).is_file():
                self.scripts.append(script.read_text())
            return self.act(command)

        self.sandboxes.append(FakeSandbox(temp, act, prints=self.prints))
        return self.sandboxes[-1]

    def check(self) -> str | None:
        return None

    def sweep(self, site: str, living: Callable[[], Collection[str]]) -> None:
        """Nothing is left."""


@dataclass
class FakeDock(Dock):
    """Services that are ready at once, on made-up ports; `act` answers each step in a container."""

    act: Callable[[Boxed], Exit] = lambda step: Exit(0)
    network: str = "network-of-the-job"
    services: dict[str, ContainerSpec] = field(default_factory=dict)
    steps: list[Boxed] = field(default_factory=list)
    failure: Exception | None = None
    heard: list[str] = field(default_factory=list)
    """Which of its methods that end something were called, in their order."""

    def start(
        self, services: Mapping[str, ContainerSpec], seconds: float, log: Callable[[bytes], None]
    ) -> dict[str, Service]:
        self.services |= services
        if self.failure is not None:
            raise self.failure
        return {
            name: Service(f"id-of-{name}", {str(port.inside): str(port.inside + 1) for port in spec.ports})
            for name, spec in services.items()
        }

    def run(self, step: Boxed, log: Callable[[bytes], None], note: Callable[[bytes], None]) -> Exit:
        self.steps.append(step)
        return self.act(step)

    def interrupt(self) -> None:
        self.heard.append("interrupt")

    def stop(self) -> None:
        self.heard.append("stop")

    def close(self, log: Callable[[bytes], None]) -> None:
        self.heard.append("close")
        log(b"what the services said\n")


@dataclass
class FakeContainers:
    """One dock for every job; `sites` are those it was asked for."""

    held: FakeDock = field(default_factory=FakeDock)
    sites: list[Site] = field(default_factory=list)

    def dock(self, site: Site) -> FakeDock:
        self.sites.append(site)
        return self.held


@dataclass
class FakeWorkspace:
    """One of an attempt. At the saves that `changing` has the numbers of, steps have changed files."""

    path: Path
    snapshot: str = "base"
    seen_by: list[tuple[Sandbox, bool]] = field(default_factory=list)
    attempt: int = 0
    changing: Collection[int] = ()
    saved: int = 0

    def save(self, check: Callable[[], None] = lambda: None) -> str:
        check()
        self.saved += 1
        if self.saved in self.changing:
            self.snapshot = f"{self.attempt}.{self.saved}"
        return self.snapshot

    def shown(self, sandbox: Sandbox, shared: bool) -> None:
        self.seen_by.append((sandbox, shared))

    def lay(
        self, content: str, fill: Callable[[Folder], int], check: Callable[[], None] = lambda: None
    ) -> int | None:
        return None

    def paths(self, spend: Callable[[int, int], None]) -> list[str]:
        return sorted(path.name for path in self.path.iterdir() if path.is_file())

    def digest(self, path: str, spend: Callable[[int, int], None]) -> bytes:
        return sha256((self.path / path).read_bytes()).digest()

    def read(self, path: str, limit: int) -> bytes:
        try:
            return (self.path / path).read_bytes()
        except OSError:
            raise NotFound(path) from None

    def close(self) -> None:
        """There is nothing to give up."""


@dataclass
class FakeWorkspaces:
    """Commits as mappings of path to bytes. `gone`: no snapshot can be found any more, `lost`: those cannot.

    `changing`: at which saves of an attempt files have changed. `opened` are the snapshots that jobs' folders
    were made of.

    `others` are the files of other repositories by name and commit, `versions` the commits of their refs, by
    `owner/name@ref`. A repository without a version does not answer.
    """

    files: dict[str, bytes]
    folder: Path
    gone: bool = False
    lost: set[str] = field(default_factory=set)
    changing: Collection[int] = ()
    opened: list[str | None] = field(default_factory=list)
    said: str = "a change\n"
    fetched: list[Route] = field(default_factory=list)
    others: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    resolved: list[str] = field(default_factory=list)
    placed: list[tuple[Route, tuple[str, ...]]] = field(default_factory=list)
    seconds: list[float | None] = field(default_factory=list)
    inherited: list[tuple[str, tuple[str, ...], str]] = field(default_factory=list)
    seen_by: list[tuple[Sandbox, bool]] = field(default_factory=list)
    """Which sandboxes the workspaces were shown to, and whether services saw them too."""
    checked_out: list[tuple[Route, tuple[str, ...], str, Wanted]] = field(default_factory=list)
    parts: dict[str, Sequence[Submodule]] = field(default_factory=dict)
    """The submodules of repositories, by name."""
    large: dict[str, Mapping[str, Large]] = field(default_factory=dict)
    """What they have in LFS, by name."""

    def resolve(
        self, repo: Repository, ref: str, *, tag_first: bool = False, seconds: float | None = None
    ) -> str:
        if not tag_first:
            return "1" * 40
        name = f"{repo.name}@{ref}"
        self.resolved.append(name)
        self.seconds.append(seconds)
        if not any(known.startswith(f"{repo.name}@") for known in self.versions):
            raise Unavailable(f"{repo.name} at {repo.url} does not answer")
        if name not in self.versions:
            raise RefNotFound(f"{repo.name} has no ref {ref!a}", "")
        return self.versions[name]

    def default_branch(self, repo: Repository) -> str | None:
        return "main"

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
        self.fetched.append(route)
        self.seconds.append(seconds)
        if repo.forge == OPEN and (route.repo, route.commit) not in self.others:
            raise Rejected(f"{repo.name} has no commit {route.commit}")

    def release(self, route: Route, keep: str) -> None:
        """Nothing is kept."""

    def read(self, route: Route, folder: str, names: Collection[str] | None = None) -> dict[str, bytes]:
        files, folder = self.others.get((route.repo, route.commit), self.files), folder.strip("/")
        return {
            path: text
            for path, text in files.items()
            if path.rpartition("/")[0] == folder and (names is None or path.rpartition("/")[2] in names)
        }

    def listed(self, route: Route, folder: str) -> set[str]:
        inside = f"{folder.strip('/')}/".lstrip("/")
        return {path[len(inside) :].partition("/")[0] for path in self.files if path.startswith(inside)}

    def message(self, route: Route) -> str:
        return self.said

    def parents(self, route: Route) -> list[str]:
        return []

    def parting(self, route: Route, other: str) -> str | None:
        return None

    def changed(self, route: Route, before: str | None) -> list[str]:
        return []

    def open(
        self,
        route: Route,
        name: str,
        attempt: int,
        snapshot: str | None,
        history: History | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> FakeWorkspace:
        check()
        if snapshot is not None and self.gone:
            raise SnapshotGone("no snapshot on this machine")
        if snapshot in self.lost:
            raise SnapshotGone(f"the snapshot {snapshot} is damaged")
        self.opened.append(snapshot)
        return FakeWorkspace(self.folder, snapshot or "base", self.seen_by, attempt, self.changing)

    def place(self, route: Route, name: str, root: Path, path: Sequence[str]) -> None:
        self.placed.append((route, tuple(path)))

    def lent(self, name: str, attempt: int) -> Path:
        return self.folder / "lent"

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
        self.checked_out.append((route, tuple(path), history.ref, wanted))

    def fetch_large(
        self, repo: Repository, route: Route, wanted: Wanted, check: Callable[[], None] = lambda: None
    ) -> Mapping[str, Large]:
        return self.large.get(route.repo, {})

    def submodules(self, route: Route) -> Sequence[Submodule]:
        return self.parts.get(route.repo, ())

    def forget(self, name: str) -> None:
        """Nothing was kept."""

    def let_go(self, keep: str) -> None:
        """Nothing is held."""

    def inherit(self, name: str, line: Sequence[str], snapshot: str) -> None:
        if self.gone:
            raise SnapshotGone("no snapshot on this machine")
        self.inherited.append((name, tuple(line), snapshot))

    def retire(self, name: str) -> None:
        """Nothing was kept."""

    def reach(self, root: Path) -> Reach:
        return Reach(root, None)


@dataclass
class MemoryLogs(Logs):
    printed: dict[tuple[int, int, str], bytes] = field(default_factory=dict)

    def append(self, job: int, attempt: int, step: str, chunk: bytes) -> None:
        self.printed[job, attempt, step] = self.printed.get((job, attempt, step), b"") + chunk

    def flush(self, job: int) -> None:
        """All is printed at once."""


class Troubled:
    """Stands before a port; the first calls of one method fail, by a bug if no `error` is given.

    `calls` counts them all.
    """

    def __init__(self, target: Any, method: str, failures: int = 1, error: Exception | None = None) -> None:
        self._target, self._method, self._failures = target, method, failures
        self._error = error or ZeroDivisionError("of ours")
        self.calls = threading.Semaphore(0)

    def recovers(self) -> None:
        """No further call fails."""
        self._failures = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name != self._method:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.release()
            if self._failures:
                self._failures -= 1
                raise self._error
            return found(*args, **kwargs)

        return call
