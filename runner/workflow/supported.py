"""What of the language the engine does not do yet: refused by name, where it stands.

The only place that knows. Whatever the engine learns is taken out here; when nothing is left, admission
calls `load.load` itself.
"""

from dataclasses import replace

from runner.expr.functions import GIVEN
from runner.expr.template import OPEN, calls_in, references_in
from runner.workflow import event_tables
from runner.workflow.compose import Node, Scalar
from runner.workflow.document import Workflow
from runner.workflow.load import Reading, built, in_order, read_workflow
from runner.workflow.reading import Reader, Use, entries_of, items_of, value_at
from runner.workflow.shells import NAMES
from runner.workflow.words import here

EVENTS_LATER = ("image_version", "workflow_call")
KNOWN = (*event_tables.EVENTS, "schedule", "workflow_dispatch", "workflow_call")
EVENTS = tuple(event for event in KNOWN if event not in EVENTS_LATER)
WORKFLOW_LATER = ("run-name", "permissions", "concurrency")
JOB_LATER = (
    *("if", "uses", "with", "secrets", "strategy", "outputs", "services", "permissions", "concurrency"),
    *("environment", "continue-on-error", "snapshot", "retry", "on-lost", "cancel-timeout-minutes"),
)
STEP_LATER = (
    *("if", "uses", "with", "retry", "on-lost", "background", "parallel", "wait", "wait-all", "cancel"),
)
CONTAINER_LATER = ("credentials", "env", "ports", "volumes", "options")
SHELLS_LATER = ("cmd", "powershell")
CONTEXTS_LATER = ("matrix", "secrets", "strategy", "vars")
LITERAL = ("timeout-minutes", "continue-on-error", "runs-on", "container", "name", "image", "shell")
"""What must be known before a job starts, and so can have no expressions yet; a step's name can."""


def load(path: str, text: bytes) -> Workflow:
    """Read a workflow that the engine can run; raises `InvalidWorkflow` with every problem in it."""
    reading = read_workflow(path, text)
    if reading.reader is None or reading.root is None:
        return built(reading)
    found = list(reading.errors)
    Support(reading.reader.again(found)).check(reading)
    return built(replace(reading, problems=in_order(found)))


class Support:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def check(self, reading: Reading) -> None:
        root = reading.root
        self._events(value_at(root, "on"))
        self._variables(root)
        self._keys(root, WORKFLOW_LATER)
        for key, job in entries_of(value_at(root, "jobs")):
            self._keys(job, JOB_LATER)
            self._variables(job)
            words = {word.text for word, _ in entries_of(job)}
            if words and not words & {"steps", "uses"}:
                self._reader.problem(key.pos, f'the job "{key.text}" needs "steps"')
            self._keys(value_at(job, "runs-on"), ("group", "labels"))
            self._keys(value_at(job, "container"), CONTAINER_LATER)
            self._shell(value_at(job, "defaults", "run", "shell"))
            for step in items_of(value_at(job, "steps")):
                self._keys(step, STEP_LATER)
                self._variables(step)
                self._shell(value_at(step, "shell"))
        self._shell(value_at(root, "defaults", "run", "shell"))
        if reading.reader is not None:
            for use in reading.reader.uses:
                self._use(use)

    def _later(self, node: Node, what: str) -> None:
        self._reader.problem(node.pos, f"{what} is not supported yet", "support")

    def _events(self, on: Node | None) -> None:
        names = [key for key, _ in entries_of(on)] or [one for one in items_of(on) if isinstance(one, Scalar)]
        for name in names:
            if name.text in KNOWN and name.text not in EVENTS:
                what = f"event `{name.text}` is not supported yet{here(EVENTS)}"
                self._reader.problem(name.pos, what, "support")

    def _keys(self, node: Node | None, later: tuple[str, ...]) -> None:
        for key, _ in entries_of(node):
            if key.text in later:
                self._later(key, f'"{key.text}"')

    def _variables(self, node: Node | None) -> None:
        for name, _ in entries_of(value_at(node, "env")):
            if OPEN in name.text:
                self._later(name, "an expression in a name")

    def _shell(self, node: Node | None) -> None:
        if isinstance(node, Scalar) and node.text in SHELLS_LATER:
            what = f'the shell "{node.text}" is not supported yet{here(NAMES)}'
            self._reader.problem(node.pos, what, "support")

    def _use(self, use: Use) -> None:
        last = next((key for key in reversed(use.path) if isinstance(key, str)), "")
        in_step = "steps" in use.path[:4]
        if (last in LITERAL and not (in_step and last == "name")) or use.wanted not in ("text", "condition"):
            self._later(use.node, f'an expression in "{last}"')
            return
        for expression in use.template.expressions:
            for call in calls_in(expression):
                name = call.signature.name
                if name in GIVEN and name in use.scope.functions and not call.signature.status:
                    self._reader.inside(use.node, call.offset, f"{name}() is not supported yet")
            for reference in references_in(expression):
                name = reference.path[0]
                if name.lower() in CONTEXTS_LATER and name.lower() in use.scope.contexts:
                    contexts = [one for one in use.scope.contexts if one not in CONTEXTS_LATER]
                    what = f'the context "{name}" is not supported yet{here(contexts)}'
                    self._reader.inside(use.node, reference.offsets[0], what)
