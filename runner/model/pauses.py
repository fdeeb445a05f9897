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

    One that was only paused with another is so by itself from then on. What went on by itself of all that a
    run waits for stands still again, each time.
    """
    if run.result is not None:
        raise Rejected(f"run {run.id} has ended: {run.result}")
    if run.pause is None:
        return replace(run, pause=stop)
    former = replace(stop, at=run.pause.at) if run.pause.above is not None else run.pause
    return replace(run, pause=replace(former, anew=True))


def as_kept(run: Run) -> Run:
    """A run once all below it were told that its pause was asked for anew."""
    return replace(run, pause=replace(run.pause, anew=False)) if run.pause and run.pause.anew else run


def unpause(run: Run, now: datetime) -> Run:
    """Have a run go on that somebody paused, be it with another one; one that nobody did goes on as it is.

    What waits for a span of time waits longer by as long as the run was paused. A retry's delay is no such
    span: what it waits for goes on outside, paused or not.
    """
    parent = run.parent
    if parent is not None and parent.pause is not None:
        run = replace(run, parent=replace(parent, free=parent.pause.at))
    return _going_on(run, run.pause, now) if run.pause else run


def follow(run: Run, now: datetime) -> Run:
    """Have a run stand still, or go on, as the one does whose step waits for it.

    One that somebody paused by itself stays so. One that somebody had go on by itself does so for as long as
    that pause of the other one lasts.
    """
    parent, mine = run.parent, run.pause
    if parent is None or parent.left or parent.ended or run.result is not None:
        return run
    if mine is not None and mine.above is None:
        return run
    above = parent.pause
    if above is None:
        return _going_on(run, mine, now) if mine else run
    if mine is None and parent.free == above.at:
        return run
    stop = replace(above, run=run.id, above=above.above or parent.run)
    return replace(run, pause=replace(stop, at=mine.at) if mine else stop)


def _going_on(run: Run, former: Stop, now: datetime) -> Run:
    return replace(run, pause=None, jobs=tuple(_shifted(job, former.at, now) for job in run.jobs))


def _shifted(job: Job, since: datetime, now: datetime) -> Job:
    return job.with_waits(wait.shifted(since, now) for wait in job.hears)
