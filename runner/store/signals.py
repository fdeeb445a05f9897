"""Each run's inbox: what was said to it from outside, given once to a job that waits for it.

All of it happens under the run's lock, so no signal has two takers, and none slips past a wait that begins.
"""

from datetime import datetime

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from runner.model.lifecycle import deliver
from runner.model.run import Run, Suspended
from runner.model.waits import Awaited, Signal
from runner.store.database import micros
from runner.store.rows import signal_from
from runner.store.tables import signals


def put(connection: Connection, run: Run, signal: Signal, now: datetime) -> bool:
    """Keep a signal to the newest attempt of a run; False where a copy of it came before."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = {
        "run": run.id,
        "run_attempt": run.attempt,
        "name": signal.name,
        "key": signal.key,
        "payload": signal.payload,
        "sender": signal.sender,
        "sent_at": micros(now),
    }
    new = dialect.insert(signals).values(row).on_conflict_do_nothing().returning(signals.c.id)
    return connection.execute(new).first() is not None


def delivered(connection: Connection, run: Run, now: datetime) -> Run:
    """The run with what is in its inbox for jobs that wait."""
    names = {
        wait.name
        for job in run.jobs
        if isinstance(job.phase, Suspended)
        for wait in job.awaits
        if wait.awaited is Awaited.SIGNAL
    }
    if not names:
        return run
    mine = (signals.c.run == run.id) & (signals.c.run_attempt == run.attempt) & signals.c.job.is_(None)
    query = select(signals).where(mine, signals.c.name.in_(sorted(names))).order_by(signals.c.id)
    inbox = [signal_from(row) for row in connection.execute(query)]
    if not inbox:
        return run
    after, given = deliver(run, inbox, now)
    for number, (job, wait) in given.items():
        taken = update(signals).where(signals.c.id == number).values(job=job, wait=wait)
        connection.execute(taken)
    return after
