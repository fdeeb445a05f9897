"""Claim one job for one ring, in a transaction that locks the run of that job and no other."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.exc import DBAPIError

from runner.engine.ports import Change, Claim
from runner.errors import DatabaseUnavailable, Rejected
from runner.model.leasing import NotClaimable
from runner.model.limits import Limits
from runner.model.pauses import stands_still
from runner.model.run import Envelope, Job, Queued, Run, Running, Suspended
from runner.store.database import Database
from runner.store.loading import Held, hold
from runner.store.rows import queue_of
from runner.store.sharing import Choice, choices, reserve
from runner.store.tables import runs

Take = Callable[[Run, int, datetime], Run]
MOST_MEETINGS = 100
"""How often a claim may find its job taken by another one; after that the clock rings again."""

log = logging.getLogger(__name__)


class _Met(Exception):
    """Another one was faster. Its transaction is over, so there is something new to choose from."""


class _Refused(Exception):
    """What was chosen cannot be claimed, though it is queued."""

    def __init__(self, choice: Choice) -> None:
        super().__init__(choice.repository)
        self.choice = choice


def claim(
    database: Database,
    change: Callable[[Connection, Held, Callable[[Run, datetime], Run]], Change],
    rung: Envelope,
    take: Take,
    server: Limits,
) -> Claim | None:
    """Claim what is fairest for a ring. None where nothing may be claimed.

    What cannot be claimed for a fault of its own keeps nobody else from his: it fails its own ring.
    """
    passed = set[str]()

    def work(connection: Connection) -> Claim | None:
        now = database.now(connection)
        chosen = _reserved(connection, choices(connection, rung, now, server, passed), rung)
        if chosen is None:
            return None
        try:
            return made(connection, chosen)
        except (_Met, DatabaseUnavailable, DBAPIError):
            raise
        except Exception as error:
            if chosen.job == rung.job:
                raise
            raise _Refused(chosen) from error

    def made(connection: Connection, chosen: Choice) -> Claim:
        held = hold(database, connection, chosen.run)
        before = held.run
        job = _claimable(before, chosen.job, held.at)
        if job is None:
            raise _Met
        if job != rung.job and stands_still(before, before.job(job)):
            raise NotClaimable(before.job(job))
        return Claim(change(connection, held, lambda run, now: take(run, job, now)), job)

    for _ in range(MOST_MEETINGS):
        try:
            # Without power there is no worker either: a claim that is forgotten is nobody's.
            return database.writing(work, durable=False)
        except _Met:
            continue
        except _Refused as refused:
            passed.add(refused.choice.repository)
            if not isinstance(refused.__cause__, Rejected):
                about = {"job": refused.choice.job}
                log.error("a job cannot be claimed by a bug", exc_info=refused.__cause__, extra=about)
    return None


def _reserved(connection: Connection, found: Sequence[Choice], rung: Envelope) -> Choice | None:
    """The first choice whose run nobody else is changing; the first of all where each is.

    While a run's lock is waited for, nothing is held that somebody waits for who holds one.
    """
    for choice in found:
        if choice.most is not None:
            if not reserve(connection, choice):
                raise _Met
            return choice
        # The rung job is this ring's own; for others all who ring compete.
        if choice.job == rung.job or connection.execute(_TRY_RUN, {"run_id": choice.run}).first():
            return choice
    return found[0] if found else None


def _claimable(run: Run, job_id: int, now: datetime) -> int | None:
    """The job, or another one of its run that the same workers may claim where it has just been taken."""
    if not run.has(job_id):
        return None
    wanted = run.job(job_id)
    match wanted.phase:
        case Running(lease) if lease.until <= now:
            return job_id
        case Suspended() if wanted.asked is None and not wanted.over(now).awaits:
            return job_id
    alike = [job for job in run.jobs if _due(job, now) and queue_of(job.labels) == queue_of(wanted.labels)]
    return next((job.id for job in [wanted, *alike] if _due(job, now)), None)


def _due(job: Job, now: datetime) -> bool:
    match job.phase:
        case Queued(_, due):
            return job.asked is None and (due is None or due <= now)
        case _:
            return False


_TRY_RUN = select(runs.c.id).where(runs.c.id == bindparam("run_id")).with_for_update(skip_locked=True)
