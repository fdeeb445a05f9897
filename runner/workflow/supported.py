"""What of the language the engine does not do yet: refused by name, where it stands.

The only place that knows. Whatever the engine learns is taken out here; when nothing is left, admission
calls `load.load` itself.
"""

from dataclasses import replace

from runner.expr.template import OPEN
from runner.model.snapshot import Keep
from runner.workflow import event_tables
from runner.workflow.compose import Node, Scalar
from runner.workflow.container_checks import refused_of_job
from runner.workflow.containers import reserved_image
from runner.workflow.document import Workflow
from runner.workflow.load import Reading, built, in_order, read_workflow
from runner.workflow.python import is_python
from runner.workflow.reading import Reader, entries_of, items_of, value_at
from runner.workflow.references import BadReference, Image, parse_action
from runner.workflow.shells import NAMES, ON_WINDOWS
from runner.workflow.words import here

EVENTS_LATER = ("image_version",)
KNOWN = (*event_tables.EVENTS, "schedule", "workflow_dispatch", "workflow_call")
EVENTS = tuple(event for event in KNOWN if event not in EVENTS_LATER)
JOB_LATER = ("cancel-timeout-minutes",)
STEP_LATER = ("background", "parallel", "wait", "wait-all", "cancel")


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
        for key, job in entries_of(value_at(root, "jobs")):
            self._keys(job, JOB_LATER)
            self._snapshot(job)
            words = {word.text for word, _ in entries_of(job)}
            if words and not words & {"steps", "uses"} and not is_python(reading.path):
                self._reader.problem(key.pos, f'the job "{key.text}" needs "steps"')
            self._keys(value_at(job, "runs-on"), ("group",))
            for node, problem in refused_of_job(job):
                self._reader.problem(node.pos, problem, "support")
            self._shell(value_at(job, "defaults", "run", "shell"))
            for step in items_of(value_at(job, "steps")):
                self._keys(step, STEP_LATER)
                self._shell(value_at(step, "shell"))
                self._used(value_at(step, "uses"))
        self._shell(value_at(root, "defaults", "run", "shell"))

    def _later(self, node: Node, what: str, instead: str = "") -> None:
        self._reader.problem(node.pos, f"{what} is not supported yet{instead}", "support")

    def _events(self, on: Node | None) -> None:
        names = [key for key, _ in entries_of(on)] or [one for one in items_of(on) if isinstance(one, Scalar)]
        for name in names:
            if name.text in KNOWN and name.text not in EVENTS:
                self._later(name, f"event `{name.text}`", here(EVENTS))

    def _keys(self, node: Node | None, later: tuple[str, ...]) -> None:
        for key, _ in entries_of(node):
            if key.text in later:
                self._later(key, f'"{key.text}"')

    def _snapshot(self, job: Node) -> None:
        """What GitHub makes an image of is not ours, but a word in its place."""
        for key, value in entries_of(job):
            # In other letters it is a problem anyhow.
            word = value.text.strip().lower() if isinstance(value, Scalar) else ""
            if key.text == "snapshot" and word not in tuple(Keep):
                self._later(key, '"snapshot"', f" for images{here(tuple(Keep))}")

    def _shell(self, node: Node | None) -> None:
        if isinstance(node, Scalar) and node.text in ON_WINDOWS:
            self._later(node, f'the shell "{node.text}"', here(NAMES))

    def _used(self, node: Node | None) -> None:
        if not isinstance(node, Scalar) or OPEN in node.text:
            return
        try:
            reference = parse_action(node.text)
        except BadReference:
            return
        if isinstance(reference, Image) and (problem := reserved_image(reference.name)):
            self._reader.problem(node.pos, problem, "support")
