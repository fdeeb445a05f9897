"""A run as its rows are to say it is: created for a delivery, or changed under its lock."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from runner.engine.dispatch import DISPATCH
from runner.engine.ports import NewRun
from runner.errors import BrokenDefinition
from runner.model.lifecycle import decide
from runner.model.run import UNSAVED, Job, Run
from runner.model.source import Route
from runner.model.turns import Turn
from runner.store import children
from runner.store.checkpoints import carry_over
from runner.store.database import micros
from runner.store.lines import announce_turn
from runner.store.rows import job_columns, new_job_columns, repository_of, turn_to
from runner.store.stops import save_pause
from runner.store.tables import cancels, jobs, runs

_former = runs.alias()
_next_number = select(func.coalesce(func.max(_former.c.number), 0) + 1).where(
    _former.c.forge == bindparam("of_forge"),
    _former.c.repo == bindparam("of_repo"),
    _former.c.workflow == bindparam("of_workflow"),
)
_change_job = update(jobs).where(jobs.c.id == bindparam("job_id"))
_supersede = update(jobs).where(jobs.c.id == bindparam("job_id")).values(superseded=bindparam("by"))
_insert_run = insert(runs).values(number=_next_number.scalar_subquery()).returning(runs.c.id, runs.c.number)
_insert_job, _insert_cancel = insert(jobs), insert(cancels)


def create(
    connection: Connection, delivery: Row[Any], ref: str, route: Route, new: NewRun, now: datetime
) -> Run:
    """Store a run of a delivery, with what of it begins at once."""
    mine = {"of_forge": route.forge, "of_repo": route.repo, "of_workflow": new.workflow}
    row = {
        "delivery": delivery.id,
        "forge": route.forge,
        "repo": route.repo,
        "commit": route.commit,
        "ref": ref,
        "event": delivery.kind,
        "actor": delivery.actor,
        "workflow": new.workflow,
        "name": new.name,
        "attempt": 1,
        "problems": list(new.problems),
        "pins": dict(new.pins),
        "turn": None,
        "created_at": micros(now),
    }
    made = connection.execute(_insert_run, mine | row).one()
    parent = children.parent_of(connection, delivery.id) if delivery.kind == DISPATCH else None
    born = Run(
        id=made.id,
        number=made.number,
        attempt=1,
        route=route,
        delivery=delivery.id,
        workflow=new.workflow,
        name=new.name,
        created_at=now,
        jobs=new.jobs,
        problems=new.problems,
        pins=new.pins,
        parent=parent,
    )
    if new.title is not None and (title := new.title(born)):
        connection.execute(update(runs).where(runs.c.id == born.id).values(title=title))
        born = replace(born, title=title)
    if new.turn is not None:
        born = _with_turn(connection, born, new.turn, now)
    begun = _insert_jobs(connection, decide(born, now))
    save_pause(connection, born, begun, micros(now))
    return begun


def save(connection: Connection, before: Run, after: Run, now: datetime) -> Run:
    """Store what a change made of a run whose lock is held; gives it with the ids of its new jobs."""
    again = after.attempt != before.attempt
    if after.cancelled and (again or not before.cancelled):
        row = {"run": after.id, "attempt": after.attempt, "reason": after.over or None}
        connection.execute(_insert_cancel, row)
    if again or after.pins != before.pins or after.turn != before.turn:
        turn = turn_to(after.turn) if after.turn else None
        columns = {"attempt": after.attempt, "pins": dict(after.pins), "turn": turn}
        columns |= {"attempt_at": micros(now), "logs_removed_at": None} if again else {}
        connection.execute(update(runs).where(runs.c.id == after.id).values(columns))
    former = {job.id: job for job in before.jobs}
    saved = []
    placed: dict[int | None, int] = {}
    for job in after.jobs:
        if job.id <= UNSAVED:
            made = _insert(connection, after, job)
            if job.id != UNSAVED:
                placed[job.id] = made.id
            job = made
        elif former[job.id] != job and replace(former[job.id], caller=job.caller) != job:
            row = {"job_id": job.id, "repository": repository_of(after.route)}
            connection.execute(_change_job, row | job_columns(job))
            if job.carried and job.base > former[job.id].base:
                carry_over(connection, job.id, former[job.id].base, job, job.carried)
        saved.append(job)
    saved = [replace(job, caller=placed[job.caller]) if job.caller in placed else job for job in saved]
    if gone := former.keys() - {job.id for job in saved}:
        connection.execute(_supersede, [{"job_id": one, "by": after.attempt} for one in sorted(gone)])
    return replace(after, jobs=tuple(saved))


def _with_turn(connection: Connection, born: Run, turn: Callable[[Run], Turn], now: datetime) -> Run:
    mine = update(runs).where(runs.c.id == born.id)
    try:
        wanted = turn(born)
    except BrokenDefinition as error:
        connection.execute(mine.values(problems=[str(error)]))
        return replace(born, problems=(str(error),), jobs=())
    connection.execute(mine.values(turn=turn_to(wanted)))
    announce_turn(connection, born, wanted, now)
    return replace(born, turn=wanted)


def _insert_jobs(connection: Connection, run: Run) -> Run:
    return replace(run, jobs=tuple(_insert(connection, run, job) for job in run.jobs))


def _insert(connection: Connection, run: Run, job: Job) -> Job:
    """`run` is the one that the job belongs to, as it is about to be saved."""
    columns = new_job_columns(job, run)
    if job.caller is not None:
        # What is called goes by the job that did so first, whichever stands for that one.
        columns["caller"] = run.job(job.caller).stands_for or job.caller
    made = connection.execute(_insert_job, columns).inserted_primary_key
    saved = replace(job, id=made[0] if made else UNSAVED, made_in=run.attempt)
    if job.forked is not None:
        carry_over(connection, job.forked.job, job.base, saved, job.forked.carried)
    return saved
