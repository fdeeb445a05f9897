"""Doing one step: a script, or an action with the steps in it."""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from time import monotonic
from typing import Any

from runner.engine import actions
from runner.engine.actions import Found, Moment
from runner.engine.contexts import plain
from runner.engine.errands import ERRANDS, Errand, Interrupted
from runner.engine.heart import Why
from runner.engine.launch import Launch
from runner.engine.library import Pre
from runner.engine.outcomes import with_step, within_limits
from runner.engine.pins import DEEPEST
from runner.engine.retries import GivenUp
from runner.engine.sight import Sight
from runner.engine.stage import Level, Stage
from runner.engine.voice import Voice
from runner.engine.waiting import Suspend, await_step
from runner.errors import BrokenDefinition, LeaseLost
from runner.model.step import Outcome, Post, Result
from runner.workflow.built_in import BadWait, action_named, action_version, wait_named
from runner.workflow.document import Composite, Docker, Run, Script, StepDef, Uses
from runner.workflow.trees import texts


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

    @cached_property
    def _sight(self) -> Sight:
        return Sight(self.step, self.level, self.stage)

    @cached_property
    def _voice(self) -> Voice:
        return Voice(self.say, self.stage.masks)

    @property
    def _launch(self) -> Launch:
        return Launch(self._sight, self._voice)

    def perform(self, instead: Callable[[], Outcome] | None = None) -> Outcome:
        try:
            if not self._sight.wanted():
                return Outcome(Result.SKIPPED, Result.SKIPPED)
            outcome = self._act() if instead is None else instead()
        except BrokenDefinition as error:
            outcome = self._broken(error)
        return self._tolerated(outcome)

    def _broken(self, error: BrokenDefinition) -> Outcome:
        self._voice.complain(str(error))
        given_up = isinstance(error, GivenUp)
        return Outcome(Result.FAILURE, Result.FAILURE, 1, reason=str(error), given_up=given_up)

    def _tolerated(self, outcome: Outcome) -> Outcome:
        if outcome.result.failed and monotonic() < self.stage.deadline and self._forgiven():
            return replace(outcome, conclusion=Result.SUCCESS)
        return outcome

    def _forgiven(self) -> bool:
        try:
            return self._sight.forgiven()
        except BrokenDefinition as error:
            self._voice.complain(f"continue-on-error: {error}")
            return False

    def _act(self) -> Outcome:
        match self.step.body:
            case Run() as run:
                return self._launch.script(run)
            case Uses(action) if (name := action_named(action)) is not None:
                return self._errand(name, lambda errand: ERRANDS[name].main(errand))
            case Uses(action) if (kind := self._wait(action)) is not None:
                return self._awaited(kind)
            case Uses(action) if (image := actions.image_of(action)) is not None:
                inputs = self._sight.inputs()
                variables = actions.input_variables(inputs)
                outcome = self._launch.image(Docker(image), None, "main", inputs, variables)
                return replace(outcome, posts=())
            case Uses(action):
                return self._action(self._find(action))
            case _:
                raise BrokenDefinition(f"step {self.step.key} is of a kind that does not run yet")

    # --- actions ---------------------------------------------------------------------------------

    def _errand(self, name: str, run: Callable[[Errand], Outcome], cancellable: bool = True) -> Outcome:
        """Have the engine itself do what an action does."""
        left, limit = self._sight.time_left()
        errand = Errand(
            {given.lower(): value for given, value in self._sight.inputs().items()},
            self._sight.seen,
            self.stage,
            self.level.path,
            self._voice.note,
            monotonic() + left,
            limit,
            cancellable and not self._sight.outlives_cancel(),
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
                await_step(
                    kind,
                    self.step.key,
                    self._sight.shown_inputs(),
                    self._sight.limit,
                    self.stage.over,
                    scene.job,
                )
            )
        except Suspend as suspended:
            # Nobody is there to say it while it waits.
            self._voice.note(f"{suspended}\n".encode())
            raise

    def _action(self, found: Found) -> Outcome:
        given = self._sight.inputs()
        for name in actions.unknown_inputs(found.action, given):
            there = ", ".join(found.action.inputs) or "none"
            self.say(f"##[warning]the action has no input {name!r}; it has {there}\n".encode())
        inputs = actions.inputs_of(found.action, given, self._sight.seen)
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
                return self._launch.image(docker, found, moment, inputs, variables, cancellable)
            case Script(main=main, pre=pre, post=post):
                file = {"pre": pre, "main": main, "post": post}[moment] or main
                argv = ("node", posixpath.join(found.folder, file))
                return self._launch.program(argv, "", variables, cancellable)
        raise BrokenDefinition(f"{found.action.path} is no program")

    def _composite(self, found: Found, steps: tuple[StepDef, ...], inputs: Mapping[str, str]) -> Outcome:
        if len(self.level.path) >= DEEPEST:
            raise BrokenDefinition(f"{found.action.path}: actions use each other more than {DEEPEST} deep")
        self._provide(found, steps)
        outlives = self._sight.outlives_cancel()
        until, limit = min(
            (self.level.until, self.level.limit), (monotonic() + self._sight.limit, self._sight.limit)
        )
        inside: dict[str, Any] = {}
        seen = {name: value for name, value in self._sight.seen.items() if name not in ("secrets", "env")}
        seen |= {"inputs": inputs, "steps": inside}
        done = Outcome(Result.SUCCESS, Result.SUCCESS, 0)
        for index, step in enumerate(steps):
            cancelled = self.stage.over is not None
            inner = "success" if done.result is Result.SUCCESS else "failure"
            level = Level(
                seen,
                self._sight.env,
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
                done = self._voice.failed(done, problem)
        known_now = {**seen, "env": {**self._sight.env, **done.exports.env}}
        wanted = {name: value for name, value in found.action.outputs.items() if value is not None}
        try:
            return within_limits(replace(done, outputs=texts(wanted, known_now, self._sight.functions)))
        except BrokenDefinition as error:
            return self._voice.failed(done, error)

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
            self._voice.note(f"##[warning]{self.step.title}: {error}\n".encode(errors="replace"))

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
        inputs = actions.inputs_of(found.action, self._sight.inputs(), self._sight.seen)
        seen = {**self.level.seen, "inputs": inputs, "steps": post.steps}
        level = replace(self.level, seen=seen, env=self._sight.env, action=found.variables, home=found.origin)
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
        if not self._sight.asked(runs.pre_if):
            return Outcome(Result.SKIPPED, Result.SKIPPED)
        given = self._sight.inputs()
        inputs = {**given, **actions.inputs_of(found.action, given, self._sight.seen)}
        outcome = self._program(found, "pre", inputs, {})
        state = outcome.posts[0].state if outcome.posts else {}
        return replace(outcome, posts=(Post(self.level.path, state),))

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
        if not self._sight.asked(runs.post_if):
            return Outcome(Result.SKIPPED, Result.SKIPPED)
        given = self._sight.inputs()
        inputs = {**given, **actions.inputs_of(found.action, given, self._sight.seen)}
        outcome = self._program(found, "post", inputs, post.state, cancellable=False)
        return replace(outcome, posts=())
