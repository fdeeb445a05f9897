"""A job that goes on where another one of its run has stopped."""

from collections.abc import Collection
from dataclasses import dataclass

from runner.model.step import TRY

PRE, POST = ".pre", ".post"
"""How the keys end of what an action does before the job's first step, and at its end."""


@dataclass(frozen=True, slots=True)
class Fork:
    """From where on a job does itself what another one did before it.

    `step` is the key of that step; empty where all had been done. `carried` is how many of the other one's
    checkpoints are its own too: those before that step. `line` are the jobs that it comes from, the nearest
    first, and the last attempt of each: numbers of attempts go on along it, so that they say whose one was.
    """

    step: str
    carried: int
    line: tuple[tuple[int, int], ...]

    @property
    def job(self) -> int:
        """The job that it goes on from."""
        return self.line[0][0]

    @property
    def attempt(self) -> int:
        """The last attempt of that job."""
        return self.line[0][1]

    def whose(self, attempt: int) -> int | None:
        """The job that an attempt was one of; None for the fork itself."""
        return next((job for job, last in reversed(self.line) if attempt <= last), None)


def done_before(step: str, keys: Collection[str]) -> int:
    """How many of a job's checkpoints, in their order, come before those of a step and of the job's end."""
    before = 0
    for key in keys:
        if key.endswith(POST) or key.split(TRY)[0] == step:
            break
        before += 1
    return before
