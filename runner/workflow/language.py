"""GitHub's workflow language, and what we add to it, as one description.

Where a table of theirs is meant: https://docs.github.com/actions/reference/workflow-syntax
"""

from dataclasses import replace

from runner.workflow import scopes
from runner.workflow.checks import (
    amount_of_time,
    exit_code,
    identifier,
    image,
    label,
    schedule_time,
    snapshot_word,
    step_action,
    time_zone,
    variable_name,
)
from runner.workflow.event_tables import EVENTS
from runner.workflow.permission_tables import PERMISSIONS
from runner.workflow.shapes import (
    Amount,
    Anything,
    Condition,
    Either,
    Fields,
    Flag,
    Kinds,
    Many,
    Named,
    Null,
    Scope,
    Shape,
    Text,
    either,
)
from runner.workflow.shells import shell_problem

TEXT = Text()
FILLED = Text(filled=True)


def env(scope: Scope, keys: Scope | None = None) -> Named:
    """Variables; `keys` is what their names, and one expression for all of them, may use if not the same."""
    return Named(Text(scope), keys or scope, check=variable_name)


def one_or_many(text: Text, filled: bool = True) -> Either:
    return either(text, Many(text, filled=filled))


def defaults(scope: Scope | None) -> Fields:
    run = Fields(
        "run", {"shell": Text(scope, filled=True, check=shell_problem), "working-directory": Text(scope)}
    )
    return Fields("defaults", {"run": run}, needs=("run",), filled=True)


def concurrency(scope: Scope) -> Either:
    fields = Fields(
        "concurrency",
        {
            "group": Text(scope, filled=True),
            "cancel-in-progress": Flag(scope),
            "queue": Text(choices=("single", "max")),
        },
        needs=("group",),
    )
    return either(Text(scope, filled=True), fields)


def container(kind: str) -> Either:
    """A container of a job, or with what it starts as, a service."""
    scope, credentials = scopes.JOB, scopes.CREDENTIALS
    keys: dict[str, Shape] = {
        "image": Text(scope, filled=kind == "container", check=image, means="the name of an image"),
        "credentials": Fields(
            "credentials",
            {"username": Text(credentials), "password": Text(credentials)},
            needs=("username", "password"),
            scope=credentials,
            filled=True,
        ),
        # The names must be known before the container is, in which the values are looked up.
        "env": env(scopes.CONTAINER_ENV, keys=scope),
        "ports": Many(Text(scope, filled=True), scope, filled=False),
        "volumes": Many(Text(scope, filled=True), scope, filled=False),
        "options": Text(scope),
    }
    if kind == "service":
        keys |= {"entrypoint": Text(scope), "command": Text(scope)}
    whole = Fields(kind, keys, needs=("image",), scope=scope, filled=True)
    return either(Text(scope, filled=kind == "container", check=image, means="the name of an image"), whole)


RETRY = Fields(
    "retry",
    {
        "max-attempts": Amount(above=0, most=100, whole=True, means="a whole number from 1 to 100"),
        "delay": Text(check=amount_of_time, means="a time such as 30s"),
        "backoff": Text(choices=("constant", "linear", "exponential")),
        "max-delay": Text(check=amount_of_time, means="a time such as 10m"),
        "jitter": Flag(),
        "on-exit-codes": Many(Text(check=exit_code, means="an exit code")),
    },
    needs=("max-attempts",),
)
OURS: dict[str, Shape] = {"retry": RETRY, "on-lost": Text(choices=("retry", "fail", "ask"))}

CONDITION = Condition(scopes.STEP_IF)
ANY_STEP: dict[str, Shape] = {
    "id": Text(filled=True, check=identifier, means="a name"),
    "name": Text(scopes.STEP),
    "if": CONDITION,
    "env": env(scopes.STEP),
    "continue-on-error": Flag(scopes.STEP),
    "timeout-minutes": Amount(scopes.STEP, above=0, means="a number of minutes above 0"),
}
NAMES = {key: ANY_STEP[key] for key in ("id", "name", "if")}
WAITING = {**NAMES, "continue-on-error": ANY_STEP["continue-on-error"]}


