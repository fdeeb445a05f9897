"""What each context holds at each place of a workflow file, as far as the file says."""

from collections.abc import Callable
from collections.abc import Mapping as Dictionary
from functools import cache

from runner.expr.template import OPEN
from runner.expr.types import ANY, BOOLEAN, NULL, NUMBER, STRING, Type, Typing, an_object, object_of
from runner.workflow.compose import Mapping, Node, Scalar, Sequence
from runner.workflow.reading import Path, Reader, Use, entries_of, items_of, value_at

STRINGS = object_of(STRING)
GITHUB = an_object(
    {
        "event": object_of(ANY),
        **dict.fromkeys(
            (
                *(
                    "action",
                    "action_path",
                    "action_ref",
                    "action_repository",
                    "action_status",
                    "actor",
                    "actor_id",
                ),
                *("api_url", "artifact_cache_size_limit", "base_ref", "env", "event_name", "event_path"),
                *("graphql_url", "head_ref", "job", "job_workflow_sha", "output", "path", "ref", "ref_name"),
                *("ref_type", "repository", "repository_id", "repository_owner", "repository_owner_id"),
                *("repository_visibility", "repositoryurl", "retention_days", "run_attempt", "run_id"),
                *("run_number", "secret_source", "server_url", "sha", "state", "step_summary", "token"),
                *("triggering_actor", "workflow", "workflow_ref", "workflow_sha", "workspace"),
            ),
            STRING,
        ),
        "ref_protected": BOOLEAN,
    },
)
RUNNER = an_object(
    dict.fromkeys(("arch", "debug", "environment", "name", "os", "temp", "tool_cache", "workspace"), STRING)
)
JOB = an_object(
    {
        "check_run_id": NUMBER,
        "container": an_object({"id": STRING, "network": STRING}),
        "services": object_of(an_object({"id": STRING, "network": STRING, "ports": object_of(STRING)})),
        "status": STRING,
        **dict.fromkeys(
            ("workflow_ref", "workflow_sha", "workflow_repository", "workflow_file_path"), STRING
        ),
    }
)
STRATEGY = an_object({"fail-fast": BOOLEAN, "job-index": NUMBER, "job-total": NUMBER, "max-parallel": NUMBER})
ALWAYS = {
    "github": GITHUB,
    "runner": RUNNER,
    "job": JOB,
    "strategy": STRATEGY,
    "env": STRINGS,
    "vars": STRINGS,
    "secrets": STRINGS,
    "matrix": ANY,
    "steps": ANY,
    "needs": ANY,
    "inputs": ANY,
    "jobs": ANY,
}
INPUT_TYPES = {
    "boolean": BOOLEAN,
    "number": NUMBER,
    "string": STRING,
    "choice": STRING,
    "environment": STRING,
}

Outputs = Callable[[str], Type | None]
"""The outputs of the local action or workflow that a `uses` names, None where they are not known."""


def nothing_known(uses: str) -> Type | None:
    return None


class Surroundings:
    """Asked by the path of a value; knows the whole file."""

    def __init__(self, root: Node, outputs: Outputs = nothing_known) -> None:
        self._root = root
        self._jobs = {key.text: job for key, job in entries_of(value_at(root, "jobs"))}
        self._outputs = outputs
        self._inputs = inputs_of(root)
        self._steps = cache(self._steps_before)
        self._job = cache(self._of_job)

    def at(self, path: Path) -> Dictionary[str, Type]:
        if len(path) > 2 and path[0] == "jobs" and path[1] in self._jobs:
            key = str(path[1])
            step = int(path[3]) if len(path) > 3 and path[2] == "steps" else None
            return {**self._job(key), "steps": self._steps(key, step)}
        if path[:2] == ("on", "workflow_call"):
            return {**ALWAYS, "inputs": self._inputs, "jobs": self._all_jobs()}
        return {**ALWAYS, "inputs": self._inputs}

    def _of_job(self, key: str) -> Dictionary[str, Type]:
        return {
            **ALWAYS,
            "inputs": self._inputs,
            "matrix": matrix_of(value_at(self._jobs[key], "strategy")),
            "needs": self._needs(self._jobs[key]),
        }

    def _needs(self, job: Node) -> Type:
        found: dict[str, Type] = {}
        keys = {key.lower(): key for key in self._jobs}
        for need in items_of(value_at(job, "needs")):
            key = keys.get(need.text.lower()) if isinstance(need, Scalar) else None
            if key is None:
                return ANY
            found[key] = an_object({"result": STRING, "outputs": self._job_outputs(self._jobs[key])})
        return an_object(found, lacks='this job\'s "needs" does not name')

    def _job_outputs(self, job: Node) -> Type:
        uses = value_at(job, "uses")
        if isinstance(uses, Scalar):
            return self._outputs(uses.text) or STRINGS
        node = value_at(job, "outputs")
        if node is None:
            return an_object({}, lacks="that job has no output")
        if not isinstance(node, Mapping) or any(OPEN in name.text for name, _ in node.entries):
            return STRINGS
        return an_object({name.text: STRING for name, _ in node.entries}, lacks="that job has no output")

    def _all_jobs(self) -> Type:
        return an_object(
            {
                key: an_object({"result": STRING, "outputs": self._job_outputs(job)})
                for key, job in self._jobs.items()
            },
            lacks="there is no job",
        )

    def _steps_before(self, key: str, position: int | None) -> Type:
        """The steps that have run when step `position` begins; None for all."""
        items = items_of(value_at(self._jobs[key], "steps"))
        return steps_of(items[:position], self._outputs)


