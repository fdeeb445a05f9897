"""The language of `action.yml`, the file that describes an action.

https://docs.github.com/actions/reference/metadata-syntax-reference
"""

from dataclasses import replace

from runner.workflow import scopes
from runner.workflow.checks import identifier, step_action, variable_name
from runner.workflow.shapes import (
    Condition,
    Fields,
    Flag,
    Kinds,
    Many,
    Named,
    Null,
    Shape,
    Text,
    Valued,
    either,
)
from runner.workflow.shells import shell_problem

TEXT = Text()
FILLED = Text(filled=True)
SCRIPT_FILE = Text(filled=True, means="a file")

INPUT = Fields(
    "input",
    {
        "description": TEXT,
        "required": TEXT,
        "default": Text(scopes.ACTION_INPUT),
        "deprecationMessage": TEXT,
        "type": TEXT,
    },
)
OUTPUT = Fields("output", {"description": TEXT, "value": Text(scopes.ACTION_OUTPUT)})

ENV = Named(Text(scopes.ACTION_STEP), scopes.ACTION_STEP, check=variable_name)
ANY_STEP: dict[str, Shape] = {
    "id": Text(filled=True, check=identifier, means="a name"),
    "name": Text(scopes.ACTION_STEP),
    "if": Condition(scopes.ACTION_STEP_IF),
    "env": ENV,
    "continue-on-error": Flag(scopes.ACTION_STEP),
}
RUN_STEP = Fields(
    "step",
    {
        **ANY_STEP,
        "run": Text(scopes.ACTION_STEP, filled=True, means="a script"),
        "shell": Text(scopes.ACTION_STEP, filled=True, check=shell_problem, means="a shell"),
        "working-directory": Text(scopes.ACTION_STEP),
    },
    needs=("shell",),
)
USES_STEP = Fields(
    "step",
    {
        **ANY_STEP,
        "uses": Text(filled=True, check=step_action, means="an action"),
        "with": Named(Text(scopes.ACTION_STEP), scopes.ACTION_STEP),
    },
)
STEP = Kinds("step", {"run": RUN_STEP, "uses": USES_STEP})

CONDITION = Condition(scopes.ACTION_IF, bare=True)
COMPOSITE = Fields("composite action", {"using": FILLED, "steps": Many(STEP, filled=False)}, needs=("steps",))
SCRIPT = Fields(
    "JavaScript action",
    {
        "using": FILLED,
        "main": SCRIPT_FILE,
        "pre": SCRIPT_FILE,
        "pre-if": CONDITION,
        "post": SCRIPT_FILE,
        "post-if": CONDITION,
    },
    needs=("main",),
)
DOCKER = Fields(
    "docker action",
    {
        "using": FILLED,
        "image": Text(filled=True, means="an image or a Dockerfile"),
        "entrypoint": FILLED,
        "args": Many(Text(scopes.ACTION_TEXT), filled=False),
        "env": Named(Text(scopes.ACTION_TEXT), check=variable_name),
        "pre-entrypoint": FILLED,
        "pre-if": CONDITION,
        "post-entrypoint": FILLED,
        "post-if": CONDITION,
    },
    needs=("image",),
)
RUNS = Valued(
    "runs",
    "using",
    {
        "composite": COMPOSITE,
        "docker": DOCKER,
        **dict.fromkeys(("node12", "node16", "node20", "node24"), SCRIPT),
    },
)

ACTION = Fields(
    "action",
    {
        "name": FILLED,
        "description": TEXT,
        "author": TEXT,
        "inputs": either(Null(), Named(either(Null(), INPUT))),
        "outputs": either(Null(), Named(either(Null(), OUTPUT))),
        "runs": RUNS,
        "branding": Fields("branding", {"icon": TEXT, "color": TEXT}),
    },
    needs=("name", "description", "runs"),
)

USED = replace(
    ACTION,
    needs=("runs",),
    keys={
        **ACTION.keys,
        "inputs": either(Null(), Named(either(Null(), replace(INPUT, loose=True)))),
        "outputs": either(Null(), Named(either(Null(), replace(OUTPUT, loose=True)))),
    },
    loose=True,
)
"""What an action has to say so that it can be used: only who publishes it must name and describe it.

Of keys that GitHub does not know it takes no notice but in `runs`; there are many such in what is published.
"""
