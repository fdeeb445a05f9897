"""Doing one step: a script, or an action with the steps in it."""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from time import monotonic
from typing import Any

from runner.engine import actions
from runner.engine.actions import Found, Moment
from runner.engine.beside import seen_inside
from runner.engine.commands import FOLDER, BadCommandFile, Written, place_file
from runner.engine.contexts import layered, plain
from runner.engine.errands import ERRANDS, Errand, Interrupted
from runner.engine.heart import Why
from runner.engine.library import Pre
from runner.engine.outcomes import TooMuch, with_step, within_limits
from runner.engine.output import ALLOWED_UNSAFE, StepOutput
from runner.engine.pins import DEEPEST
from runner.engine.ports import Boxed, Command, Exit
from runner.engine.retries import GivenUp
from runner.engine.stage import Level, Released, Stage, minutes, too_long
from runner.engine.waiting import Suspend, await_step
from runner.errors import BrokenDefinition, LeaseLost
from runner.expr.evaluate import Functions, holds, render
from runner.expr.hashing import hash_files
from runner.expr.status import status_functions
from runner.expr.template import Condition
from runner.expr.values import known, to_string
from runner.model.step import Exports, Outcome, Post, Result, step_key
from runner.workflow.built_in import BadWait, action_named, action_version, wait_named
from runner.workflow.document import Composite, Docker, Run, Script, StepDef, Uses
from runner.workflow.shells import script_name, shell_argv, shell_problem
from runner.workflow.trees import settled, texts

Begin = Callable[[Mapping[str, str], float, bool, StepOutput], Exit]
"""Runs a program with an environment, in so many seconds, ended by a cancel or not, with its output."""


def perform_step(step: StepDef, level: Level, stage: Stage) -> Outcome:
    """Do a step of a job, from its `if` on. Errors: `LeaseLost`, `Released`, `Halted`."""
    key = str(level.path[0] + 1)
    return _told(stage, _Act(step, level, stage, lambda chunk: stage.log(key, chunk)).perform)


def instead_of_step(step: StepDef, level: Level, stage: Stage, outcome: Callable[[], Outcome]) -> Outcome:
    """What a step of a job comes to, where its `if` is met, without being done."""
    key = str(level.path[0] + 1)
    act = _Act(step, level, stage, lambda chunk: stage.log(key, chunk))
    return _told(stage, partial(act.perform, outcome))


def perform_pre(step: StepDef, pre: Pre, level: Level, stage: Stage) -> Outcome:
    """Do what an action does before the job's first step. Errors: `LeaseLost`, `Released`, `Halted`."""
    act = _Act(step, level, stage, lambda chunk: stage.log(pre.key, chunk))
    return _told(stage, partial(act.perform_pre, pre))


def perform_post(step: StepDef, post: Post, level: Level, stage: Stage) -> Outcome:
    """Do what an action left to be done at the end of the job. Errors: as of `perform_step`."""
    act = _Act(step, level, stage, lambda chunk: stage.log(post.key, chunk))
    return _told(stage, partial(act.perform_post, post))


def go_on_from(step: StepDef, outcome: Outcome, level: Level, stage: Stage) -> None:
    """Make again for the steps that follow what a step left that is not done again, but outside the files.

    Errors: as of `perform_step`.
    """
    for post in outcome.posts:
        at = replace(level, path=post.path)
        _Act(step, at, stage, lambda chunk: stage.log("0", chunk)).go_on_from(post)


def _told(stage: Stage, perform: Callable[[], Outcome]) -> Outcome:
    """What a step did, with what it said for the rest of the job."""
    # A machine that slept past the lease wakes up here before the heart has noticed.
    if stage.hold.over:
        raise LeaseLost(Why.LOST.value)
    marked = len(stage.masks.added), len(stage.matchers.added)
    outcome = perform()
    hide = stage.masks.hide_text
    return replace(
        outcome,
        reason=hide(outcome.reason),
        summary=hide(outcome.summary),
        masks=tuple(stage.masks.added[marked[0] :]),
        matchers=tuple(stage.matchers.added[marked[1] :]),
    )


