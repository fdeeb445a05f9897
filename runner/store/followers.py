"""Runs that follow other runs: an event for each stage that one reaches, where some workflow waits for it.

Written in the transaction in which the run reaches the stage. So there is one for each, whoever dies when.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, ScalarSelect, bindparam, select

from runner.engine.refs import short_ref, within
from runner.engine.standings import ACTOR
from runner.engine.subject import HEAD
from runner.model.run import Run
from runner.model.source import DEPTH, FROM_PULLS, PARENT, Event
from runner.store.arrivals import post
from runner.store.tables import deliveries, runs, standings
from runner.workflow.globs import included

KIND = "workflow_run"
MOST = 3
"""How many runs may follow each other, as on GitHub: two workflows could do so for ever."""
STATUS = {"requested": "queued", "in_progress": "in_progress", "completed": "completed"}
_of_run = (
    select(runs, deliveries.c.kind, deliveries.c.payload)
    .join(deliveries)
    .where(runs.c.id == bindparam("run_id"))
)
Awaited = Sequence[tuple[str, Sequence[str]]]
"""Stages, each with the names of the workflows whose runs somebody waits for; none for those of all."""
_awaited = select(standings.c.events).where(
    standings.c.forge == bindparam("forge"), standings.c.repo == bindparam("repo")
)


def awaited(connection: Connection, forge: str, repo: str) -> Awaited:
    """What is waited for of a repository's runs."""
    found: Awaited | None = connection.execute(_awaited, {"forge": forge, "repo": repo}).scalar()
    return found or ()


def awaited_of_run() -> ScalarSelect[Any]:
    """The same for the run of the enclosing query; NULL where nobody has asked yet."""
    mine = (standings.c.forge == runs.c.forge) & (standings.c.repo == runs.c.repo)
    return select(standings.c.events).where(mine).correlate(runs).scalar_subquery()


def announce(connection: Connection, before: Run | None, after: Run, now: int, waited_for: Awaited) -> None:
    """Store what a change of a run means for those that wait for it; `before` is None for a new one."""
    reached = _waited_for(after, stages(before, after), waited_for)
    if not reached:
        return
    row = connection.execute(_of_run, {"run_id": after.id}).one()
    depth = row.payload.get(DEPTH) if row.kind == KIND or PARENT in row.payload else 0
    depth = depth + 1 if isinstance(depth, int) else 1
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


def _waited_for(run: Run, reached: list[str], waited_for: Awaited) -> list[str]:
    wanted = {stage for stage, names in waited_for if not names or included(names, run.name)}
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
