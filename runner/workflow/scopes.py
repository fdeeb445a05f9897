"""What expressions may use, by the key under which they stand.

GitHub's table: https://docs.github.com/actions/reference/contexts-reference#context-availability
"""

from runner.workflow.shapes import Scope

STATUS = ("always", "cancelled", "failure", "success")
HASH = ("hashFiles",)

RUN_NAME = Scope(("github", "inputs", "vars"))
CONCURRENCY = Scope(("github", "inputs", "vars"))
WORKFLOW_ENV = Scope(("github", "inputs", "secrets", "vars"))
CALL_INPUT = Scope(("github", "inputs", "vars"))
CALL_OUTPUT = Scope(("github", "inputs", "jobs", "vars"))

STRATEGY = Scope(("github", "inputs", "needs", "vars"))
JOB_IF = Scope(("github", "inputs", "needs", "vars"), STATUS)
JOB = Scope(("github", "inputs", "matrix", "needs", "strategy", "vars"))
"""Most of what a job says before it runs: its name, labels, container, environment, concurrency."""
JOB_ENV = Scope(("github", "inputs", "matrix", "needs", "secrets", "strategy", "vars"))
JOB_DEFAULTS = Scope(("env", "github", "inputs", "matrix", "needs", "strategy", "vars"))
CREDENTIALS = Scope(("env", "github", "inputs", "matrix", "needs", "secrets", "strategy", "vars"))
CONTAINER_ENV = Scope(
    ("env", "github", "inputs", "job", "matrix", "needs", "runner", "secrets", "strategy", "vars")
)
ENVIRONMENT_URL = Scope(
    ("env", "github", "inputs", "job", "matrix", "needs", "runner", "steps", "strategy", "vars")
)
OUTPUTS = Scope(
    ("env", "github", "inputs", "job", "matrix", "needs", "runner", "secrets", "steps", "strategy", "vars")
)
SNAPSHOT_IF = Scope(("github", "inputs", "matrix", "needs", "strategy", "vars"), STATUS)

STEP = Scope(OUTPUTS.contexts, HASH)
STEP_IF = Scope(ENVIRONMENT_URL.contexts, (*STATUS, *HASH))

ACTION_TEXT = Scope(("github", "inputs", "job", "matrix", "runner", "strategy"), HASH)
ACTION_STEP = Scope(("env", "github", "inputs", "job", "matrix", "runner", "steps", "strategy"), HASH)
ACTION_STEP_IF = Scope(ACTION_STEP.contexts, (*STATUS, *HASH))
ACTION_IF = Scope(ACTION_STEP.contexts, (*STATUS, *HASH))
ACTION_OUTPUT = Scope(ACTION_STEP.contexts)
ACTION_INPUT = Scope(("github", "inputs", "job", "matrix", "runner", "strategy"), HASH)

EVERY_CONTEXT = tuple(sorted({*STEP.contexts, *CALL_OUTPUT.contexts}))
