"""Which concurrency group a run or a job is in, as its definition says it."""

from collections.abc import Callable

from runner.engine.contexts import Asked, Contexts
from runner.engine.dispatch import told
from runner.engine.titles import Titles
from runner.errors import BrokenDefinition
from runner.expr.evaluate import HALF, render
from runner.expr.values import ExpressionError, fold, to_string
from runner.model.run import Run
from runner.model.source import Event, Repository
from runner.model.turns import Turn
from runner.workflow.document import Concurrency, Workflow
from runner.workflow.trees import settled
from runner.workflow.words import cut

LONGEST_GROUP = 255
QUEUE_ALL = "max"


def turn_of(wanted: Concurrency, seen: Contexts, *, called: bool = False) -> Turn:
    """The turn that a `concurrency` asks for; raises `BrokenDefinition`."""
    try:
        group = render(wanted.group, seen)
        cancels = settled(wanted.cancel_in_progress, seen)
    except ExpressionError as error:
        raise BrokenDefinition(f'"concurrency" cannot be evaluated: {error}') from None
    # No database keeps what is no text.
    group = HALF.sub("\ufffd", group).replace("\0", "\ufffd")
    if not group.strip():
        raise BrokenDefinition('"concurrency" gives an empty group; a group needs a name')
    if len(group) > LONGEST_GROUP:
        long = f"a name of {len(group)} letters; {LONGEST_GROUP} are the most"
        raise BrokenDefinition(f'"concurrency" gives the group "{cut(group)}" {long}')
    if not isinstance(cancels, bool):
        raise BrokenDefinition(f'"cancel-in-progress" is true or false, not {cut(to_string(cancels))!r}')
    queues = wanted.queue == QUEUE_ALL
    if queues and cancels:
        raise BrokenDefinition(
            '"cancel-in-progress" is true, but "queue: max" lets all wait; use one of them'
        )
    return Turn(group, fold(group), cancels, queues, called)


def turn_of_run(
    workflow: Workflow, event: Event, repository: Repository, titles: Titles
) -> Callable[[Run], Turn] | None:
    """Gives the turn of a run that has just got its id and its number; None where it needs none."""
    wanted = workflow.concurrency
    if wanted is None:
        return None
    event, inputs = told(workflow, event)
    variables = titles.variables(repository) if event.trusted else {}

    def turn(run: Run) -> Turn:
        asked = Asked(run, event, titles.server, inputs, variables)
        seen = {"github": asked.github(), "inputs": asked.inputs_of(None), "vars": dict(variables)}
        try:
            return turn_of(wanted, seen)
        except BrokenDefinition as error:
            raise BrokenDefinition(f"{workflow.path}: {error}") from None

    return turn
