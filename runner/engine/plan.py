"""Evaluate the definition of a job whose turn has come: is it skipped, in which legs does it run, what does
it call, and how did that end. And of one that was cancelled, whether its `if` has it go on."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any

from structlog.contextvars import bound_contextvars

from runner.engine.advance import advance
from runner.engine.concurrency import turn_of
from runner.engine.contexts import Asked, Contexts, strategy_of
from runner.engine.definitions import asked_of, called_by, definition_of, tolerance_of, unsaved_jobs
from runner.engine.gates import Rules, gate_of
from runner.engine.pins import walked
from runner.engine.station import Station
from runner.errors import (
    BrokenDefinition,
    DatabaseUnavailable,
    LeaseLost,
    Rejected,
    RunnerError,
    Unavailable,
)
from runner.expr.evaluate import HALF, Functions, holds, render
from runner.expr.template import Template
from runner.expr.values import ExpressionError, Value, fold, known, to_string
from runner.model import planning
from runner.model.run import Envelope, Job, Leg, Ready, Run, StepName, combined
from runner.model.source import Repository
from runner.model.step import Result
from runner.workflow.document import Call, JobDef, Reusable, StepDef, Steps, Strategy
from runner.workflow.matrix import Combination, combinations
from runner.workflow.references import remote_call
from runner.workflow.trees import settled
from runner.workflow.words import cut

DEEPEST = 10
"""How deep workflows may call each other, as on GitHub."""
MOST_JOBS = 1000
"""Of a run, those of the workflows that it calls included."""
LONGEST_NAME = 255
PATIENCE = timedelta(minutes=5)
"""How long a repository may not answer before the job fails for it."""
OF_A_LEG = ("strategy", "matrix")
"""The contexts that no job has before it is planned."""

Next = Callable[[Run, datetime], Run]

log = logging.getLogger(__name__)


def plan(envelope: Envelope, station: Station) -> None:
    """Evaluate the definition of one job; a message that came twice, or late, does nothing.

    What is wrong with the definition is the job's failure, with the reason. Errors: `Rejected` where the
    message's Route is not the stored run's; `Unavailable`, after which the clock rings again.
    """
    run = station.store.load(envelope.run)
    if run.route != envelope.route:
        raise Rejected(f"message for run {run.id} says {envelope.route}, but the run is at {run.route}")
    if not run.has(envelope.job):
        return
    job = run.job(envelope.job)
    if job.asked is None and not isinstance(job.phase, Ready):
        return
    try:
        change = _next(run, job, station) if job.asked is None else _answered(run, job, station)
    except DatabaseUnavailable:
        raise
    except Unavailable as error:
        _give_up(run, job, f"{error}; tried for {PATIENCE.seconds // 60} minutes", station)
        raise
    except (RunnerError, ExpressionError) as error:
        change = _failure(job, str(error))
    except Exception as error:
        log.exception("planning failed by a bug")
        change = _failure(job, f"internal error: {type(error).__name__}")
    with bound_contextvars(job=job.id):
        after = _carried_out(run, job, change, station)
    if after.has(job.id) and after.winds_down(job) != run.winds_down(job):
        plan(envelope, station)


def _carried_out(run: Run, job: Job, change: Next, station: Station) -> Run:
    change = _unless_changed(run, job, change)
    try:
        return advance(run.id, change, store=station.store, dispatcher=station.dispatcher).after
    except (Rejected, LeaseLost, Unavailable):
        raise
    except Exception as error:
        # What no database takes would be planned for ever.
        log.exception("planning failed by a bug")
        reason = f"what its definition gives cannot be stored: {type(error).__name__}"
        change = _unless_changed(run, job, _failure(job, reason))
        return advance(run.id, change, store=station.store, dispatcher=station.dispatcher).after


def _unless_changed(seen: Run, job: Job, change: Next) -> Next:
    """What was evaluated counts where the job is still there, and was not cancelled meanwhile."""

    def guarded(run: Run, now: datetime) -> Run:
        if not run.has(job.id) or run.winds_down(job) != seen.winds_down(job):
            return run
        return change(run, now)

    return guarded


def _failure(job: Job, reason: str) -> Next:
    """What cannot be evaluated fails. Where that was whether a cancelled job goes on, it does not."""
    if job.asked is None:
        return lambda run, now: planning.settle(run, job.id, Result.FAILURE, now, reason)
    log.warning("a cancelled job cannot be asked whether it goes on", extra={"error": reason})
    return lambda run, now: planning.answer(run, job.id, goes_on=False)


def _give_up(run: Run, job: Job, reason: str, station: Station) -> None:
    def change(run: Run, now: datetime) -> Run:
        if not run.has(job.id):
            return run
        mine = run.job(job.id)
        since = mine.phase.since if isinstance(mine.phase, Ready) else None
        since = mine.asked or since
        if since is None or now - since < PATIENCE:
            return run
        return _failure(mine, reason)(run, now)

    advance(run.id, change, store=station.store, dispatcher=station.dispatcher)


def _answered(run: Run, job: Job, station: Station) -> Next:
    """Whether a job goes on although its workflow was cancelled: its `if`, evaluated again."""
    repository = _fetched(run, station)
    _, definition = definition_of(run, job, station)
    goes_on = _is_met(asked_of(run, station, repository), job, definition)
    return lambda run, now: planning.answer(run, job.id, goes_on)


def _fetched(run: Run, station: Station) -> Repository:
    """The run's repository, with its commit at hand."""
    repository = station.repositories.get(run.route.forge, run.route.repo)
    station.workspaces.fetch(repository, run.route, keep=run.delivery)
    return repository


