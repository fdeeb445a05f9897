"""Runs that a step of another run has started, and waits for."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from runner.model.answers import answer_wait
from runner.model.run import Finished, Job, Lease, Run
from runner.model.waits import Answer, Awaited, Word

DEEPEST = 10
"""How many runs may have been started by each other, the first one included."""
HEARD = 1
"""The attempt of a run that is waited for: its end is told, and only what has ended is run again."""
OUTPUT_LETTERS = 1024 * 1024
"""What the step is told of what its jobs gave, together."""


@dataclass(frozen=True, slots=True)
class Start:
    """Who starts a run: a step, under the lease of its job."""

    lease: Lease
    step: str


def ended_children(run: Run, ended: Mapping[str, Answer], now: datetime) -> tuple[Run, Collection[str]]:
    """Tell a run how those have ended that its steps wait for, by deliveries; gives what it was told."""
    told = set[str]()
    for job in run.jobs:
        for wait in job.over(now, run.paused_at).hears:
            if wait.awaited is Awaited.RUN and wait.name in ended:
                run = answer_wait(run, job.id, wait.key, ended[wait.name])
                told.add(wait.name)
    return run, told


def leaves_children(before: Run, after: Run) -> tuple[Collection[int], Collection[str]]:
    """What a change of a run leaves: all that these jobs have started, and what is of these deliveries."""
    former = {job.id: job for job in before.jobs}
    over = [job.id for job in after.jobs if _may_start(job) and _is_over(job) and not _was(former, job)]
    waits = {
        wait.name
        for job in after.jobs
        if job.id not in over and (job.id not in former or job.waits != former[job.id].waits)
        for wait in job.waits
        if wait.awaited is Awaited.RUN
        and wait.answer is not None
        and wait.answer.word in (Word.DUE, Word.LEFT)
    }
    return over, waits


def _may_start(job: Job) -> bool:
    """Whether its steps are asked for by a program."""
    return not job.steps and job.calls is None


def _is_over(job: Job) -> bool:
    return job.cancelled or isinstance(job.phase, Finished)


def _was(former: Mapping[int, Job], job: Job) -> bool:
    return job.id in former and _is_over(former[job.id])


def outputs_of(run: Run) -> Mapping[str, str]:
    """What the jobs of a run gave together; of a name that several give, what the last one does."""
    found: dict[str, str] = {}
    for job in run.jobs:
        if job.caller is None:
            found |= job.outputs
    return found