def background(step: Fields) -> Fields:
    """A step that others need not wait for."""
    return replace(step, keys={**step.keys, "background": Flag()})


RUN_STEP = Fields(
    "step",
    {
        **ANY_STEP,
        "run": either(Text(scopes.STEP, means="a script")),
        "shell": Text(filled=True, check=shell_problem, means="a shell"),
        "working-directory": Text(scopes.STEP),
        **OURS,
    },
    ours=tuple(OURS),
)
USES_STEP = Fields(
    "step",
    {
        **ANY_STEP,
        "uses": Text(filled=True, check=step_action, means="an action"),
        "with": Named(Text(scopes.STEP), scopes.STEP, filled=True),
        **OURS,
    },
    ours=tuple(OURS),
)
STEP_NAME = Text(filled=True, means="the id of a step")
SINGLE_STEP = Kinds("step", {"run": RUN_STEP, "uses": USES_STEP})
STEP = Kinds(
    "step",
    {
        "run": background(RUN_STEP),
        "uses": background(USES_STEP),
        "parallel": Fields("step", {**NAMES, "parallel": Many(SINGLE_STEP)}),
        "wait": Fields("step", {**WAITING, "wait": one_or_many(STEP_NAME)}),
        "wait-all": Fields("step", {**WAITING, "wait-all": either(Null(), Flag())}),
        "cancel": Fields("step", {**WAITING, "cancel": STEP_NAME}),
    },
)

LABEL = Text(scopes.JOB, filled=True, check=label, means="a label")
RUNS_ON = either(
    LABEL,
    Many(LABEL, scopes.JOB),
    Fields(
        "runs-on",
        {"group": Text(scopes.JOB, filled=True), "labels": either(LABEL, Many(LABEL, scopes.JOB))},
    ),
)
COMBINATIONS = Many(
    Named(Anything(scopes.STRATEGY), scopes.STRATEGY),
    scopes.STRATEGY,
)
MATRIX = Named(
    Many(Anything(scopes.STRATEGY), scopes.STRATEGY),
    scopes.STRATEGY,
    items={"include": COMBINATIONS, "exclude": COMBINATIONS},
)
STRATEGY = Fields(
    "strategy",
    {
        "matrix": MATRIX,
        "fail-fast": Flag(scopes.STRATEGY),
        "max-parallel": Amount(scopes.STRATEGY, above=0, whole=True, means="a whole number above 0"),
    },
    scope=scopes.STRATEGY,
)
ENVIRONMENT = either(
    Text(scopes.JOB),
    Fields(
        "environment",
        {
            "name": Text(scopes.JOB),
            "url": Text(scopes.ENVIRONMENT_URL),
            "deployment": Flag(scopes.JOB),
        },
        needs=("name",),
    ),
)
SNAPSHOT = either(
    Text(scopes.JOB, filled=True, check=snapshot_word),
    Fields(
        "snapshot",
        {
            "image-name": Text(scopes.JOB, filled=True),
            "version": Text(scopes.JOB, filled=True),
            "if": Condition(scopes.SNAPSHOT_IF),
        },
        needs=("image-name",),
    ),
)

ANY_JOB: dict[str, Shape] = {
    "name": Text(scopes.JOB),
    "needs": one_or_many(Text(filled=True, means="a job"), filled=False),
    "if": Condition(scopes.JOB_IF),
    "permissions": PERMISSIONS,
    "concurrency": concurrency(scopes.JOB),
    "strategy": STRATEGY,
}
STEPS_JOB = Fields(
    "job",
    {
        **ANY_JOB,
        "runs-on": RUNS_ON,
        "environment": ENVIRONMENT,
        "outputs": Named(Text(scopes.OUTPUTS), scopes.OUTPUTS),
        "env": env(scopes.JOB_ENV),
        "defaults": defaults(scopes.JOB_DEFAULTS),
        "timeout-minutes": Amount(scopes.JOB, above=0, means="a number of minutes above 0"),
        "continue-on-error": Flag(scopes.JOB),
        "container": either(Null(), *container("container").shapes),
        "services": Named(container("service"), scopes.JOB),
        "snapshot": SNAPSHOT,
        "cancel-timeout-minutes": Amount(scopes.JOB, above=0, means="a number of minutes above 0"),
        "steps": Many(STEP, means="a list with at least one step"),
        **OURS,
    },
    needs=("runs-on",),
    ours=tuple(OURS),
)
REUSABLE_JOB = Fields(
    "job",
    {
        **ANY_JOB,
        "uses": Text(filled=True, means="a workflow"),
        "with": Named(Anything(scopes.JOB), scopes.JOB),
        "secrets": either(Text(choices=("inherit",)), Named(Text(scopes.JOB_ENV), scopes.JOB_ENV)),
    },
    needs=("uses",),
)
JOB = Kinds("job", {"uses": REUSABLE_JOB, "steps": STEPS_JOB, "runs-on": STEPS_JOB})

