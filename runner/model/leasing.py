"""What becomes of a job through its lease: a worker takes it, and does with it what only the holder may."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from runner.errors import LeaseLost, Rejected
from runner.model.environment import GATES, Deployment
from runner.model.run import Begun, Finished, Job, Lease, Queued, Running, Suspended, Try
from runner.model.step import TRY, Result
from runner.model.waits import Wait

TRIES = 6
"""How often in a row a job is begun that cannot begin."""
FIRST_DELAY = timedelta(seconds=5)
"""How long it then waits; each time twice as long as the last, and two and a half minutes in all."""


class NotClaimable(Rejected):
    """The job is finished, waiting, or another worker's."""

    def __init__(self, job: Job) -> None:
        stands = type(job.phase).__name__.lower() if job.asked is None else "asked whether it goes on"
        super().__init__(f"job {job.key} cannot be claimed: it is {stands}")


def claim(job: Job, worker: str, at: datetime, length: timedelta) -> Job:
    """Lease a queued job to `worker`, or one whose worker fell silent.

    The attempt number is the fencing token: whatever an earlier attempt
    writes after this is refused.
    """
    match job.phase:
        case _ if job.asked is not None:
            raise NotClaimable(job)
        case Queued(_, due) if due is None or due <= at:
            pass
        case Running(lease) if lease.until <= at:
            # Its worker was last heard of when it got this lease.
            job = replace(_worked(job, lease.until - length), tries=0, lost=(*job.lost, lease.attempt))
        case Suspended() if job.started is not None and not (over := job.over(at)).awaits:
            job = over
        case _:
            raise NotClaimable(job)
    lease = Lease(job.id, worker, attempt=job.attempt + 1, until=at + length)
    return replace(job, attempt=lease.attempt, phase=Running(lease), started=job.started or at, claimed=at)


def lay_down(job: Job, at: datetime, length: timedelta) -> Job:
    """Queue a job that stands still and whose worker fell silent; any other stays as it is."""
    match job.phase:
        case Running(lease) if lease.until <= at and job.asked is None:
            lost = (*job.lost, lease.attempt)
            return replace(_worked(job, lease.until - length), tries=0, lost=lost, phase=Queued(at))
        case _:
            return job


def conclude(
    job: Job,
    lease: Lease,
    result: Result,
    at: datetime,
    reason: str = "",
    *,
    outputs: Mapping[str, str] | None = None,
    tolerated: bool = False,
    deployed: Deployment | None = None,
) -> Job:
    """End a job under its lease."""
    _held(job, lease)
    reason = job.ousted or reason if result is Result.CANCELLED else reason
    phase = Finished(result, at, reason, tolerated)
    return replace(job, phase=phase, outputs=outputs or {}, deployed=deployed)


def release(job: Job, lease: Lease, at: datetime) -> Job:
    """Hand a job back unfinished, so that another worker goes on with it at once."""
    _held(job, lease)
    return replace(_worked(job, at), tries=0, phase=Queued(at))


def postpone(
    job: Job, lease: Lease, at: datetime, reason: str, *, begun: bool = False, tolerated: bool = False
) -> Job:
    """Hand a job back that cannot begin now, or not go on, to be tried again later; the last try ends it.

    The time until it begins is none of its own: it counts as not started while all its attempts were such.
    """
    _held(job, lease)
    job = _worked(job, at) if begun else job
    tries = job.tries + 1
    if tries >= TRIES:
        over = Finished(Result.FAILURE, at, f"{reason}; tried {tries} times", tolerated)
        return replace(job, tries=tries, phase=over)
    due = at + FIRST_DELAY * 2 ** (tries - 1)
    waits = f"{reason}; tried {tries} of {TRIES} times, {_again(due, at)}"
    earlier = job.forked.attempt if job.forked else 0
    started = job.started if begun or job.attempt - earlier > tries else None
    return replace(job, tries=tries, started=started, phase=Queued(at, due, waits))


def wait(job: Job, lease: Lease, at: datetime, delay: timedelta, reason: str) -> Job:
    """Hand a job back whose step is to be tried again after a delay, from any worker's hands."""
    _held(job, lease)
    due = at + delay if delay else None
    waits = f"{reason}, {_again(due, at)}" if due else reason
    return replace(_worked(job, at), tries=0, phase=Queued(at, due, waits))


def retry(job: Job, lease: Lease, at: datetime, delay: timedelta, result: Result, reason: str) -> Job:
    """Have a job that ended run again from its first step, after a delay."""
    tried = (*job.tried, Try(lease.attempt, result, reason, at))
    waits = tuple(one for one in job.waits if one.key in GATES)
    job = replace(wait(job, lease, at, delay, reason), tried=tried, worked=timedelta(), carried=0)
    # Where it started over in this very attempt, what it has done since does not count either.
    return replace(job, waits=waits, begun={}, base=max(lease.attempt, job.base + 1))


