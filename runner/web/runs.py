"""/api/v1/runs: what ran, its log, and what a person may do about it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from runner.engine import control
from runner.engine.opening import LAST_WORDS
from runner.errors import Forbidden, NotFound, Rejected
from runner.model.access import Actor, Role
from runner.model.answers import NotAsked, Unheard
from runner.model.audit import Act
from runner.model.reruns import failed_jobs
from runner.model.run import Run
from runner.model.step import is_named
from runner.model.waits import LOSS, Awaited, Signal, Word
from runner.store.read_models import (
    AnnotationView,
    JobView,
    RunFilter,
    RunSummary,
    RunView,
    SignalView,
    StepView,
    WaitView,
)
from runner.web.access import Acting
from runner.web.answers import Conflict
from runner.web.bodies import Asked
from runner.web.site import Site
from runner.web.transcript import Page, pages_of

VERBS = {Word.APPROVED: "approve", Word.REJECTED: "reject"} | dict.fromkeys(
    (Word.AGAIN, Word.DONE, Word.FAILED), "resume"
)
"""What a person's words are called in the audit log."""
LONGEST_COMMENT = 1000
Attempt = Annotated[int | None, Query(ge=1, description="An attempt of the run; the newest if not given.")]
Job = Annotated[str | None, Query(description="A job's key, path, name or id.")]


class Rerun(Asked):
    """Which jobs run again; without any of these, all."""

    failed: bool = False
    """Those that failed."""
    job: str | None = None
    """One job: its key, path, name or id."""
    from_step: str | None = None
    """One job from one step on, as JOB:STEP: what `job` takes, and the step's position, id or name."""


class Said(Asked):
    """A signal."""

    name: str
    payload: Any = None
    key: str = ""
    """Makes a copy of it known; where none is given, it is no copy of any."""
    attempt: int | None = Field(default=None, ge=1)
    """For this one of the run, and no other."""


class Judged(Asked):
    """What a person says to a job that waits for it."""

    job: str | None = None
    """A job's key, path, name or id; needed where several wait."""
    step: str | None = None
    """A step's key, number or name; needed where several of a job wait."""
    attempt: int | None = Field(default=None, ge=1)
    """For this one of the run, and no other."""
    comment: str = Field(default="", max_length=LONGEST_COMMENT, pattern=r"^[^\x00]*$")


class Reviewed(Judged):
    environment: str | None = None
    """All jobs that wait to deploy there, in the place of one job."""


