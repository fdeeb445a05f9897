"""The programs of a step: begun in its sandbox or in a container, and seen to their end."""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import monotonic

from runner.engine import actions
from runner.engine.actions import Found, Moment
from runner.engine.beside import seen_inside
from runner.engine.commands import FOLDER, BadCommandFile, Written, place_file
from runner.engine.contexts import layered
from runner.engine.heart import Why
from runner.engine.outcomes import TooMuch, within_limits
from runner.engine.output import ALLOWED_UNSAFE, StepOutput
from runner.engine.ports import Boxed, Command, Exit
from runner.engine.sight import Sight
from runner.engine.stage import Released, too_long
from runner.engine.voice import Voice
from runner.errors import BrokenDefinition, LeaseLost
from runner.expr.evaluate import render
from runner.model.step import Exports, Outcome, Post, Result, step_key
from runner.workflow.document import Docker, Run
from runner.workflow.shells import script_name, shell_argv, shell_problem
from runner.workflow.trees import texts

Begin = Callable[[Mapping[str, str], float, bool, StepOutput], Exit]
"""Runs a program with an environment, in so many seconds, ended by a cancel or not, with its output."""


@dataclass(frozen=True)
class Launch:
    """The programs of one step. Errors: `BrokenDefinition`, `LeaseLost`, `Released`."""

    sight: Sight
    voice: Voice

    def script(self, run: Run) -> Outcome:
        """Run what a step itself says."""
        sandbox, functions = self.sight.stage.scene.sandbox, self.sight.functions
        shell = render(run.shell, self.sight.seen, functions) if run.shell is not None else None
        if shell is not None and (problem := shell_problem(shell)):
            raise BrokenDefinition(problem)
        name = "-".join(str(place + 1) for place in self.sight.level.path)
        script = script_name(shell, f"{FOLDER}step-{name}")
        text = render(run.script, self.sight.seen, functions)
        place_file(f"{sandbox.host_temp}/{script}", text.encode(), 0o755)
        folder = render(run.working_directory, self.sight.seen, functions) if run.working_directory else ""
        return replace(self.program(shell_argv(shell, f"{sandbox.temp}/{script}"), folder, {}), posts=())

    def program(
        self,
        argv: tuple[str, ...],
        folder: str,
        variables: Mapping[str, str],
        cancellable: bool = True,
    ) -> Outcome:
        """Run a command in a folder of the workspace."""
        sandbox = self.sight.stage.scene.sandbox

        def begin(env: Mapping[str, str], seconds: float, cancellable: bool, output: StepOutput) -> Exit:
            path = ":".join((*reversed(self.sight.level.exports.path), env["PATH"]))
            where = posixpath.join(sandbox.workspace, folder)
            return sandbox.run(Command(argv, {**env, "PATH": path}, where, seconds, cancellable), output)

        return self._watched(begin, {"HOME": sandbox.home, "PATH": sandbox.path}, variables, cancellable)

    def image(
        self,
        docker: Docker,
        found: Found | None,
        moment: Moment,
        inputs: Mapping[str, str],
        variables: Mapping[str, str],
        cancellable: bool = True,
    ) -> Outcome:
        """Run a container of an image, or of what is made of the action's folder."""
        scene, seen = self.sight.stage.scene, {**self.sight.seen, "inputs": inputs}
        image = actions.image_for(docker, found, self.sight.stage.workspace, scene.sandbox)
        entrypoint = actions.entrypoint_of(docker, moment, inputs)
        # As on GitHub, what the action says is not overridden.
        said = tuple(render(one, seen, self.sight.functions) for one in docker.args)
        args = said or actions.words(actions.given(inputs, "args"))

        def begin(env: Mapping[str, str], seconds: float, cancellable: bool, output: StepOutput) -> Exit:
            inside = seen_inside(env, scene.sandbox)
            boxed = Boxed(image, entrypoint, args, inside, scene.sandbox.owner, seconds, cancellable)
            return self.sight.stage.beside.dock.run(boxed, output, self.voice.note)

        own = {"HOME": scene.sandbox.home, **texts(docker.env, seen, self.sight.functions)}
        return self._watched(begin, own, variables, cancellable)

    def _watched(
        self, begin: Begin, own: Mapping[str, str], variables: Mapping[str, str], cancellable: bool
    ) -> Outcome:
        """Begin a program and see to its end. `own` are variables that a definition may set otherwise."""
        files, stage = self.sight.stage.files, self.sight.stage
        key = step_key(self.sight.level.path)
        given = {**stage.given, **self.sight.level.action, "RUNNER_STEP": key, **variables}
        given["GITHUB_ACTION"] = self.sight.step.id or f"__{self.sight.step.key}"
        env = layered(given, {"CI": "true", **own}, self.sight.env)
        left, limit = self.sight.time_left()
        if left <= 0:
            return Outcome(Result.TIMED_OUT, Result.TIMED_OUT, reason=too_long(limit))
        output = StepOutput(
            self.voice.say,
            stage.masks,
            stage.matchers,
            stage.read,
            debug=env.get("ACTIONS_STEP_DEBUG") == "true",
            unsafe=env.get(ALLOWED_UNSAFE) == "true",
        )
        files.empty()
        cancellable = cancellable and not self.sight.outlives_cancel()
        ended = begin(env, left, cancellable, output)
        output.end()
        if ended.stopped == "stop":
            return self._stopped(ended)
        try:
            return within_limits(self._ended(ended, output, files.read(), limit))
        except (BadCommandFile, TooMuch) as error:
            # What it said otherwise stands, and what it left to be done too.
            said = self._ended(ended, output, Written({}, Exports(), ""), limit)
            return self.voice.failed(said, error)

    def _stopped(self, ended: Exit) -> Outcome:
        match self.sight.stage.hold.why:
            case Why.LATE:
                return Outcome(Result.CANCELLED, Result.CANCELLED, ended.code, reason="cancelled")
            case Why.RELEASED:
                raise Released(Why.RELEASED.value)
            case _:
                raise LeaseLost(Why.LOST.value)

    def _ended(self, ended: Exit, output: StepOutput, written: Written, seconds: float) -> Outcome:
        exports = Exports(output.env, tuple(output.path)).then(written.exports)
        result, reason = self._judged(ended, output, seconds)
        state = {**output.state, **written.state}
        return Outcome(
            result,
            result,
            ended.code,
            {**output.outputs, **written.outputs},
            exports,
            written.summary,
            reason,
            tuple(output.annotations),
            (Post(self.sight.level.path, state),) if state else (),
        )

    def _judged(self, ended: Exit, output: StepOutput, seconds: float) -> tuple[Result, str]:
        if ended.stopped == "cancel":
            return Result.CANCELLED, "cancelled"
        if ended.stopped == "timeout":
            reason = too_long(seconds)
            if monotonic() >= self.sight.stage.deadline:
                reason = "the job ran longer than its timeout-minutes"
            self.voice.complain(reason)
            return Result.TIMED_OUT, reason
        if ended.code != 0:
            return Result.FAILURE, f"exit code {ended.code}"
        return (Result.FAILURE, output.failure) if output.failure else (Result.SUCCESS, "")
