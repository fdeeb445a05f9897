"""Ports to the queue of record, and to the doorbell beside it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from runner.model.audit import Act
from runner.model.children import Start
from runner.model.run import Envelope, Job, Lease, Run
from runner.model.source import Delivery, Event, Route
from runner.model.step import Checkpoint
from runner.model.turns import Turn
from runner.model.waits import Signal


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
    """Runs that have not heard yet what became of their turns in concurrency groups, or whose time is up.

    And those that stand still, or go on, as the one does not whose step waits for them.
    """
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

    def load(self, run_id: int, attempt: int | None = None) -> Run:
        """A run as it is, or as one of its attempts was left. Raises `NotFound`."""

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
        turns of others is stored with it. Those are among the stirred that its steps wait for, where it was
        paused or goes on.
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

    def stranded(self, everything: bool = False, at: datetime | None = None) -> Stranded:
        """Take what is due to be rung for; each is handed out again later, ever more rarely.

        `everything`: the caller knows that no worker is alive; all leases end and all work is due. `at`: what
        the database's clock said just now, where the caller believes that and maybe nothing later.
        """


class Dispatcher(Protocol):
    """The doorbell. Losing a ring is a short delay, so none raises; ringing twice is harmless."""

    def admit(self, delivery_id: str, forge: str, repo: str) -> None: ...

    def plan(self, envelope: Envelope) -> None: ...

    def perform(self, envelope: Envelope) -> None: ...

    def report(self, run: Run) -> None: ...


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
