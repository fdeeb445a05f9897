"""THE state machine: every way in which a run or a job may change.

Each transition takes a value and the time and gives the next value; the store applies it under the
run's lock, and may apply it again after a conflict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from runner.errors import LeaseLost, Rejected
from runner.model.run import (
    Finished,
    Group,
    Job,
    Lease,
    Pending,
    Phase,
    Queued,
    Ready,
    Run,
    Running,
    Waiting,
    combined,
)
from runner.model.step import Result
from runner.model.turns import State, Turn

UNSAVED = 0
"""The id of a job that the store has not seen yet."""
CANCELLED = "it was cancelled before it began"
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


def conclude(
    job: Job,
    lease: Lease,
    result: Result,
    at: datetime,
    reason: str = "",
    *,
    outputs: Mapping[str, str] | None = None,
    tolerated: bool = False,
) -> Job:
    """End a job under its lease."""
    _held(job, lease)
    reason = job.ousted or reason if result is Result.CANCELLED else reason
    return replace(job, phase=Finished(result, at, reason, tolerated), outputs=outputs or {})


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


def plan(run: Run, job_id: int, legs: Sequence[Job]) -> Run:
    """Put the legs of a job in the place of it, the first one under its id; none skips it."""
    place = next(index for index, job in enumerate(run.jobs) if job.id == job_id)
    if not isinstance(run.jobs[place].phase, Ready):
        return run
    first = replace(legs[0], id=job_id, planned=True, phase=Waiting())
    others = (replace(leg, id=UNSAVED, planned=True, phase=Waiting()) for leg in legs[1:])
    return replace(run, jobs=(*run.jobs[:place], first, *others, *run.jobs[place + 1 :]))


def call(run: Run, job_id: int, jobs: Sequence[Job], inputs: Mapping[str, Any]) -> Run:
    """Let a job consist of the jobs of another workflow, which was given `inputs`."""
    caller = run.job(job_id)
    if not isinstance(caller.phase, Ready) or run.called_by(job_id):
        return run
    called = (replace(job, id=UNSAVED, caller=job_id, phase=Waiting()) for job in jobs)
    run = run.with_job(replace(caller, phase=Waiting(), inputs=inputs))
    return replace(run, jobs=(*run.jobs, *called))


def line_up(run: Run, job_id: int, turn: Turn, at: datetime) -> Run:
    """Let a job wait for the concurrency group of the workflow that it is about to call."""
    job = run.job(job_id)
    if not isinstance(job.phase, Ready) or run.called_by(job_id):
        return run
    return run.with_job(replace(job, phase=Pending(at), turns=(*job.turns, turn)))


def settle(
    run: Run,
    job_id: int,
    result: Result,
    at: datetime,
    reason: str = "",
    outputs: Mapping[str, str] | None = None,
) -> Run:
    """End a job that no worker has to perform."""
    job = run.job(job_id)
    if not isinstance(job.phase, Ready):
        return run
    return run.with_job(replace(job, phase=Finished(result, at, reason), outputs=outputs or {}))


def cancel(run: Run) -> Run:
    """Want a run to end: what has not begun ends at the next `decide`, what runs is told to stop.

    A job with an `if` that was not evaluated yet is left to it: it may ask for `always()`. Not so in a run
    that waits for its concurrency group: nothing of it may begin.
    """
    if run.result is not None:
        return run
    jobs = tuple(
        job if isinstance(job.phase, Finished) else replace(job, cancelled=run.held_back or _is_bound(job))
        for job in run.jobs
    )
    return replace(run, cancelled=True, jobs=jobs)


def oust(run: Run, job_id: int) -> Run:
    """Want one job to end, with all that it called."""
    ahead = [run.job(job_id)]
    while ahead:
        job = ahead.pop()
        if not isinstance(job.phase, Finished):
            run = run.with_job(replace(job, cancelled=True))
            ahead += [one for one in run.called_by(job.id) if _is_bound(one)]
    return run


def _is_bound(job: Job) -> bool:
    """Whether a cancel is for it, and not first for its `if`."""
    return job.planned or not job.conditional


def rerun(run: Run) -> Run:
    """All jobs again, as a new attempt at the same commit; the former attempt's jobs stay as they are."""
    if run.problems:
        raise Rejected(f"run {run.id} has an invalid workflow at {run.route.commit[:12]}; push a mended one")
    if run.result is None:
        raise Rejected(f"run {run.id} has not ended; cancel it first, or wait")
    again = tuple(_afresh(job) for job in run.jobs if job.caller is None and job.leg.index == 0)
    turn = replace(run.turn, state=State.WANTED, reason="") if run.turn else None
    return replace(run, attempt=run.attempt + 1, cancelled=False, jobs=again, turn=turn)


def _afresh(job: Job) -> Job:
    return Job(
        UNSAVED,
        job.key,
        job.key if job.dynamic else job.name,
        job.needs,
        job.labels,
        job.steps,
        dynamic=job.dynamic,
        planned=not job.dynamic,
        conditional=job.conditional,
        calls=job.calls,
    )