def steps_of(items: tuple[Node, ...], outputs: Outputs) -> Type:
    found: dict[str, Type] = {}
    for item in items:
        name, uses = value_at(item, "id"), value_at(item, "uses")
        if isinstance(name, Scalar):
            given = outputs(uses.text) if isinstance(uses, Scalar) else None
            found[name.text] = an_object(
                {"outputs": given or STRINGS, "outcome": STRING, "conclusion": STRING},
                lacks="unknown property",
            )
    return an_object(found, lacks="no step before this one has the id")


def action_contexts(root: Node) -> Callable[[Path], Dictionary[str, Type]]:
    """What contexts hold in an `action.yml`, by the path of a value."""
    names = an_object(
        {key.text: STRING for key, _ in entries_of(value_at(root, "inputs"))},
        lacks="this action has no input",
    )
    steps = items_of(value_at(root, "runs", "steps"))

    def at(path: Path) -> Dictionary[str, Type]:
        before = int(path[2]) if path[:2] == ("runs", "steps") and len(path) > 2 else None
        return {**ALWAYS, "inputs": names, "steps": steps_of(steps[:before], nothing_known)}

    return at


def inputs_of(root: Node) -> Type:
    """What `inputs` holds, whichever of the ways that take inputs starts the workflow."""
    found: dict[str, Type] = {}
    for event in ("workflow_dispatch", "workflow_call"):
        for name, one in entries_of(value_at(root, "on", event, "inputs")):
            kind = value_at(one, "type")
            given = INPUT_TYPES.get(kind.text, ANY) if isinstance(kind, Scalar) else STRING
            found[name.text] = given if found.get(name.text, given) == given else ANY
    return an_object(found, lacks="this workflow has no input")


def matrix_of(strategy: Node | None) -> Type:
    """The keys of a matrix; nothing is known where an expression gives it, or part of its `include`."""
    if strategy is None:
        return an_object({}, lacks="this job has no matrix, and so not")
    matrix = value_at(strategy, "matrix")
    if not isinstance(matrix, Mapping):
        return ANY if matrix is not None or not isinstance(strategy, Mapping) else an_object({})
    found: dict[str, Type] = {}
    for key, values in matrix.entries:
        if OPEN in key.text:
            return ANY
        if key.text == "include":
            if not isinstance(values, Sequence):
                return ANY
            for item in values.items:
                if not isinstance(item, Mapping) or any(OPEN in name.text for name, _ in item.entries):
                    return ANY
                for name, value in item.entries:
                    found[name.text] = joined(found.get(name.text), type_of(value))
        elif key.text != "exclude":
            items = values.items if isinstance(values, Sequence) else ()
            one: Type | None = None
            for item in items:
                one = joined(one, type_of(item))
            found[key.text] = joined(found.get(key.text), one or ANY)
    return an_object(found, lacks="the matrix has no key")


def type_of(node: Node) -> Type:
    match node:
        case Scalar(_, str(text)):
            return ANY if OPEN in text else STRING
        case Scalar(_, bool()):
            return BOOLEAN
        case Scalar(_, int() | float()):
            return NUMBER
        case Scalar():
            return NULL
        case Sequence(_, items):
            one: Type | None = None
            for item in items:
                one = joined(one, type_of(item))
            return Type("array", item=one or ANY)
        case Mapping(_, entries):
            if any(OPEN in name.text for name, _ in entries):
                return ANY
            return an_object({name.text: type_of(value) for name, value in entries})


def joined(left: Type | None, right: Type) -> Type:
    """What is known of a value that is one or the other."""
    if left is None or left == right:
        return right
    if left.kind == right.kind == "object" and left.others is None and right.others is None:
        names = {*left.members, *right.members}
        return an_object(
            {name: joined(left.members.get(name), right.members.get(name, ANY)) for name in names}
        )
    return ANY


def check_names(reader: Reader, at: Callable[[Path], Dictionary[str, Type]]) -> None:
    """Say what the file's expressions name that is not there, and what cannot be what is wanted."""
    for use in reader.uses:
        typing = Typing(at(use.path))
        types = [typing.of(expression) for expression in use.template.expressions]
        for offset, complaint, sure in typing.complaints:
            reader.inside(use.node, offset, complaint, warning=not sure)
        if not typing.complaints:
            check_wanted(reader, use, types)


FITS = {
    "boolean": ("boolean",),
    "number": ("number",),
    "list": ("array",),
    "mapping": ("object",),
}


def check_wanted(reader: Reader, use: Use, types: list[Type]) -> None:
    fitting = FITS.get(use.wanted)
    if fitting is not None:
        if types[0].kind not in (*fitting, "any"):
            what = f"the expression gives a {types[0].kind}, but here must be a {use.wanted}"
            reader.problem(use.node.pos, what, "expression", warning=use.wanted in ("boolean", "number"))
    elif use.wanted == "text":
        for expression, one in zip(use.template.expressions, types, strict=True):
            if one.kind in ("array", "object", "null"):
                what = f"an {one.kind} is no text" if one.kind != "null" else "null is no text"
                reader.inside(use.node, expression.offset, f"{what}; toJSON gives one of it", warning=True)
