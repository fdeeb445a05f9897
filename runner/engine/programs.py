"""A job's program: it asks for steps one after another, and is told how each ended.

The engine answers from a checkpoint where the step already happened. What a program asks for depends
on nothing but its definition and those answers, so a replay asks for the same.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from runner.engine.contexts import plain
from runner.engine.deployments import deployed
from runner.engine.library import Pre
from runner.engine.stage import Level, Stage
from runner.engine.steps import go_on_from, instead_of_step, perform_post, perform_pre, perform_step
from runner.errors import BrokenDefinition
from runner.expr.status import status_functions
from runner.expr.values import known, to_string
from runner.model.environment import Deployment
from runner.model.step import Exports, Outcome, Post, Result
from runner.workflow.built_in import is_wait
from runner.workflow.document import Container, Retry, Run, StepDef, Steps, Uses, Workflow
from runner.workflow.trees import settled, texts

OUTPUT_LETTERS = 1024 * 1024
"""What a job may hand on."""


@dataclass(frozen=True, slots=True)
class StepCall:
    """One step as a program asks for it.

    `key` is its position, `fingerprint` what it would do: a different request under an old key means
    that the program diverged from what was recorded.
    """

    key: str
    name: str
    fingerprint: str
    perform: Callable[[], Outcome]
    retry: Retry | None = None
    on_lost: str = "retry"
    """What becomes of it where a worker that fell silent may have done it: retry, fail or ask."""
    instead: Callable[[Callable[[], Outcome]], Outcome] | None = None
    """Gives another outcome than its own, where its `if` is met."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended, and what it hands on. `exit_code` is that of the step for which it failed."""

    result: Result
    outputs: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    exit_code: int | None = None
    deployed: Deployment | None = None


Program = Generator[StepCall, Outcome | None, Ended]


@dataclass(slots=True)
class Past:
    """What the steps of a job left for those that follow."""

    exports: Exports = field(default_factory=Exports)
    steps: dict[str, Any] = field(default_factory=dict)
    posts: dict[tuple[int, ...], tuple[StepDef, Post]] = field(default_factory=dict)
    """What actions left to be done at the end, in the order in which each of them began."""
    states: dict[tuple[int, ...], Mapping[str, str]] = field(default_factory=dict)
    result: Result = Result.SUCCESS
    exit_code: int | None = None
    over: bool = False
    """Whether the job was cancelled, or is out of time: steps that ask for it still run."""

    def add(self, step: StepDef, outcome: Outcome) -> None:
        self.end(outcome)
        self.exports = self.exports.then(outcome.exports)
        self.posts |= {post.path: (step, post) for post in outcome.posts}
        if step.id is not None:
            self.steps[step.id] = {
                "outputs": dict(outcome.outputs),
                "outcome": plain(outcome.result),
                "conclusion": plain(outcome.conclusion),
            }

    def begin(self, step: StepDef, pre: Pre, outcome: Outcome) -> None:
        """What an action did before the first step: it sees later what it wrote down for itself."""
        self.end(outcome)
        self.exports = self.exports.then(outcome.exports)
        for post in outcome.posts:
            self.states[pre.path] = post.state
            if pre.posts:
                self.posts[pre.path] = (step, post)

    def end(self, outcome: Outcome) -> None:
        """What went wrong first is how the job ends, but for a cancel."""
        if outcome.conclusion.ok:
            return
        if self.result is Result.SUCCESS or outcome.conclusion is Result.CANCELLED:
            self.result, self.exit_code = outcome.conclusion, outcome.exit_code

    @property
    def status(self) -> str:
        """How the job stands, as an `if` sees it: one that ran out of time is cancelled."""
        if self.over or self.result is Result.CANCELLED:
            return "cancelled"
        return "success" if self.result is Result.SUCCESS else "failure"


def declared(workflow: Workflow, job: Steps, stage: Stage) -> Program:
    """The steps of a job in a workflow file, in their order, and what its actions do at the end."""
    seen, past = stage.seen, Past()
    try:
        env = environment_of(workflow, job, stage)
    except BrokenDefinition as error:
        reason = f"the job's environment cannot be evaluated: {error}"
        return Ended(Result.FAILURE, reason=stage.masks.hide_text(reason))
    for pre in stage.pres:
        step, key = job.steps[pre.path[0]], pre.key
        _look_up(stage, past, key)
        if past.over:
            # Nothing has begun that would have to be tidied up.
            break
        level = _level(stage, env, past, pre.path)
        call = _call(key, f"Pre {step.title}", step, partial(perform_pre, step, pre, level, stage))
        past.begin(step, pre, _answered((yield call)))
    for place, step in enumerate(job.steps):
        _look_up(stage, past, step.key)
        if step.condition is None and past.result is not Result.SUCCESS:
            # Nobody has to be asked, and nothing be written down.
            past.add(step, Outcome(Result.SKIPPED, Result.SKIPPED))
            continue
        level = replace(_level(stage, env, past, (place,)), states=past.states)
        call = replace(
            _call(step.key, step.title, step, partial(perform_step, step, level, stage)),
            retry=step.retry,
            on_lost=on_lost(step, job),
            instead=partial(instead_of_step, step, level, stage),
        )
        happened = step.key in stage.recorded
        outcome = _answered((yield call))
        if happened:
            go_on_from(step, outcome, level, stage)
        past.add(step, outcome)
    for step, post in reversed(past.posts.values()):
        key = post.key
        _look_up(stage, past, key)
        level = _level(stage, env, past, post.path)
        call = _call(key, f"Post {step.title}", step, partial(perform_post, step, post, level, stage))
        past.end(_answered((yield call)))
    return _ended(job, seen, env, past, stage)


