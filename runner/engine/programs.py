"""A job's program: it asks for steps one after another, and is told how each ended.

The engine answers from a checkpoint where the step already happened. What a program asks for depends
on nothing but its definition and those answers, so a replay asks for the same.
"""

import hashlib
import json
import posixpath
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from time import monotonic
from typing import Any

from runner.engine.commands import FOLDER, CommandFiles, Written, place_file
from runner.engine.contexts import Scene, contexts, environment, layered
from runner.engine.heart import Hold, Why
from runner.engine.ports import Command, Exit
from runner.errors import BrokenDefinition, LeaseLost
from runner.expr.evaluate import render
from runner.expr.template import Template
from runner.model.step import Exports, Outcome, Result
from runner.workflow.document import Env, Number, Run, StepDef, Steps, Workflow
from runner.workflow.shells import script_name, shell_argv


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


Program = Generator[StepCall, Outcome | None, Result]
Log = Callable[[str, bytes], None]
"""Takes a step's key and what it printed."""


class Released(LeaseLost):
    """This worker hands the job back unfinished."""


@dataclass(slots=True)
class Past:
    """What the finished steps of a job left for those that follow."""

    exports: Exports = field(default_factory=Exports)
    steps: dict[str, Any] = field(default_factory=dict)

    def add(self, step: StepDef, outcome: Outcome) -> None:
        env = {**self.exports.env, **outcome.exports.env}
        self.exports = Exports(env, self.exports.path + outcome.exports.path)
        if step.id is not None:
            self.steps[step.id] = {
                "outputs": dict(outcome.outputs),
                "outcome": _plain(outcome.result),
                "conclusion": _plain(outcome.conclusion),
            }


@dataclass(frozen=True)
class Stage:
    """What a declared job runs with: its scene, its files, its log, its hold on the lease, its deadline.

    `deadline` is a reading of `time.monotonic()`: the end of the job's own `timeout-minutes`.
    """

    scene: Scene
    files: CommandFiles
    hold: Hold
    log: Log
    deadline: float

    @cached_property
    def given(self) -> Mapping[str, str]:
        """The variables that every step of the job is given, whatever the definition says."""
        return {**environment(self.scene), **self.files.variables}


def declared(workflow: Workflow, job: Steps, stage: Stage) -> Program:
    """The steps of a job in a workflow file, in their order, until one fails."""
    seen = contexts(stage.scene)
    env = _rendered(workflow.env, seen) | _rendered(job.env, seen)
    past = Past()
    for step in job.steps:
        act = _Act(step, stage, seen, env, past)
        outcome = yield StepCall(step.key, step.title, fingerprint(step), act.perform)
        if outcome is None:
            raise TypeError("a program is answered with an outcome")
        past.add(step, outcome)
        if outcome.conclusion is not Result.SUCCESS:
            return outcome.conclusion
    return Result.SUCCESS


def fingerprint(step: StepDef) -> str:
    """SHA-256 over what the definition says the step does, before any expression is evaluated."""
    run = script_of(step)
    where = run.working_directory.text if run.working_directory else None
    env = {name: value.text for name, value in variables(step.env).items()}
    said = json.dumps([run.script.text, shell_of(run), where, env], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Act:
    """One declared step, ready to run."""

    step: StepDef
    stage: Stage
    seen: Mapping[str, Any]
    env: Mapping[str, str]
    past: Past

    def perform(self) -> Outcome:
        sandbox, files = self.stage.scene.sandbox, self.stage.files
        # A machine that slept past the lease wakes up here before the heart has noticed.
        if self.stage.hold.over:
            raise LeaseLost(Why.LOST.value)
        try:
            files.empty()
            ended = sandbox.run(self._command(), self._say)
            if ended.stopped == "stop":
                return self._stopped(ended)
            written = files.read()
        except BrokenDefinition as error:
            self._say(f"##[error]{error}\n".encode())
            return self._outcome(Result.FAILURE, Exit(1), reason=str(error))
        if ended.stopped == "timeout":
            reason = f"the step was stopped after {self._timeout() / 60:g} minutes"
            if monotonic() >= self.stage.deadline:
                reason = "the job ran longer than its timeout-minutes"
            self._say(f"##[error]{reason}\n".encode())
            return self._outcome(Result.TIMED_OUT, ended, written, reason)
        result = Result.SUCCESS if ended.code == 0 else Result.FAILURE
        reason = "" if ended.code == 0 else f"exit code {ended.code}"
        return self._outcome(result, ended, written, reason)

    def _command(self) -> Command:
        scene, step, past = self.stage.scene, self.step, self.past
        sandbox = scene.sandbox
        before = {**self.env, **past.exports.env}
        seen = {**self.seen, "steps": past.steps, "job": {"status": "success"}, "env": before}
        own = _rendered(step.env, seen)
        seen["env"] = {**before, **own}
        given = {**self.stage.given, "RUNNER_STEP": step.key}
        env = layered(given, {"CI": "true", "HOME": sandbox.home, "PATH": sandbox.path}, before, own)
        env["PATH"] = ":".join((*reversed(past.exports.path), env["PATH"]))
        run = script_of(step)
        shell = shell_of(run)
        script = script_name(shell, f"{FOLDER}step-{step.key}")
        place_file(f"{sandbox.host_temp}/{script}", render(run.script, seen).encode(), 0o755)
        folder = render(run.working_directory, seen) if run.working_directory else ""
        argv = shell_argv(shell, f"{sandbox.temp}/{script}")
        return Command(argv, env, posixpath.join(sandbox.workspace, folder), self._timeout())

    def _timeout(self) -> float:
        left = max(0.0, self.stage.deadline - monotonic())
        return left if self.step.timeout is None else min(left, minutes(self.step.timeout) * 60)

    def _stopped(self, ended: Exit) -> Outcome:
        match self.stage.hold.why:
            case Why.CANCELLED:
                return Outcome(Result.CANCELLED, Result.CANCELLED, ended.code, reason="cancelled")
            case Why.RELEASED:
                raise Released(Why.RELEASED.value)
            case _:
                raise LeaseLost(Why.LOST.value)

    def _outcome(
        self, result: Result, ended: Exit, written: Written | None = None, reason: str = ""
    ) -> Outcome:
        forgiven = self.step.continue_on_error is True and monotonic() < self.stage.deadline
        conclusion = Result.SUCCESS if forgiven else result
        if written is None:
            return Outcome(result, conclusion, ended.code, reason=reason)
        return Outcome(
            result, conclusion, ended.code, written.outputs, written.exports, written.summary, reason
        )

    def _say(self, chunk: bytes) -> None:
        self.stage.log(self.step.key, chunk)


def _rendered(env: Env, seen: Mapping[str, Any]) -> dict[str, str]:
    return {name: render(value, seen) for name, value in variables(env).items()}


# Admission lets nothing pass that is not one of these; see workflow.supported.


def script_of(step: StepDef) -> Run:
    if not isinstance(step.body, Run):
        raise NotImplementedError(f"step {step.key} runs no script")
    return step.body


def shell_of(run: Run) -> str | None:
    return run.shell.text if run.shell is not None else None


def variables(env: Env) -> Mapping[str, Template]:
    if isinstance(env, Template):
        raise NotImplementedError("an expression gives the variables")
    return env


def minutes(value: Number) -> float:
    if isinstance(value, Template):
        raise NotImplementedError("an expression gives the minutes")
    return value


def _plain(result: Result) -> str:
    """GitHub's contexts know no `timed_out`: a step that ran out of time has failed."""
    return "failure" if result is Result.TIMED_OUT else str(result)
