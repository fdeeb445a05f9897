"""Rows to values and back: the one place that knows both shapes."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple
from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from runner.errors import Unavailable
from runner.model.blob import Blob
from runner.model.environment import Deployment
from runner.model.forks import Fork
from runner.model.run import (
    UNNOTED,
    Begun,
    Finished,
    Job,
    Lease,
    Leg,
    Parent,
    Pending,
    Phase,
    Queued,
    Ready,
    Run,
    Running,
    StepName,
    Suspended,
    Try,
    Waiting,
)
from runner.model.source import Delivery, Event, Route
from runner.model.step import Annotation, Checkpoint, Exports, Outcome, Post, Result
from runner.model.turns import Place, State, Turn
from runner.model.waits import Answer, Awaited, Signal, Wait, Word
from runner.store.database import micros, moment

FIRST_RING = timedelta(seconds=5)
"""How long a message may take before the clock sends another; it then waits as long as the work is old."""


def run_from(row: Row[Any], jobs: tuple[Job, ...]) -> Run:
    return Run(
        id=row.id,
        number=row.number,
        attempt=row.attempt,
        route=Route(row.forge, row.repo, row.commit),
        delivery=row.delivery,
        workflow=row.workflow,
        name=row.name,
        created_at=moment(row.created_at),
        jobs=jobs,
        problems=tuple(row.problems),
        cancelled=row.cancelled,
        title=row.title,
        pins=row.pins,
        turn=turn_from(row.turn) if row.turn else None,
        over=row.over or "",
        parent=parent_from(row),
    )


def parent_from(row: Row[Any]) -> Parent | None:
    if row.parent is None:
        return None
    free = None if row.parent_free is None else moment(row.parent_free)
    return Parent(row.parent, row.parent_job, row.parent_step, row.parent_left, row.parent_ended, free=free)


def turn_to(turn: Turn) -> dict[str, Any]:
    return asdict(turn) | {"state": turn.state.value}


def turn_from(stored: Mapping[str, Any]) -> Turn:
    return Turn(**{**stored, "state": State(stored["state"])})


def place_from(row: Row[Any]) -> Place:
    return Place(row.number, row.run, row.job, turn_from(row.turn), row.name, tuple(row.within))


def place_columns(place: Place) -> dict[str, Any]:
    return {
        "number": place.number,
        "run": place.run,
        "job": place.job,
        "name": place.name,
        "turn": turn_to(place.turn),
        "within": list(place.within),
    }


def wait_to(wait: Wait) -> dict[str, Any]:
    answer = wait.answer
    return {
        "key": wait.key,
        "awaited": wait.awaited.value,
        "since": micros(wait.since),
        "due": None if wait.due is None else micros(wait.due),
        "shifts": wait.shifts,
        "name": wait.name,
        "message": wait.message,
        "approvers": list(wait.approvers),
        "barred": list(wait.barred),
        "joint": wait.joint,
        "answer": None
        if answer is None
        else {
            "word": answer.word.value,
            "at": micros(answer.at),
            "by": answer.by,
            "comment": answer.comment,
            "payload": answer.payload,
        },
    }


def wait_from(stored: Mapping[str, Any]) -> Wait:
    answer, due = stored["answer"], stored["due"]
    try:
        awaited = Awaited(stored["awaited"])
        if answer is not None:
            answer = Answer(**{**answer, "word": Word(answer["word"]), "at": moment(answer["at"])})
    except ValueError as unknown:
        # What is not understood must not be changed.
        what = f"a job waits as only a newer version of runner knows it: {unknown}"
        raise Unavailable(f"{what}; upgrade this one") from None
    return Wait(
        stored["key"],
        awaited,
        moment(stored["since"]),
        None if due is None else moment(due),
        stored["shifts"],
        stored["name"],
        stored["message"],
        tuple(stored["approvers"]),
        answer,
        tuple(stored.get("barred", ())),
        stored.get("joint", False),
    )


def signal_from(row: Row[Any]) -> Signal:
    return Signal(row.name, row.key, row.sender, row.payload, row.id)


def _begun_from(row: Row[Any]) -> dict[str, Begun]:
    if row.begun is None:
        # Only a former version stored it like that.
        return {UNNOTED: Begun(row.attempt, "")} if row.attempt else {}
    return {key: Begun(*one) for key, one in row.begun.items()}


def job_from(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        key=row.key,
        name=row.name,
        needs=tuple(row.needs),
        labels=tuple(row.labels),
        steps=tuple(StepName(*step) for step in row.steps),
        attempt=row.attempt,
        base=row.base,
        carried=row.carried,
        tries=row.tries,
        phase=phase_from(row),
        started=None if row.started_at is None else moment(row.started_at),
        claimed=None if row.claimed_at is None else moment(row.claimed_at),
        worked=timedelta(microseconds=row.worked),
        dynamic=row.dynamic,
        planned=row.planned,
        conditional=row.conditional,
        leg=Leg(**row.leg),
        calls=row.calls,
        caller=row.caller,
        inputs=row.inputs,
        outputs=row.outputs,
        cancelled=row.cancelled,
        position=row.position,
        made_in=row.run_attempt,
        lost=tuple(row.lost),
        tried=tuple(
            Try(attempt, Result(result), reason, moment(at)) for attempt, result, reason, at in row.tried
        ),
        asked=None if row.asked_at is None else moment(row.asked_at),
        turns=tuple(map(turn_from, row.turns)) if row.turns else (),
        waits=tuple(map(wait_from, row.waits)) if row.waits else (),
        forked=fork_from(row.forked),
        step_ids=row.step_ids or {},
        stands_for=row.stands_for,
        tolerant=row.tolerant,
        deployed=deployed_from(row.deployed),
        begun=_begun_from(row),
    )


def deployed_from(stored: Mapping[str, Any] | None) -> Deployment | None:
    return None if stored is None else Deployment(**stored)


def fork_from(stored: Mapping[str, Any] | None) -> Fork | None:
    if stored is None:
        return None
    return Fork(stored["step"], stored["carried"], tuple((job, attempt) for job, attempt in stored["line"]))


def phase_from(row: Row[Any]) -> Phase:
    match row.phase:
        case "ready":
            return Ready(moment(row.queued_at))
        case "pending":
            return Pending(moment(row.queued_at))
        case "queued":
            due = None if row.due_at is None else moment(row.due_at)
            return Queued(moment(row.queued_at), due, row.reason)
        case "running":
            return Running(Lease(row.id, row.worker, row.attempt, moment(row.lease_until)))
        case "finished":
            return Finished(Result(row.result), moment(row.finished_at), row.reason, row.tolerated)
        case "suspended":
            return Suspended(moment(row.queued_at))
        case "waiting":
            return Waiting()
        case unknown:
            # What is not understood must not be changed.
            what = f"job {row.id} is {unknown}, as only a newer version of runner knows it"
            raise Unavailable(f"{what}; upgrade this one")


def job_columns(job: Job) -> dict[str, Any]:
    """What a transition may change of a job."""
    columns: dict[str, Any] = {
        "attempt": job.attempt,
        "base": job.base,
        "carried": job.carried,
        "tries": job.tries,
        "started_at": None if job.started is None else micros(job.started),
        "claimed_at": None if job.claimed is None else micros(job.claimed),
        "worked": job.worked // timedelta(microseconds=1),
        "phase": type(job.phase).__name__.lower(),
        "due_at": None,
        "worker": None,
        "lease_until": None,
        "finished_at": None,
        "result": None,
        "reason": "",
        "ring_at": None,
        "tolerated": False,
        "planned": job.planned,
        "cancelled": job.cancelled,
        "asked_at": None if job.asked is None else micros(job.asked),
        "name": job.name,
        "labels": list(job.labels),
        "queue": queue_of(job.labels),
        "steps": [list(astuple(step)) for step in job.steps],
        "leg": asdict(job.leg),
        "calls": job.calls,
        "inputs": dict(job.inputs),
        "outputs": dict(job.outputs),
        "lost": list(job.lost),
        "tried": [[one.attempt, one.result.value, one.reason, micros(one.at)] for one in job.tried],
        "turns": [turn_to(turn) for turn in job.turns] or None,
        "waits": [wait_to(wait) for wait in job.waits] or None,
        "tolerant": job.tolerant,
        "deployed": None if job.deployed is None else asdict(job.deployed),
        "begun": {key: [one.attempt, one.on_lost] for key, one in job.begun.items()},
    }
    match job.phase:
        case Pending(since):
            columns |= {"queued_at": micros(since)}
        case Suspended(since):
            at = None if job.wakes is None else micros(job.wakes)
            columns |= {"queued_at": micros(since), "due_at": at, "ring_at": at}
        case Ready(since):
            columns |= {"queued_at": micros(since), "ring_at": micros(since + FIRST_RING)}
        case Queued(since, None, reason):
            at = micros(since + FIRST_RING)
            columns |= {"queued_at": micros(since), "ring_at": at, "reason": reason}
        case Queued(since, due, reason) if due is not None:
            at = micros(due)
            columns |= {"queued_at": micros(since), "due_at": at, "ring_at": at, "reason": reason}
        case Running(lease):
            until = micros(lease.until)
            columns |= {"worker": lease.worker, "lease_until": until, "ring_at": until}
        case Finished(result, at, reason, tolerated):
            columns |= {"finished_at": micros(at), "result": result.value, "reason": reason}
            columns["tolerated"] = tolerated
            return columns
    if job.asked is not None:
        columns["ring_at"] = micros(job.asked + FIRST_RING)
    return columns


def new_job_columns(job: Job, run: Run) -> dict[str, Any]:
    return {
        "run": run.id,
        "run_attempt": run.attempt,
        "position": job.position,
        "key": job.key,
        "needs": list(job.needs),
        "queued_at": None,
        "dynamic": job.dynamic,
        "conditional": job.conditional,
        "caller": job.caller,
        "repository": repository_of(run.route),
        "forked": None if job.forked is None else asdict(job.forked),
        "step_ids": dict(job.step_ids) or None,
        "stands_for": job.stands_for,
    } | job_columns(job)


def queue_of(labels: Iterable[str]) -> str:
    """The same for all jobs that the same workers may take."""
    return "+".join(sorted(set(labels)))


def repository_of(route: Route) -> str:
    return f"{route.forge}:{route.repo}"


def delivery_from(row: Row[Any], runs: tuple[int, ...] = ()) -> Delivery:
    event = Event(
        kind=row.kind,
        forge=row.forge,
        repo=row.repo,
        ref=row.ref,
        commit=row.commit,
        before=row.before,
        actor=row.actor,
        payload=row.payload,
        default_branch=row.default_branch,
    )
    return Delivery(row.id, event, row.status, row.reason, moment(row.received_at), runs, row.approved)


def outcome_to(outcome: Outcome) -> Mapping[str, Any]:
    """All of it but its `value`, which may be long and has a column of its own."""
    return {
        "result": outcome.result.value,
        "conclusion": outcome.conclusion.value,
        "exit_code": outcome.exit_code,
        "outputs": dict(outcome.outputs),
        "env": dict(outcome.exports.env),
        "path": list(outcome.exports.path),
        "summary": outcome.summary,
        "reason": outcome.reason,
        "annotations": [asdict(one) for one in outcome.annotations],
        "posts": [asdict(one) for one in outcome.posts],
        "masks": list(outcome.masks),
        "matchers": list(outcome.matchers),
        "given_up": outcome.given_up,
        "blob": None if outcome.blob is None else asdict(outcome.blob),
        "shown": outcome.shown,
        "takes_back": outcome.takes_back,
        "request": outcome.request,
        "line": outcome.line,
        "on_lost": outcome.on_lost,
    }


def checkpoint_from(row: Row[Any]) -> Checkpoint:
    stored = row.outcome
    outcome = Outcome(
        result=Result(stored["result"]),
        conclusion=Result(stored["conclusion"]),
        exit_code=stored["exit_code"],
        outputs=stored["outputs"],
        exports=Exports(stored["env"], tuple(stored["path"])),
        summary=stored["summary"],
        reason=stored["reason"],
        annotations=tuple(Annotation(**one) for one in stored.get("annotations", ())),
        posts=tuple(Post(tuple(one["path"]), one["state"], one["steps"]) for one in stored.get("posts", ())),
        masks=tuple(stored.get("masks", ())),
        matchers=tuple(stored.get("matchers", ())),
        given_up=stored.get("given_up", False),
        takes_back=stored.get("takes_back", False),
        value=row.value,
        blob=Blob(**stored["blob"]) if stored.get("blob") else None,
        shown=stored.get("shown"),
        request=stored.get("request", ""),
        line=stored.get("line", ""),
        on_lost=stored.get("on_lost", ""),
    )
    return Checkpoint(
        job=row.job,
        key=row.key,
        attempt=row.attempt,
        fingerprint=row.fingerprint,
        outcome=outcome,
        started=moment(row.started_at),
        finished=moment(row.finished_at),
        snapshot=row.snapshot,
        kept=row.kept,
    )
