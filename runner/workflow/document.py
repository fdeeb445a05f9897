"""What a workflow file says, as values that cannot be wrong."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from runner.errors import BrokenDefinition
from runner.expr.template import Condition, Template
from runner.model.snapshot import Keep

DEFAULT_TIMEOUT = 360.0
"""Minutes a job may take where it does not say."""

TITLE_LENGTH = 80


class Pos(NamedTuple):
    """A place in a file, both numbers from 1."""

    line: int
    col: int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with a file, and what would have worked; see `problem_at`."""

    path: str
    line: int
    col: int
    message: str
    rule: str = "syntax"
    warning: bool = False
    """Whether the file can be run all the same."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.col}: {self.message}"


def problem_at(path: str, pos: Pos, message: str, rule: str = "syntax", warning: bool = False) -> Problem:
    """A problem on one line of plain text, though it quotes a file that may hold anything."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    return Problem(path, *pos, shown, rule, warning)


class InvalidWorkflow(BrokenDefinition):
    """A workflow file cannot be run; lists every problem, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


Tree = None | bool | float | str | Template | tuple["Tree", ...] | Mapping[str, "Tree"]
"""A value of any shape. Wherever an expression stands in it there is a `Template`; one that is nothing but
a single expression means the value of that expression, not its text."""

Flag = bool | Template
Number = float | Template

Env = Mapping[str, Template] | Template
"""Variables, or one expression that gives all of them."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Patterns that a name must match, or with `ignore`, must not match."""

    patterns: tuple[str, ...]
    ignore: bool = False


@dataclass(frozen=True, slots=True)
class Trigger:
    """One of a forge's events that starts a workflow, and which of its kind; None asks for nothing.

    `types` None means those that GitHub takes where a workflow names none.
    """

    event: str
    types: tuple[str, ...] | None = None
    branches: Filter | None = None
    tags: Filter | None = None
    paths: Filter | None = None
    workflows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Schedule:
    cron: str
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Input:
    """What a workflow may be given; `type` is string, number, boolean, choice or environment."""

    type: str = "string"
    required: bool = False
    default: Tree = None
    options: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """What a reusable workflow takes and gives; `secrets` says which of them it cannot do without."""

    inputs: Mapping[str, Input] = field(default_factory=dict)
    secrets: Mapping[str, bool] = field(default_factory=dict)
    outputs: Mapping[str, Template] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Triggers:
    """What starts a workflow: events by name, times, a person (`dispatch`), another workflow (`call`)."""

    events: Mapping[str, Trigger] = field(default_factory=dict)
    schedules: tuple[Schedule, ...] = ()
    dispatch: Mapping[str, Input] | None = None
    call: Call | None = None


@dataclass(frozen=True, slots=True)
class Permissions:
    """What the run's token may do; a scope that is not named has `otherwise`."""

    scopes: Mapping[str, str] = field(default_factory=dict)
    otherwise: str = "none"

    def of(self, scope: str) -> str:
        return self.scopes.get(scope, self.otherwise)


@dataclass(frozen=True, slots=True)
class Concurrency:
    """Of a group one runs at a time; `queue` says whether more than one may wait (`max`, else `single`)."""

    group: Template
    cancel_in_progress: Flag = False
    queue: str = "single"


@dataclass(frozen=True, slots=True)
class Strategy:
    """`matrix` has its include and exclude in it, see `matrix.combinations`."""

    matrix: Tree = None
    fail_fast: Flag = True
    max_parallel: Number | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    name: Template
    url: Template | None = None
    deployment: Flag = True


@dataclass(frozen=True, slots=True)
class Container:
    """An image and how it is started. `ports` and `volumes` are as docker's command line has them."""

    image: Template
    credentials: Env = field(default_factory=dict)
    env: Env = field(default_factory=dict)
    ports: tuple[Template, ...] = ()
    volumes: tuple[Template, ...] = ()
    options: Template | None = None
    entrypoint: Template | None = None
    command: Template | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An image to be made of the machine after the job."""

    image_name: Template
    version: Template | None = None
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a failed step or job is tried, and how long in between, in seconds."""

    max_attempts: int
    delay: float = 0.0
    backoff: str = "constant"
    max_delay: float | None = None
    jitter: bool = False
    on_exit_codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """A script. The job's and the workflow's defaults are already in `shell` and `working_directory`."""

    script: Template
    shell: Template | None = None
    working_directory: Template | None = None


@dataclass(frozen=True, slots=True)
class Uses:
    """An action with what it is given."""

    action: str
    inputs: Env = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parallel:
    """Steps that run at the same time; the next one begins when all have ended."""

    steps: "tuple[StepDef, ...]"


