"""The tries of a step that is run again where it fails."""

from collections.abc import Mapping
from datetime import UTC, datetime

from runner.engine.conversation.asked import Asked
from runner.engine.retries import delay_of
from runner.model.run import Job
from runner.model.step import TRY, Checkpoint
from runner.model.waits import Awaited, Wait


def tries_of(step: Asked, checkpoints: Mapping[str, Checkpoint]) -> list[Checkpoint]:
    found: list[Checkpoint] = []
    while (done := checkpoints.get(f"{step.key}{TRY}{len(found) + 1}")) is not None:
        found.append(done)
    return found


def before_next(step: Asked, job: Job, checkpoints: Mapping[str, Checkpoint]) -> Wait | None:
    """What a step that has failed waits for before it is tried again."""
    tries = tries_of(step, checkpoints)
    if not tries or step.retry is None:
        return None
    due = tries[-1].finished + delay_of(step.retry, len(tries), f"{job.id} {step.key}")
    if due <= datetime.now(UTC):
        return None
    why = f"step {step.name} is tried again"
    key = f"{step.key}{TRY}{len(tries)}"
    return Wait(key, Awaited.TIME, since=datetime.now(UTC), due=due, message=why)
