"""What the environment of a job has it wait for, before anything of it runs."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from runner.errors import Rejected
from runner.expr.evaluate import render
from runner.model.environment import Environment, gates, shut
from runner.model.source import Event
from runner.model.waits import Wait
from runner.workflow.document import JobDef, Steps
from runner.workflow.globs import BadPattern, check_ref_pattern, included

HEADS, TAGS, REFS = "refs/heads/", "refs/tags/", "refs/"

Rules = Callable[[str], Environment | None]
Gate = Callable[[datetime], tuple[Wait, ...]]
"""What is waited for from the instant on at which a job's turn comes."""


def gate_of(definition: JobDef, seen: Mapping[str, Any], event: Event, rules: Rules) -> Gate:
    """What a job with the contexts `seen` waits for; nothing where its environment has no rules."""
    environment = definition.body.environment if isinstance(definition.body, Steps) else None
    name = "" if environment is None else render(environment.name, seen).strip()
    # A name that is empty is none, so that an expression can say that there is no environment.
    found = rules(name) if name else None
    if found is None:
        return lambda now: ()
    if found.branches and not included(map(_whole, found.branches), event.ref):
        reason = _refusal(event, found)
        return lambda now: (shut(found.name, now, reason),)
    return lambda now: gates(found, now, event.actor)


def check_patterns(patterns: tuple[str, ...]) -> None:
    """Raises `Rejected` where one of them could let nothing deploy."""
    for pattern in patterns:
        try:
            check_ref_pattern(pattern)
        except BadPattern as error:
            raise Rejected(f"{pattern[:100]!a} is no pattern of branches: {error}") from None


def _whole(pattern: str) -> str:
    """A pattern of whole refs; one that does not say so is of branches: tags are easily named alike."""
    body = pattern.removeprefix("!")
    mark = pattern[: len(pattern) - len(body)]
    return pattern if body.startswith(REFS) else f"{mark}{HEADS}{body}"


def _refusal(event: Event, rules: Environment) -> str:
    """In GitHub's words."""
    what, name = ("Tag", event.tag) if event.tag is not None else ("Branch", event.branch or event.ref)
    return f'{what} "{name}" is not allowed to deploy to {rules.name} due to environment protection rules'
