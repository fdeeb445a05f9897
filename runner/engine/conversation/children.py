"""Runs that a workflow's steps start, each once: what is asked for, and what its end means."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from runner.engine.conversation.asked import Asked
from runner.engine.conversation.bodies import failure, success
from runner.engine.definitions import asked_of, definitions, workflow_at
from runner.engine.dispatch import DISPATCH, dispatched
from runner.engine.outcomes import letters
from runner.engine.ports import Arrival
from runner.engine.receive import receive_all
from runner.engine.stage import Stage
from runner.engine.station import Station
from runner.errors import BrokenDefinition, NotFound, RunnerError, Unavailable
from runner.model.children import DEEPEST, HEARD, OUTPUT_LETTERS, Start
from runner.model.source import DEPTH, PARENT, Event
from runner.model.step import Outcome, Result
from runner.model.waits import Answer, Awaited, Wait, Word

INPUT_BYTES = 1024 * 1024
GIVEN = "given"
"""In an answer: whether its outputs are what the workflow gives. Without it they are what the jobs gave."""


def child_of(step: Asked, stage: Stage, now: datetime) -> Wait:
    """Start the run that a step asks for, unless it was before; gives the wait for its end.

    Raises `BrokenDefinition` where it cannot be started, `LeaseLost`.
    """
    station, scene = stage.station, stage.scene
    event = _event(step, stage)
    try:
        workflow = dispatched(event, definitions(scene.asked.run.route, station.workspaces))
    except Unavailable:
        raise
    except RunnerError as error:
        raise BrokenDefinition(str(error)) from None
    event = replace(event, payload={**event.payload, "workflow": workflow.path})
    # A job that is tried again as a whole starts anew, as its rerun does.
    guid = sha256(f"{scene.job.id} {len(scene.job.tried)} {step.key}".encode()).hexdigest()
    arrival = Arrival(event, f"step {guid}", guid, start=Start(stage.hold.lease, step.key))
    (made,) = receive_all([arrival], store=station.store, dispatcher=station.dispatcher)
    return Wait(step.key, Awaited.RUN, since=now, name=made.id, message=workflow.path)


def _event(step: Asked, stage: Stage) -> Event:
    """What the run is told: it is the doing of who started this one, and may do no more."""
    asked, job = stage.scene.asked, stage.scene.job
    event, run = asked.event, asked.run
    before = event.payload.get(PARENT) if event.kind == DISPATCH else None
    depth = before.get("depth") if isinstance(before, Mapping) else None
    depth = depth + 1 if isinstance(depth, int) else 2
    if depth > DEEPEST:
        raise BrokenDefinition(f"runs may start each other up to {DEEPEST} deep, and this one is the last")
    given = step.request.get("inputs")
    if (size := len(json.dumps(given))) > INPUT_BYTES:
        raise BrokenDefinition(f"the inputs have {size} bytes as JSON; the limit is {INPUT_BYTES}")
    payload: dict[str, Any] = {
        "workflow": str(step.request.get("workflow")),
        "inputs": dict(given) if isinstance(given, Mapping) else {},
        "ref": event.ref,
        "repository": {"full_name": run.route.repo, "default_branch": event.default_branch},
        "sender": {"login": event.actor},
        PARENT: {
            "run": run.id,
            "number": run.number,
            "workflow": run.workflow,
            "job": job.key,
            "step": step.name,
            "depth": depth,
            "fork": event.fork,
        },
        DEPTH: event.payload.get(DEPTH, 0),
    }
    return Event(
        DISPATCH,
        event.forge,
        event.repo,
        event.ref,
        run.route.commit,
        actor=event.actor,
        payload=payload,
        default_branch=event.default_branch,
    )


def given_by(answer: Answer, station: Station) -> Mapping[str, Any] | None:
    """The payload of an answer with what the workflow of the run that ended gives to who calls it.

    None where it says nothing of that, which is then what its jobs gave, and where that is known.
    """
    told: Mapping[str, Any] = answer.payload
    if answer.word is not Word.ENDED or GIVEN in told or not _did_well(answer):
        return None
    try:
        outputs = _outputs(told, station)
    except (BrokenDefinition, NotFound) as error:
        return {**told, GIVEN: False, "outputs": {}, "reason": str(error)}
    return None if outputs is None else {**told, GIVEN: True, "outputs": outputs}


def child_ended(wait: Wait, answer: Answer) -> tuple[Outcome, Mapping[str, Any]]:
    """What the end of a run means for the step that waited for it, with what the workflow is told."""
    told: Mapping[str, Any] = answer.payload
    run = f"run {told['run']} of {wait.message} ended with {told['result']}"
    if _did_well(answer) and told.get(GIVEN, True):
        return success(), {name: told[name] for name in ("run", "number", "result", "outputs")}
    why = f": {answer.comment}" if answer.comment else ""
    if _did_well(answer):
        why = f", but what it gives cannot be had: {told['reason']}"
    reason = run + why
    return failure(reason), {"reason": reason}


def _did_well(answer: Answer) -> bool:
    result = Result(answer.payload["result"])
    return result is Result.SUCCESS or (result is Result.SKIPPED and not answer.comment)


def _outputs(told: Mapping[str, Any], station: Station) -> Mapping[str, str] | None:
    """What the workflow of a run that has ended gives to who calls it; None where it says nothing of that."""
    run = station.store.load(int(told["run"]), HEARD)
    call = workflow_at(run.workflow, run.route, station.workspaces).on.call
    if call is None or not call.outputs:
        return None
    outputs = asked_of(run, station).returned(call)
    if (size := letters(outputs)) > OUTPUT_LETTERS:
        raise BrokenDefinition(f"its outputs have {size} letters together; {OUTPUT_LETTERS} are the most")
    return outputs
