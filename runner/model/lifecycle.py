"""THE state machine: every way in which a run or a job may change.

Each transition takes a value and the time and gives the next value; the store applies it under the
run's lock, and may apply it again after a conflict.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from runner.errors import LeaseLost, Rejected
from runner.model.run import Finished, Job, Lease, Phase, Queued, Run, Running, Waiting
from runner.model.step import Result

UNSAVED = 0
"""The id of a job that the store has not seen yet."""
TRIES = 6
"""How often in a row a job is begun that cannot begin."""
FIRST_DELAY = timedelta(seconds=5)
"""How long it then waits; each time twice as long as the last, and two and a half minutes in all."""


class NotClaimable(Rejected):
    """The job is finished, waiting, or another worker's."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.key} cannot be claimed: it is {type(job.phase).__name__.lower()}")


def claim(job: Job, worker: str, at: datetime, length: timedelta) -> Job:
    """Lease a queued job to `worker`, or one whose worker fell silent.

    The attempt number is the fencing token: whatever an earlier attempt
    writes after this is refused.
    """
    match job.phase:
        case Queued(_, due) if due is None or due <= at:
            pass
        case Running(lease) if lease.until <= at:
            # Its worker was last heard of when it got this lease.
            job = replace(_worked(job, lease.until - length), tries=0)
        case _:
            raise NotClaimable(job)
    lease = Lease(job.id, worker, attempt=job.attempt + 1, until=at + length)
    return replace(job, attempt=lease.attempt, phase=Running(lease), started=job.started or at, claimed=at)


def conclude(job: Job, lease: Lease, result: Result, at: datetime, reason: str = "") -> Job:
    """End a job under its lease."""
    _held(job, lease)
    return replace(job, phase=Finished(result, at, reason))


def release(job: Job, lease: Lease, at: datetime) -> Job:
    """Hand a job back unfinished, so that another worker goes on with it at once."""
    _held(job, lease)
    return replace(_worked(job, at), tries=0, phase=Queued(at))


def postpone(job: Job, lease: Lease, at: datetime, reason: str, *, begun: bool = False) -> Job:
    """Hand a job back that cannot begin now, or not go on, to be tried again later; the last try ends it.

    The time until it begins is none of its own: it counts as not started while all its attempts were such.
    """
    _held(job, lease)
    job = _worked(job, at) if begun else job
    tries = job.tries + 1
    if tries >= TRIES:
        return replace(job, tries=tries, phase=Finished(Result.FAILURE, at, f"{reason}; tried {tries} times"))
    due = at + FIRST_DELAY * 2 ** (tries - 1)
    waits = f"{reason}; tried {tries} of {TRIES} times, again at {due:%H:%M:%S} UTC"
    started = job.started if begun or job.attempt > tries else None
    return replace(job, tries=tries, started=started, phase=Queued(at, due, waits))


def _worked(job: Job, until: datetime) -> Job:
    """Count the time since the claim: `timeout-minutes` limits work, and not the wait for a worker."""
    spent = until - job.claimed if job.claimed and until > job.claimed else timedelta()
    return replace(job, worked=job.worked + spent)


def start_over(job: Job, lease: Lease) -> Job:
    """Forget the checkpoints so far: from this attempt on, every step runs again."""
    _held(job, lease)
    return replace(job, base=lease.attempt)


def cancel(run: Run) -> Run:
    """Want a run to end. What has not begun ends at the next `decide`, what runs is told to stop."""
    return run if run.result is not None else replace(run, cancelled=True)


def rerun(run: Run) -> Run:
    """All jobs again, as a new attempt at the same commit; the former attempt's jobs stay as they are."""
    if run.problems:
        raise Rejected(f"run {run.id} has an invalid workflow at {run.route.commit[:12]}; push a mended one")
    if run.result is None:
        raise Rejected(f"run {run.id} has not ended; cancel it first, or wait")
    again = tuple(
        replace(job, id=UNSAVED, attempt=0, base=0, tries=0, phase=Waiting(), started=None)
        for job in run.jobs
    )
    return replace(run, attempt=run.attempt + 1, cancelled=False, jobs=again)


def decide(run: Run, now: datetime) -> Run:
    """Which jobs become ready, which are skipped, which end because the run was cancelled.

    Calling it twice changes nothing more. Jobs are settled until none moves, so that a skipped job
    skips what needs it in the same step, however the definition orders them.
    """
    while True:
        phases = {job.key: job.phase for job in run.jobs}
        jobs = tuple(replace(job, phase=_next(job, phases, run.cancelled, now)) for job in run.jobs)
        if jobs == run.jobs:
            return run
        run = replace(run, jobs=jobs)


def _next(job: Job, phases: dict[str, Phase], cancelled: bool, now: datetime) -> Phase:
    match job.phase:
        case Waiting() | Queued() if cancelled:
            return Finished(Result.CANCELLED, now, "the run was cancelled before it began")
        case Running(lease) if cancelled and lease.until <= now:
            return Finished(Result.CANCELLED, now, f"the run was cancelled; worker {lease.worker} is lost")
        case Waiting():
            return _after_needs(job, phases, now)
        case phase:
            return phase


def _after_needs(job: Job, phases: dict[str, Phase], now: datetime) -> Phase:
    needed = {key: phases[key] for key in job.needs}
    for key, phase in needed.items():
        if isinstance(phase, Finished) and phase.result is not Result.SUCCESS:
            return Finished(Result.SKIPPED, now, f"{key} ended with {phase.result}")
    if all(isinstance(phase, Finished) for phase in needed.values()):
        return Queued(now)
    return job.phase


def _held(job: Job, lease: Lease) -> None:
    match job.phase:
        case Running(held) if held.attempt == lease.attempt:
            return
        case _:
            raise LeaseLost(f"job {job.key} is no longer attempt {lease.attempt} of {lease.worker}")
