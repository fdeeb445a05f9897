"""THE state machine: every way in which a run or a job may change.

Each transition takes a value and the time and gives the next value; the store applies it under the
run's lock, and may apply it again after a conflict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from runner.errors import Rejected
from runner.model.limits import shown
from runner.model.run import (
    UNSAVED,
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
from runner.model.stops import Stop
from runner.model.turns import State, Turn
from runner.model.waits import refusal

CANCELLED = "it was cancelled before it began"
TIDYING = timedelta(minutes=5)
"""How long a job that had begun waits for a worker once it was cancelled."""


def stands_still(run: Run, job: Job) -> bool:
    """Whether nobody may claim a job, as somebody paused its run or blocked what that is of.

    What is cancelled goes on to its end all the same: its `always()` steps are to run.
    """
    return bool(run.stopped) and not run.cancelled and not job.cancelled


def plan(run: Run, job_id: int, legs: Sequence[Job]) -> Run:
    """Put the legs of a job in the place of it, the first one under its id; none skips it."""
    place = next(index for index, job in enumerate(run.jobs) if job.id == job_id)
    if not isinstance(run.jobs[place].phase, Ready):
        return run
    first = replace(legs[0], id=job_id, planned=True, phase=Waiting())
    others = (replace(leg, id=UNSAVED, planned=True, phase=Waiting()) for leg in legs[1:])
    return replace(run, jobs=(*run.jobs[:place], first, *others, *run.jobs[place + 1 :]))


def call(run: Run, job_id: int, jobs: Sequence[Job], inputs: Mapping[str, Any], at: datetime) -> Run:
    """Let a job consist of the jobs of another workflow, which was given `inputs`."""
    caller = run.job(job_id)
    if not isinstance(caller.phase, Ready) or run.called_by(job_id):
        return run
    after = 1 + max(job.position for job in run.jobs)
    called = tuple(
        replace(job, id=UNSAVED, caller=job_id, phase=Waiting(), position=after + job.position)
        for job in jobs
    )
    if run.winds_down(caller):
        called = tuple(_wound_down(job, at) for job in called)
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
    reason = reason or (job.ousted if result is Result.CANCELLED else "")
    return run.with_job(replace(job, phase=Finished(result, at, reason), outputs=outputs or {}))


def cancel(run: Run, at: datetime, why: str = "") -> Run:
    """Want a run to end: what has not begun ends at the next `decide`, what runs is told to stop.

    Jobs with an `if` are left to it, also those that it has begun: it may say `always()`. Not so in a run
    that waits for its concurrency group: nothing of it may begin. Twice is once.
    """
    if run.result is not None or run.cancelled:
        return run
    wound_down = _bound if run.held_back else partial(_wound_down, at=at)
    return replace(run, cancelled=True, over=why, jobs=tuple(map(wound_down, run.jobs)))


def _bound(job: Job) -> Job:
    return job if isinstance(job.phase, Finished) else replace(job, cancelled=True)


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
    run = run.with_job(_doomed(run.job(job_id), at))
    ahead = list(run.called_by(job_id))
    while ahead:
        job = ahead.pop()
        run = run.with_job(_wound_down(job, at))
        ahead += run.called_by(job.id)
    return run


def _wound_down(job: Job, at: datetime) -> Job:
    """A job whose workflow is cancelled. Without an `if` it ends, as none means `success()`.

    One that has an `if` is asked again where that was evaluated before; else it will be, in its turn.
    """
    if isinstance(job.phase, Finished) or job.cancelled:
        return job
    if not job.conditional:
        return _doomed(job, at)
    return replace(job, asked=at) if job.planned else job


def _doomed(job: Job, at: datetime) -> Job:
    """A job that has to end: one that had begun has time for its last steps from now on."""
    match job.phase:
        case Queued(due=None) if job.started is not None:
            return replace(job, cancelled=True, asked=None, phase=Queued(at))
        case _:
            return replace(job, cancelled=True, asked=None)


def answer(run: Run, job_id: int, goes_on: bool) -> Run:
    """What the `if` of a job said that was asked again."""
    job = run.job(job_id)
    if job.asked is None:
        return run
    return run.with_job(replace(job, asked=None) if goes_on else _doomed(job, job.asked))


def end(run: Run, at: datetime) -> Run:
    """End a run by force: all of it, at once, and no `if` is asked. Who works on it has lost his lease."""
    over = Finished(Result.CANCELLED, at, "it was cancelled by force")
    if run.result is not None:
        return run
    jobs = tuple(job if isinstance(job.phase, Finished) else replace(job, phase=over) for job in run.jobs)
    return replace(run, cancelled=True, jobs=jobs)


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

    `above`: only where it was paused with that run.
    """
    if run.pause is None or above not in (None, run.pause.above):
        return run
    return unpaused(replace(run, pause=None), run.pause.at, now)


def unpaused(run: Run, since: datetime, now: datetime) -> Run:
    """Have what waits for a span of time wait longer by as long as the run was paused.

    A retry's delay is no such span: what it waits for goes on outside, paused or not.
    """
    return replace(run, jobs=tuple(_shifted(job, since, now) for job in run.jobs))


def _shifted(job: Job, since: datetime, now: datetime) -> Job:
    return job.with_waits(wait.shifted(since, now) for wait in job.hears)


def pin(run: Run, found: Mapping[str, str]) -> Run:
    """Bind a run to commits of other repositories. What is bound stays so: the first one to say it counts."""
    return replace(run, pins={**found, **run.pins})


def decide(run: Run, now: datetime) -> Run:
    """Which jobs become ready, which are skipped, which end because they were cancelled.

    Calling it twice changes nothing more. Jobs are settled until none moves, so that a skipped job
    skips what needs it in the same step, however the definition orders them.
    """
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
            job = _doomed(job, now)
        elif job.id in self._beneath:
            job = _wound_down(job, now)
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
