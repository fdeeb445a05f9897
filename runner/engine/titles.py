"""What a run is called: the `run-name` of its workflow, where it has one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runner.engine.contexts import Asked
from runner.engine.dispatch import told
from runner.errors import BrokenDefinition, Rejected
from runner.expr.evaluate import render
from runner.expr.values import ExpressionError
from runner.model.run import Run
from runner.model.source import Event, Repository
from runner.workflow.document import Workflow

LONGEST_TITLE = 255

Title = Callable[[Run], str]
"""Gives the title of a run that has just got its id and its number; an empty one is none."""


@dataclass(frozen=True, slots=True)
class Titles:
    """What `run-name` can ask about beside the event. `server` is its public address."""

    server: str
    variables: Callable[[Repository], Mapping[str, str]]

    def of(self, workflow: Workflow, event: Event, repository: Repository) -> Title | None:
        name = workflow.run_name
        if name is None:
            return None
        event, inputs = told(workflow, event)
        variables = self.variables(repository) if event.trusted else {}

        def title(run: Run) -> str:
            asked = Asked(run, event, self.server, inputs, variables)
            seen = {"github": asked.github(), "inputs": asked.inputs_of(None), "vars": dict(variables)}
            try:
                said = render(name, seen)
            except (BrokenDefinition, Rejected, ExpressionError):
                # A run is worth more than its title.
                return ""
            # No database keeps a NUL in a text.
            return " ".join(said.replace("\0", " ").split())[:LONGEST_TITLE]

        return title
