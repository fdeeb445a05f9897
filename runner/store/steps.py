"""A job's row and its checkpoints to its steps as people see them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from runner.model.forks import POST, PRE, Fork
from runner.model.step import TRY, Result, is_named, name_in, step_key
from runner.store.database import moment
from runner.store.read_models import AnnotationView, StepView, TryView
from runner.store.rows import fork_from

PENDING = {"running": "running", "finished": "skipped", "suspended": "waiting"}
LATER = {"running": "queued", "waiting": "queued", "cancelled": "skipped"}
"""How the steps after one that stands so do."""


LOST = "its files were lost"
"""Why a step is done again though nothing was amiss with it."""


def step_views(job: Row[Any], done: Mapping[str, Row[Any]]) -> Iterator[StepView]:
    """The declared steps, and around them what their actions do before and after all of them.

    `done` is in the order of recording.

    Steps run one after another, so the first that is not over is the one that runs now.
    """
    pending, fork = _pending_in(job), fork_from(job.forked)
    before = None if job.started_at is None else moment(job.started_at)
    for number, (key, name, passed) in enumerate(_steps(job, done), start=1):
        tries = tuple(_tries(key, done))
        if key in done:
            shown = done_view(number, name, done[key], fork)
            before = shown.finished_at
            yield replace(shown, tries=tries)
        elif passed:
            yield _pending(number, key, name, "skipped")
        else:
            yield replace(_pending(number, key, name, pending, job, before), tries=tries)
            pending = LATER.get(pending, pending)


def _pending_in(job: Row[Any]) -> str:
    """How the first step stands that nothing is written down of."""
    if job.result == "cancelled" and job.reason and job.claimed_at is not None:
        # It was not its worker that ended the job: nobody wrote down how far that step came.
        return "cancelled"
    if job.phase == "suspended" and job.started_at is None:
        return "queued"
    return PENDING.get(job.phase, "queued")


def _steps(job: Row[Any], done: Mapping[str, Row[Any]]) -> list[tuple[str, str, bool]]:
    """Key and name of each step, and whether the job went past it without a checkpoint."""
    declared = list(_declared(job, done))
    over = all(passed or key in done for key, _, passed in declared)
    names = {key: name for key, name, _ in declared}
    pres = [key for key in done if key.endswith(PRE)]
    posts = [key for key in done if key.endswith(POST)]
    if over or job.phase == "finished":
        # They are done in the opposite order of the steps that left them.
        left = [one for key, *_ in declared if key in done for one in done[key].outcome.get("posts", ())]
        keys = [step_key(tuple(post["path"])) + POST for post in reversed(left)]
        posts += [key for key in keys if key not in done]

    def around(keys: list[str]) -> list[tuple[str, str, bool]]:
        return [(key, title_of(key, names), False) for key in keys]

    return around(pres) + declared + around(posts)


def title_of(key: str, names: Mapping[str, str]) -> str:
    """What a step is called, also one that an action adds; empty where the job itself speaks."""
    for ending, word in ((PRE, "Pre"), (POST, "Post")):
        if key.endswith(ending):
            return f"{word} {names.get(key.split('.')[0], key)}"
    return name_in(key) if is_named(key) else names.get(key, "")


def _declared(job: Row[Any], done: Mapping[str, Row[Any]]) -> Iterator[tuple[str, str, bool]]:
    last = max((at for at, (key, *_) in enumerate(job.steps) if key in done), default=-1)
    failed = False
    for at, (key, name, *rest) in enumerate(job.steps):
        if key in done:
            failed = failed or not Result(done[key].outcome["conclusion"]).ok
        # One without an `if` is passed over once a step before it failed, and nothing is written down.
        yield key, name, at < last or (failed and rest == [False])


def _tries(key: str, done: Mapping[str, Row[Any]]) -> Iterator[TryView]:
    return (try_view(checkpoint) for name, checkpoint in done.items() if name.startswith(key + TRY))


def try_view(checkpoint: Row[Any]) -> TryView:
    """How a step failed before it was tried again."""
    said = checkpoint.outcome
    return TryView(
        checkpoint.attempt,
        said["result"],
        said["exit_code"],
        said["reason"],
        moment(checkpoint.started_at),
        moment(checkpoint.finished_at),
    )


def lost_tries(
    job: Row[Any], recorded: Sequence[Row[Any]], done: Mapping[str, Row[Any]]
) -> Mapping[str, list[TryView]]:
    """By step, how it was done when its files were lost, since the job last began at its first step.

    `recorded` are all its checkpoints in their order, `done` those that count.
    """
    begun = job.tried[-1][0] if job.tried else 0
    counting = {(one.key, one.attempt) for one in done.values()}
    found: dict[str, list[TryView]] = {}
    for one in recorded:
        if one.base < job.base and one.attempt > begun and (one.key, one.attempt) not in counting:
            # What the job went back to more than once has several copies.
            counting.add((one.key, one.attempt))
            shown = try_view(one)
            why = f"{shown.reason}; {LOST}" if shown.reason else LOST
            found.setdefault(one.key.split(TRY)[0], []).append(replace(shown, reason=why))
    return found


def _pending(
    number: int,
    key: str,
    name: str,
    status: str,
    job: Row[Any] | None = None,
    begun: datetime | None = None,
) -> StepView:
    shown = StepView(number, key, name, status, None, None, "", "", (), 0, None, None)
    if status == "skipped":
        return replace(shown, conclusion=status)
    if job is None or status == "queued":
        return shown
    shown = replace(shown, attempt=job.attempt, started_at=begun, job=job.id)
    if status in ("running", "waiting"):
        return shown
    return replace(shown, conclusion=status, reason=job.reason, finished_at=moment(job.finished_at))


def done_view(number: int, name: str, checkpoint: Row[Any], fork: Fork | None) -> StepView:
    outcome = checkpoint.outcome
    before = fork.whose(checkpoint.attempt) if fork else None
    return StepView(
        number=number,
        key=checkpoint.key,
        name=name,
        status=outcome["result"],
        conclusion=outcome["conclusion"],
        exit_code=outcome["exit_code"],
        reason=outcome["reason"],
        summary=outcome["summary"],
        annotations=tuple(
            AnnotationView(**readable(one), job=checkpoint.job, step=checkpoint.key)
            for one in outcome.get("annotations", ())
        ),
        attempt=checkpoint.attempt,
        started_at=moment(checkpoint.started_at),
        finished_at=moment(checkpoint.finished_at),
        job=before or checkpoint.job,
    )


def readable(said: Mapping[str, Any]) -> dict[str, Any]:
    """Texts as they can be sent: bytes that were no text are kept in letters that no text can have."""
    return {_text(name): _text(value) if isinstance(value, str) else value for name, value in said.items()}


def _text(said: str) -> str:
    return said.encode(errors="replace").decode()
