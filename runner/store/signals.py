"""Each run's inbox: what was said to it from outside, given once to a job that waits for it.

All of it happens under the run's lock, so no signal has two takers, and none slips past a wait that begins.
"""

from collections import Counter
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from runner.errors import Rejected
from runner.model.answers import deliver
from runner.model.run import Run
from runner.model.waits import Awaited, Signal
from runner.store.database import micros
from runner.store.rows import signal_from
from runner.store.tables import signals

MOST_WAITING = 1000
"""Signals that may wait in one inbox, as each may have a payload of a megabyte."""


def put(connection: Connection, run: Run, signal: Signal, now: datetime) -> bool:
    """Keep a signal to the newest attempt of a run; False where a copy of it came before.

    Raises `Rejected` where too many wait already.
    """
    same = (signals.c.run == run.id) & (signals.c.name == signal.name) & (signals.c.key == signal.key)
    if not signal.repeatable and connection.execute(select(signals.c.id).where(same).limit(1)).first():
        return False
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
    if connection.execute(new).first() is None:
        return False
    there = select(func.count()).select_from(signals).where(_left(run))
    if connection.execute(there).scalar_one() > MOST_WAITING:
        raise Rejected(f"{MOST_WAITING} signals to run {run.id} wait to be taken, which are the most")
    return True


def delivered(connection: Connection, run: Run, now: datetime) -> Run:
    """The run with what is in its inbox for jobs that wait."""
    wanted = Counter(wait.name for job in run.jobs for wait in job.hears if wait.awaited is Awaited.SIGNAL)
    inbox = []
    for name, takers in sorted(wanted.items()):
        # No more than are taken: all that wait may be too much to be read at once.
        query = select(signals).where(_left(run), signals.c.name == name).order_by(signals.c.id).limit(takers)
        inbox += [signal_from(row) for row in connection.execute(query)]
    if not inbox:
        return run
    after, given = deliver(run, inbox, now)
    for number, (job, wait) in given.items():
        taken = update(signals).where(signals.c.id == number).values(job=job, wait=wait)
        connection.execute(taken)
    return after


def _left(run: Run) -> ColumnElement[bool]:
    """What nobody has taken of the inbox of a run's newest attempt."""
    return (signals.c.run == run.id) & (signals.c.run_attempt == run.attempt) & signals.c.job.is_(None)