@dataclass(frozen=True, slots=True)
class Wait:
    """Goes on when these background steps have ended; None is all of them."""

    steps: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ends a background step."""

    step: str


@dataclass(frozen=True, slots=True)
class StepDef:
    """One step. `key` is its position among its job's steps, from 1, as text.

    `env` is the step's own only. `timeout` is in minutes. `condition` None is `success()`.
    """

    key: str
    body: Run | Uses | Parallel | Wait | Cancel
    pos: Pos
    id: str | None = None
    name: Template | None = None
    condition: Condition | None = None
    env: Env = field(default_factory=dict)
    timeout: Number | None = None
    continue_on_error: Flag = False
    background: bool = False
    retry: Retry | None = None
    on_lost: str | None = None

    @property
    def title(self) -> str:
        """What to call it before it has run: its name as written, else the first line it runs."""
        if self.name is not None and self.name.text.strip():
            return " ".join(self.name.text.split())
        match self.body:
            case Run(script):
                said = script.text.strip().partition("\n")[0].strip()
            case Uses(action):
                said = action
            case _:
                return type(self.body).__name__
        title = f"Run {said}".rstrip()
        return title if len(title) <= TITLE_LENGTH else f"{title[: TITLE_LENGTH - 1]}…"


@dataclass(frozen=True, slots=True)
class Steps:
    """A job that runs here. `timeout` is in minutes; `container` and `services` may be expressions.

    `keep` is what becomes of the files that its steps leave. With a `function` there are no `steps` here:
    that function of the file, which is in Python, asks for them one by one.
    """

    steps: tuple[StepDef, ...]
    labels: tuple[Template, ...] = ()
    group: Template | None = None
    env: Env = field(default_factory=dict)
    timeout: Number = DEFAULT_TIMEOUT
    container: Container | Template | None = None
    services: Mapping[str, Container | Template] | Template = field(default_factory=dict)
    environment: Environment | None = None
    outputs: Mapping[str, Template] | Template = field(default_factory=dict)
    snapshot: Snapshot | None = None
    keep: Keep | None = None
    retry: Retry | None = None
    on_lost: str | None = None
    function: str | None = None
    """What of a file in Python asks for the steps, where none are listed."""


@dataclass(frozen=True, slots=True)
class Reusable:
    """A job that is another workflow. `secrets` None hands on all of the caller's (`inherit`)."""

    workflow: str
    inputs: Mapping[str, Tree] | Template = field(default_factory=dict)
    secrets: Env | None = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobDef:
    """One job. `needs` are keys of other jobs, each once; `condition` None is `success()`."""

    key: str
    body: Steps | Reusable
    pos: Pos
    name: Template | None = None
    needs: tuple[str, ...] = ()
    condition: Condition | None = None
    strategy: Strategy | None = None
    continue_on_error: Flag = False
    concurrency: Concurrency | None = None
    permissions: Permissions | None = None

    @property
    def title(self) -> str:
        """What to call it before its name is evaluated."""
        return (self.name.text if self.name is not None else "") or self.key


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow file without a mistake: `needs` name jobs that exist and never form a circle."""

    path: str
    name: str
    on: Triggers
    jobs: tuple[JobDef, ...]
    env: Env = field(default_factory=dict)
    run_name: Template | None = None
    permissions: Permissions | None = None
    concurrency: Concurrency | None = None

    def job(self, key: str) -> JobDef:
        for job in self.jobs:
            if job.key == key:
                return job
        raise KeyError(key)


@dataclass(frozen=True, slots=True)
class Composite:
    steps: tuple[StepDef, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """An action in JavaScript; `pre` and `post` are files that run before and after the job's steps."""

    using: str
    main: str
    pre: str | None = None
    pre_if: Condition | None = None
    post: str | None = None
    post_if: Condition | None = None


@dataclass(frozen=True, slots=True)
class Docker:
    """An action in an image: the name of one, or a Dockerfile beside the action."""

    image: str
    entrypoint: str | None = None
    args: tuple[Template, ...] = ()
    env: Env = field(default_factory=dict)
    pre_entrypoint: str | None = None
    pre_if: Condition | None = None
    post_entrypoint: str | None = None
    post_if: Condition | None = None


@dataclass(frozen=True, slots=True)
class ActionDef:
    """What an `action.yml` says. Outputs have a value only where the action is composite."""

    path: str
    name: str
    runs: Composite | Script | Docker
    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Mapping[str, Template | None] = field(default_factory=dict)


def circle(needs: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Jobs that wait for each other, the first one again at the end; empty where there are none.

    Not recursive, so that a file with thousands of jobs in one chain can be read.
    """
    done: set[str] = set()
    for start in needs:
        trail: dict[str, list[str]] = {}
        current: str | None = start
        while current is not None:
            if current in done:
                current = last(trail)
            elif current not in trail:
                trail[current] = [need for need in needs[current] if need in needs]
            elif trail[current]:
                below = trail[current].pop()
                if below in trail:
                    path = list(trail)
                    return (*path[path.index(below) :], below)
                current = below
            else:
                del trail[current]
                done.add(current)
                current = last(trail)
    return ()


def last(trail: dict[str, list[str]]) -> str | None:
    return next(reversed(trail), None)