class Resumed(Judged):
    """What becomes of a step that may have run: it runs again, counts as done, or as failed.

    Nothing is taken for granted there: without a word such a step stays as it is.
    """

    word: Literal["again", "done", "failed"] | None = None


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["runs"])

    @router.get("/runs")
    def list_runs(
        asking: Acting,
        repo: str | None = None,
        branch: str | None = None,
        workflow: str | None = None,
        event: str | None = None,
        actor: str | None = None,
        commit: str | None = None,
        status: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 30,
        before: Annotated[int | None, Query(description="Only runs older than this id.")] = None,
    ) -> list[RunSummary]:
        wanted = RunFilter(repo, branch, workflow, event, actor, commit, status, limit, before, asking.scope)
        return site.views.runs(wanted)

    @router.get("/runs/{run_id}")
    def show_run(run_id: int, attempt: Attempt = None) -> RunView:
        return site.views.run(run_id, attempt)

    @router.post("/runs/{run_id}/rerun")
    def rerun(run_id: int, actor: Acting, wanted: Rerun | None = None) -> RunView:
        """All jobs again, or some of them with those that need them; the others are kept as they ended."""
        wanted = wanted or Rerun()
        if [wanted.failed, wanted.job is not None, wanted.from_step is not None].count(True) > 1:
            raise Rejected(
                "failed, job or from_step: all that failed runs again, or the one job, or a part of it"
            )
        if wanted.from_step is not None:
            steps = _steps(site.views.run(run_id), wanted.from_step)
            _check_registered(site, run_id)
            act = Act(actor.name, "rerun", details={"from_step": wanted.from_step})
            return _controlled(partial(control.rerun_from, steps=steps), run_id, site, act)
        ids = None if wanted.job is None else [one.id for one in _jobs(site.views.run(run_id), wanted.job)]
        chosen = failed_jobs if wanted.failed else lambda run: ids
        _check_registered(site, run_id)
        act = Act(actor.name, "rerun", details={"failed": wanted.failed, "job": wanted.job})
        return _controlled(partial(control.rerun, chosen=chosen), run_id, site, act)

    @router.post("/runs/{run_id}/cancel")
    def cancel(run_id: int, actor: Acting) -> RunView:
        """End a run in order. A job whose `if` is met all the same, as with `always()`, goes on."""
        return _controlled(control.cancel, run_id, site, Act(actor.name, "cancel"))

    @router.post("/runs/{run_id}/force-cancel")
    def force_cancel(run_id: int, actor: Acting) -> RunView:
        """End a run now, whatever an `if` says."""
        return _controlled(control.force_cancel, run_id, site, Act(actor.name, "force-cancel"))

    @router.post("/runs/{run_id}/signal")
    def signal(run_id: int, said: Said, actor: Acting) -> SignalView:
        """Say something to a run. Whoever waits for it in there goes on; until then it is kept."""
        sent = Signal(said.name, said.key or uuid4().hex, actor.name, said.payload)
        act = Act(actor.name, "signal", details={"name": sent.name, "key": sent.key})
        send = partial(control.signal, attempt=said.attempt, store=site.store, dispatcher=site.dispatcher)
        try:
            made = send(run_id, sent, act=act)
        except Unheard as error:
            raise Conflict(str(error)) from None
        return SignalView(run_id, sent.name, sent.key, not made.fresh, made.taken, made.awaited)

    @router.post("/runs/{run_id}/approve")
    def approve(run_id: int, actor: Acting, judged: Reviewed | None = None) -> RunView:
        """Let a job go on that waits for approval."""
        return _answered(site, run_id, Awaited.APPROVAL, Word.APPROVED, judged or Reviewed(), actor)

    @router.post("/runs/{run_id}/reject")
    def reject(run_id: int, actor: Acting, judged: Reviewed | None = None) -> RunView:
        """Have a job fail that waits for approval."""
        return _answered(site, run_id, Awaited.APPROVAL, Word.REJECTED, judged or Reviewed(), actor)

    @router.post("/runs/{run_id}/resume")
    def resume(run_id: int, actor: Acting, wanted: Resumed | None = None) -> RunView:
        """Have a run go on: where it waits for what becomes of a step that may have run, as it is said.

        Where it has ended, what did not succeed goes on at the step where it stopped, in a new attempt, and
        the jobs that need it run again.
        """
        wanted = wanted or Resumed()
        run = site.views.run(run_id)
        if run.finished:
            if wanted.attempt not in (None, run.attempt):
                raise Conflict(f"run {run_id} is at attempt {run.attempt}, and not at {wanted.attempt}")
            if wanted.word in ("done", "failed") or wanted.step is not None:
                raise Conflict(f"run {run_id} has ended: no step of it waits for what becomes of it")
            within = None if wanted.job is None else [one.id for one in _jobs(run, wanted.job)]
            _check_registered(site, run_id)
            act = Act(actor.name, "resume", details={"job": wanted.job})
            return _controlled(partial(control.resume, within=within), run_id, site, act)
        if wanted.word is None and any(one.awaited == Awaited.RESUMPTION for one in _open_waits(run)):
            raise Rejected(f"a step of run {run_id} may have run: say again, done or failed of it")
        return _answered(site, run_id, Awaited.RESUMPTION, Word(wanted.word or "again"), wanted, actor)

    @router.get("/runs/{run_id}/annotations")
    def show_annotations(
        run_id: int,
        attempt: Attempt = None,
        job: Job = None,
        level: Annotated[Literal["error", "warning", "notice"] | None, Query()] = None,
    ) -> list[AnnotationView]:
        run = site.views.run(run_id, attempt)
        ids = {one.id for one in _jobs(run, job)}
        return [one for one in run.annotations if one.job in ids and level in (None, one.level)]

    @router.get("/runs/{run_id}/log", response_model=None)
    def show_log(
        run_id: int,
        attempt: Attempt = None,
        job: Job = None,
        step: Annotated[
            str | None, Query(description="A step's key or number, or the name that a program gave it.")
        ] = None,
    ) -> StreamingResponse:
        run = site.views.run(run_id, attempt)
        chosen = _jobs(run, job)
        if step is not None and not any(_has(site, one, step) for one in chosen):
            raise NotFound(f"run {run_id} has no step {step!r}{f' in job {job}' if job else ''}")
        return StreamingResponse(_text(site, chosen, step), media_type="text/plain; charset=utf-8")

    return router


def _answered(site: Site, run_id: int, awaited: Awaited, word: Word, judged: Judged, actor: Actor) -> RunView:
    ids = _judged(site, run_id, judged)
    steps = None if judged.step is None else _asking(site.views.run(run_id, judged.attempt), ids, judged.step)
    verb = partial(
        control.answer,
        awaited=awaited,
        word=word,
        by=actor.name,
        comment=judged.comment,
        chosen=lambda run: ids,
        steps=steps,
        attempt=judged.attempt,
        anyone=actor.role is Role.ADMIN,
        person=actor.person,
    )
    details: dict[str, Any] = {"job": judged.job, "comment": judged.comment, "word": word.value}
    if judged.attempt is not None:
        details["attempt"] = judged.attempt
    if judged.step is not None:
        details["step"] = judged.step
    if (environment := _environment(judged)) is not None:
        details["environment"] = environment
    return _controlled(verb, run_id, site, Act(actor.name, VERBS[word], details=details))


