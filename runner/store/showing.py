"""Rows to read models."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from runner.store.database import moment
from runner.store.read_models import JobView, StepView

HEADS = "refs/heads/"


def run_fields(row: Row[Any]) -> dict[str, Any]:
    """What every reading of a run shows of it."""
    return {
        "id": row.id,
        "number": row.number,
        "attempt": row.attempt,
        "status": row.status,
        "cancelled": row.cancelled,
        "workflow": row.workflow,
        "name": row.name,
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


def job_view(row: Row[Any], done: Mapping[str, Row[Any]], offered: Collection[frozenset[str]]) -> JobView:
    """`done`: the checkpoints that count, by step key; `offered`: the labels of each worker that is there."""
    reason = row.reason
    if row.phase == "queued" and (unserved := unserved_by(offered, row.labels)):
        reason = f"{unserved}; queued since {moment(row.queued_at):%Y-%m-%d %H:%M:%S} UTC"
    return JobView(
        id=row.id,
        key=row.key,
        name=row.name,
        needs=tuple(row.needs),
        labels=tuple(row.labels),
        status=row.result if row.phase == "finished" else row.phase,
        reason=reason,
        attempt=row.attempt,
        worker=row.worker,
        queued_at=_when(row.queued_at),
        started_at=_when(row.started_at),
        finished_at=_when(row.finished_at),
        steps=tuple(_steps(row, done)),
    )


def unserved_by(offered: Collection[frozenset[str]], labels: Sequence[str]) -> str:
    """Why none of the workers takes a job with these labels; empty where one does."""
    if any(served.issuperset(labels) for served in offered):
        return ""
    if not offered:
        return "no worker is running"
    known = frozenset().union(*offered)
    lacking = [label for label in labels if label not in known]
    if lacking:
        return f"no worker serves the label{'s' * (len(lacking) > 1)} {', '.join(lacking)}"
    return f"no worker serves the labels {', '.join(labels)} together"


def _steps(job: Row[Any], done: Mapping[str, Row[Any]]) -> list[StepView]:
    shown = []
    before = _when(job.started_at)
    # Steps run one after another: the first that has no outcome is the one that runs now.
    pending = {"running": "running", "finished": "skipped"}.get(job.phase, "queued")
    for number, (key, name) in enumerate(job.steps, start=1):
        if key in done:
            shown.append(_done(number, name, done[key]))
            before = shown[-1].finished_at
            continue
        running = pending == "running"
        attempt, begun = (job.attempt, before) if running else (0, None)
        shown.append(StepView(number, key, name, pending, None, None, "", "", attempt, begun, None))
        if running:
            pending = "queued"
    return shown


def _done(number: int, name: str, checkpoint: Row[Any]) -> StepView:
    outcome = checkpoint.outcome
    return StepView(
        number=number,
        key=checkpoint.key,
        name=name,
        status=outcome["result"],
        conclusion=outcome["conclusion"],
        exit_code=outcome["exit_code"],
        reason=outcome["reason"],
        summary=outcome["summary"],
        attempt=checkpoint.attempt,
        started_at=moment(checkpoint.started_at),
        finished_at=moment(checkpoint.finished_at),
    )


def _when(at: int | None) -> datetime | None:
    return None if at is None else moment(at)
