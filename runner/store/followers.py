"""Runs that follow other runs: an event for each stage that one reaches, where some workflow waits for it.

Written in the transaction in which the run reaches the stage. So there is one for each, whoever dies when.
"""

from typing import Any

from sqlalchemy import Connection, Row, select

from runner.engine.refs import short_ref, within
from runner.engine.standings import ACTOR
from runner.engine.subject import HEAD
from runner.model.run import Run
from runner.model.source import FROM_PULLS, Event
from runner.store.arrivals import post
from runner.store.tables import deliveries, runs, standings
from runner.workflow.globs import included

KIND = "workflow_run"
MOST = 3
"""How many runs may follow each other, as on GitHub: two workflows could do so for ever."""
DEPTH = "depth"
STATUS = {"requested": "queued", "in_progress": "in_progress", "completed": "completed"}


def announce(connection: Connection, before: Run | None, after: Run, now: int) -> None:
    """Store what a change of a run means for those that wait for it; `before` is None for a new one."""
    reached = stages(before, after)
    if reached:
        reached = _waited_for(connection, after, reached)
    if not reached:
        return
    of_run = select(runs, deliveries.c.kind, deliveries.c.payload).join(deliveries)
    row = connection.execute(of_run.where(runs.c.id == after.id)).one()
    depth = row.payload.get(DEPTH, 0) + 1 if row.kind == KIND else 1
    if depth > MOST:
        return
    for action in reached:
        payload = {
            "action": action,
            KIND: _about(row, after, action),
            "workflow": {"name": after.name, "path": after.workflow},
            "repository": {"full_name": after.route.repo},
            "sender": {"login": row.actor or ACTOR},
            DEPTH: depth,
        }
        event = Event(KIND, row.forge, row.repo, ref=HEAD, actor=row.actor or ACTOR, payload=payload)
        post(connection, event, f"{KIND} {after.id} {after.attempt} {action}", now)


def stages(before: Run | None, after: Run) -> list[str]:
    """What a run reached by a change. Another attempt is not requested, as on GitHub."""
    same = before is not None and before.attempt == after.attempt
    reached = ["requested"] if before is None else []
    if _begun(after) and not (before is not None and same and _begun(before)):
        reached.append("in_progress")
    if after.result is not None and not (before is not None and same and before.result is not None):
        reached.append("completed")
    return reached


def _begun(run: Run) -> bool:
    # What ran in an earlier attempt, and was not run again, is no beginning of this one.
    return any(job.started is not None and job.made_in == run.attempt for job in run.jobs)


def _waited_for(connection: Connection, run: Run, reached: list[str]) -> list[str]:
    mine = (standings.c.forge == run.route.forge) & (standings.c.repo == run.route.repo)
    events = connection.execute(select(standings.c.events).where(mine)).scalar_one_or_none()
    wanted = {stage for stage, names in events or () if not names or included(names, run.name)}
    return [stage for stage in reached if stage in wanted]


def _about(row: Row[Any], run: Run, action: str) -> dict[str, Any]:
    """The run as GitHub describes it. One of a pull request is about the branch that it comes from."""
    head = within(row.payload, "pull_request", "head") if row.kind in FROM_PULLS else None
    return {
        "id": run.id,
        "name": run.name,
        "display_title": run.title or run.name,
        "path": run.workflow,
        "run_number": run.number,
        "run_attempt": run.attempt,
        "event": row.event,
        "status": STATUS[action],
        "conclusion": str(run.result) if action == "completed" else None,
        "head_branch": within(head, "ref") or short_ref(row.ref),
        "head_sha": within(head, "sha") or run.route.commit,
        "head_repository": {"full_name": within(head, "repo", "full_name") or run.route.repo},
        "repository": {"full_name": run.route.repo},
        "actor": {"login": row.actor},
        "created_at": run.created_at.isoformat(),
    }
