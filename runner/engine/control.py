"""What a person may ask of a run."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runner.engine.advance import advance
from runner.engine.ports import Dispatcher, Store
from runner.errors import Rejected
from runner.model import answers, ending, pauses, reruns
from runner.model.audit import Act
from runner.model.forks import Fork
from runner.model.run import Job, Run
from runner.model.stops import Stop
from runner.model.waits import Answer, Awaited, Signal, Wait, Word
from runner.workflow.built_in import BadWait, signal_name

PAYLOAD_BYTES = 1024 * 1024
PAYLOAD_DEPTH = 100
"""How deep lists and objects may be within each other in a payload."""

Chosen = Callable[[Run], Collection[int] | None]
"""Picks jobs of a run by id; None is all of them."""


def cancel(run_id: int, *, store: Store, dispatcher: Dispatcher, act: Act | None = None) -> Run:
    """End a run: what waits ends now, what runs is stopped within a heartbeat. Twice is fine.

    Jobs that have an `if` go on where it is met all the same, as with `always()`.
    """
    return advance(run_id, ending.cancel, store=store, dispatcher=dispatcher, act=act).after


def force_cancel(run_id: int, *, store: Store, dispatcher: Dispatcher, act: Act | None = None) -> Run:
    """End a run now, whatever an `if` says; the steps that run are killed within a heartbeat."""
    return advance(run_id, ending.end, store=store, dispatcher=dispatcher, act=act).after


def pause(run_id: int, reason: str, *, store: Store, dispatcher: Dispatcher, act: Act) -> Run:
    """Have a run and those that its steps wait for stand still: steps end, no job goes on. Twice is fine.

    What a step of it was just starting stands still as soon as it is there.
    """

    def change(run: Run, now: datetime) -> Run:
        return pauses.pause(run, Stop(act.actor, now, reason, run.route.repo, run.id))

    return advance(run_id, change, store=store, dispatcher=dispatcher, act=act).after


def unpause(run_id: int, *, store: Store, dispatcher: Dispatcher, act: Act) -> Run:
    """Have it go on, within a second or two, and those that were paused with it. Twice is fine."""
    return advance(run_id, pauses.unpause, store=store, dispatcher=dispatcher, act=act).after


def rerun(
    run_id: int,
    *,
    store: Store,
    dispatcher: Dispatcher,
    chosen: Chosen = lambda run: None,
    act: Act | None = None,
) -> Run:
    """Every job again, or those that are chosen, as a new attempt of the same run at the same commit."""
    return advance(
        run_id,
        lambda run, now: reruns.rerun(run, chosen(run)),
        store=store,
        dispatcher=dispatcher,
        act=act,
    ).after


def rerun_from(
    run_id: int,
    steps: Collection[tuple[int, str]],
    *,
    store: Store,
    dispatcher: Dispatcher,
    act: Act | None = None,
) -> Run:
    """Jobs again, each from the step that is named by its position, id or name, and what needs them.

    What came before is not done again: the new attempt has its checkpoints and files. Raises `NotFound` for
    a step that there is not, `Rejected` for one that the job has not come to.
    """
    run = store.load(run_id)
    forks = {}
    for id, named in steps:
        job = _job(run, id)
        # What a job that has ended wrote down stays as it is.
        checkpoints = store.recall(job)
        step = reruns.step_named(run, job, named, checkpoints)
        forks[id] = reruns.fork_at(run, job, step, checkpoints)
    return _forked(run_id, forks, store, dispatcher, act)


def resume(
    run_id: int,
    within: Collection[int] | None = None,
    *,
    store: Store,
    dispatcher: Dispatcher,
    act: Act | None = None,
) -> Run:
    """What did not succeed again, each job from the first step that did not, and what needs them.

    `within`: only of these jobs, and of the workflows that they call. Raises `Rejected` where all succeeded.
    """
    run = store.load(run_id)
    jobs = [run.job(id) for id in sorted(reruns.failed_jobs(run, within))]
    forks = {job.id: reruns.fork_where_it_stopped(job, store.recall(job)) for job in jobs}
    return _forked(run_id, forks, store, dispatcher, act)


def _forked(
    run_id: int, found: Mapping[int, Fork | None], store: Store, dispatcher: Dispatcher, act: Act | None
) -> Run:
    forks = {id: fork for id, fork in found.items() if fork is not None}
    return advance(
        run_id,
        lambda run, now: reruns.rerun(run, found.keys(), forks),
        store=store,
        dispatcher=dispatcher,
        act=act,
    ).after


def _job(run: Run, id: int) -> Job:
    if not run.has(id):
        raise Rejected(f"the newest attempt of run {run.id} has no job {id}")
    return run.job(id)


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a signal."""

    fresh: bool
    """False where it is a copy of one that came before, and was not kept."""
    taken: bool
    """Whether a job that waited for it has it now; else it is kept until one does."""
    awaited: tuple[str, ...]
    """The names of those that jobs of the run still wait for."""


