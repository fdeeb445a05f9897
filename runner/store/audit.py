"""SqlAudit: what people did, newest first; and the one place that writes it down."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, insert, select

from runner.model.access import Scope
from runner.model.audit import Act
from runner.model.run import Run
from runner.store.database import Database, micros, moment
from runner.store.read_models import AuditView
from runner.store.tables import audit, runs, within

_insert = insert(audit)


class SqlAudit:
    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, act: Act) -> None:
        """For an act that changes nothing, as one that shows what is secret."""

        def work(connection: Connection) -> None:
            note(connection, act, micros(self._database.now(connection)))

        self._database.writing(work)

    def acts(
        self,
        scope: Scope,
        forge: str | None = None,
        repo: str | None = None,
        run: int | None = None,
        actor: str | None = None,
        limit: int = 30,
        before: int | None = None,
    ) -> list[AuditView]:
        """Newest first. What is about no repository is shown to those who see all of them."""
        same = {audit.c.forge: forge, audit.c.repo: repo, audit.c.run: run, audit.c.actor: actor}
        conditions = [column == value for column, value in same.items() if value is not None]
        if before is not None:
            conditions.append(audit.c.id < before)
        query = select(audit).where(within(scope, audit.c.forge, audit.c.repo), *conditions)
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(audit.c.id.desc()).limit(limit)).all()
        return [
            AuditView(
                row.id,
                moment(row.at),
                row.actor,
                row.act,
                row.forge,
                row.repo,
                row.run,
                row.job,
                row.details,
            )
            for row in found
        ]


def note(connection: Connection, act: Act | None, now: int, **more: Any) -> None:
    """Write down an act with what it changes; None is none of anybody's."""
    if act is None:
        return
    row = {
        "at": now,
        "actor": act.actor,
        "act": act.verb,
        "forge": act.forge,
        "repo": act.repo,
        "run": act.run,
        "job": act.job,
        "details": {**act.details, **more},
    }
    connection.execute(_insert, row)


def note_of_run(
    connection: Connection, act: Act | None, before: Run, after: Run, now: int, *, said: bool = False
) -> None:
    """Write down what somebody did to a run, with who had started it and whether it changed anything.

    `said`: its inbox has changed, whoever will look into that.
    """
    if act is None:
        return
    started_by = connection.execute(select(runs.c.actor).where(runs.c.id == after.id)).scalar_one()
    about: Mapping[str, Any] = {
        "forge": after.route.forge,
        "repo": after.route.repo,
        "run": after.id,
        "details": {
            **act.details,
            "started_by": started_by,
            "commit": after.route.commit,
            "workflow": after.workflow,
            "attempt": after.attempt,
            "changed": said or before != after,
        },
    }
    note(connection, replace(act, **about), now)
