"""Claim a job, converse with its program, checkpoint each step, conclude."""

import json
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from structlog.contextvars import bound_contextvars

from runner.engine.advance import advance, spread
from runner.engine.advance import envelope as addressed
from runner.engine.archive import keeping
from runner.engine.commands import FOLDER, CommandFiles, place_file
from runner.engine.contexts import Scene
from runner.engine.conversation import Conversation
from runner.engine.conversation.waits import Rest
from runner.engine.definitions import (
    asked_of,
    definition_of,
    home_of,
    secrets_of,
    tolerance_of,
    workflow_text,
)
from runner.engine.heart import Hold
from runner.engine.histories import history_of, settled_at
from runner.engine.ledger import Ledger
from runner.engine.library import Halted, Library
from runner.engine.masks import Masks
from runner.engine.matchers import Matchers
from runner.engine.opening import FIRST_WORDS, LAST_WORDS, Opening
from runner.engine.ports import Logs
from runner.engine.programs import Ended, Program, concluded, declared, environment_of
from runner.engine.remove import remove
from runner.engine.reopening import JOB, checking, held, reopen
from runner.engine.retries import Later, again, delay_of
from runner.engine.stage import Released, Stage, minutes
from runner.engine.station import Station
from runner.engine.waiting import Suspend
from runner.errors import (
    NOT_NOW,
    BrokenDefinition,
    DatabaseUnavailable,
    LeaseLost,
    RunnerError,
    Unavailable,
)
from runner.model.leasing import (
    NotClaimable,
    begin_waits,
    claim,
    conclude,
    forget_payloads,
    lay_down,
    postpone,
    release,
    retry,
    suspend,
    suspend_for_any,
    wait,
)
from runner.model.lifecycle import decide
from runner.model.pauses import stands_still
from runner.model.run import Envelope, Finished, Job, Lease, Run, Running
from runner.model.step import Outcome, Result
from runner.workflow.document import Retry, Steps, Workflow

LOG_BYTES = 64 * 1024 * 1024
"""What one step may print; the rest is dropped with a line that says so."""

log = logging.getLogger(__name__)


class NotBegun(Unavailable):
    """Something that a job needs before its first step does not answer; none of its steps has begun."""


def perform(envelope: Envelope, station: Station) -> None:
    """Work on one job until it ends, is handed back, or is lost; a message that came twice does nothing.

    Errors: `Rejected` where the message's Route is not the stored run's; `DatabaseUnavailable`, after
    which the lease runs out and the job goes on from its last checkpoint.
    """
    if station.heart.leaving:
        _pass_on(envelope, station)
        return
    asked = time.monotonic()
    claimed = _claim(envelope, station)
    if claimed is None:
        return
    run, lease = claimed
    with bound_contextvars(attempt=lease.attempt), station.heart.hold(lease, asked) as hold:
        if run.job(lease.job).cancelled:
            # What is left to do is what runs after a cancel.
            hold.cancel()
        try:
            _work_or_release(run, lease, hold, asked, station)
        except LeaseLost as lost:
            log.warning("lease lost", extra={"error": str(lost)})


def _pass_on(envelope: Envelope, station: Station) -> None:
    """Ring again: it may have been the only ring, which the clock would miss after seconds."""
    run = station.store.load(envelope.run)
    if run.has(envelope.job):
        # What comes as a message does not say which labels it needs.
        station.dispatcher.perform(addressed(run, run.job(envelope.job)))


def _work_or_release(run: Run, lease: Lease, hold: Hold, asked: float, station: Station) -> None:
    try:
        _work(run, run.job(lease.job), hold, asked, station)
    except Released as released:
        log.info("the job is handed back", extra={"reason": str(released)})
        _settle(run.job(lease.job), hold, station)
        advance(
            run.id,
            lambda run, now: run.with_job(release(held(run, lease), lease, now)),
            store=station.store,
            dispatcher=station.dispatcher,
        )


def _claim(envelope: Envelope, station: Station) -> tuple[Run, Lease] | None:
    """A ring is a wake-up call: what is claimed may be another repository's job, whose turn it is."""

    def take(run: Run, job_id: int, now: datetime) -> Run:
        job = run.job(job_id)
        if stands_still(run, job):
            return decide(run.with_job(lay_down(job, now, station.lease)), now)
        return decide(run.with_job(claim(job, station.worker, now, station.lease)), now)

    try:
        claimed = station.store.claim(envelope, take)
    except NotClaimable:
        return None
    if claimed is None:
        return None
    spread(claimed.change, store=station.store, dispatcher=station.dispatcher)
    job = claimed.change.after.job(claimed.job)
    # One that was cancelled when its worker was lost has ended instead.
    return (claimed.change.after, job.phase.lease) if isinstance(job.phase, Running) else None