def on_lost(step: StepDef, job: Steps) -> str:
    """What becomes of a step that may have run: retry, fail or ask."""
    if isinstance(step.body, Uses) and is_wait(step.body.action):
        # What it waited for is kept, however often it is asked.
        return "retry"
    return step.on_lost or job.on_lost or "retry"


def environment_of(workflow: Workflow, job: Steps, stage: Stage) -> Mapping[str, str]:
    """The variables of the workflow, of the container and of the job, each over those before."""
    env = {**stage.scene.env, **texts(workflow.env, stage.seen)}
    seen = {**stage.seen, "job": {**stage.seen["job"], "status": "success"}}
    env |= stage.scene.container_env
    if isinstance(job.container, Container):
        env |= texts(job.container.env, {**seen, "env": env})
    elif job.container is not None:
        found = settled(job.container, stage.seen)
        given = found.get("env") if isinstance(found, Mapping) else None
        env |= (
            {name: to_string(known(value)) for name, value in given.items()}
            if isinstance(given, Mapping)
            else {}
        )
    return env | texts(job.env, {**seen, "env": env})


def _look_up(stage: Stage, past: Past, key: str | None = None) -> None:
    """Between two steps too a job may be cancelled, or run out of time: not before one that has happened."""
    if not past.over and key not in stage.recorded and stage.over is not None:
        past.result, past.over = stage.over, True


def _level(stage: Stage, env: Mapping[str, str], past: Past, path: tuple[int, ...]) -> Level:
    known = {**stage.seen, "steps": past.steps}
    outlives = past.status == "cancelled"
    return Level(known, env, past.exports, past.status, path, outlives, home=stage.library.home)


def _call(key: str, name: str, step: StepDef, perform: Callable[[], Outcome]) -> StepCall:
    return StepCall(key, name, fingerprint(step), perform)


def _answered(outcome: Outcome | None) -> Outcome:
    if outcome is None:
        raise TypeError("a program is answered with an outcome")
    return outcome


def _ended(job: Steps, seen: Mapping[str, Any], env: Mapping[str, str], past: Past, stage: Stage) -> Ended:
    _look_up(stage, past)
    known = {**seen, "steps": past.steps, "env": {**env, **past.exports.env}}
    known["job"] = {**seen["job"], "status": past.status}
    try:
        outputs = texts(job.outputs, known, status_functions(past.status))
    except BrokenDefinition as error:
        result = Result.FAILURE if past.result is Result.SUCCESS else past.result
        reason = f"the job's outputs cannot be evaluated: {error}"
        return Ended(result, reason=stage.masks.hide_text(reason))
    if sum(len(name) + len(value) for name, value in outputs.items()) > OUTPUT_LETTERS:
        what = f"the job's outputs are longer than the limit of {OUTPUT_LETTERS} letters together"
        return Ended(Result.FAILURE if past.result is Result.SUCCESS else past.result, reason=what)
    shown = {name: value for name, value in outputs.items() if not stage.masks.covers(value)}
    for name in outputs.keys() - shown.keys():
        _warn(stage, f"the output {name} is not handed on: it may hold a secret")
    try:
        place = deployed(job.environment, known, stage.masks, partial(_warn, stage))
    except BrokenDefinition as error:
        result = Result.FAILURE if past.result is Result.SUCCESS else past.result
        reason = f"the url of the job's environment cannot be evaluated: {error}"
        return Ended(result, shown, stage.masks.hide_text(reason))
    return Ended(past.result, shown, exit_code=past.exit_code, deployed=place)


def concluded(job: Steps, env: Mapping[str, str], ended: Ended, stage: Stage) -> Ended:
    """How a job ends that has steps of its own making: with where it has deployed to."""
    status = "success" if ended.result is Result.SUCCESS else "failure"
    known = {**stage.seen, "env": env, "job": {**stage.seen["job"], "status": status}}
    try:
        place = deployed(job.environment, known, stage.masks, partial(_warn, stage))
    except BrokenDefinition as error:
        result = Result.FAILURE if ended.result is Result.SUCCESS else ended.result
        reason = stage.masks.hide_text(f"the url of the job's environment cannot be evaluated: {error}")
        return replace(ended, result=result, reason=ended.reason or reason)
    return replace(ended, deployed=place)


def _warn(stage: Stage, what: str) -> None:
    stage.log("0", f"##[warning]{what}\n".encode())


def fingerprint(step: StepDef) -> str:
    """SHA-256 over what the definition says the step does, before any expression is evaluated."""
    match step.body:
        case Run(script, shell, where):
            does = [script.text, shell.text if shell else None, where.text if where else None]
        case Uses(action, inputs):
            does = [action, _written(inputs)]
        case _:
            # Admission refuses the other kinds by name, so this is a bug of ours.
            raise NotImplementedError(f"step {step.key} runs nothing")
    said = [*does, _written(step.env)]
    if step.condition is not None:
        said.append(step.condition.template.text)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _written(env: Any) -> Any:
    return {name: value.text for name, value in env.items()} if isinstance(env, Mapping) else env.text