def signal(
    run_id: int,
    said: Signal,
    *,
    store: Store,
    dispatcher: Dispatcher,
    attempt: int | None = None,
    act: Act | None = None,
) -> Sent:
    """Put a signal into the inbox of a run that goes on: the next job that waits for it takes it.

    `attempt`: for no other one of the run. Raises `Rejected`, where it cannot be one, `Unheard`.
    """
    try:
        signal_name(said.name)
    except BadWait as error:
        raise Rejected(str(error)) from None
    if not said.key or len(said.key) > answers.LONGEST_KEY or not said.key.isprintable():
        raise Rejected(f"the key of a signal has 1 to {answers.LONGEST_KEY} letters")
    try:
        size = len(json.dumps(said.payload, allow_nan=False))
    except (ValueError, RecursionError) as error:
        raise Rejected(f"the payload of the signal is no JSON: {error}") from None
    if size > PAYLOAD_BYTES:
        raise Rejected(f"the payload of the signal has {size} bytes; the limit is {PAYLOAD_BYTES}")
    if _is_deeper(said.payload, PAYLOAD_DEPTH):
        raise Rejected(f"the payload of the signal is nested more than {PAYLOAD_DEPTH} deep")

    def change(run: Run, _now: datetime) -> Run:
        answers.check_attempt(run, attempt)
        return answers.check_listening(run)

    made = advance(
        run_id,
        change,
        store=store,
        dispatcher=dispatcher,
        signal=said,
        act=act,
    )
    takers = _takers(made.after, said.name) - _takers(made.before, said.name)
    heard = (wait for job in made.after.jobs for wait in job.hears if wait.awaited is Awaited.SIGNAL)
    return Sent(made.fresh, bool(takers), tuple(dict.fromkeys(wait.name for wait in heard)))


def _takers(run: Run, name: str) -> set[tuple[int, str]]:
    """The waits that got a signal of that name."""

    def has_it(wait: Wait) -> bool:
        return wait.name == name and wait.answer is not None and wait.answer.word is Word.SENT

    return {(job.id, wait.key) for job in run.jobs for wait in job.waits if has_it(wait)}


def _is_deeper(value: Any, depth: int) -> bool:
    """Whether lists and objects are within each other more than so deep."""
    level = [value]
    for _ in range(depth + 1):
        level = [
            inner
            for one in level
            if isinstance(one, Mapping | list)
            for inner in (one.values() if isinstance(one, Mapping) else one)
        ]
    return bool(level)


def answer(
    run_id: int,
    awaited: Awaited,
    word: Word,
    *,
    store: Store,
    dispatcher: Dispatcher,
    by: str,
    comment: str = "",
    chosen: Chosen = lambda run: None,
    steps: Collection[str] | None = None,
    anyone: bool = False,
    person: str = "",
    attempt: int | None = None,
    act: Act | None = None,
) -> Run:
    """Say what a person is asked for by jobs of a run. Raises `Rejected`, where nobody asks.

    `steps`: the keys of those that are meant, where several of a job ask.
    `person`: what forges call who says it. `attempt`: no other one of the run is meant; raises `Unheard`,
    where it is at another.
    """

    def change(run: Run, now: datetime) -> Run:
        answers.check_attempt(run, attempt)
        said = Answer(word, now, by, comment)
        return answers.settle_waits(
            run, awaited, said, chosen(run), steps=steps, anyone=anyone, person=person
        )

    return advance(run_id, change, store=store, dispatcher=dispatcher, act=act).after