def _work(run: Run, job: Job, hold: Hold, asked: float, station: Station) -> None:
    """Do the job to its end. Whatever keeps it from going on is its failure, with the reason.

    What cannot begin yet, or finds this machine in trouble, is tried again later.
    """
    with ExitStack() as tidy:
        try:
            with ExitStack() as opened:
                ended, terms = _conversation(run, job, hold, asked, station, opened, tidy)
            end = _end(job, hold, ended, terms)
        except (LeaseLost, DatabaseUnavailable):
            raise
        except Later as later:
            log.info("the job waits", extra={"reason": str(later), "seconds": later.delay.total_seconds()})
            end = partial(wait, lease=hold.lease, delay=later.delay, reason=str(later))
        except Suspend as suspended:
            log.info("the job is suspended", extra={"awaits": str(suspended)})
            end = partial(suspend, lease=hold.lease, wait=suspended.wait, length=suspended.length)
        except Rest as rest:
            log.info("the job is suspended", extra={"awaits": str(rest)})
            end = partial(_suspend_for_any, lease=hold.lease, rest=rest)
        except (RunnerError, OSError) as error:
            reason = str(error)
            if isinstance(error, OSError) and _not_now(error):
                # It may be one with more workers, and what the system says of it names no place.
                reason = f"the machine of the worker {station.worker} is in trouble: {error.strerror}"
            if isinstance(error, NotBegun | Halted) or _not_now(error):
                # Where the disk is full, it may be the job's own files that fill it.
                tidy.close()
                begun = not isinstance(error, NotBegun)
                what = "the job cannot go on" if begun else "the job cannot begin"
                log.warning(what, extra={"error": reason})
                note = f"##[warning]{what}: {reason}\n".encode()
                station.logs.append(job.id, job.attempt, LAST_WORDS, note)
                station.logs.flush(job.id)
                tolerated = _is_tolerated(run, job, station)
                end = partial(postpone, lease=hold.lease, reason=reason, begun=begun, tolerated=tolerated)
            else:
                log.warning("job failed", extra={"error": reason})
                tolerated = _is_tolerated(run, job, station)
                end = partial(
                    conclude, lease=hold.lease, result=Result.FAILURE, reason=reason, tolerated=tolerated
                )
        except Exception as error:
            log.exception("job failed by a bug")
            reason = f"internal error: {type(error).__name__}"
            end = partial(conclude, lease=hold.lease, result=Result.FAILURE, reason=reason)
        _settle(job, hold, station)
        # By now every process of the job is gone; only its folders are left to tidy.
        made = advance(
            run.id,
            lambda run, now: run.with_job(end(held(run, hold.lease), at=now)),
            store=station.store,
            dispatcher=station.dispatcher,
        )
        if isinstance(made.after.job(job.id).phase, Finished):
            tidy.callback(station.workspaces.retire, f"{JOB}{job.id}")


def _suspend_for_any(job: Job, lease: Lease, at: datetime, rest: Rest) -> Job:
    job = forget_payloads(job, lease, rest.heard)
    return suspend_for_any(begin_waits(job, lease, at, rest.waits), lease, at, rest.open)


def _settle(job: Job, hold: Hold, station: Station) -> None:
    """Have the newest files stored before somebody else may need them, or say that they are not."""
    if station.archive is None:
        return
    why = station.archive.settle(job.id, lambda: hold.why is not None)
    if why is not None:
        note = f"##[warning]the newest files are not in the store yet, only on this machine: {why}\n"
        station.logs.append(job.id, job.attempt, LAST_WORDS, note.encode())
        station.logs.flush(job.id)


def _end(job: Job, hold: Hold, ended: Ended, terms: "_Terms") -> Callable[..., Job]:
    """What becomes of a job whose program has come to its end."""
    failed = len(job.tried) + 1
    # The last word of a cancel is the store's: it ends what waits.
    if ended.result.failed and hold.cancelled is None and again(terms.retry, failed, ended.exit_code):
        delay = delay_of(terms.retry, failed, str(job.id)) if terms.retry else timedelta()
        why = ended.reason or (f"exit code {ended.exit_code}" if ended.exit_code else str(ended.result))
        most = terms.retry.max_attempts if terms.retry else 0
        return partial(
            retry,
            lease=hold.lease,
            delay=delay,
            result=ended.result,
            reason=f"it failed ({why}); tried {failed} of {most} times",
        )
    return partial(
        conclude,
        lease=hold.lease,
        result=ended.result,
        reason=ended.reason,
        outputs=ended.outputs,
        tolerated=terms.tolerant,
        deployed=ended.deployed,
    )


def _is_tolerated(run: Run, job: Job, station: Station) -> bool:
    """Whether the job may fail, where it did before it came to its steps."""
    try:
        _, definition = definition_of(run, job, station)
        return tolerance_of(definition, asked_of(run, station).of_job(job))
    except RunnerError:
        return False


