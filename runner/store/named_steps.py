"""The steps of a job that no definition lists: a program asks for them, by a name, as it goes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from runner.model.beginnings import Beginning
from runner.model.forks import Fork
from runner.model.step import TRY, is_named, name_in
from runner.model.waits import LOSS, Wait, Word, said_of
from runner.store.database import moment
from runner.store.read_models import StepView, TryView
from runner.store.rows import fork_from, wait_from
from runner.store.steps import done_view, try_view

LONGEST_VALUE = 2000
"""Letters of what a step gave that are shown."""
ENDED = "the job ended before it did"
GIVEN_UP = "the workflow gave it up"


def are_named(job: Row[Any]) -> bool:
    """Whether a job's steps are such."""
    return not job.steps and job.calls is None and job.attempt > 0


def named_step_views(
    job: Row[Any], done: Mapping[str, Row[Any]], begun: Sequence[Beginning]
) -> Iterator[StepView]:
    """All that are known of, in the order in which they began: by a checkpoint, a wait, or as `begun`.

    `done` is in the order of recording; `begun` in the newest attempt. One that began in an earlier attempt,
    and of which nothing was written down but a try, is asked for again when the program comes to it.
    """
    waits = [wait for wait in map(wait_from, job.waits or ()) if is_named(_step_of(wait.key))]
    # What was tried before is over, and its steps with it.
    current = [] if job.attempt in (attempt for attempt, *_ in job.tried) else begun
    known = _Known(job, done, {_step_of(wait.key): wait for wait in waits}, {one.key for one in current})
    since = dict[str, datetime]()
    for key, at in (
        *((key, moment(row.started_at)) for key, row in done.items() if is_named(key) and LOSS not in key),
        *((wait.key, wait.since) for wait in waits),
        *((one.key, one.at) for one in current),
    ):
        since[_step_of(key)] = min(at, since.get(_step_of(key), at))
    fork = fork_from(job.forked)
    tries: dict[str, tuple[TryView, ...]] = {}
    for key, row in done.items():
        if TRY in key:
            tries[_step_of(key)] = (*tries.get(_step_of(key), ()), try_view(row))
    for number, key in enumerate(sorted(since, key=lambda key: since[key]), start=1):
        shown = known.view(number, key, since[key], fork)
        yield replace(shown, tries=tries[key]) if key in tries else shown


def _step_of(key: str) -> str:
    """The step that a checkpoint or a wait is about."""
    return key.partition(TRY)[0].partition(LOSS)[0]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is written down of a job's steps; of several waits of a step only the newest counts."""

    job: Row[Any]
    done: Mapping[str, Row[Any]]
    waits: Mapping[str, Wait]
    begun: set[str]

    def view(self, number: int, key: str, since: datetime, fork: Fork | None) -> StepView:
        if key in self.done:
            shown = done_view(number, name_in(key), self.done[key], fork)
            outcome = self.done[key].outcome
            value, line = outcome.get("shown"), outcome.get("line", "")
            value = self.done[key].value if value is None else value
            if value is not None and len(value) > LONGEST_VALUE:
                value = f"{value[:LONGEST_VALUE]}\N{HORIZONTAL ELLIPSIS}"
            return replace(shown, value=value, line=line)
        status, reason, end = self._status(key)
        over = end is not None
        return StepView(
            number,
            key,
            name_in(key),
            status,
            conclusion=status if over else None,
            exit_code=None,
            reason=reason,
            summary="",
            annotations=(),
            attempt=0 if status == "queued" else self.job.attempt,
            started_at=None if status == "queued" else since,
            finished_at=end,
            job=0 if status == "queued" else self.job.id,
        )

    def _status(self, key: str) -> tuple[str, str, datetime | None]:
        """How a step stands without a checkpoint, why, and when it was over, if it is."""
        job, wait = self.job, self.waits.get(key)
        if job.phase == "finished" and job.result in ("cancelled", "timed_out"):
            return job.result, job.reason, moment(job.finished_at)
        if wait is not None and wait.answer is not None and wait.answer.word is Word.LEFT:
            return "cancelled", GIVEN_UP, wait.answer.at
        if job.phase == "finished":
            # Of what it still waits for, no workflow ends well.
            reason = GIVEN_UP if job.result == "success" else ENDED
            return "cancelled", reason, moment(job.finished_at)
        if wait is not None and wait.answer is None:
            return "waiting", said_of(wait), None
        running = job.phase == "running" and (key in self.begun or wait is not None)
        return "running" if running else "queued", "", None