DISPATCH_INPUT = Fields(
    "input",
    {
        "description": TEXT,
        "deprecationMessage": TEXT,
        "required": Flag(),
        "type": Text(choices=("string", "boolean", "number", "choice", "environment")),
        "default": TEXT,
        "options": Many(FILLED),
    },
)
CALL_INPUT = Fields(
    "input",
    {
        "description": TEXT,
        "required": Flag(),
        "type": Text(choices=("string", "boolean", "number")),
        "default": Text(scopes.CALL_INPUT),
    },
    needs=("type",),
)
CALL_SECRET = Fields("secret", {"description": TEXT, "required": Flag()})
CALL_OUTPUT = Fields(
    "output", {"description": TEXT, "value": Text(scopes.CALL_OUTPUT, filled=True)}, needs=("value",)
)
DISPATCH = Fields(
    "workflow_dispatch",
    {"inputs": either(Null(), Named(either(Null(), DISPATCH_INPUT), check=identifier))},
    loose=True,
)
CALL = Fields(
    "workflow_call",
    {
        "inputs": either(Null(), Named(CALL_INPUT, check=identifier)),
        "secrets": either(Null(), Named(either(Null(), CALL_SECRET), check=identifier)),
        "outputs": either(Null(), Named(CALL_OUTPUT, check=identifier)),
    },
)
SCHEDULE = Many(
    Fields(
        "schedule",
        {
            "cron": Text(filled=True, check=schedule_time, means="a time in cron's five fields"),
            "timezone": Text(filled=True, check=time_zone, means="the name of a time zone"),
        },
        needs=("cron",),
    )
)
ON_EVENTS = Fields(
    "event",
    {
        **{name: either(Null(), fields) for name, fields in EVENTS.items()},
        "schedule": SCHEDULE,
        "workflow_dispatch": either(Null(), DISPATCH),
        "workflow_call": either(Null(), CALL),
    },
    filled=True,
)
EVENT = Text(filled=True, choices=tuple(ON_EVENTS.keys), means="an event")
ON = either(EVENT, Many(EVENT, means="a list of events"), ON_EVENTS)

WORKFLOW = Fields(
    "workflow",
    {
        "name": TEXT,
        "description": TEXT,
        "run-name": Text(scopes.RUN_NAME),
        "on": ON,
        "permissions": PERMISSIONS,
        "env": env(scopes.WORKFLOW_ENV),
        "defaults": defaults(None),
        "concurrency": concurrency(scopes.CONCURRENCY),
        "jobs": Named(JOB, check=identifier, filled=True, means="a mapping with at least one job"),
    },
    needs=("on", "jobs"),
)

PYTHON_JOB = replace(
    STEPS_JOB,
    keys={key: shape for key, shape in STEPS_JOB.keys.items() if key not in (*ANY_JOB, "defaults", "steps")},
    needs=(),
)
PYTHON_WORKFLOW = replace(
    WORKFLOW,
    keys={
        **{key: shape for key, shape in WORKFLOW.keys.items() if key not in ("env", "defaults")},
        "jobs": Named(PYTHON_JOB, check=identifier),
    },
    needs=("on",),
)
"""What a function in Python says of itself: all of a workflow, and of its one job but the steps."""
