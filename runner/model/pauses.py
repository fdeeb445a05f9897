"""Runs that stand still: how they come to, what may go on all the same, and how they go on."""

from dataclasses import replace
from datetime import datetime

from runner.errors import Rejected
from runner.model.run import Job, Run
from runner.model.stops import Stop


def stands_still(run: Run, job: Job) -> bool:
    """Whether nobody may claim a job, as somebody paused its run or blocked what that is of.

    What is cancelled goes on to its end all the same: its `always()` steps are to run.
    """
    return bool(run.stopped) and not run.cancelled and not job.cancelled


def pause(run: Run, stop: Stop) -> Run:
    """Have a run stand still: running steps end, and no job goes on. Twice is once: the first one counts.

    One that was only paused with another is so by itself from then on.
    """
    if run.result is not None:
        raise Rejected(f"run {run.id} has ended: {run.result}")
    if run.pause is None:
        return replace(run, pause=stop)
    if run.pause.above in (None, stop.above):
        return run
    return replace(run, pause=replace(stop, at=run.pause.at))


def unpause(run: Run, now: datetime, above: int | None = None) -> Run:
    """Have a run go on that somebody paused; one that nobody did goes on as it is.

    What waits for a span of time waits longer by as long as the run was paused. A retry's delay is no such
    span: what it waits for goes on outside, paused or not. `above`: only where it was paused with that run.
    """
    if run.pause is None or above not in (None, run.pause.above):
        return run
    since = run.pause.at
    return replace(run, pause=None, jobs=tuple(_shifted(job, since, now) for job in run.jobs))


def _shifted(job: Job, since: datetime, now: datetime) -> Job:
    return job.with_waits(wait.shifted(since, now) for wait in job.hears)
