"""What a repository's workflow in Python imports: the decorator that makes one, and what it is given.

Nothing but the standard library is needed, from Python 3.9 on.

    from runner.sdk import workflow

    @workflow(on={"push": {"branches": ["main"]}})
    async def deploy(event, step):
        await step.sh("test", "make test")
        await step.sleep("settle", "10 minutes")
        await step.sh("ship", "make ship")

The function is run again from its beginning whenever the job goes on: after a wait, a crash, or on another
machine. What its steps have given is remembered, and their bodies do not run again. So whatever is not the
same each time (the clock, chance, files, the network) belongs in a step; `step.now`, `step.random` and
`step.uuid` are the same each time.
"""

from collections.abc import Awaitable
from typing import Any, Callable, TypeVar

from runner.sdk.errors import NonRetryable, Rejected, StepFailed, TimedOut
from runner.sdk.steps import Handle, Step
from runner.sdk.values import Approval, Child, Event, Received, Route, Shell, Used

__all__ = [
    "Approval",
    "Child",
    "Event",
    "Handle",
    "NonRetryable",
    "Received",
    "Rejected",
    "Route",
    "Shell",
    "Step",
    "StepFailed",
    "TimedOut",
    "Used",
    "workflow",
]

Workflow = TypeVar("Workflow", bound=Callable[[Any, Any], Awaitable[Any]])


def workflow(**terms: Any) -> Callable[[Workflow], Workflow]:
    """Make a workflow of an `async def` with two parameters, the event and the steps.

    The keywords are those of a workflow file, and of its one job: `on` (which must be there), `name`,
    `run_name`, `concurrency`, `permissions`, `runs_on`, `env`, `container`, `services`, `environment`,
    `timeout_minutes`, `snapshot`, `retry`, `on_lost`. They are read without running the file, so they are
    literals; expressions such as `"${{ secrets.TOKEN }}"` mean what they do in a workflow file.
    """

    def made(function: Workflow) -> Workflow:
        function.__runner_workflow__ = terms  # type: ignore[attr-defined]
        return function

    return made
