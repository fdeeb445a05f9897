"""What a job becomes once its definition was evaluated: legs, the jobs of another workflow, or its end."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from runner.model.ending import doom, wind_down
from runner.model.run import UNSAVED, Finished, Job, Pending, Ready, Run, Waiting
from runner.model.step import Result
from runner.model.turns import Turn


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
        called = tuple(wind_down(job, at) for job in called)
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


def answer(run: Run, job_id: int, goes_on: bool) -> Run:
    """What the `if` of a job said that was asked again."""
    job = run.job(job_id)
    if job.asked is None:
        return run
    return run.with_job(replace(job, asked=None) if goes_on else doom(job, job.asked))


def pin(run: Run, found: Mapping[str, str]) -> Run:
    """Bind a run to commits of other repositories. What is bound stays so: the first one to say it counts."""
    return replace(run, pins={**found, **run.pins})