def _judged(site: Site, run_id: int, judged: Judged) -> list[int] | None:
    """The jobs that a person means; None for the only one that waits."""
    environment = _environment(judged)
    if environment is not None and judged.job is not None:
        raise Rejected("either job or environment: the one job, or all that wait to deploy there")
    if environment is not None:
        return _deploying(site.views.run(run_id, judged.attempt), environment)
    if judged.job is None:
        return None
    return [one.id for one in _jobs(site.views.run(run_id, judged.attempt), judged.job)]


def _asking(run: RunView, ids: list[int] | None, step: str) -> set[str]:
    """The keys of the steps that somebody means; a key means no other step that is called so."""
    jobs = [job for job in run.jobs if ids is None or job.id in ids]
    if any(wait.key.partition(LOSS)[0] == step for job in jobs for wait in job.waits):
        return {step}
    found = {one.key for job in jobs for one in job.steps if step in (one.key, str(one.number), one.name)}
    if not found:
        raise NotFound(f"run {run.id} has no step {step[:300]!a}")
    return found


def _environment(judged: Judged) -> str | None:
    return judged.environment if isinstance(judged, Reviewed) else None


def _deploying(run: RunView, environment: str) -> list[int]:
    """The jobs that wait for whoever reviews an environment."""
    asked = {
        job.id: wait.name
        for job in run.jobs
        for wait in job.waits
        if wait.awaited == Awaited.APPROVAL and wait.name and wait.answer is None
    }
    found = [job for job, name in asked.items() if name.casefold() == environment.casefold()]
    if not found:
        there = ", ".join(dict.fromkeys(asked.values())) or "none"
        raise Conflict(
            f"no job of run {run.id} waits for approval of environment {environment[:100]!a}; "
            f"waited for: {there}"
        )
    return found


def _open_waits(run: RunView) -> Iterator[WaitView]:
    return (wait for job in run.jobs for wait in job.waits if wait.answer is None)


def _check_registered(site: Site, run_id: int) -> None:
    run = site.store.load(run_id)
    try:
        site.repositories.get(run.route.forge, run.route.repo)
    except NotFound:
        raise Conflict(
            f"run {run_id} cannot run again: {run.route.repo} is not registered any more"
        ) from None


def _controlled(verb: Callable[..., Run], run_id: int, site: Site, act: Act) -> RunView:
    try:
        verb(run_id, store=site.store, dispatcher=site.dispatcher, act=act)
    except NotFound:
        raise
    except NotAsked as error:
        # Whoever tries what others are asked for is written down all the same.
        of = site.views.run_of(run_id, None)
        details = {**act.details, "refused": str(error), "started_by": of.actor, "changed": False}
        site.audit.write(replace(act, forge=of.forge, repo=of.repo, run=run_id, details=details))
        raise Forbidden(str(error)) from None
    except Rejected as error:
        raise Conflict(str(error)) from None
    return site.views.run(run_id)


def _jobs(run: RunView, wanted: str | None) -> list[JobView]:
    found = [job for job in run.jobs if wanted in (None, job.path, str(job.id))]
    # A key may be that of jobs in several workflows, of which the run's own come first.
    found = found or [job for job in run.jobs if wanted == job.key]
    found = found or [job for job in run.jobs if wanted == job.name]
    if wanted is not None and not found:
        there = ", ".join(dict.fromkeys(job.path for job in run.jobs))
        raise NotFound(f"run {run.id} has no job {wanted!r}; it has {there or 'none'}")
    return found


def _steps(run: RunView, wanted: str) -> list[tuple[int, str]]:
    """The jobs that JOB:STEP names, and the step of each; there may be colons in either name."""
    parts = wanted.split(":")
    splits = [(":".join(parts[:at]), ":".join(parts[at:])) for at in range(1, len(parts))]
    if not splits:
        raise Rejected(f"{wanted!r} names no step: write JOB:STEP, such as build:2")
    for job, step in splits:
        with suppress(NotFound):
            return [(one.id, step) for one in _jobs(run, job)]
    return [(one.id, splits[0][1]) for one in _jobs(run, splits[0][0])]


def _has(site: Site, job: JobView, step: str) -> bool:
    """Whether a job shows a step, or has a log of one that only an earlier attempt had."""
    shown = any(_is_meant(step, one) for one in job.steps)
    return shown or any(step == page.key for page in pages_of(job, site.logs))


def _is_meant(step: str, one: StepView | Page) -> bool:
    """Those that a definition lists are not known by their names, which need not say which one it is."""
    return step in (one.key, str(one.number)) or (is_named(one.key) and step == one.name)


def _text(site: Site, jobs: list[JobView], step: str | None) -> Iterator[bytes]:
    for job in jobs:
        pages = pages_of(job, site.logs)
        # Where only the job itself has a word, that is why its steps have none.
        alone = all(page.key == LAST_WORDS for page in pages)
        for page in pages:
            if step is None or alone or _is_meant(step, page):
                offset = 0
                while chunk := site.logs.read(page.job, page.attempt, page.key, offset, 256 * 1024):
                    offset += len(chunk)
                    yield chunk
