"""How a run, or a job of it, is made to end before it is done, whoever wants that."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from runner.model.limits import shown
from runner.model.run import Finished, Job, Queued, Run
from runner.model.step import Result


def cancel(run: Run, at: datetime, why: str = "") -> Run:
    """Want a run to end: what has not begun ends at the next `decide`, what runs is told to stop.

    Jobs with an `if` are left to it, also those that it has begun: it may say `always()`. Not so in a run
    that waits for its concurrency group: nothing of it may begin. Twice is once.
    """
    if run.result is not None or run.cancelled:
        return run
    bound = _bound if run.held_back else partial(wind_down, at=at)
    return replace(run, cancelled=True, over=why, jobs=tuple(map(bound, run.jobs)))


def end(run: Run, at: datetime) -> Run:
    """End a run by force: all of it, at once, and no `if` is asked. Who works on it has lost his lease."""
    over = Finished(Result.CANCELLED, at, "it was cancelled by force")
    if run.result is not None:
        return run
    jobs = tuple(job if isinstance(job.phase, Finished) else replace(job, phase=over) for job in run.jobs)
    return replace(run, cancelled=True, jobs=jobs)


def give_up(run: Run, job_id: int, limit: timedelta, at: datetime) -> Run:
    """End a job that no worker has claimed for that long, though any with its labels might have: it fails."""
    if not run.has(job_id):
        return run
    job = run.job(job_id)
    match job.phase:
        case Queued(since, due) if job.asked is None and not job.cancelled and (due or since) + limit <= at:
            labels = ", ".join(job.labels)
            reason = f"no worker with the labels {labels} took it within {shown(limit)} (queue-timeout)"
            return run.with_job(replace(job, phase=Finished(Result.FAILURE, at, reason, job.tolerant)))
        case _:
            return run


def time_out(run: Run, limit: timedelta, at: datetime) -> Run:
    """Cancel a run that goes on for longer than it may, whatever it waits for."""
    return cancel(run, at, f"it was cancelled: it took longer than {shown(limit)} (run-timeout)")


def oust(run: Run, job_id: int, at: datetime) -> Run:
    """Want one job to end, whatever its `if` says; what it called winds down."""
    if isinstance(run.job(job_id).phase, Finished):
        return run
    run = run.with_job(doom(run.job(job_id), at))
    ahead = list(run.called_by(job_id))
    while ahead:
        job = ahead.pop()
        run = run.with_job(wind_down(job, at))
        ahead += run.called_by(job.id)
    return run


def wind_down(job: Job, at: datetime) -> Job:
    """Want a job to end as its workflow is cancelled. Without an `if` it ends, as none means `success()`.

    One that has an `if` is asked again where that was evaluated before; else it will be, in its turn.
    """
    if isinstance(job.phase, Finished) or job.cancelled:
        return job
    if not job.conditional:
        return doom(job, at)
    return replace(job, asked=at) if job.planned else job


def doom(job: Job, at: datetime) -> Job:
    """Want a job to end, whatever its `if` says. One that had begun has time for its last steps from `at`."""
    match job.phase:
        case Queued(due=None) if job.started is not None:
            return replace(job, cancelled=True, asked=None, phase=Queued(at))
        case _:
            return replace(job, cancelled=True, asked=None)


def _bound(job: Job) -> Job:
    return job if isinstance(job.phase, Finished) else replace(job, cancelled=True)
