"""What people and programs are shown: frozen values that become JSON field by field.

A run's `status` is computed from its jobs each time it is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runner.model.access import Scope
from runner.model.environment import Deployment
from runner.model.limits import Limits
from runner.model.snapshot import Keep
from runner.model.standing import Missed

STATUSES = ("queued", "running", "waiting", "success", "failure", "cancelled", "skipped", "timed_out")
"""The words for how a run stands.

A run is `waiting` while all that could go on in it waits for an instant, a signal or a person.

A job may be `waiting` for these, and for other jobs, for a place among the legs of its matrix, for its
concurrency group, or for its definition to be evaluated once its turn has come. One that calls a workflow is
`running` from the first job of that one on. A step is `skipped` where its job went on or ended without it.
"""
UNFINISHED = ("queued", "running", "waiting")
STOPPED = "stopped"
"""What runs are listed by that stand still, paused or blocked, whatever else they would do."""


@dataclass(frozen=True, slots=True)
class SecretView:
    """A secret of a repository. Its value is never shown."""

    name: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class VariableView:
    """A variable of a repository."""

    name: str
    value: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class EnvironmentView:
    """What jobs of a repository wait for that deploy there; `wait_timer` is in minutes."""

    name: str
    reviewers: tuple[str, ...]
    wait_timer: int
    branches: tuple[str, ...]
    prevent_self_review: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ArtifactView:
    """What a run keeps under a name. `expires_at` is None where it stays as long as its run."""

    id: int
    name: str
    size_in_bytes: int
    digest: str
    files: int
    repo: str
    forge: str
    run: int
    run_attempt: int
    job: int
    trusted: bool
    """Whether the code that made it is of those who may push."""
    commit: str
    ref: str
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class SignalView:
    """A signal that a run was sent. `repeated`: it is a copy of one that came before, and was not kept."""

    run: int
    name: str
    key: str
    repeated: bool
    taken: bool
    """Whether a job that waited for it has it now; else it is kept until one does."""
    awaited: tuple[str, ...]
    """The names of those that jobs of the run still wait for."""


@dataclass(frozen=True, slots=True)
class WaitView:
    """What a job waits for or has waited for without a worker. `answer` says how it ended, once it has."""

    key: str
    """Of the step that waits, or `environment` and `environment timer`, for which a job waits to begin."""
    awaited: str
    """time, signal, approval or resumption"""
    name: str
    message: str
    approvers: tuple[str, ...]
    since: datetime
    due: datetime | None
    answer: str | None
    by: str
    comment: str
    answered_at: datetime | None
    subject: str
    """What the answer is about: `approval of environment production`, `approval of step 3 "Ship it"` ..."""


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token, without the token itself: that was shown once, to whoever made it."""

    name: str
    role: str
    repositories: tuple[str, ...] | None
    """Each as `forge:name`; null for all."""
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """To the hour."""
    person: str | None
    """The login at the forges of whoever holds it, where that is said."""


@dataclass(frozen=True, slots=True)
class AuditView:
    """What somebody did. `repo` is empty where it was about none."""

    id: int
    at: datetime
    actor: str
    act: str
    forge: str
    repo: str
    run: int | None
    job: int | None
    details: Mapping[str, Any]
    """What was chosen. Of a run also who had started it, its commit, and whether the act changed anything."""


@dataclass(frozen=True, slots=True)
class StopView:
    """What is stopped of a repository: a commit, a workflow or, where both are null, all of it."""

    commit: str | None
    workflow: str | None
    reason: str
    actor: str
    at: datetime
    words: str
    """As it is shown wherever something waits for it."""


@dataclass(frozen=True, slots=True)
class AnnotationView:
    """What a step said about a place in the repository's files, or about itself."""

    level: str
    """error, warning or notice"""
    message: str
    title: str
    file: str
    line: int | None
    end_line: int | None
    col: int | None
    end_col: int | None
    job: int
    """The id of the step's job."""
    step: str
    """The step's key."""


@dataclass(frozen=True, slots=True)
class TryView:
    """How a step or a job failed before it was tried again, in which of the job's attempts, and when."""

    attempt: int
    status: str
    exit_code: int | None
    reason: str
    started_at: datetime | None
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class StepView:
    """One step. `attempt` is the job's attempt that ran it, and so the one that has its log; 0 before.

    `job` is the job that has the log: another one where this one goes on from there.

    A running step shows as begun when the one before it ended. What an action does at the end of the job is a
    step after the declared ones, listed once they are over. Those that a program asks for are listed in the
    order in which they began; several may run at once, and some wait meanwhile, as their `reason` says.
    """

    number: int
    key: str
    name: str
    status: str
    conclusion: str | None
    """What counts for the job: differs from `status` under `continue-on-error`."""
    exit_code: int | None
    reason: str
    summary: str
    """Markdown"""
    annotations: tuple[AnnotationView, ...]
    attempt: int
    started_at: datetime | None
    finished_at: datetime | None
    tries: tuple[TryView, ...] = ()
    """Those before the last one."""
    job: int = 0
    value: str | None = None
    """What it gave to the program that asked for it, as JSON; a long one ends in an ellipsis."""
    line: str = ""
    """Where it was asked for: `deploy.py:12`."""
    run: int | None = None
    """The run that it has started."""


@dataclass(frozen=True, slots=True)
class ForkView:
    """Where a job goes on: after the last attempt of another one, at a step; an empty one is its end."""

    job: int
    attempt: int
    step: str


