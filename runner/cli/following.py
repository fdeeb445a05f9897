"""Following runs of this process: as `runs watch` shows those of a server, and as one value at their end."""

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from runner.cli.lines import Show, Values
from runner.local import Local
from runner.model.run import Finished, Job, Run, combined, in_order_of_end
from runner.model.step import Result
from runner.store.read_models import JobView, RunView
from runner.web.transcript import Piece, Place, pieces
from runner.workflow.document import Steps, Workflow

FAILED = ("failure", "timed_out")


class Follower:
    """What one reader has seen of some runs; `look` shows what is new."""

    def __init__(self, local: Local, runs: Sequence[int], show: Show) -> None:
        self._local = local
        self._show = show
        self._seen: dict[tuple[str, int], object] = {}
        self._places: dict[int, Place] = {}
        self._runs = runs
        self.views: dict[int, RunView] = {}

    def look(self) -> bool:
        """Show what happened since the last look; whether all has ended and was shown."""
        for run in self._runs:
            view = self._local.views.run(run)
            self.views[run] = view
            if self._is_new("run", run, view.status):
                self._show.run(as_values(view))
            for job in view.jobs:
                self._follow(view, job)
        return all(view.finished for view in self.views.values())

    def _follow(self, run: RunView, job: JobView) -> None:
        # What a step printed comes before the news of its end.
        for piece in pieces(job, self._places.get(job.id, Place()), self._local.logs):
            self._places[job.id] = piece.place
            self._show.log(_log(piece) | {"label": self._label(run, job)})
        if self._is_new("job", job.id, job):
            self._show.job(as_values(job) | {"label": self._label(run, job), "run": run.id})

    def _is_new(self, kind: str, id: int, value: object) -> bool:
        known, self._seen[kind, id] = self._seen.get((kind, id)), value
        return known != value

    def _label(self, run: RunView, job: JobView) -> str:
        """What stands before a job's lines: with the workflow's file where there are several."""
        return f"{run.workflow.rpartition('/')[2]}/{job.label}" if len(self._runs) > 1 else job.label


def as_values(view: Any) -> Values:
    """A read model as the API would send it."""
    return {field.name: _plain(getattr(view, field.name)) for field in dataclasses.fields(view)}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return as_values(value) if dataclasses.is_dataclass(value) else value


def _log(piece: Piece) -> Values:
    page = piece.page
    return {
        "job": piece.job.id,
        "attempt": page.attempt,
        "step": page.key,
        "number": page.number,
        "name": page.name,
        "text": piece.text,
    }


def log_of(view: RunView, local: Local) -> str:
    """All that the jobs of a run printed, one after the other."""
    return "".join(piece.text for job in view.jobs for piece in pieces(job, Place(), local.logs))


def failed_steps(view: RunView, local: Local) -> Iterator[tuple[JobView, str, str]]:
    """Each step that made its job fail: the job, the step's name, and what it printed."""
    for job in view.jobs:
        for step in job.steps:
            if step.status in FAILED and step.conclusion in FAILED:
                said = pieces(job, Place(), local.logs)
                text = "".join(
                    p.text for p in said if (p.page.key, p.page.attempt) == (step.key, step.attempt)
                )
                yield job, step.name, text


def jobs_of(run: Run, view: RunView, workflow: Workflow) -> dict[str, Values]:
    """How each job of a run ended, with its legs: one for each combination of its matrix.

    Those of a workflow that it calls are among them, as CALLER/JOB.
    """
    shown = {job.id: job for job in view.jobs}
    legs: dict[str, list[Job]] = {}
    for job in run.jobs:
        legs.setdefault(shown[job.id].path, []).append(job)
    return {
        key: {
            "conclusion": conclusion(combined(job.phase for job in jobs)),
            "outputs": outputs_of(jobs),
            "legs": [_leg(job, shown[job.id], workflow) for job in jobs],
        }
        for key, jobs in legs.items()
    }


def outputs_of(legs: Sequence[Job]) -> dict[str, str]:
    """What a job hands to those that need it: of several legs, the one that ended last and says something."""
    found: dict[str, str] = {}
    for leg in in_order_of_end(legs):
        found |= {name: value for name, value in leg.outputs.items() if value or name not in found}
    return found


def _leg(job: Job, shown: JobView, workflow: Workflow) -> Values:
    body = workflow.job(job.key).body if job.caller is None else None
    ids = {step.key: step.id for step in body.steps} if isinstance(body, Steps) else {}
    steps = [
        {
            "index": index,
            "id": ids.get(step.key),
            "name": step.name,
            "outcome": conclusion(_result(step.status)),
            "conclusion": conclusion(_result(step.conclusion or step.status)),
        }
        for index, step in enumerate(shown.steps)
    ]
    phase = job.phase
    return {
        "matrix": dict(job.leg.matrix),
        "conclusion": conclusion(phase.conclusion if isinstance(phase, Finished) else None),
        "reason": phase.reason if isinstance(phase, Finished) else "",
        "steps": steps,
    }


def _result(status: str) -> Result | None:
    """How a step ended; None where it waits, or one before it does."""
    return Result(status) if status in {one.value for one in Result} else None


def conclusion(result: Result | None) -> str | None:
    """GitHub's word: what ran out of time has failed."""
    return "failure" if result is Result.TIMED_OUT else None if result is None else str(result)
