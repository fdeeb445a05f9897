"""A job's files as its checkpoints have them: of the newest snapshot that is whole, here or in the store.

Where the newest one is whole nowhere, the job goes back to the one before it, and so on: the checkpoints that
come after it count no longer, and their steps run again. Where none is, the job starts over. The files are
there before that is written down, so whoever dies on the way is followed by somebody who finds the same.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from runner.engine.advance import advance
from runner.engine.heart import Hold, Why
from runner.engine.opening import FIRST_WORDS
from runner.engine.ports import History, Workspace
from runner.engine.programs import on_lost
from runner.engine.retries import MOST_LOSSES, Poisoned, losses, lost_since_tried
from runner.engine.stage import Released
from runner.engine.station import Station
from runner.engine.waiting import unheard
from runner.errors import BrokenDefinition, LeaseLost, SnapshotGone, Unavailable
from runner.model.leasing import start_over
from runner.model.run import Job, Lease, Run
from runner.model.snapshot import NONE
from runner.model.step import TRY, Checkpoint, is_named, name_in
from runner.workflow.document import Steps

JOB = "job-"
"""How the name of a job's workspace begins; its id follows."""


@dataclass(frozen=True, slots=True)
class Reopened:
    """A job with what it has to hear anew, its files, and the checkpoints that count with them."""

    job: Job
    workspace: Workspace
    checkpoints: Mapping[str, Checkpoint]


def reopen(run: Run, job: Job, hold: Hold, body: Steps, history: History, station: Station) -> Reopened:
    """A job's files, and the checkpoints that count with them.

    Raises `BrokenDefinition` where a step would run twice that must not, and `Poisoned`.
    """
    # A first attempt has nothing to remember.
    checkpoints = station.store.recall(job) if job.attempt > 1 else {}
    lost = losses(job, checkpoints)
    _check_losses(job, checkpoints, lost)
    newest, *earlier = _places(checkpoints)
    check = checking(job, hold)
    try:
        workspace = _opened(run, job, newest, check, history, station)
        return Reopened(job, workspace, checkpoints)
    except SnapshotGone as error:
        gone = error
    workspace, kept = _gone_back(run, job, earlier, check, history, station)
    try:
        _check_again(job, body, checkpoints, kept, gone)
        undone = {key: done for key, done in checkpoints.items() if key not in kept and TRY not in key}
        if kept:
            lost = losses(job, kept)
        elif _started_over(job):
            # Where each worker that is lost takes the files along, nothing that gets done counts.
            lost = len(lost_since_tried(job))
        _check_losses(job, kept or checkpoints, lost)
        said = _said(job, checkpoints, kept, gone) + _done_twice(job, body, checkpoints, kept)
        station.logs.append(job.id, job.attempt, FIRST_WORDS, f"##[warning]{said}\n".encode())

        def go_back(run: Run, _now: datetime) -> Run:
            job = unheard(held(run, hold.lease), undone)
            return run.with_job(start_over(job, hold.lease, len(kept), checkpoints))

        made = advance(run.id, go_back, store=station.store, dispatcher=station.dispatcher)
    except BaseException:
        workspace.close()
        raise
    return Reopened(made.after.job(job.id), workspace, kept)


def held(run: Run, lease: Lease) -> Job:
    """The job that a lease is about. Raises `LeaseLost` where another one has taken its place in the run."""
    if not run.has(lease.job):
        raise LeaseLost(f"job {lease.job} is of a former attempt of run {run.id}")
    return run.job(lease.job)


def _places(checkpoints: Mapping[str, Checkpoint]) -> Iterator[Mapping[str, Checkpoint]]:
    """What counts with each of the snapshots that there are, the newest first; nothing, where there is none.

    A step that changed no files is done in the same snapshot as the one before it.
    """
    if not checkpoints:
        yield {}
    seen, done = set[str](), dict(checkpoints)
    while done:
        key, last = done.popitem()
        if last.snapshot not in seen:
            seen.add(last.snapshot)
            yield {**done, key: last}


def _gone_back(
    run: Run,
    job: Job,
    places: list[Mapping[str, Checkpoint]],
    check: Callable[[], None],
    history: History,
    station: Station,
) -> tuple[Workspace, Mapping[str, Checkpoint]]:
    """The first of these places whose snapshot is whole; else where the job began."""
    for kept in places:
        try:
            return _opened(run, job, kept, check, history, station), kept
        except SnapshotGone:
            check()
    return _opened(run, job, {}, check, history, station), {}


def _opened(
    run: Run,
    job: Job,
    done: Mapping[str, Checkpoint],
    check: Callable[[], None],
    history: History,
    station: Station,
) -> Workspace:
    """The job's files as the newest of its checkpoints has them, from here or from the store.

    Raises `SnapshotGone`.
    """
    newest = list(done.values())[-1] if done else None
    name, snapshot = f"{JOB}{job.id}", newest.snapshot if newest else None
    if snapshot == NONE:
        raise SnapshotGone("its files were not kept (snapshot: off)")
    line = [one for one, _ in job.forked.line] if newest and job.forked and _is_carried(job, newest) else []
    try:
        if newest and line:
            station.workspaces.inherit(name, [f"{JOB}{one}" for one in line], newest.snapshot)
        return station.workspaces.open(run.route, name, job.attempt, snapshot, history, check)
    except SnapshotGone as here:
        if station.archive is None or snapshot is None:
            raise
        try:
            station.archive.restore(job.id, line, snapshot, check)
        except SnapshotGone as there:
            raise SnapshotGone(f"{here}; {there}") from None
        return station.workspaces.open(run.route, name, job.attempt, snapshot, history, check)