@dataclass(frozen=True, slots=True)
class JobView:
    """One job of one attempt of a run. `attempt` counts how often a worker took it, and what it goes on from.

    `reason` is why it ended as it did or, before that, what has its concurrency group or why no worker will
    take it. The legs of a matrix have one `key` and `path`, and each its own `matrix`.
    """

    id: int
    key: str
    path: str
    """Its key, after the keys of the jobs that called the workflow it belongs to: `deploy/build`."""
    name: str
    label: str
    """What stands before its lines: its key or, for a leg or a called workflow's job, its name."""
    caller: int | None
    """The job that called the workflow it belongs to."""
    calls: str | None
    """The file of the workflow that it consists of."""
    matrix: Mapping[str, Any]
    needs: tuple[str, ...]
    labels: tuple[str, ...]
    status: str
    conclusion: str | None
    """What counts for the run once it ended: differs from `status` under `continue-on-error`."""
    reason: str
    outputs: Mapping[str, str]
    attempt: int
    worker: str | None
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    steps: tuple[StepView, ...]
    lost: int
    """How many workers fell silent with it."""
    tries: tuple[TryView, ...]
    """Those before the last one, each from the first step on."""
    waits: tuple[WaitView, ...] = ()
    forked: ForkView | None = None
    """What it goes on from; None where it began with its first step."""
    environment: Deployment | None = None
    """Where it has deployed to, once it has; its `url` is an address of the web, or empty."""


@dataclass(frozen=True, slots=True)
class JobEnd:
    """When the run of a job had ended, and whether the job had well."""

    at: datetime
    succeeded: bool
    keep_snapshots: int | None = None
    """What its repository says of that, as `Limits` has it."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of the list of runs."""

    id: int
    number: int
    attempt: int
    status: str
    cancelled: bool
    """Somebody wants it to end; it has ended once `status` says so."""
    stopped: bool
    """It is paused, or blocked; its `reason` says by whom."""
    awaits: str
    """What its jobs wait for, where all that could go on waits for an instant, a signal or a person."""
    workflow: str
    name: str
    title: str
    """What its workflow's `run-name` says, else the workflow's name."""
    forge: str
    repo: str
    ref: str
    branch: str | None
    commit: str
    event: str
    actor: str
    delivery: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def finished(self) -> bool:
        return self.status not in UNFINISHED


@dataclass(frozen=True, slots=True)
class ParentView:
    """The step of a run that has started another one: `step` is what it is called."""

    run: int
    number: int
    workflow: str
    step: str


@dataclass(frozen=True, slots=True)
class RunView(RunSummary):
    """A run as one of its attempts left it; `attempts` is how many there are.

    `problems` are why its definition cannot run: such a run has no jobs and has failed. `reason` says what
    has its concurrency group while it waits for that, and afterwards which other run cancelled it, if any.
    Of one that is paused or blocked it says by whom, since when and why.
    """

    attempts: int
    reason: str
    problems: tuple[str, ...]
    pins: Mapping[str, str]
    """The commit of every version of another repository that it uses, by `owner/name@ref`."""
    jobs: tuple[JobView, ...]
    parent: ParentView | None
    """The step that has started it, where one of another run has."""

    @property
    def annotations(self) -> list[AnnotationView]:
        """What all steps said, in the order of jobs and steps."""
        return [one for job in self.jobs for step in job.steps for one in step.annotations]


@dataclass(frozen=True, slots=True)
class DeliverySummary:
    id: str
    forge: str
    repo: str
    event: str
    ref: str
    commit: str | None
    actor: str
    status: str
    reason: str
    received_at: datetime
    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DeliveryView(DeliverySummary):
    guid: str
    before: str | None
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RepositoryView:
    """A registered repository, without its webhook secret and the login in its URL."""

    name: str
    forge: str
    url: str
    executor: str | None
    image: str | None
    shared: bool
    """Whether workflows of the other repositories here may use what is in it."""
    default_branch: str | None
    created_at: datetime
    limits: Limits
    """What it may use: null is what the server's settings say, 0 is no limit, and times are in seconds."""
    missed: Missed
    """What becomes of its schedules' due times that passed while no clock ran."""
    snapshot: Keep | None
    """What becomes of the files that its steps leave; null is what the server's settings say."""
    stops: tuple[StopView, ...]
    """What is stopped of it: all where it is paused, else what is blocked, oldest first."""


@dataclass(frozen=True, slots=True)
class CacheView:
    """A cache of a repository, in GitHub's words."""

    id: int
    ref: str
    key: str
    version: str
    """Stands for the paths that it was made of."""
    last_accessed_at: datetime
    created_at: datetime
    size_in_bytes: int


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """How much a repository's caches are together."""

    full_name: str
    active_caches_size_in_bytes: int
    active_caches_count: int


@dataclass(frozen=True, slots=True)
class CacheFilter:
    """Which caches to list: those whose keys begin with `key`; `sort` is a name of `CacheView`'s."""

    key: str | None = None
    ref: str | None = None
    sort: str = "last_accessed_at"
    ascending: bool = False
    limit: int = 30
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Belonging:
    """Which repository a run or a delivery is of, and who brought it about."""

    forge: str
    repo: str
    actor: str


@dataclass(frozen=True, slots=True)
class BadgeState:
    """What a badge says of the newest finished run."""

    name: str
    status: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is and how much of it waits."""

    repositories: int
    deliveries: int
    runs: int
    jobs_queued: int
    jobs_running: int


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list, newest first; `before` is the id after which the last page ended."""

    repo: str | None = None
    branch: str | None = None
    workflow: str | None = None
    event: str | None = None
    actor: str | None = None
    commit: str | None = None
    status: str | None = None
    limit: int = 30
    before: int | None = None
    scope: Scope = None
