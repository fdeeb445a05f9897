"""A run, its jobs, and the phase each is in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import inf
from typing import Any

from runner.model.environment import Deployment
from runner.model.forks import Fork
from runner.model.source import Route
from runner.model.step import Result
from runner.model.stops import Stop
from runner.model.turns import State, Turn
from runner.model.waits import Wait, opened


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a job, until the database's clock says `until`.

    `attempt` is the fencing token: it rises with every claim, and only its holder may write.
    """

    job: int
    worker: str
    attempt: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """Some job it needs or called has not finished, or too many legs of its matrix run."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What it waited for has ended; what its definition says in expressions is to be evaluated."""

    since: datetime


@dataclass(frozen=True, slots=True)
class Pending:
    """Its concurrency group is not its own yet; nothing else keeps it from going on."""

    since: datetime


@dataclass(frozen=True, slots=True)
class Queued:
    """Any worker with its labels may claim it, from `due` on where that is said."""

    since: datetime
    due: datetime | None = None
    reason: str = ""
    """Why it waits for `due`."""


@dataclass(frozen=True, slots=True)
class Running:
    lease: Lease


@dataclass(frozen=True, slots=True)
class Suspended:
    """No worker has it; it goes on when none of its waits is open any more, or one that is joint is over."""

    since: datetime


@dataclass(frozen=True, slots=True)
class Finished:
    result: Result
    at: datetime
    reason: str = ""
    tolerated: bool = False
    """Whether `continue-on-error` makes a failure of it count as a success."""

    @property
    def conclusion(self) -> Result:
        return Result.SUCCESS if self.tolerated and self.result.failed else self.result


Phase = Waiting | Ready | Pending | Queued | Running | Suspended | Finished


UNSAVED = 0
"""The id of a job that the store has not seen yet."""
NEEDS = "needs"
"""How the reason begins of a job that waits for other jobs and for nothing else."""
Group = tuple[int | None, str]
"""What called a job, and its key: all legs of one definition have them in common."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One combination of a job's matrix, and what the strategy says about all of them."""

    matrix: Mapping[str, Any] = field(default_factory=dict)
    index: int = 0
    total: int = 1
    fail_fast: bool = True
    max_parallel: int | None = None


@dataclass(frozen=True, slots=True)
class StepName:
    """A step as the definition lists it, so that a run can show steps that have not run."""

    key: str
    name: str
    conditional: bool = False
    """Whether it has an `if`; without one it is passed over once a step before it failed."""


UNNOTED = ""
"""Among the tries that have begun: up to that attempt, workers of a former version have noted none."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A step that its program does not want to run twice unasked has begun, in that attempt of its job.

    `on_lost` is what it said of that when it did.
    """

    attempt: int
    on_lost: str


