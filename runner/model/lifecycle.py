"""THE state machine: how a run goes on, whatever has happened to it.

What may happen to it is in `leasing`, `answers`, `planning`, `pauses` and `ending`; what that means for its
other jobs is what `decide` finds. Each transition takes a value and the time and gives the next value; the
store applies it under the run's lock, and may apply it again after a conflict.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from runner.model.ending import cancel, doom, wind_down
from runner.model.pauses import follow
from runner.model.run import (
    Finished,
    Group,
    Job,
    Pending,
    Phase,
    Queued,
    Ready,
    Run,
    Running,
    Suspended,
    Waiting,
    combined,
)
from runner.model.step import Result
from runner.model.turns import State
from runner.model.waits import refusal

CANCELLED = "it was cancelled before it began"
TIDYING = timedelta(minutes=5)
"""How long a job that had begun waits for a worker once it was cancelled."""


def decide(run: Run, now: datetime) -> Run:
    """Which jobs become ready, which are skipped, which end because they were cancelled.

    Calling it twice changes nothing more. Jobs are settled until none moves, so that a skipped job
    skips what needs it in the same step, however the definition orders them. A run that a step has started
    comes in step with the one whose step that is.
    """
    run = follow(run, now)
    if run.parent is not None and run.parent.left and not run.parent.ended:
        run = cancel(
            run, now, f"the step of run {run.parent.run} that started it does not wait for it any more"
        )
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
        self._paused_at = run.paused_at
        self._ousted = (run.turn.reason if run.turn else "") or run.over
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
        self._beneath = self._called_by(self._unwanted)
        # The workflow that one of these calls was called before; it goes on when its group is there again.
        self._lining_up = {
            job.id
            for job in run.jobs
            if not job.cancelled and any(turn.state in (State.WANTED, State.WAITING) for turn in job.turns)
        }

    def moved(self, job: Job, now: datetime) -> Job:
        if isinstance(job.phase, Finished):
            return job if job.asked is None else replace(job, asked=None)
        if job.id in self._unwanted:
            job = doom(job, now)
        elif job.id in self._beneath:
            job = wind_down(job, now)
        job = job.over(now, self._paused_at)
        phase = self._next(job, now)
        if isinstance(phase, Suspended) and isinstance(job.phase, Waiting):
            # It was planned before there was a place for it.
            job = replace(job, waits=tuple(wait.begun(now) for wait in job.waits))
        return job if phase is job.phase else replace(job, phase=phase)

    def _begun(self, job: Job) -> bool:
        match job.phase:
            case Waiting():
                return job.id in self._called
            case phase:
                return not isinstance(phase, Finished)

    def _failed_fast(self) -> set[int]:
        """The legs beside one that has failed; GitHub asks none of them for its `if`."""
        failed = {
            leg.group
            for legs in self._legs.values()
            for leg in legs
            if leg.leg.fail_fast and isinstance(leg.phase, Finished) and leg.phase.conclusion.failed
        }
        return {
            leg.id
            for group in failed
            for leg in self._legs[group]
            if not leg.cancelled and not isinstance(leg.phase, Finished)
        }

    def _called_by(self, callers: set[int]) -> set[int]:
        """All jobs of the workflows that some jobs called, and of those that these called."""
        ahead, found = list(callers), set[int]()
        while ahead:
            called = [one.id for one in self._called.get(ahead.pop(), ())]
            found.update(called)
            ahead += called
        return found

    def _next(self, job: Job, now: datetime) -> Phase:
        called = self._called.get(job.id)
        match job.phase:
            case Waiting() if called and job.id in self._lining_up:
                return Pending(now)
            case Pending() if called:
                return job.phase if job.id in self._lining_up else Waiting()
            case Waiting() if called:
                over = all(isinstance(one.phase, Finished) for one in called)
                return Ready(now) if over else job.phase
            case phase if job.asked is not None:
                return phase
            case Queued() as queued if job.cancelled and job.started is not None:
                return _to_be_tidied(queued, now)
            case Suspended() if job.cancelled and job.started is not None:
                return Queued(now)
            case Waiting() | Pending() | Queued() | Suspended() if job.cancelled:
                return Finished(Result.CANCELLED, now, job.ousted or self._ousted or CANCELLED)
            case Ready() if job.cancelled and not called:
                return Finished(Result.CANCELLED, now, job.ousted or self._ousted or CANCELLED)
            case Suspended() if job.started is None:
                return self._let_in(job, now)
            case Suspended() if job.awaits:
                return job.phase
            case Suspended():
                return Queued(now)
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
        if self._held_back or job.caller in self._lining_up:
            return job.phase
        if any(self._ended[job.caller, key] is None for key in job.needs):
            # What is skipped anyhow need not wait for the rest.
            failed = None if job.conditional else self._failed_before(job)
            return Finished(Result.SKIPPED, now, failed) if failed else job.phase
        if not job.conditional and (failed := self._failed_before(job)):
            return Finished(Result.SKIPPED, now, failed)
        most = job.leg.max_parallel
        if most is not None and self._busy[job.group] >= most:
            return job.phase
        self._busy[job.group] += 1
        return self._let_in(job, now) if job.planned else Ready(now)

    def _let_in(self, job: Job, now: datetime) -> Phase:
        """A job before it begins: it goes on once its environment has no wait left, unless it was refused."""
        for wait in job.waits:
            if (reason := refusal(wait)) is not None:
                return Finished(Result.FAILURE, now, reason, job.tolerant)
        if job.awaits:
            return job.phase if isinstance(job.phase, Suspended) else Suspended(now)
        return self._lined_up(job, now)

    def _lined_up(self, job: Job, now: datetime) -> Phase:
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


def _to_be_tidied(queued: Queued, now: datetime) -> Phase:
    """A job that was cancelled between two attempts: its `always()` steps are still to run, wherever."""
    if queued.due is not None:
        return Queued(now)
    if queued.since + TIDYING <= now:
        return Finished(Result.CANCELLED, now, "it was cancelled; no worker was there to end it in order")
    return queued