def checking(job: Job, hold: Hold) -> Callable[[], None]:
    """What is called while a job is about to begin: it ends that by raising, once it is vain.

    A job that is cancelled before its first step has nothing left to do.
    """
    has_begun = job.attempt > 1 or hold.cancelled is not None

    def check() -> None:
        match hold.why:
            case Why.LOST:
                raise LeaseLost(Why.LOST.value)
            case Why.LATE:
                raise Unavailable(Why.LATE.value)
            case why if why is not None:
                raise Released(why.value)
        if hold.cancelled is not None and not has_begun:
            raise Unavailable("it was cancelled before it could begin")

    return check


def _check_losses(job: Job, checkpoints: Mapping[str, Checkpoint], lost: int) -> None:
    if lost < MOST_LOSSES:
        return
    step = next((step for step in job.steps if step.key not in checkpoints), None)
    where = f" at step {step.key} ({step.name})" if step else ""
    if not job.steps and checkpoints:
        # What its program would ask for next is known to nobody.
        where = f" after step {name_in(list(checkpoints)[-1].split(TRY)[0])}"
    raise Poisoned(f"poisoned: {MOST_LOSSES} workers were lost with it{where}, one after another")


def _started_over(job: Job) -> bool:
    """Whether it has before, and not only begun with its next try or where another job stopped."""
    if job.tried:
        # In the first attempt of a try there is nothing that could be lost.
        return job.base > job.tried[-1].attempt + 1
    return job.base > (job.forked.attempt if job.forked else 0)


def _check_again(
    job: Job,
    body: Steps,
    checkpoints: Mapping[str, Checkpoint],
    kept: Mapping[str, Checkpoint],
    gone: SnapshotGone,
) -> None:
    """Raises `BrokenDefinition` where a step would run twice that must not."""
    suspects = 1 if losses(job, checkpoints) else 0
    if body.function is not None:
        _check_program(job, checkpoints, kept, gone)
    for step in body.steps:
        if step.key in kept:
            continue
        if step.key not in checkpoints:
            suspects -= 1
        if suspects < 0:
            return
        # Whoever has a job go on from another one has its steps run again where they must.
        if (lost := on_lost(step, body)) != "retry" and not _is_carried(job, checkpoints.get(step.key)):
            what = f"step {step.key} ({step.title}) may have run, and on-lost is {lost}"
            where = "go back" if kept else "start over"
            raise BrokenDefinition(f"the job cannot {where}: {gone}; {what}")


def _check_program(
    job: Job, checkpoints: Mapping[str, Checkpoint], kept: Mapping[str, Checkpoint], gone: SnapshotGone
) -> None:
    """The same of a program, whose steps are known once they have been asked for.

    What may have run when a worker was lost is known to the job, and looked at when it is asked for again.
    """
    again = [
        f"step {name_in(key)} has run, and on-lost is {done.outcome.on_lost}"
        for key, done in checkpoints.items()
        if TRY not in key and key not in kept and done.outcome.on_lost and not _is_carried(job, done)
    ]
    if again:
        where = "go back" if kept else "start over"
        raise BrokenDefinition(f"the job cannot {where}: {gone}; {again[0]}")


def _is_carried(job: Job, done: Checkpoint | None) -> bool:
    """Whether it was another job that did a step, from which this one goes on."""
    return done is not None and job.forked is not None and done.attempt <= job.forked.attempt


def _said(
    job: Job, checkpoints: Mapping[str, Checkpoint], kept: Mapping[str, Checkpoint], gone: SnapshotGone
) -> str:
    """From where the job goes on, and why."""
    if not kept:
        return f"the job starts over: {gone}"
    names = {step.key: f" ({step.name})" for step in job.steps if step.name}

    def called(key: str) -> str:
        return name_in(key) if is_named(key) else f"{key}{names.get(key, '')}"

    again = [called(key) for key in checkpoints if key not in kept and TRY not in key]
    last = called(list(kept)[-1].split(TRY)[0])
    return (
        f"the job goes back to its files as step {last} left them: {gone}; "
        f"done again for want of them: step {', '.join(again)}"
    )


def _done_twice(
    job: Job, body: Steps, checkpoints: Mapping[str, Checkpoint], kept: Mapping[str, Checkpoint]
) -> str:
    """A word about steps that run again though they have succeeded, and should rather not."""
    named = ", ".join(
        f"step {step.key} ({step.title}), whose on-lost is {lost}"
        for step in body.steps
        if step.key not in kept
        and (lost := on_lost(step, body)) != "retry"
        and _is_carried(job, checkpoints.get(step.key))
    )
    return f"; what has succeeded runs again: {named}" if named else ""
