"""Apply a change to a run, settle what follows from it, and ring for what became ready."""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime

from runner.engine.ports import Change, Dispatcher, Store
from runner.errors import Unavailable
from runner.model.audit import Act
from runner.model.lifecycle import decide
from runner.model.pauses import stands_still
from runner.model.run import Envelope, Finished, Job, Queued, Ready, Run, Running
from runner.model.waits import Signal

log = logging.getLogger(__name__)


def advance(
    run_id: int,
    change: Callable[[Run, datetime], Run],
    *,
    store: Store,
    dispatcher: Dispatcher,
    durable: bool = True,
    signal: Signal | None = None,
    act: Act | None = None,
) -> Change:
    """Change a run and everything that follows, in one transaction; then wake whoever is concerned.

    `signal` is put into its inbox with it.
    Runs whose turns in concurrency groups it changed hear of that, each in a transaction of its own.
    `act`: what somebody did, where it is a person's doing.
    """
    made = store.update(
        run_id, lambda run, now: decide(change(run, now), now), durable=durable, signal=signal, act=act
    )
    spread(made, store=store, dispatcher=dispatcher)
    return made


def spread(made: Change, *, store: Store, dispatcher: Dispatcher) -> None:
    """Wake whoever is concerned by a change that stands."""
    _ring(made, store, dispatcher)
    tell(made.stirred, store=store, dispatcher=dispatcher)


def tell(runs: Iterable[int], *, store: Store, dispatcher: Dispatcher) -> None:
    """Have runs come to their concurrency groups and hear what others did to their turns. Twice is fine.

    Where that fails the clock sees to it: whoever brought it about has done his own part.
    """
    stirred = deque(runs)
    while stirred:
        run = stirred.popleft()
        try:
            made = store.update(run, decide)
            _ring(made, store, dispatcher)
            stirred += made.stirred
        except Unavailable as error:
            log.warning("a run hears later of its turn", extra={"run": run, "error": str(error)})
        except Exception:
            log.exception("a run did not hear of its turn by a bug", extra={"run": run})


def _ring(made: Change, store: Store, dispatcher: Dispatcher) -> None:
    ring(made.after, dispatcher, before=made.before)
    if made.limited and _runs_less(made):
        # Asked once the change stands: whoever is not seen here is rung for by those who see it.
        for next_one in store.freed(made.after.route):
            dispatcher.perform(next_one)


def _runs_less(made: Change) -> bool:
    """Whether a job of the run has stopped running: its repository may have one more."""
    running = {job.id for job in made.before.jobs if isinstance(job.phase, Running)}
    return bool(running - {job.id for job in made.after.jobs if isinstance(job.phase, Running)})


def ring(run: Run, dispatcher: Dispatcher, before: Run | None = None) -> None:
    """Send a message for each job that became ready since `before`, and report what changed for it.

    `before` is None for a run that has just been created.
    """
    former = {job.id: job for job in before.jobs} if before else {}
    for job in run.jobs:
        was = former.get(job.id)
        # Until it has answered, nothing else is done about a job that is asked.
        known = was if was is not None and (was.asked is None or job.asked is not None) else None
        match job.phase:
            case Finished():
                continue
            case _ if job.asked is not None:
                if known is None or known.asked != job.asked:
                    dispatcher.plan(envelope(run, job))
            # What was planned into a call of a workflow is ready anew.
            case Ready() if known is None or known.phase != job.phase:
                dispatcher.plan(envelope(run, job))
            # For one that is due later the clock rings.
            case Queued(due=None) if known is None or not (
                isinstance(known.phase, Queued) and known.phase.due is None and not _freed(before, known, run)
            ):
                dispatcher.perform(envelope(run, job))
    if before is None or (run.result, run.attempt) != (before.result, before.attempt):
        dispatcher.report(run)


def _freed(before: Run | None, was: Job, run: Run) -> bool:
    """Whether a job stood still before, and does not any more."""
    return before is not None and stands_still(before, was) and not stands_still(run, run.job(was.id))


def envelope(run: Run, job: Job) -> Envelope:
    return Envelope(run.route, run.id, job.id, job.labels)
