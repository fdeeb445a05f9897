"""Whether what failed is tried again, and when."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta

from runner.errors import BrokenDefinition, RunnerError
from runner.model.run import Job
from runner.model.step import Checkpoint
from runner.workflow.document import Retry

MOST_LOSSES = 3
"""Workers that may be lost with a job, one after another, at the same step."""
LONGEST = timedelta(days=365)


MAY_HAVE_RUN = "its worker was lost while the step may have run"


class Later(RunnerError):
    """The job goes on after a while, in whoever's hands; its message says why it waits."""

    def __init__(self, reason: str, delay: timedelta) -> None:
        super().__init__(reason)
        self.delay = delay


class GivenUp(BrokenDefinition):
    """A step is not done, for fear of doing it twice."""


class Poisoned(RunnerError):
    """Whoever works on the job is lost."""


def delay_of(retry: Retry, failed: int, salt: str) -> timedelta:
    """How long to wait after so many failures.

    `salt` tells those apart that fail at the same time: with `jitter` each waits another time between the
    half and the whole, and the same again where it is asked again.
    """
    grown = {"linear": float(failed), "exponential": 2.0 ** min(failed - 1, 64)}.get(retry.backoff, 1.0)
    seconds = min(retry.delay * grown, LONGEST.total_seconds())
    if retry.max_delay is not None:
        seconds = min(seconds, retry.max_delay)
    if retry.jitter:
        digest = hashlib.sha256(f"{salt} {failed}".encode()).digest()
        seconds *= 0.5 + int.from_bytes(digest[:4]) / 2**33
    return timedelta(seconds=seconds)


def again(retry: Retry | None, failed: int, exit_code: int | None) -> bool:
    """Whether what has failed so often, this time with that exit code, is tried once more."""
    if retry is None or failed >= retry.max_attempts:
        return False
    return not retry.on_exit_codes or exit_code in retry.on_exit_codes


def losses(job: Job, checkpoints: Mapping[str, Checkpoint]) -> int:
    """How many workers were lost with a job since it last got anything done; `checkpoints`: oldest first."""
    since = list(checkpoints.values())[-1].attempt if checkpoints else job.base
    return sum(attempt >= since for attempt in lost_since_tried(job))


def lost_since_tried(job: Job) -> tuple[int, ...]:
    """The attempts that were lost since the job last failed and was tried again."""
    since = job.tried[-1].attempt if job.tried else 0
    return tuple(attempt for attempt in job.lost if attempt > since)