def _next(run: Run, job: Job, station: Station) -> Next:
    repository = _fetched(run, station)
    asked = asked_of(run, station, repository)
    _, definition = definition_of(run, job, station)
    seen = asked.of_job(job)
    if not job.planned:
        rules = cache(partial(station.environments.rules, repository))
        if job.forked is not None or job.leg != Leg():
            return _as_it_was(asked, job, definition, seen, rules)
        return _legs(asked, job, definition, seen, station.matrix, rules)
    if not isinstance(definition.body, Reusable) or job.calls is None:
        raise BrokenDefinition(f"the job {job.key} has nothing to plan")
    wanted = remote_call(job.calls)
    if wanted is not None and wanted.version not in run.pins:
        run, _ = walked(
            asked, station.sources, lambda walk: walk.route(wanted), station.store, station.dispatcher
        )
        asked = replace(asked, run=run)
    called = called_by(run, job, station)
    if called.on.call is None:
        raise BrokenDefinition(f'{job.calls} cannot be called: its "on" has no workflow_call')
    if run.called_by(job.id):
        return _returned(run, job, called.on.call, asked)
    _check_depth(run, job)
    inputs = called_inputs(called.on.call, definition.body, seen)
    if called.concurrency is not None and not any(turn.called for turn in job.turns):
        inside = {"github": seen["github"], "vars": seen["vars"], "inputs": inputs}
        turn = turn_of(called.concurrency, inside, called=True)
        return lambda run, now: planning.line_up(run, job.id, turn, now)
    children = unsaved_jobs(called, f"{job.name} / ", wanted)
    return _bounded(job, children, lambda run, now: planning.call(run, job.id, children, inputs, now))