@dataclass(frozen=True, slots=True)
class Try:
    """How a job ended that was then tried again; `attempt` is the one in which it did."""

    attempt: int
    result: Result
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """One job of one attempt of a run.

    `attempt` counts the claims so far. `base` is the attempt from which its checkpoints count: it
    moves on when a job starts over because no worker can find the files its steps left, or goes back to files
    that one finds; then the first `carried` of those before it still count. `tries` counts the
    attempts that could not begin, or not go on, since it was last handed back in order.

    A `dynamic` job's definition is evaluated once what it needs has ended; before that it is one job,
    not `planned`, and afterwards one for each leg of its matrix, all with the same key. A `conditional`
    one has an `if` of its own, which alone decides whether it is skipped. `calls` is the path of the
    workflow that it consists of; the jobs of that one have it as their `caller`.
    """

    id: int
    key: str
    name: str
    needs: tuple[str, ...]
    labels: tuple[str, ...]
    steps: tuple[StepName, ...]
    attempt: int = 0
    base: int = 0
    carried: int = 0
    tries: int = 0
    phase: Phase = Waiting()
    started: datetime | None = None
    claimed: datetime | None = None
    """When its newest attempt began."""
    worked: timedelta = timedelta()
    """How long its earlier attempts took together, but for those that could not begin."""
    dynamic: bool = False
    planned: bool = True
    conditional: bool = False
    leg: Leg = Leg()
    calls: str | None = None
    caller: int | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """What a called workflow was given."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    cancelled: bool = False
    """Whether it has to end."""
    asked: datetime | None = None
    """Since when its `if` is to be evaluated again, as its workflow was cancelled; until then it goes on."""
    position: int = 0
    """Its place among the run's jobs; all legs of one definition have the same."""
    made_in: int = 1
    """The attempt of the run that it was made for; it may be part of later ones as it ended."""
    lost: tuple[int, ...] = ()
    """Its attempts whose worker fell silent."""
    tried: tuple[Try, ...] = ()
    """How it ended before, each time to be tried again as its `retry` says."""
    turns: tuple[Turn, ...] = ()
    """In concurrency groups: its own and then, where it calls a workflow, that one's."""
    forked: Fork | None = None
    """Where it goes on from, if that is not its first step."""
    step_ids: Mapping[str, str] = field(default_factory=dict)
    """The keys of those of its steps that have an id, by that."""
    stands_for: int | None = None
    """The job that called the workflow first which it has taken over; None where it calls it itself."""
    waits: tuple[Wait, ...] = ()
    """What it waits for or has waited for, in the order in which that began."""
    tolerant: bool = False
    """Whether it may fail, as far as its definition has been evaluated."""
    deployed: Deployment | None = None
    """Where to, once its steps are over."""
    begun: Mapping[str, Begun] = field(default_factory=dict)
    """The tries of such steps, by the keys of their checkpoints, which they only get where they fail."""

    @property
    def awaits(self) -> tuple[Wait, ...]:
        """What keeps it from going on: its waits that are not over, unless a joint one is."""
        enough = any(wait.joint and wait.answer is not None for wait in self.waits)
        return () if enough else opened(self.waits)

    @property
    def wakes(self) -> datetime | None:
        """When what it awaits is over by itself; None where it never is, or nothing is awaited."""
        awaits = self.awaits
        joint = [wait.due for wait in awaits if wait.joint]
        if joint:
            return min((due for due in joint if due is not None), default=None)
        dues = [wait.due for wait in awaits]
        return max((due for due in dues if due is not None), default=None) if None not in dues else None

    @property
    def hears(self) -> tuple[Wait, ...]:
        """Its open waits that an answer reaches; while it goes on, those of branches that wait meanwhile."""
        if not self.waits or self.cancelled:
            return ()
        match self.phase:
            case Suspended():
                return opened(self.waits)
            case Running() | Queued():
                return tuple(wait for wait in opened(self.waits) if wait.joint)
            case _:
                return ()

    def over(self, at: datetime, paused: datetime | None = None) -> "Job":
        """The job as time has it: with those waits answered that it hears and that were due by then.

        Those for a span of time were due only if they were when the run was `paused`.
        """
        heard = self.hears
        return self.with_waits(wait.over(at, paused) for wait in heard) if heard else self

    def with_waits(self, changed: Iterable[Wait]) -> "Job":
        """The job with some of its waits as they are now."""
        by_key = {wait.key: wait for wait in changed}
        waits = tuple(by_key.get(wait.key, wait) for wait in self.waits)
        return self if waits == self.waits else replace(self, waits=waits)

    @property
    def group(self) -> Group:
        """What the legs of one definition have in common."""
        return self.caller, self.key

    @property
    def ousted(self) -> str:
        """Why it has to end, where another run or job brought that about."""
        return next((turn.reason for turn in self.turns if turn.reason), "")


