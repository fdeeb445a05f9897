"""The engine in one process for one person: the runs of a checkout, in a home that is thrown away.

Promise: what admits, performs and concludes is the server's own code, on the same tables; nothing is left
when it ends but caches, in the user's own folder for such, and the checkout is only read. Its second kind of
wiring: a message is a call on a thread, so there is no broker to wait for, the tables are made at once in
their newest shape, and leases are as long as they can be, for nobody else is there to take a job over.
"""

import fcntl
import logging
import os
import re
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from queue import SimpleQueue
from typing import Generic, TypeVar
from uuid import uuid4

from runner import environment
from runner.engine.admit import Selection, admit
from runner.engine.advance import advance
from runner.engine.caches import CacheStore
from runner.engine.control import answer, cancel, signal
from runner.engine.errands.zips import unpack
from runner.engine.heart import Heart
from runner.engine.perform import perform
from runner.engine.plan import plan
from runner.engine.ports import Containers, Dispatcher, Executor, Vault
from runner.engine.remove import remove
from runner.engine.sources import Sources
from runner.engine.station import Station
from runner.engine.sweep import sweep
from runner.engine.titles import Titles
from runner.errors import BrokenDefinition, LeaseLost, NotFound, Rejected, Unavailable
from runner.executors import EXECUTORS, containers, executor
from runner.executors.ownership import owner
from runner.executors.sight import SYSTEMS_OWN, blindness
from runner.logs import FileLogs
from runner.model.artifact import newest
from runner.model.environment import Environment
from runner.model.leasing import NotClaimable, claim, conclude
from runner.model.run import Envelope, Run, Running
from runner.model.source import Delivery, Event, Repository
from runner.model.step import Result
from runner.model.waits import Signal, Wait, Word
from runner.objects import FolderObjects
from runner.store import Database, SqlArtifacts, SqlStandings, SqlStore, SqlWorkers, UserCaches
from runner.store.views import Views
from runner.workspaces import GitWorkspaces
from runner.workspaces.checkouts import Checkout
from runner.workspaces.mounts import clear as take_off

FORGE = "git"
HOMES = "runner-run-"
LOCK = "lock"
JOB_OF_A_RUN = re.compile(r"run([0-9]+)n([0-9]+)-[0-9]+-[0-9]+")
LEASE = timedelta(hours=1)
ROUND_SECONDS = 1.0
SECONDS_TO_STOP = 5.0
CACHE_BYTES = 10 << 30
"""How much caches of one checkout take, as on a server that says nothing else."""
SECONDS_TO_LOCK = 60.0
"""After which a home without a lock is nobody's."""
NOT_HERE = ("windows", "macos")
"""How the labels begin of machines that this one is surely not."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """How runs are worked on. `labels`: which jobs may need; None is any that this machine could have."""

    executor: str
    labels: frozenset[str] | None = None
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    network: bool = True
    docker: str | None = None
    protocols: str = "https:ssh:file"
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    server: str = "https://github.com"
    actions: str = "https://github.com"
    """What other repositories are cloned from below."""
    env: Mapping[str, str] = field(default_factory=dict)
    matrix: Mapping[str, Collection[str]] = field(default_factory=dict)


# --- the home --------------------------------------------------------------------------------------


@contextmanager
def throwaway_home() -> Iterator[Path]:
    """A folder for one process; removed at the end, and by the next one where this one is killed."""
    parent = Path(tempfile.gettempdir())
    _clear(parent)
    home = Path(tempfile.mkdtemp(prefix=HOMES, dir=parent))
    # What a step may have locked itself out of is removed too.
    with ExitStack() as stack:
        stack.callback(_remove, home)
        lock = os.open(home / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Sandboxes run as another user, who must be able to pass through, though not to look around.
        home.chmod(0o711)
        for private in ("logs", "mirrors", "objects", "snapshots"):
            (home / private).mkdir(mode=0o700)
        yield home


def _clear(parent: Path) -> None:
    """Remove the homes of processes that were killed: their lock is nobody's any more."""
    with os.scandir(parent) as entries:
        homes = [Path(entry.path) for entry in entries if entry.name.startswith(HOMES)]
    for home in homes:
        with suppress(OSError):
            _clear_one(home)


