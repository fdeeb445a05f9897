from collections.abc import Mapping
from typing import Any

from runner.model.source import Event
from runner.workflow.document import Workflow


def told(workflow: Workflow, event: Event) -> tuple[Event, Mapping[str, Any]]:
    return event, event.payload.get("inputs") or {}