def _legs(
    asked: Asked,
    job: Job,
    definition: JobDef,
    seen: Contexts,
    wanted: Mapping[str, Collection[str]],
    rules: Rules,
) -> Next:
    run = asked.run
    if not _is_met(asked, job, definition):
        return _skipped(job, "its condition is not met")
    seen = {name: value for name, value in seen.items() if name not in OF_A_LEG}
    strategy = definition.strategy or Strategy()
    found = [one for one in combinations(settled(strategy.matrix, seen)) if _is_wanted(one, wanted)]
    if not found:
        return _skipped(job, "its matrix leaves no combination")
    most = settled(strategy.max_parallel, seen)
    fast = settled(strategy.fail_fast, seen)
    if not isinstance(fast, bool):
        raise BrokenDefinition(f'"fail-fast" is true or false, not {to_string(fast)!r}')
    if most is not None and not (isinstance(most, float) and most >= 1):
        raise BrokenDefinition(f'"max-parallel" is a number from 1, not {to_string(most)!r}')
    limit = None if most is None else int(most)
    legs = [
        replace(job, leg=Leg(combination, index, len(found), fast, limit))
        for index, combination in enumerate(found)
    ]
    sights = [_seen_by(leg, seen) for leg in legs]
    legs = [_leg(run, leg, definition, sight) for leg, sight in zip(legs, sights, strict=True)]
    gates = [gate_of(definition, sight, asked.event, rules) for sight in sights]

    def planned(run: Run, now: datetime) -> Run:
        ready = [replace(leg, waits=gate(now)) for leg, gate in zip(legs, gates, strict=True)]
        return planning.plan(run, job.id, ready)

    return _bounded(job, legs, planned)


def _as_it_was(asked: Asked, job: Job, definition: JobDef, seen: Contexts, rules: Rules) -> Next:
    """A leg of an earlier attempt, or a job that goes on: new is what its environment has it wait for."""
    if asked.run.winds_down(job) and not _is_met(asked, job, definition):
        return _skipped(job, "its condition is not met")
    gate, may_fail = gate_of(definition, seen, asked.event, rules), tolerance_of(definition, seen)
    return lambda run, now: planning.plan(run, job.id, [replace(job, waits=gate(now), tolerant=may_fail)])


def _seen_by(leg: Job, seen: Contexts) -> Contexts:
    return {**seen, "matrix": dict(leg.leg.matrix) or None, "strategy": strategy_of(leg)}


def _is_met(asked: Asked, job: Job, definition: JobDef) -> bool:
    """Whether the `if` of a job holds now."""
    if definition.condition is None:
        return True
    seen = {name: value for name, value in asked.of_job(job).items() if name not in OF_A_LEG}
    # An `if` sees all jobs before it, the rest of a definition only those that the job itself needs.
    seen["needs"] = asked.needs(job, asked.run.ancestors(job))
    return holds(definition.condition, seen, _status(asked.run, job))


def _bounded(job: Job, more: Sequence[Job], change: Next) -> Next:
    """Do it where the run does not get too many jobs by it."""

    def bounded(run: Run, now: datetime) -> Run:
        if len(run.jobs) + len(more) <= MOST_JOBS:
            return change(run, now)
        reason = f"the run would have {len(run.jobs) + len(more)} jobs; {MOST_JOBS} are the most"
        return planning.settle(run, job.id, Result.FAILURE, now, reason)

    return bounded


def _is_wanted(combination: Combination, wanted: Mapping[str, Collection[str]]) -> bool:
    return all(to_string(combination[key]) in wanted[key] for key in combination.keys() & wanted.keys())


def _skipped(job: Job, reason: str) -> Next:
    return lambda run, now: planning.settle(run, job.id, Result.SKIPPED, now, reason)


def _leg(run: Run, job: Job, definition: JobDef, seen: Contexts) -> Job:
    steps = definition.body.steps if isinstance(definition.body, Steps) else ()
    return replace(
        job,
        name=_prefix(run, job) + _name(definition, job.leg.matrix, seen),
        labels=_labels(definition, seen),
        steps=tuple(StepName(step.key, _title(step, seen), step.condition is not None) for step in steps),
        turns=() if definition.concurrency is None else (turn_of(definition.concurrency, seen),),
        tolerant=tolerance_of(definition, seen),
    )


def _prefix(run: Run, job: Job) -> str:
    return "" if job.caller is None else f"{run.job(job.caller).name} / "


def _name(definition: JobDef, matrix: Mapping[str, Any], seen: Contexts) -> str:
    """What its name says; one that tells no legs apart is followed by the values of the matrix."""
    if definition.name is not None and definition.name.expressions:
        return _shown(render(definition.name, seen)) or definition.key
    values = ", ".join(filter(None, _leaves(matrix)))
    return _shown(f"{definition.title} ({values})") if values else definition.title