def _clear_one(home: Path) -> None:
    found = home.lstat()
    if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
        return
    try:
        lock = os.open(home / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        # It was just made, or killed while it was removed.
        if time.time() - found.st_mtime > SECONDS_TO_LOCK:
            _remove(home)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(home)
    finally:
        os.close(lock)


def _remove(home: Path) -> None:
    take_off(home)
    remove(home)


# --- the engine ------------------------------------------------------------------------------------


class Doorbell(Dispatcher):
    """What would be a message is a call on a thread of this process. `news` is set when a run changed.

    As many jobs as `threads` are performed at once; none that is planned waits for them.
    """

    def __init__(
        self,
        admit: Callable[[str], None],
        plan: Callable[[Envelope], None],
        perform: Callable[[Envelope], None],
        threads: int,
    ) -> None:
        self.news = threading.Event()
        self.labels: set[str] = set()
        """All that jobs have asked for so far."""
        self._deliveries = _Line("delivery", admit, 1, self.news)
        self._plans = _Line("plan", plan, 1, self.news)
        self._jobs = _Line("job", perform, threads, self.news)

    def admit(self, delivery_id: str, forge: str, repo: str) -> None:
        self._deliveries.put(delivery_id)

    def plan(self, envelope: Envelope) -> None:
        self._plans.put(envelope)

    def perform(self, envelope: Envelope) -> None:
        self.labels = self.labels | set(envelope.labels)
        self._jobs.put(envelope)

    def report(self, run: Run) -> None:
        self.news.set()

    def close(self, seconds: float) -> None:
        """Wait until no job is worked on any more, and no longer than that."""
        until = time.monotonic() + seconds
        self._deliveries.close(until)
        for line in (self._plans, self._jobs):
            line.close(until)


Rung = TypeVar("Rung")
"""What somebody rings for: a delivery's id, or an envelope."""


class _Line(Generic[Rung]):
    """What waits for one of some threads."""

    def __init__(self, name: str, work: Callable[[Rung], None], most: int, news: threading.Event) -> None:
        self._name = name
        self._work = work
        self._most = most
        self._news = news
        self._waiting: SimpleQueue[Rung | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._lock = threading.Lock()

    def put(self, rung: Rung) -> None:
        with self._lock:
            if self._closed:
                # A job that is handed back is rung for again.
                return
            if len(self._threads) < self._most:
                # None of them keeps the process from ending.
                thread = threading.Thread(target=self._answer, name=self._name, daemon=True)
                self._threads.append(thread)
                thread.start()
        self._waiting.put(rung)

    def close(self, until: float) -> None:
        with self._lock:
            self._closed = True
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _answer(self) -> None:
        while (rung := self._waiting.get()) is not None:
            try:
                self._work(rung)
            except (Rejected, LeaseLost, Unavailable) as error:
                log.warning(f"a {self._name} must wait", extra={"error": str(error)})
            except Exception:
                log.exception(f"a {self._name} failed by a bug")
            self._news.set()


@dataclass(frozen=True, slots=True)
class _Only:
    """The port `Repositories` where there is one repository."""

    repository: Repository

    def get(self, forge: str, name: str) -> Repository:
        if (forge, name) != (self.repository.forge, self.repository.name):
            raise NotFound(f"there is no repository {name} here, only {self.repository.name}")
        return self.repository

    def alike(self, name: str) -> Sequence[Repository]:
        return [self.repository] if name.lower() == self.repository.name.lower() else []

    def shared(self, forge: str) -> Sequence[Repository]:
        return ()


class _Unprotected:
    """The port `Environments` where nobody keeps rules."""

    def rules(self, repository: Repository, name: str) -> Environment | None:
        return None


class Local:
    """The runs of one checkout. Every method is for one thread, but for `cancel` and `abandon`."""

    def __init__(self, home: Path, repository: Repository, terms: Terms, vault: Vault, caches: Path) -> None:
        self._terms = terms
        self._repositories = _Only(repository)
        self._database = Database(f"sqlite:///{home / 'runner.db'}")
        self._database.create()
        self.store = SqlStore(self._database, LEASE)
        self.logs = FileLogs(home / "logs")
        self.views = Views(self._database, read=self.logs.read)
        self._workers = SqlWorkers(self._database)
        self._workspaces = GitWorkspaces(
            home,
            terms.protocols,
            owner(),
            environment=environment.for_git(),
            networks=terms.networks,
            keeping=False,
            hindrance=partial(blindness, terms.docker or SYSTEMS_OWN),
        )
        self._bell = Doorbell(self._admit, self._plan, self._perform, terms.threads)
        objects = FolderObjects(home / "objects")
        self._kept = UserCaches(caches, CACHE_BYTES)
        self._caches = CacheStore(self._kept, FolderObjects(caches))
        self._station = Station(
            worker=socket.gethostname(),
            site=f"run{os.getpid()}n{_processes()}",
            server=terms.server,
            answers=False,
            temp=home / "temp",
            lease=LEASE,
            store=self.store,
            repositories=self._repositories,
            workspaces=self._workspaces,
            # Whoever waits for it at a terminal would rather know at once.
            sources=Sources(terms.actions, self._repositories, self._workspaces, patient=False),
            executors={name: cache(partial(_executor, name, terms)) for name in EXECUTORS},
            containers=cache(partial(_containers, terms)),
            executor=terms.executor,
            logs=self.logs,
            heart=Heart(self.store, LEASE),
            dispatcher=self._bell,
            vault=vault,
            environments=_Unprotected(),
            artifacts=SqlArtifacts(self._database),
            objects=objects,
            caches=self._caches,
            env=terms.env,
            matrix=terms.matrix,
        )
        self._swept = time.monotonic()
        self._announced: set[str] = set()
        # There are jobs that ask for nothing.
        self._workers.announce(self._station.worker, self._announced)

    def adopt(self, checkout: Checkout) -> tuple[str, str]:
        """Have the checkout as a commit; gives its id, and what could not be read."""
        return self._workspaces.adopt(self._repositories.repository, checkout, environment.inherited())

    def start(self, event: Event, selection: Selection) -> Delivery:
        """Have an event start what is selected of the workflows at its commit; their jobs begin at once."""
        guid = str(uuid4())
        # Nobody is rung for it: it is admitted in the same breath.
        delivery, _ = self.store.receive(event, guid, guid)
        self._admit(delivery.id, selection)
        self._announce()
        return self.store.delivery(delivery.id)

    def wait(self, seconds: float) -> None:
        """Until a run or a job has ended, and no longer than that."""
        self._bell.news.wait(seconds)
        self._bell.news.clear()
        self._announce()
        if time.monotonic() - self._swept > ROUND_SECONDS:
            self._swept = time.monotonic()
            # What was said is forgotten after a while.
            self._workers.announce(self._station.worker, self._announced)
            sweep(store=self.store, dispatcher=self._bell)

    def cancel(self, run: int) -> None:
        """End a run in order: what it does when it is cancelled is still done."""
        cancel(run, store=self.store, dispatcher=self._bell)

    def signal(self, run: int, said: Signal) -> None:
        """Raises `Unheard` where the run has ended."""
        signal(run, said, store=self.store, dispatcher=self._bell)

    def answer(self, run: int, job: int, wait: Wait, word: Word, by: str) -> None:
        """Say what a person is asked for by a job; one that asks no more stays as it is."""
        with suppress(Rejected):
            answer(
                run,
                wait.awaited,
                word,
                store=self.store,
                dispatcher=self._bell,
                by=by,
                chosen=lambda run: {job},
                steps={wait.key},
                anyone=True,
            )

    def unpack_artifacts(self, run: int, folder: Path) -> list[str]:
        """Have what a run keeps in a folder, each below its name, and over what is there; gives the names."""
        station = self._station
        found = newest(station.artifacts.of_run(self.store.load(run).route, run))
        for one in found:
            reach = self._workspaces.reach(folder)
            reach.make(one.name)
            with station.objects.open(one.blob) as file:
                unpack(file, reach, one.name, lambda: None)
        return [one.name for one in found]

    def abandon(self) -> None:
        """End every step now, and begin none any more."""
        self._station.heart.release()
        self._bell.news.set()

    def close(self) -> None:
        self._station.heart.release()
        self._bell.close(SECONDS_TO_STOP)
        self._station.heart.close()
        self._workspaces.close()
        self._database.close()
        try:
            if self._kept.used:
                self._caches.tidy()
        except Unavailable as error:
            log.info("caches are not tidied", extra={"error": str(error)})
        finally:
            self._kept.close()

    def _announce(self) -> None:
        """Say that there is a worker for what was asked for: of a job that waits, people are told else."""
        if self._bell.labels - self._announced:
            self._announced = set(self._bell.labels)
            self._workers.announce(self._station.worker, self._announced)

    def _admit(self, delivery: str, selection: Selection | None = None) -> None:
        admit(
            delivery,
            store=self.store,
            sources=self._station.sources,
            standings=SqlStandings(self._database),
            dispatcher=self._bell,
            titles=Titles(self._station.server, self._station.vault.variables),
            selection=selection,
        )

    def _plan(self, envelope: Envelope) -> None:
        plan(envelope, self._station)

    def _perform(self, envelope: Envelope) -> None:
        reason = unserved(envelope.labels, self._terms.labels)
        if reason is None:
            perform(envelope, self._station)
        else:
            self._leave_out(envelope, reason)

    def _leave_out(self, envelope: Envelope, reason: str) -> None:
        """Skip a job for another kind of machine: no worker will ever come for it."""

        def change(run: Run, now: datetime) -> Run:
            claimed = claim(run.job(envelope.job), self._station.worker, now, LEASE)
            if not isinstance(claimed.phase, Running):
                return run
            return run.with_job(conclude(claimed, claimed.phase.lease, Result.SKIPPED, now, reason))

        try:
            advance(envelope.run, change, store=self.store, dispatcher=self._bell)
        except NotClaimable:
            return


def unserved(wanted: tuple[str, ...], offered: frozenset[str] | None) -> str | None:
    """Why a job with these labels is not run here; None where it is."""
    asked = [label.lower() for label in wanted]
    if offered is None:
        missing = [label for label in asked if label.startswith(NOT_HERE)]
    else:
        missing = [label for label in asked if label not in offered]
    if not missing:
        return None
    return f"this machine is no {', '.join(missing)}; --label {missing[0]} says that it is"


def usable_executor() -> tuple[str, str]:
    """The best executor that works on this machine, and why a better one does not."""
    why = executor("sandbox")().check()
    return ("sandbox", "") if why is None else ("host", why)


def _executor(name: str, terms: Terms) -> Executor:
    options: dict[str, dict[str, object]] = {
        "sandbox": {"network": terms.network},
        "docker": _docker(terms),
    }
    made = executor(name)(**options.get(name, {}))
    if name == "docker":
        _there(made)
    return made


def _containers(terms: Terms) -> Containers:
    _there(executor("docker")(**_docker(terms)))
    return containers(dead=_is_dead, **_docker(terms))


def _there(docker: Executor) -> None:
    """Raises `BrokenDefinition` without a daemon: whoever waits at a terminal would rather know at once."""
    if why := docker.check():
        raise BrokenDefinition(why)


def _processes() -> int:
    """What sets the processes that this one can see apart from those of other PID namespaces."""
    return Path("/proc/self/ns/pid").stat().st_ino


def _is_dead(label: str) -> bool:
    """Whether a job was one of a process like this one that has been killed since."""
    found = JOB_OF_A_RUN.fullmatch(label)
    return found is not None and int(found[2]) == _processes() and not Path(f"/proc/{found[1]}").exists()


def _docker(terms: Terms) -> dict[str, object]:
    return {"network": terms.network, **({"url": terms.docker} if terms.docker else {})}