def decide(run: Run, now: datetime) -> Run:
    """Which jobs become ready, which are skipped, which end because they were cancelled.

    Calling it twice changes nothing more. Jobs are settled until none moves, so that a skipped job
    skips what needs it in the same step, however the definition orders them.
    """
    while True:
        group = _Groups(run)
        jobs = tuple(group.moved(job, now) for job in run.jobs)
        if jobs == run.jobs:
            return run
        run = replace(run, jobs=jobs)


class _Groups:
    """The jobs of a run by what they have to do with each other, for one round of `decide`."""

    def __init__(self, run: Run) -> None:
        self._held_back = run.held_back
        self._ousted = run.turn.reason if run.turn else ""
        self._legs: dict[Group, list[Job]] = {}
        self._called: dict[int, list[Job]] = {}
        for job in run.jobs:
            self._legs.setdefault(job.group, []).append(job)
            if job.caller is not None:
                self._called.setdefault(job.caller, []).append(job)
        self._ended = {group: combined(leg.phase for leg in legs) for group, legs in self._legs.items()}
        self._failed: dict[Group, str] = {}
        self._busy = {group: sum(map(self._begun, legs)) for group, legs in self._legs.items()}
        self._unwanted = self._failed_fast()

    def moved(self, job: Job, now: datetime) -> Job:
        if isinstance(job.phase, Finished):
            return job
        if job.id in self._unwanted:
            job = replace(job, cancelled=True)
        return replace(job, phase=self._next(job, now))

    def _begun(self, job: Job) -> bool:
        match job.phase:
            case Waiting():
                return job.id in self._called
            case phase:
                return not isinstance(phase, Finished)

    def _failed_fast(self) -> set[int]:
        """The legs beside one that has failed, with all that they called.

        As in `cancel`, an `if` that was not evaluated yet is left to it, and what it then begins goes on.
        """
        failed = {
            leg.group
            for legs in self._legs.values()
            for leg in legs
            if leg.leg.fail_fast and isinstance(leg.phase, Finished) and leg.phase.conclusion.failed
        }
        ahead = [
            leg
            for group in failed
            for leg in self._legs[group]
            if not leg.cancelled and not isinstance(leg.phase, Finished)
        ]
        found = set()
        while ahead:
            job = ahead.pop()
            found.add(job.id)
            ahead += [one for one in self._called.get(job.id, ()) if _is_bound(one)]
        return found

    def _next(self, job: Job, now: datetime) -> Phase:
        called = self._called.get(job.id)
        match job.phase:
            case Waiting() if called:
                over = all(isinstance(one.phase, Finished) for one in called)
                return Ready(now) if over else job.phase
            case Waiting() | Pending() | Queued() if job.cancelled:
                return Finished(Result.CANCELLED, now, job.ousted or self._ousted or CANCELLED)
            case Ready() if job.cancelled and not called:
                return Finished(Result.CANCELLED, now, job.ousted or self._ousted or CANCELLED)
            case Pending() if all(turn.state is State.HELD for turn in job.turns):
                return self._begin(job, now)
            case Running(lease) if job.cancelled and lease.until <= now:
                return Finished(Result.CANCELLED, now, f"it was cancelled; worker {lease.worker} is lost")
            case Waiting():
                return self._after_needs(job, now)
            case phase:
                return phase

    def _begin(self, job: Job, now: datetime) -> Phase:
        return Ready(now) if job.calls else Queued(now)

    def _after_needs(self, job: Job, now: datetime) -> Phase:
        if self._held_back:
            return job.phase
        if any(self._ended[job.caller, key] is None for key in job.needs):
            # What is skipped anyhow need not wait for the rest.
            failed = None if job.conditional else self._failed_before(job)
            return Finished(Result.SKIPPED, now, failed) if failed else job.phase
        if not job.conditional and (failed := self._failed_before(job)):
            return Finished(Result.SKIPPED, now, failed)
        if not job.planned:
            return Ready(now)
        most = job.leg.max_parallel
        if most is not None and self._busy[job.group] >= most:
            return job.phase
        self._busy[job.group] += 1
        return Pending(now) if job.turns else self._begin(job, now)

    def _failed_before(self, job: Job) -> str:
        """Which job before it did not succeed, among all that it needs, directly or not."""
        ahead, seen = list(reversed(job.needs)), set(job.needs)
        failed = ""
        while ahead and not failed:
            key = ahead.pop()
            ended = self._ended[job.caller, key]
            if ended is not None and ended is not Result.SUCCESS:
                failed = f"{key} ended with {ended}"
            elif (known := self._failed.get((job.caller, key))) is not None:
                failed = known
            else:
                further = [need for need in self._legs[job.caller, key][0].needs if need not in seen]
                seen.update(further)
                ahead += further
        self._failed[job.group] = failed
        return failed


def _held(job: Job, lease: Lease) -> None:
    match job.phase:
        case Running(held) if held.attempt == lease.attempt:
            return
        case _:
            raise LeaseLost(f"job {job.key} is no longer attempt {lease.attempt} of {lease.worker}")