@dataclass(frozen=True, slots=True)
class Parent:
    """The step of a run that has started another one."""

    run: int
    job: int
    step: str
    left: bool = False
    """Whether it does not wait for that one any more."""
    ended: bool = False
    """Whether it was told of its end, whatever became of it since."""
    pause: Stop | None = None
    """What keeps that run from going on, and this one with it; never changed through this one."""
    free: datetime | None = None
    """Since when that run is paused as somebody had this one go on without it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One workflow of one commit, started by one delivery.

    `jobs` are those of the newest attempt; a rerun raises `attempt`, puts new jobs in the place of those that
    are to run again, and leaves these as they were. `problems` are why the definition cannot run; such a run
    has no jobs and has failed.
    """

    id: int
    number: int
    attempt: int
    route: Route
    delivery: str
    workflow: str
    name: str
    created_at: datetime
    jobs: tuple[Job, ...] = ()
    problems: tuple[str, ...] = ()
    cancelled: bool = False
    title: str = ""
    """What the workflow's `run-name` calls it."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """The commit of every version of another repository that it uses: `owner/name@ref` to its full id."""
    turn: Turn | None = None
    """In a concurrency group: without it none of its jobs begins."""
    pause: Stop | None = None
    """Somebody wants it to stand still."""
    hold: Stop | None = None
    """Somebody wants its commit, its workflow or its repository to; never changed through it."""
    over: str = ""
    """Why it was cancelled, where no person did."""
    parent: Parent | None = None
    """Who has started it, where a step has; but for what it is `free` of, never changed through it."""

    @property
    def paused_at(self) -> datetime | None:
        return self.pause.at if self.pause and not self.cancelled else None

    @property
    def stopped(self) -> str:
        """Why its jobs do not go on, in words; empty where they do."""
        stop = self.hold or self.pause
        return stop.words if stop else ""

    @property
    def held_back(self) -> bool:
        """Whether it waits for its concurrency group."""
        return self.turn is not None and self.turn.state is not State.HELD

    def has(self, job_id: int) -> bool:
        return any(job.id == job_id for job in self.jobs)

    def job(self, job_id: int) -> Job:
        for job in self.jobs:
            if job.id == job_id:
                return job
        raise KeyError(job_id)

    def legs(self, group: Group) -> tuple[Job, ...]:
        """The jobs that one definition became."""
        return tuple(job for job in self.jobs if job.group == group)

    def ended(self, group: Group) -> Result | None:
        """How all legs of a job ended together; None while one has not."""
        return combined(leg.phase for leg in self.legs(group))

    def called_by(self, job_id: int) -> tuple[Job, ...]:
        """The jobs of the workflow that a job called."""
        return tuple(job for job in self.jobs if job.caller == job_id)

    def winds_down(self, job: Job) -> bool:
        """Whether the workflow that a job belongs to was cancelled, by somebody or with what called it."""
        caller = job.caller
        while not self.cancelled and caller is not None:
            above = self.job(caller)
            if above.cancelled:
                return True
            caller = above.caller
        return self.cancelled

    def ancestors(self, job: Job) -> dict[str, Result | None]:
        """Every job that one needs, directly or not, and how it ended."""
        found: dict[str, Result | None] = {}
        ahead = list(job.needs)
        while ahead:
            key = ahead.pop()
            if key not in found:
                found[key] = self.ended((job.caller, key))
                ahead += self.legs((job.caller, key))[0].needs
        return found

    def with_job(self, changed: Job) -> "Run":
        return replace(self, jobs=tuple(changed if job.id == changed.id else job for job in self.jobs))

    @property
    def result(self) -> Result | None:
        """How it ended, computed from its jobs; None while one of them has not finished."""
        if self.problems:
            return Result.FAILURE
        return combined((job.phase for job in self.jobs if job.caller is None), cancelled=self.cancelled)


def combined(phases: Iterable[Phase], *, cancelled: bool = False) -> Result | None:
    """The result of jobs taken together: the worst one, or None while any has not finished.

    Unless somebody `cancelled` the run, a job was cancelled for another one that failed: that is what counts.
    """
    results = set()
    for phase in phases:
        if not isinstance(phase, Finished):
            return None
        results.add(phase.conclusion)
    if cancelled and Result.CANCELLED in results:
        return Result.CANCELLED
    for worst in (Result.FAILURE, Result.TIMED_OUT, Result.CANCELLED, Result.SUCCESS):
        if worst in results:
            return worst
    return Result.SKIPPED


def in_order_of_end(jobs: Iterable[Job]) -> list[Job]:
    """Those that have not ended come last."""
    return sorted(jobs, key=lambda job: job.phase.at.timestamp() if isinstance(job.phase, Finished) else inf)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a message says: where to look. Authority comes from the stored run alone."""

    route: Route
    run: int
    job: int
    labels: tuple[str, ...]
