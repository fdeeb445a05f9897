"""Rows to read models."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from runner.model.beginnings import Beginning
from runner.model.environment import GATES
from runner.model.step import Result
from runner.model.waits import LOSS, Wait, subject_of
from runner.store.database import moment
from runner.store.named_steps import are_named, named_step_views
from runner.store.read_models import UNFINISHED, ForkView, JobView, StepView, TryView, WaitView
from runner.store.reasons import Around, reason_of
from runner.store.rows import deployed_from, fork_from, wait_from
from runner.store.steps import lost_tries, readable, step_views, title_of

HEADS = "refs/heads/"


def run_fields(row: Row[Any]) -> dict[str, Any]:
    """What every reading of a run shows of it."""
    return {
        "id": row.id,
        "number": row.number,
        "attempt": row.attempt,
        "status": row.status,
        "cancelled": row.cancelled,
        "stopped": row.stop is not None and not row.cancelled and row.status in UNFINISHED,
        "awaits": "",
        "workflow": row.workflow,
        "name": row.name,
        "title": row.title or row.name,
        "forge": row.forge,
        "repo": row.repo,
        "ref": row.ref,
        "branch": row.ref.removeprefix(HEADS) if row.ref.startswith(HEADS) else None,
        "commit": row.commit,
        "event": row.event,
        "actor": row.actor,
        "delivery": row.delivery,
        "created_at": moment(row.created_at),
        "started_at": _when(row.started_at),
        "finished_at": _when(row.finished_at),
    }


def delivery_fields(row: Row[Any], started: tuple[int, ...]) -> dict[str, Any]:
    return {
        "id": row.id,
        "forge": row.forge,
        "repo": row.repo,
        "event": row.kind,
        "ref": row.ref,
        "commit": row.commit,
        "actor": row.actor,
        "status": row.status,
        "reason": row.reason,
        "received_at": moment(row.received_at),
        "runs": started,
    }


def job_views(
    rows: Sequence[Row[Any]],
    recorded: Mapping[int, Sequence[Row[Any]]],
    around: Around,
    beginnings: Mapping[int, Sequence[Beginning]],
) -> Iterator[JobView]:
    """All jobs of one attempt of a run, those of a called workflow after the job that called it.

    `recorded`: the checkpoints of each in their order, also those that count no longer; `beginnings`: what
    began in the newest attempt of those whose steps are named by a program.
    """
    # What called a workflow may stand for the job that did so first.
    known = {row.id: row for row in rows}
    known |= {row.stands_for: row for row in rows if row.stands_for is not None}
    begun: dict[int, int] = {}
    for row in rows:
        if row.started_at is not None:
            # What calls a workflow has begun when the first of its jobs did.
            for one in _callers(row, known):
                begun[one.id] = min(row.started_at, begun.get(one.id, row.started_at))
    for row in sorted(rows, key=lambda row: [_place(one) for one in _callers(row, known)][::-1]):
        path = "/".join([one.key for one in _callers(row, known)][::-1])
        caller = known[row.caller].id if row.caller in known else row.caller
        all_of = recorded.get(row.id, ())
        own = {one.key: one for one in all_of if one.base == row.base}
        named = named_step_views(row, own, beginnings.get(row.id, ())) if are_named(row) else None
        lost = lost_tries(row, all_of, own)
        steps = tuple(
            replace(step, tries=(*lost.get(step.key, ()), *step.tries))
            for step in (step_views(row, own) if named is None else named)
        )
        yield _job_view(row, path, caller, begun.get(row.id), steps, reason_of(row, rows, around))


def _place(row: Row[Any]) -> tuple[int, int, int]:
    return row.position, row.leg.get("index", 0), row.id


def _callers(row: Row[Any], known: Mapping[int, Row[Any]]) -> Iterator[Row[Any]]:
    """A job, what called it, and so on."""
    above: Row[Any] | None = row
    while above is not None:
        yield above
        above = known.get(above.caller)


def _job_view(
    row: Row[Any],
    path: str,
    caller: int | None,
    begun: int | None,
    steps: tuple[StepView, ...],
    reason: str,
) -> JobView:
    matrix, fork = _written(row.leg.get("matrix", {})), fork_from(row.forked)
    return JobView(
        id=row.id,
        key=row.key,
        path=path,
        name=row.name,
        label=row.key if row.caller is None and not matrix else row.name,
        caller=caller,
        calls=row.calls,
        matrix=matrix,
        needs=tuple(row.needs),
        labels=tuple(row.labels),
        status=_status(row, begun),
        conclusion=_conclusion(row),
        reason=reason,
        outputs=readable(row.outputs),
        attempt=row.attempt,
        worker=row.worker,
        queued_at=_when(row.queued_at),
        started_at=_when(begun),
        finished_at=_when(row.finished_at),
        steps=steps,
        lost=len(row.lost),
        waits=tuple(_wait_views(map(wait_from, row.waits or ()), steps)),
        tries=tuple(
            TryView(attempt, result, None, reason, None, moment(at))
            for attempt, result, reason, at in row.tried
        ),
        forked=None if fork is None else ForkView(fork.job, fork.attempt, fork.step),
        environment=deployed_from(row.deployed),
    )


def _wait_views(waits: Iterable[Wait], steps: Iterable[StepView]) -> Iterator[WaitView]:
    called = {step.key: f'step {step.number} "{step.name}"' for step in steps}
    for wait in waits:
        key = wait.key.partition(LOSS)[0]
        # What an action does within a step has a key below that one's.
        step = called.get(key) or called.get(key.split(".")[0]) or f'step "{title_of(key, {}) or key}"'
        yield _wait_view(wait, "" if key in GATES else step)


def _wait_view(wait: Wait, step: str) -> WaitView:
    answer = wait.answer
    return WaitView(
        wait.key,
        str(wait.awaited),
        wait.name,
        wait.message,
        wait.approvers,
        wait.since,
        wait.due,
        None if answer is None else str(answer.word),
        "" if answer is None else answer.by,
        "" if answer is None else answer.comment,
        None if answer is None else answer.at,
        subject_of(wait, step),
    )


def _status(row: Row[Any], begun: int | None) -> str:
    if row.phase == "finished":
        return str(row.result)
    if row.calls is not None:
        return "waiting" if begun is None else "running"
    return "waiting" if row.phase in ("ready", "pending", "suspended") else str(row.phase)


def _conclusion(row: Row[Any]) -> str | None:
    if row.phase != "finished":
        return None
    return str(Result.SUCCESS) if row.tolerated and Result(row.result).failed else str(row.result)


def _written(value: Any) -> Any:
    """A value of a matrix as its author wrote it: `20`, though expressions know floating point only."""
    if isinstance(value, Mapping):
        return {name: _written(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_written(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _when(at: int | None) -> datetime | None:
    return None if at is None else moment(at)
