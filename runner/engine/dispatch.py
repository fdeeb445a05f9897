"""Runs that somebody asks for by the name of a workflow, with inputs.

What was given stays in the event as it came. What a run sees of it is computed each time from the event
and the definition, which its commit holds for good: so a rerun next month sees the same.
"""

from collections.abc import Mapping
from dataclasses import replace

from runner.errors import NotFound, Rejected
from runner.expr.values import Value
from runner.model.source import Event
from runner.workflow.document import Workflow
from runner.workflow.inputs import as_texts, read_inputs
from runner.workflow.supported import load
from runner.workflow.words import cut, meant

DISPATCH = "workflow_dispatch"


def dispatched(event: Event, files: Mapping[str, bytes]) -> Workflow:
    """The workflow among `files` that the event names.

    Raises `NotFound`, `BrokenDefinition`, and `Rejected` where it is not started by hand or not with these
    inputs.
    """
    path = _named(str(event.payload.get("workflow") or ""), files)
    workflow = load(path, files[path])
    if workflow.on.dispatch is None:
        raise Rejected(f'{path} cannot be started by hand; give its "on" a workflow_dispatch')
    try:
        read_inputs(workflow.on.dispatch, _given(event))
    except Rejected as error:
        raise Rejected(f"{path} cannot start so: {error}") from None
    return workflow


def told(workflow: Workflow, event: Event) -> tuple[Event, Mapping[str, Value]]:
    """What a run of the workflow sees: the event with its inputs as text, and the inputs themselves."""
    if event.kind != DISPATCH or workflow.on.dispatch is None:
        return event, {}
    values = read_inputs(workflow.on.dispatch, _given(event))
    said = {"inputs": as_texts(values), "workflow": workflow.path, "ref": event.ref}
    return replace(event, payload={**event.payload, **said}), values


def _given(event: Event) -> Mapping[str, object]:
    given = event.payload.get("inputs")
    return given if isinstance(given, Mapping) else {}


def _named(name: str, files: Mapping[str, bytes]) -> str:
    """The path of the workflow that is called by its path or by its file's name."""
    names = {path.rpartition("/")[2]: path for path in files}
    if name in files:
        return name
    if name in names:
        return names[name]
    raise NotFound(f'there is no workflow "{cut(name)}"{meant(name, names)}')