@dataclass(frozen=True)
class _Act:
    """One step, ready to be done; `say` takes what it prints."""

    step: StepDef
    level: Level
    stage: Stage
    say: Callable[[bytes], None]

    def perform(self, instead: Callable[[], Outcome] | None = None) -> Outcome:
        try:
            if not self._wanted(self.level.status, self.level.inner):
                return Outcome(Result.SKIPPED, Result.SKIPPED)
            outcome = self._act() if instead is None else instead()
        except BrokenDefinition as error:
            outcome = self._broken(error)
        return self._tolerated(outcome)

    def _broken(self, error: BrokenDefinition) -> Outcome:
        self._complain(str(error))
        given_up = isinstance(error, GivenUp)
        return Outcome(Result.FAILURE, Result.FAILURE, 1, reason=str(error), given_up=given_up)

    def _tolerated(self, outcome: Outcome) -> Outcome:
        if outcome.result.failed and monotonic() < self.stage.deadline and self._forgiven():
            return replace(outcome, conclusion=Result.SUCCESS)
        return outcome

    def _act(self) -> Outcome:
        match self.step.body:
            case Run() as run:
                return self._script(run)
            case Uses(action) if (name := action_named(action)) is not None:
                return self._errand(name, lambda errand: ERRANDS[name].main(errand))
            case Uses(action) if (kind := self._wait(action)) is not None:
                return self._awaited(kind)
            case Uses(action) if (image := actions.image_of(action)) is not None:
                inputs = self._inputs()
                variables = actions.input_variables(inputs)
                outcome = self._image(Docker(image), None, "main", inputs, variables)
                return replace(outcome, posts=())
            case Uses(action):
                return self._action(self._find(action))
            case _:
                raise BrokenDefinition(f"step {self.step.key} is of a kind that does not run yet")

    # --- what it sees ----------------------------------------------------------------------------

    @cached_property
    def _env(self) -> Mapping[str, str]:
        before = {**self.level.env, **self.level.exports.env}
        own = texts(self.step.env, self._seeing(before), self._now)
        return {**before, **own}

    @cached_property
    def _seen(self) -> Mapping[str, Any]:
        return self._seeing(self._env)

    def _seeing(self, env: Mapping[str, str]) -> Mapping[str, Any]:
        github = {**self.level.seen["github"], "action": self.step.id or f"__{self.step.key}"}
        for name in ("action_path", "action_repository", "action_ref"):
            github[name] = self.level.action.get(f"GITHUB_{name.upper()}", "")
        job = {**self.level.seen["job"], "status": self.level.status}
        return {**self.level.seen, "github": github, "job": job, "env": env}

    def _functions(self, status: str, inner: str | None) -> Functions:
        def hashed(*patterns: object) -> str:
            wanted = [to_string(known(pattern)) for pattern in patterns]
            return hash_files(self.stage.workspace, wanted)

        return {**status_functions(status, inner), "hashFiles": hashed}

    @property
    def _now(self) -> Functions:
        return self._functions(self.level.status, self.level.inner)

    def _wanted(self, status: str, inner: str | None) -> bool:
        """Whether its `if` is met while the job, and the action around it, stand so."""
        condition = self.step.condition
        if condition is None:
            return status_functions(status, inner)["success"]()
        return holds(condition, self._seen, self._functions(status, inner))

    def _forgiven(self) -> bool:
        value = self.step.continue_on_error
        try:
            return value if isinstance(value, bool) else settled(value, self._seen) is True
        except BrokenDefinition as error:
            self._complain(f"continue-on-error: {error}")
            return False

    @cached_property
    def _limit(self) -> float:
        """Seconds that the step itself may take."""
        if self.step.timeout is None:
            return float("inf")
        return minutes(self.step.timeout, self._seen) * 60

    def _left(self) -> float:
        return max(0.0, min(self.level.until, self.stage.end) - monotonic())

    def _failed(self, outcome: Outcome, error: BrokenDefinition) -> Outcome:
        """What was done, as a failure for something that came after it."""
        self._complain(str(error))
        if not outcome.result.ok:
            return outcome
        failure = Result.FAILURE
        return replace(outcome, result=failure, conclusion=failure, exit_code=1, reason=str(error))

    def _complain(self, what: str) -> None:
        self.say(self.stage.masks.hide(f"##[error]{what}\n".encode(errors="replace")))

    # --- programs --------------------------------------------------------------------------------

    def _script(self, run: Run) -> Outcome:
        sandbox, functions = self.stage.scene.sandbox, self._now
        shell = render(run.shell, self._seen, functions) if run.shell is not None else None
        if shell is not None and (problem := shell_problem(shell)):
            raise BrokenDefinition(problem)
        name = "-".join(str(place + 1) for place in self.level.path)
        script = script_name(shell, f"{FOLDER}step-{name}")
        text = render(run.script, self._seen, functions)
        place_file(f"{sandbox.host_temp}/{script}", text.encode(), 0o755)
        folder = render(run.working_directory, self._seen, functions) if run.working_directory else ""
        return replace(self._run(shell_argv(shell, f"{sandbox.temp}/{script}"), folder, {}), posts=())

    def _run(
        self,
        argv: tuple[str, ...],
        folder: str,
        variables: Mapping[str, str],
        cancellable: bool = True,
    ) -> Outcome:
        sandbox = self.stage.scene.sandbox

        def begin(env: Mapping[str, str], seconds: float, cancellable: bool, output: StepOutput) -> Exit:
            path = ":".join((*reversed(self.level.exports.path), env["PATH"]))
            where = posixpath.join(sandbox.workspace, folder)
            return sandbox.run(Command(argv, {**env, "PATH": path}, where, seconds, cancellable), output)

        return self._watched(begin, {"HOME": sandbox.home, "PATH": sandbox.path}, variables, cancellable)

    def _image(
        self,
        docker: Docker,
        found: Found | None,
        moment: Moment,
        inputs: Mapping[str, str],
        variables: Mapping[str, str],
        cancellable: bool = True,
    ) -> Outcome:
        """Run a container of an image, or of what is made of the action's folder."""
        scene, seen = self.stage.scene, {**self._seen, "inputs": inputs}
        image = actions.image_for(docker, found, self.stage.workspace, scene.sandbox)
        entrypoint = actions.entrypoint_of(docker, moment, inputs)
        # As on GitHub, what the action says is not overridden.
        said = tuple(render(one, seen, self._now) for one in docker.args)
        args = said or actions.words(actions.given(inputs, "args"))

        def begin(env: Mapping[str, str], seconds: float, cancellable: bool, output: StepOutput) -> Exit:
            inside = seen_inside(env, scene.sandbox)
            boxed = Boxed(image, entrypoint, args, inside, scene.sandbox.owner, seconds, cancellable)
            return self.stage.beside.dock.run(boxed, output, self._note)

        own = {"HOME": scene.sandbox.home, **texts(docker.env, seen, self._now)}
        return self._watched(begin, own, variables, cancellable)

    def _note(self, what: bytes) -> None:
        self.say(self.stage.masks.hide(what))

    def _watched(
        self, begin: Begin, own: Mapping[str, str], variables: Mapping[str, str], cancellable: bool
    ) -> Outcome:
        """Begin a program and see to its end. `own` are variables that a definition may set otherwise."""
        files, stage = self.stage.files, self.stage
        key = step_key(self.level.path)
        given = {**stage.given, **self.level.action, "RUNNER_STEP": key, **variables}
        given["GITHUB_ACTION"] = self.step.id or f"__{self.step.key}"
        env = layered(given, {"CI": "true", **own}, self._env)
        around = self._left()
        left = min(self._limit, around)
        limit = self._limit if self._limit <= around else self.level.limit
        if left <= 0:
            return Outcome(Result.TIMED_OUT, Result.TIMED_OUT, reason=too_long(limit))
        output = StepOutput(
            self.say,
            stage.masks,
            stage.matchers,
            stage.read,
            debug=env.get("ACTIONS_STEP_DEBUG") == "true",
            unsafe=env.get(ALLOWED_UNSAFE) == "true",
        )
        files.empty()
        cancellable = cancellable and not self._outlives_cancel()
        ended = begin(env, left, cancellable, output)
        output.end()
        if ended.stopped == "stop":
            return self._stopped(ended)
        try:
            return within_limits(self._ended(ended, output, files.read(), limit))
        except (BadCommandFile, TooMuch) as error:
            # What it said otherwise stands, and what it left to be done too.
            said = self._ended(ended, output, Written({}, Exports(), ""), limit)
            return self._failed(said, error)

    def _outlives_cancel(self) -> bool:
        """Whether a cancel is no reason to end it: its `if` would still be met."""
        condition = self.step.condition
        if condition is not None and condition.asks_status:
            level = self.level
            return self._wanted("cancelled", level.inner and (level.inner if level.outlives else "cancelled"))
        return self.level.outlives

    def _stopped(self, ended: Exit) -> Outcome:
        match self.stage.hold.why:
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
            (Post(self.level.path, state),) if state else (),
        )

    def _judged(self, ended: Exit, output: StepOutput, seconds: float) -> tuple[Result, str]:
        if ended.stopped == "cancel":
            return Result.CANCELLED, "cancelled"
        if ended.stopped == "timeout":
            reason = too_long(seconds)
            if monotonic() >= self.stage.deadline:
                reason = "the job ran longer than its timeout-minutes"
            self._complain(reason)
            return Result.TIMED_OUT, reason
        if ended.code != 0:
            return Result.FAILURE, f"exit code {ended.code}"
        return (Result.FAILURE, output.failure) if output.failure else (Result.SUCCESS, "")

    # --- actions ---------------------------------------------------------------------------------

    def _inputs(self) -> dict[str, str]:
        body = self.step.body
        given = body.inputs if isinstance(body, Uses) else {}
        return texts(given, self._seen, self._now)

    def _shown_inputs(self) -> dict[str, str]:
        """The inputs of a step that waits, which are shown to all who read runs."""
        masks, given = self.stage.masks, self._inputs()
        for name, text in given.items():
            if name.lower() == "message":
                given[name] = masks.hide_text(text)
            elif masks.covers(text):
                raise BrokenDefinition(f"`{name}` has a secret in it, and is shown to all who read runs")
        return given

    def _errand(self, name: str, run: Callable[[Errand], Outcome], cancellable: bool = True) -> Outcome:
        """Have the engine itself do what an action does."""
        around = self._left()
        limit = self._limit if self._limit <= around else self.level.limit
        errand = Errand(
            {given.lower(): value for given, value in self._inputs().items()},
            self._seen,
            self.stage,
            self.level.path,
            self._note,
            monotonic() + min(self._limit, around),
            limit,
            cancellable and not self._outlives_cancel(),
            action_version(self.step.body.action) if isinstance(self.step.body, Uses) else "",
        )
        try:
            errand.check()
            return within_limits(run(errand))
        except Interrupted as ended:
            return Outcome(ended.result, ended.result, reason=str(ended))
        except BrokenDefinition as error:
            raise BrokenDefinition(f"{name}: {error}") from error

    def _wait(self, action: str) -> str | None:
        try:
            kind = wait_named(action)
        except BadWait as error:
            raise BrokenDefinition(str(error)) from None
        if kind is not None and len(self.level.path) > 1:
            raise BrokenDefinition(f"runner/{kind} is a step of a job; an action cannot wait")
        return kind

    def _awaited(self, kind: str) -> Outcome:
        scene = self.stage.scene
        try:
            return within_limits(
                await_step(kind, self.step.key, self._shown_inputs(), self._limit, self.stage.over, scene.job)
            )
        except Suspend as suspended:
            # Nobody is there to say it while it waits.
            self._note(f"{suspended}\n".encode())
            raise

    def _action(self, found: Found) -> Outcome:
        given = self._inputs()
        for name in actions.unknown_inputs(found.action, given):
            there = ", ".join(found.action.inputs) or "none"
            self.say(f"##[warning]the action has no input {name!r}; it has {there}\n".encode())
        inputs = actions.inputs_of(found.action, given, self._seen)
        match found.action.runs:
            case Composite(steps):
                return self._composite(found, steps, inputs)
            case runs:
                if actions.pre_of(runs) is not None and found.origin is None:
                    what = "what comes before the first step is only done for actions of other repositories"
                    self.say(f"##[warning]{found.action.path}: {what}\n".encode())
                before = self.level.states.get(self.level.path, {})
                outcome = self._program(found, "main", {**given, **inputs}, before)
                if actions.post_of(runs) is None or outcome.result is Result.SKIPPED:
                    return replace(outcome, posts=())
                state = outcome.posts[0].state if outcome.posts else {}
                return replace(outcome, posts=(Post(self.level.path, {**before, **state}),))

    def _program(
        self,
        found: Found,
        moment: Moment,
        inputs: Mapping[str, str],
        state: Mapping[str, str],
        cancellable: bool = True,
    ) -> Outcome:
        """Run what an action has to do before the job's first step, in its own, or at the job's end."""
        variables = actions.input_variables(inputs) | {
            f"STATE_{name}": value for name, value in state.items()
        }
        if found.origin is not None:
            variables |= {"GITHUB_ACTION_REPOSITORY": found.origin.repository}
            variables |= {"GITHUB_ACTION_REF": found.origin.ref}
        match found.action.runs:
            case Docker() as docker:
                return self._image(docker, found, moment, inputs, variables, cancellable)
            case Script(main=main, pre=pre, post=post):
                file = {"pre": pre, "main": main, "post": post}[moment] or main
                argv = ("node", posixpath.join(found.folder, file))
                return self._run(argv, "", variables, cancellable)
        raise BrokenDefinition(f"{found.action.path} is no program")

    def _composite(self, found: Found, steps: tuple[StepDef, ...], inputs: Mapping[str, str]) -> Outcome:
        if len(self.level.path) >= DEEPEST:
            raise BrokenDefinition(f"{found.action.path}: actions use each other more than {DEEPEST} deep")
        self._provide(found, steps)
        outlives = self._outlives_cancel()
        until, limit = min((self.level.until, self.level.limit), (monotonic() + self._limit, self._limit))
        inside: dict[str, Any] = {}
        seen = {name: value for name, value in self._seen.items() if name not in ("secrets", "env")}
        seen |= {"inputs": inputs, "steps": inside}
        done = Outcome(Result.SUCCESS, Result.SUCCESS, 0)
        for index, step in enumerate(steps):
            cancelled = self.stage.over is not None
            inner = "success" if done.result is Result.SUCCESS else "failure"
            level = Level(
                seen,
                self._env,
                # Variables of before are in `env` already, where the step's own come on top of them.
                replace(done.exports, path=self.level.exports.path + done.exports.path),
                "cancelled" if cancelled else self.level.status,
                (*self.level.path, index),
                outlives,
                "cancelled" if cancelled and not outlives else inner,
                until,
                limit,
                found.variables,
                found.origin,
                self.level.states,
            )
            outcome = _Act(step, level, self.stage, self.say).perform()
            if step.id is not None:
                inside[step.id] = {
                    "outputs": dict(outcome.outputs),
                    "outcome": plain(outcome.result),
                    "conclusion": plain(outcome.conclusion),
                }
            done, problem = with_step(done, outcome, inside)
            if problem is not None:
                done = self._failed(done, problem)
        known_now = {**seen, "env": {**self._env, **done.exports.env}}
        wanted = {name: value for name, value in found.action.outputs.items() if value is not None}
        try:
            return within_limits(replace(done, outputs=texts(wanted, known_now, self._now)))
        except BrokenDefinition as error:
            return self._failed(done, error)

    def perform_post(self, post: Post) -> Outcome:
        """Find the action again that left something to be done, and do it."""
        try:
            return self._reached(post)._last_words(post)
        except BrokenDefinition as error:
            return self._broken(error)

    def go_on_from(self, post: Post) -> None:
        """Find the action again that left something outside the job's files, and make that again."""
        try:
            self._reached(post)._renew(post)
        except BrokenDefinition as error:
            self._note(f"##[warning]{self.step.title}: {error}\n".encode(errors="replace"))

    def _reached(self, post: Post) -> "_Act":
        act, rest = self, post.path[1:]
        while rest:
            act, rest = act._within(rest[0], post), rest[1:]
        return act

    def perform_pre(self, pre: Pre) -> Outcome:
        """Find the action that has something to do before the job's first step, and do it."""
        try:
            act, rest = self, pre.path[1:]
            while rest:
                act, rest = act._within(rest[0], Post(pre.path)), rest[1:]
            outcome = act._first_words()
        except BrokenDefinition as error:
            outcome = self._broken(error)
        return self._tolerated(outcome)

    def _within(self, index: int, post: Post) -> "_Act":
        found = self._found()
        if not isinstance(found.action.runs, Composite) or index >= len(found.action.runs.steps):
            raise BrokenDefinition(f"{found.action.path} is not the action any more that has run")
        self._provide(found, found.action.runs.steps)
        inputs = actions.inputs_of(found.action, self._inputs(), self._seen)
        seen = {**self.level.seen, "inputs": inputs, "steps": post.steps}
        level = replace(self.level, seen=seen, env=self._env, action=found.variables, home=found.origin)
        return _Act(found.action.runs.steps[index], level, self.stage, self.say)

    def _provide(self, found: Found, steps: tuple[StepDef, ...]) -> None:
        """Have what an action of the workspace uses of other repositories: nobody could know it before."""
        if found.origin is None:
            self.stage.library.extend(steps, found.folder, self.stage.scene.sandbox, self.say)

    def _found(self) -> Found:
        body = self.step.body
        if not isinstance(body, Uses):
            raise BrokenDefinition(f"step {self.step.key} uses no action any more")
        return self._find(body.action)

    def _find(self, uses: str) -> Found:
        stage = self.stage
        return stage.library.find(uses, self.level.home, stage.workspace, stage.scene.sandbox)

    def _first_words(self) -> Outcome:
        found = self._found()
        runs = found.action.runs
        if isinstance(runs, Composite) or actions.pre_of(runs) is None:
            raise BrokenDefinition(f"{found.action.path} has nothing to do before the first step")
        if not self._asked(runs.pre_if):
            return Outcome(Result.SKIPPED, Result.SKIPPED)
        given = self._inputs()
        inputs = {**given, **actions.inputs_of(found.action, given, self._seen)}
        outcome = self._program(found, "pre", inputs, {})
        state = outcome.posts[0].state if outcome.posts else {}
        return replace(outcome, posts=(Post(self.level.path, state),))

    def _asked(self, condition: Condition | None) -> bool:
        """Whether an action has to do what it does around the job's steps: no success() is implied."""
        if condition is None:
            return True
        return holds(replace(condition, asks_status=True), self._seen, self._now)

    def _renew(self, post: Post) -> None:
        body = self.step.body
        name = action_named(body.action) if isinstance(body, Uses) else None
        if name is not None and (again := ERRANDS[name].again) is not None:
            self._errand(name, lambda errand: again(errand, post.state), cancellable=False)

    def _last_words(self, post: Post) -> Outcome:
        body = self.step.body
        name = action_named(body.action) if isinstance(body, Uses) else None
        if name is not None and (last := ERRANDS[name].post) is not None:
            return self._errand(name, lambda errand: last(errand, post.state), cancellable=False)
        found = self._found()
        runs = found.action.runs
        if actions.post_of(runs) is None or isinstance(runs, Composite):
            raise BrokenDefinition(f"{found.action.path} is not the action any more that has run")
        if not self._asked(runs.post_if):
            return Outcome(Result.SKIPPED, Result.SKIPPED)
        given = self._inputs()
        inputs = {**given, **actions.inputs_of(found.action, given, self._seen)}
        outcome = self._program(found, "post", inputs, post.state, cancellable=False)
        return replace(outcome, posts=())