def suspend(job: Job, lease: Lease, at: datetime, wait: Wait, length: timedelta | None = None) -> Job:
    """Hand a job back that waits; `length`: how long from now on, unless it is until an instant.

    It goes on once that and all else it waits for is over.
    """
    _held(job, lease)
    waits = (*(replace(one, joint=False) for one in job.waits), _begun(wait, at, length))
    return replace(_worked(job, at), tries=0, phase=Suspended(at), waits=waits)


def begin_waits(job: Job, lease: Lease, at: datetime, waits: Sequence[tuple[Wait, timedelta | None]]) -> Job:
    """Have a job wait that goes on meanwhile, each wait with its length as for `suspend`.

    Of one key there is one wait: the first stays as it is.
    """
    _held(job, lease)
    known = {wait.key: wait for wait in job.waits}
    for wait, length in waits:
        known.setdefault(wait.key, replace(_begun(wait, at, length), joint=True))
    return replace(job, waits=tuple(known.values()))


def suspend_for_any(job: Job, lease: Lease, at: datetime, open: Collection[str]) -> Job:
    """Hand a job back that goes on as soon as one of its waits in `open` is over; it leaves its others.

    Where one is already, the job is queued at once: by `decide` where time has ended it, as that knows of
    pauses.
    """
    _held(job, lease)
    job = _without(job, at, {wait.key for wait in job.waits} - {*open})
    job = job.with_waits(replace(wait, joint=True) for wait in job.waits if wait.key in open)
    return replace(_worked(job, at), tries=0, phase=Suspended(at) if job.awaits else Queued(at))


def leave_waits(job: Job, lease: Lease, at: datetime, keys: Collection[str]) -> Job:
    """Have a job that goes on no longer wait for some of what it waits for meanwhile."""
    _held(job, lease)
    return _without(job, at, keys)


def forget_payloads(job: Job, lease: Lease, keys: Collection[str]) -> Job:
    """Have a job no longer carry what signals brought that is written down by now with the steps of these."""
    _held(job, lease)
    return job.with_waits(
        replace(wait, answer=replace(wait.answer, payload=None))
        for wait in job.waits
        if wait.answer is not None and wait.key in keys
    )


def fix_answer(job: Job, lease: Lease, key: str, payload: Any) -> Job:
    """Have a wait's answer bring from now on what its step is told of it, whatever may change meanwhile."""
    _held(job, lease)
    return job.with_waits(
        replace(wait, answer=replace(wait.answer, payload=payload))
        for wait in job.waits
        if wait.answer is not None and wait.key == key
    )


def begin_try(job: Job, lease: Lease, key: str, on_lost: str, done: Collection[str]) -> Job:
    """Note that a try of a step begins, before it does; of other steps, what is `done` is noted no longer."""
    _held(job, lease)
    step = key.partition(TRY)[0]
    others = {one: begun for one, begun in _unended(job, done).items() if one.partition(TRY)[0] != step}
    return replace(job, begun=others | {key: Begun(lease.attempt, on_lost)})


def start_over(job: Job, lease: Lease, carried: int = 0, done: Collection[str] = ()) -> Job:
    """Forget the checkpoints so far but for the first `carried`: the steps of all others run again.

    What it has waited for stands: a signal or an approval is asked for once, however often its step runs. So
    does what may have run, with no end of it among the checkpoints, which are `done`.
    """
    _held(job, lease)
    return replace(job, base=lease.attempt, carried=carried, begun=_unended(job, done))


def _held(job: Job, lease: Lease) -> None:
    match job.phase:
        case Running(held) if held.attempt == lease.attempt:
            return
        case _:
            raise LeaseLost(f"job {job.key} is no longer attempt {lease.attempt} of {lease.worker}")


def _begun(wait: Wait, at: datetime, length: timedelta | None) -> Wait:
    due = wait.due if length is None else at + length
    return replace(wait, since=at, due=due, shifts=length is not None)


def _without(job: Job, at: datetime, keys: Collection[str]) -> Job:
    return job.with_waits(wait.left(at) for wait in job.waits if wait.joint and wait.key in keys)


def _again(due: datetime, at: datetime) -> str:
    """When a job goes on, with the day where it is another one."""
    return (
        f"again at {due:%H:%M:%S} UTC" if due.date() == at.date() else f"again at {due:%Y-%m-%d %H:%M:%S} UTC"
    )


def _worked(job: Job, until: datetime) -> Job:
    """Count the time since the claim: `timeout-minutes` limits work, and not the wait for a worker."""
    spent = until - job.claimed if job.claimed and until > job.claimed else timedelta()
    return replace(job, worked=job.worked + spent)


def _unended(job: Job, done: Collection[str]) -> dict[str, Begun]:
    """The tries of which neither the end nor that of their steps is among the checkpoints that are `done`."""
    return {
        key: begun
        for key, begun in job.begun.items()
        if key not in done and key.partition(TRY)[0] not in done
    }