def _not_now(error: BaseException | None) -> bool:
    """Whether this machine, rather than the job, is in trouble: its disk is full, or it is out of files."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NOT_NOW:
            return True
        error = error.__cause__
    return False


def _conversation(
    run: Run,
    job: Job,
    hold: Hold,
    asked: float,
    station: Station,
    opened: ExitStack,
    tidy: ExitStack,
) -> tuple[Ended, "_Terms"]:
    """Open the job's workspace and sandbox and run its program in them; raises `NotBegun`.

    Gives how it ended, and what a failure means.

    Closed before the job concludes: `opened`; after it: `tidy`.
    """
    try:
        work, ledger, terms = _begin(run, job, hold, asked, station, opened, tidy)
    except DatabaseUnavailable:
        raise
    except Unavailable as error:
        raise NotBegun(str(error)) from error
    ended = work()
    # What must not run twice does not do so with the rest of the job either.
    return ended, replace(terms, retry=None) if ledger.gave_up else terms


@dataclass(frozen=True, slots=True)
class _Terms:
    """What the definition of a job says about its failure."""

    tolerant: bool
    retry: Retry | None


def _begin(
    run: Run, job: Job, hold: Hold, asked: float, station: Station, opened: ExitStack, tidy: ExitStack
) -> tuple[Callable[[], Ended], Ledger, _Terms]:
    repository = station.repositories.get(run.route.forge, run.route.repo)
    station.workspaces.fetch(repository, run.route, keep=run.delivery, check=checking(job, hold))
    workflow, definition = definition_of(run, job, station)
    body = definition.body
    if not isinstance(body, Steps):
        raise BrokenDefinition(f"the job {job.key} has no steps")
    asked_for = asked_of(run, station, repository)
    seen = asked_for.of_job(job)
    limit, tolerant = minutes(body.timeout, seen), tolerance_of(definition, seen)
    secrets = secrets_of(asked_for, job, repository, station)
    library = Library(asked_for, home_of(run, job), f"{JOB}{job.id}", station)
    library.prepare(body.steps, library.home)
    history = history_of(asked_for.event, repository, body, station)
    reopened = reopen(run, job, hold, body, history, station)
    job, workspace, checkpoints = reopened.job, reopened.workspace, reopened.checkpoints
    tidy.callback(workspace.close)
    temp = station.temp / f"{job.id}-{job.attempt}"
    remove(temp)
    temp.mkdir(mode=0o700, parents=True)
    tidy.callback(remove, temp)
    place_file(f"{temp}/{FOLDER}event.json", json.dumps(asked_for.event.payload).encode(), 0o644)
    deadline = asked + limit * 60 - job.worked.total_seconds()
    masks, matchers = Masks(secrets.values()), Matchers()
    for done in checkpoints.values():
        for secret in done.outcome.masks:
            masks.add(secret)
        for text in done.outcome.matchers:
            matchers.restore(text)
    log = _StepLog(job, station.logs)
    lent = station.workspaces.lent(library.name, job.attempt)
    opening = Opening(asked_for, job, workflow, body, secrets, masks, workspace.path, temp, lent, deadline)
    place = opening.open(repository, hold, station, log, opened)
    history = settled_at(history, place, workspace.path, lent, station)
    sandbox = place.sandbox
    workspace.shown(sandbox, place.shared)
    library.place(sandbox, partial(log, FIRST_WORDS))
    scene = Scene(asked_for, job, sandbox, station.worker, secrets, station.env, place.env)
    kept = keeping(job.id, body, repository, station.snapshot, station.archive)
    stage = Stage(
        scene,
        CommandFiles(temp, sandbox.temp),
        workspace,
        library,
        hold,
        log,
        deadline,
        place.beside,
        station,
        repository,
        masks,
        matchers,
        checkpoints.keys(),
        library.pres(body.steps),
        history,
        kept.off,
    )
    # Whoever had it before may have died before it was stored.
    kept.saved(workspace.snapshot)
    ledger = Ledger(job, hold, deadline, dict(checkpoints), workspace, kept, station)
    work = partial(_worked_through, run, workflow, body, stage, ledger)
    return work, ledger, _Terms(tolerant, body.retry)


def _worked_through(run: Run, workflow: Workflow, body: Steps, stage: Stage, ledger: Ledger) -> Ended:
    if body.function is None:
        return converse(declared(workflow, body, stage), ledger)
    text = workflow_text(workflow.path, run.route, stage.station.workspaces).decode("utf-8-sig")
    env = environment_of(workflow, body, stage)
    on_lost = body.on_lost or "retry"
    conversation = Conversation(workflow.path, text, body.function, env, stage, ledger, on_lost)
    return concluded(body, env, conversation.converse(), stage)


def converse(program: Program, ledger: Ledger) -> Ended:
    """Answer each step the program asks for: from memory, or by doing it once."""
    answer: Outcome | None = None
    with closing(program):
        while True:
            try:
                call = program.send(answer)
            except StopIteration as end:
                ended: Ended = end.value
                return ended
            answer = ledger.recall(call) or ledger.perform(call)


class _StepLog:
    """Hands a job's output on, up to the limit for each step."""

    def __init__(self, job: Job, logs: Logs) -> None:
        self._job = job
        self._logs = logs
        self._left: dict[str, int] = {}

    def __call__(self, step: str, chunk: bytes) -> None:
        left = self._left.get(step, LOG_BYTES)
        if left < 0:
            return
        self._left[step] = left - len(chunk)
        if len(chunk) > left:
            chunk = (
                chunk[:left] + f"\n##[warning]the log was cut at its limit of {LOG_BYTES} bytes\n".encode()
            )
        self._logs.append(self._job.id, self._job.attempt, step, chunk)
