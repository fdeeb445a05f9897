"""What jobs wait for comes: a person's word, a signal, the end of another run; and why it reaches nobody."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from runner.errors import Rejected
from runner.model.run import Run
from runner.model.step import is_named, name_in
from runner.model.waits import LOSS, Answer, Awaited, Signal, Word

LONGEST_KEY = 255
"""Letters of a signal's key."""


class Unheard(Rejected):
    """Nobody is there any more to be told something."""


class NotAsked(Rejected):
    """Somebody else has to say it."""


def answer_wait(run: Run, job_id: int, key: str, given: Answer) -> Run:
    """End a wait of a job. One that is over, or of a job that waits no more, stays as it is."""
    job = run.job(job_id).over(given.at, run.paused_at)
    return run.with_job(job.with_waits(replace(wait, answer=given) for wait in job.hears if wait.key == key))


def settle_waits(
    run: Run,
    awaited: Awaited,
    given: Answer,
    chosen: Collection[int] | None = None,
    *,
    steps: Collection[str] | None = None,
    anyone: bool = False,
    person: str = "",
) -> Run:
    """A person's word on what jobs of a run wait for: all those chosen by id, or the only one.

    `steps`: the keys of those that are meant; a job of which several wait has to be told which.
    `anyone`: whether who says it may do so for all who are asked. `person`: what forges call that one, if
    that is known. Raises `Rejected`, `NotAsked`.
    """
    what = "approval" if awaited is Awaited.APPROVAL else "a word on a step that may have run"
    waiting = [
        (job, wait)
        for job in run.jobs
        for wait in job.over(given.at, run.paused_at).hears
        if wait.awaited is awaited
        and (chosen is None or job.id in chosen)
        and (steps is None or wait.key.partition(LOSS)[0] in steps)
    ]
    if not waiting:
        which = "this job" if chosen is not None else f"run {run.id}"
        which = which if steps is None else f"this step of {which}"
        last = _last_word(run, awaited, chosen) or f"; `runner runs view {run.id}` says what holds it up"
        raise Rejected(f"{which} does not wait for {what}{last}")
    if chosen is None and len({job.id for job, _ in waiting}) > 1:
        keys = ", ".join(dict.fromkeys(job.key for job, _ in waiting))
        raise Rejected(f"several jobs of run {run.id} wait for {what}; name one of {keys}")
    for job, _ in waiting:
        beside = [wait.key.partition(LOSS)[0] for one, wait in waiting if one.id == job.id]
        if len(beside) > 1 and steps is None:
            called = ", ".join(name_in(key) if is_named(key) else key for key in beside)
            raise Rejected(f"several steps of job {job.key} wait for {what}; name one of {called}")
    names = [given.by, person] if person else [given.by]
    for job, wait in waiting:
        barred = next(filter(wait.bars, names), None)
        if barred is not None and given.word is Word.APPROVED:
            raise NotAsked(
                f"{barred} started run {run.id}, and environment {wait.name} prevents self-review: "
                f"somebody else has to approve job {job.key}"
            )
        if wait.approvers and not anyone and not {*names} & {*wait.approvers}:
            raise NotAsked(
                f"{given.by} is not among those who may approve job {job.key}: {', '.join(wait.approvers)}"
            )
        run = answer_wait(run, job.id, wait.key, given)
    return run


def _last_word(run: Run, awaited: Awaited, chosen: Collection[int] | None) -> str:
    """What was answered last, for who comes too late."""
    said = [
        wait.answer
        for job in run.jobs
        if chosen is None or job.id in chosen
        for wait in job.waits
        if wait.awaited is awaited and wait.answer is not None
    ]
    if not said:
        return ""
    last = max(said, key=lambda answer: answer.at)
    if last.word is Word.LEFT:
        return f"; nobody has waited for it since {last.at:%Y-%m-%d %H:%M:%S} UTC"
    return f"; {last.by or 'time'} has said {last.word} at {last.at:%Y-%m-%d %H:%M:%S} UTC"


def check_attempt(run: Run, attempt: int | None) -> None:
    """Raises `Unheard` where a run is at another attempt than the one that is meant; None is whichever."""
    if attempt is not None and attempt < run.attempt:
        raise Unheard(
            f"run {run.id} is at attempt {run.attempt} by now; nobody hears what was for attempt {attempt}"
        )
    if attempt is not None and attempt > run.attempt:
        raise Unheard(f"run {run.id} has no attempt {attempt} yet; it is at attempt {run.attempt}")


def check_listening(run: Run) -> Run:
    """Raises `Unheard` where no job of a run can take a signal any more."""
    if run.result is not None:
        raise Unheard(f"run {run.id} has ended; a signal would reach nobody")
    return run


def deliver(run: Run, inbox: Iterable[Signal], now: datetime) -> tuple[Run, Mapping[int, tuple[int, str]]]:
    """Give signals to the jobs that wait for them; `inbox` has those that nobody was given, in their order.

    Who has waited longest is first. Gives also which job each signal that was given is of now, by number, and
    the key of its wait.
    """
    waiting = [
        (wait.since, job.id, wait)
        for job in run.jobs
        for wait in job.over(now, run.paused_at).hears
        if wait.awaited is Awaited.SIGNAL
    ]
    left, given = list(inbox), dict[int, tuple[int, str]]()
    for _, job_id, wait in sorted(waiting, key=lambda one: one[:2]):
        found = next((signal for signal in left if signal.name == wait.name), None)
        if found is not None:
            left.remove(found)
            said = Answer(Word.SENT, now, found.sender, payload=found.payload)
            run = answer_wait(run, job_id, wait.key, said)
            given[found.number] = (job_id, wait.key)
    return run, given