def _shown(name: str) -> str:
    """A name as every database takes it, and every list can show it."""
    text = " ".join(HALF.sub("\ufffd", name).replace("\0", " ").split())
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"


def _leaves(value: object) -> Iterator[str]:
    """The plain values in one of any shape, as text."""
    match value:
        case Mapping():
            for one in value.values():
                yield from _leaves(one)
        case list() | tuple():
            for one in value:
                yield from _leaves(one)
        case _:
            yield to_string(known(value))


def _labels(definition: JobDef, seen: Contexts) -> tuple[str, ...]:
    found = [label for part in _label_templates(definition) for label in _texts(settled(part, seen))]
    if not all(found):
        raise BrokenDefinition('"runs-on" gives an empty label')
    # Labels are compared regardless of case.
    return tuple(dict.fromkeys(label.lower() for label in found))


def _label_templates(definition: JobDef) -> tuple[Template, ...]:
    return definition.body.labels if isinstance(definition.body, Steps) else ()


def _texts(value: Value) -> list[str]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_string(known(one)) for one in value]
    return [to_string(value)]


def _title(step: StepDef, seen: Contexts) -> str:
    """A step's name as far as it can be known before the job runs."""
    if step.name is None or not step.name.expressions:
        return step.title
    try:
        return _shown(render(step.name, seen)) or step.title
    except ExpressionError:
        return step.title


def _status(run: Run, job: Job) -> Functions:
    """`success()` and its kin for a job: about all jobs before it, or those that are named."""
    before = {fold(key): result for key, result in run.ancestors(job).items()}

    def results(names: tuple[object, ...]) -> list[Result | None]:
        return [before.get(fold(to_string(known(name)))) for name in names] if names else [*before.values()]

    cancelled = run.winds_down(job)
    return {
        "success": lambda *names: not cancelled and all(one is Result.SUCCESS for one in results(names)),
        "failure": lambda *names: any(one is not None and one.failed for one in results(names)),
        "cancelled": lambda: cancelled,
        "always": lambda: True,
    }


def called_inputs(call: Call, body: Reusable, seen: Contexts) -> dict[str, Any]:
    """What a called workflow is given, each input of its type; raises `BrokenDefinition`."""
    given = settled(body.inputs, seen)
    values = dict(given) if isinstance(given, Mapping) else {}
    names = {fold(name): name for name in call.inputs}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if fold(name) not in names:
            there = ", ".join(call.inputs) or "none"
            raise BrokenDefinition(f"{body.workflow} has no input {name!r}; it has {there}")
        found[names[fold(name)]] = value
    for name, wanted in call.inputs.items():
        if name not in found and wanted.required:
            raise BrokenDefinition(f"{body.workflow} needs the input {name!r}")
        value = known(found[name]) if name in found else settled(wanted.default, seen)
        found[name] = _typed(name, wanted.type, value, body.workflow)
    return found


def _typed(name: str, kind: str, value: Value, workflow: str) -> Value:
    if value is None:
        return {"boolean": False, "number": 0.0}.get(kind, "")
    match kind, value:
        case ("boolean", bool()) | ("number", float()):
            return value
        case "string", bool() | float() | str():
            return to_string(value)
    raise BrokenDefinition(f"{workflow}: the input {name!r} is a {kind}, not {cut(to_string(value))!r}")


def _returned(run: Run, job: Job, call: Call, asked: Asked) -> Next:
    """The workflow that a job called has ended: how, and what it gives."""
    result = combined(one.phase for one in run.called_by(job.id)) or Result.FAILURE
    outputs = asked.returned(call, job)
    return lambda run, now: planning.settle(run, job.id, result, now, outputs=outputs)


def _check_depth(run: Run, job: Job) -> None:
    depth, caller = 1, job.caller
    while caller is not None:
        if run.job(caller).calls == job.calls:
            raise BrokenDefinition(f"{job.calls} calls itself")
        depth, caller = depth + 1, run.job(caller).caller
    if job.calls == run.workflow:
        raise BrokenDefinition(f"{job.calls} calls itself")
    if depth > DEEPEST:
        raise BrokenDefinition(f"workflows call each other more than {DEEPEST} deep")
