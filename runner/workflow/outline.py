"""The jobs and steps of a workflow file, with a name for each step that has none."""

import re
from typing import Any

from runner.expr.template import OPEN
from runner.workflow.compose import Node, Scalar
from runner.workflow.reading import entries_of, items_of, shown_scalar, value_at
from runner.workflow.references import BadReference, Image, Remote, parse_action


def outline(root: Node | None) -> list[dict[str, Any]]:
    """As GitHub names them: `__run`, `__run_2`, `__actions_checkout`. What has expressions is left out."""
    return [job_outline(key.text, job) for key, job in entries_of(value_at(root, "jobs"))]


def job_outline(key: str, job: Node) -> dict[str, Any]:
    if value_at(job, "uses") is not None:
        return {"id": key, "type": "reusable"}
    steps: list[dict[str, Any]] = []
    names: dict[str, int] = {}
    for step in items_of(value_at(job, "steps")):
        found = {
            word: shown_scalar(node)
            for word in ("id", "run", "uses")
            if isinstance(node := value_at(step, word), Scalar) and OPEN not in node.text
        }
        name = found.get("id") or unique(own_name(step, found.get("uses")), names)
        names.setdefault(name.lower(), 1)
        steps.append({**found, "id": name})
    return {"id": key, "type": "job", "steps": steps}


def own_name(step: Node, uses: str | None) -> str:
    if uses is None:
        words = [key.text for key, _ in entries_of(step)]
        return next(
            (f"__{word}" for word in ("wait", "wait-all", "cancel", "parallel") if word in words), "__run"
        )
    try:
        reference = parse_action(uses)
    except BadReference:
        return "__uses"
    match reference:
        case Remote(repository):
            name = repository
        case Image(image):
            name = image
        case local:
            name = "self" if local.path in ("", ".") else local.path
    return "__" + re.sub(r"[^A-Za-z0-9_-]", "_", name)


def unique(name: str, names: dict[str, int]) -> str:
    """The name with the first number that makes it one of its own; `names` count how far each has come."""
    count, found = names.get(name.lower(), 0), name
    while found.lower() in names:
        count += 1
        found = f"{name}_{count}"
    names[name.lower()] = count or 1
    return found
