"""What a step sees where it stands, and what its definition comes to there."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from time import monotonic
from typing import Any

from runner.engine.stage import Level, Stage, minutes
from runner.errors import BrokenDefinition
from runner.expr.evaluate import Functions, holds
from runner.expr.hashing import hash_files
from runner.expr.status import status_functions
from runner.expr.template import Condition
from runner.expr.values import known, to_string
from runner.workflow.document import StepDef, Uses
from runner.workflow.trees import settled, texts


@dataclass(frozen=True)
class Sight:
    """That of one step. All raise `BrokenDefinition` where an expression cannot be evaluated."""

    step: StepDef
    level: Level
    stage: Stage

    @cached_property
    def env(self) -> Mapping[str, str]:
        """The variables that definitions give it, and steps before it."""
        before = {**self.level.env, **self.level.exports.env}
        own = texts(self.step.env, self._seeing(before), self.functions)
        return {**before, **own}

    @cached_property
    def seen(self) -> Mapping[str, Any]:
        """The contexts."""
        return self._seeing(self.env)

    @property
    def functions(self) -> Functions:
        """What expressions may call, as the job and the action around it stand."""
        return self._functions_at(self.level.status, self.level.inner)

    def wanted(self) -> bool:
        """Whether its `if` is met."""
        return self._holds(self.level.status, self.level.inner)

    def outlives_cancel(self) -> bool:
        """Whether a cancel is no reason to end it: its `if` would still be met."""
        condition = self.step.condition
        if condition is not None and condition.asks_status:
            level = self.level
            return self._holds("cancelled", level.inner and (level.inner if level.outlives else "cancelled"))
        return self.level.outlives

    def asked(self, condition: Condition | None) -> bool:
        """Whether an action has to do what it does around the job's steps: no success() is implied."""
        if condition is None:
            return True
        return holds(replace(condition, asks_status=True), self.seen, self.functions)

    def forgiven(self) -> bool:
        """Whether it may fail, as its `continue-on-error` says."""
        value = self.step.continue_on_error
        return value if isinstance(value, bool) else settled(value, self.seen) is True

    @cached_property
    def limit(self) -> float:
        """Seconds that the step itself may take."""
        if self.step.timeout is None:
            return float("inf")
        return minutes(self.step.timeout, self.seen) * 60

    def time_left(self) -> tuple[float, float]:
        """How many seconds it has from now on, and how many the limit has in all that ends it then."""
        around = max(0.0, min(self.level.until, self.stage.end) - monotonic())
        return min(self.limit, around), self.limit if self.limit <= around else self.level.limit

    def inputs(self) -> dict[str, str]:
        """What it gives to the action that it uses."""
        body = self.step.body
        given = body.inputs if isinstance(body, Uses) else {}
        return texts(given, self.seen, self.functions)

    def shown_inputs(self) -> dict[str, str]:
        """The inputs of a step that waits, which are shown to all who read runs."""
        masks, given = self.stage.masks, self.inputs()
        for name, text in given.items():
            if name.lower() == "message":
                given[name] = masks.hide_text(text)
            elif masks.covers(text):
                raise BrokenDefinition(f"`{name}` has a secret in it, and is shown to all who read runs")
        return given

    def _seeing(self, env: Mapping[str, str]) -> Mapping[str, Any]:
        github = {**self.level.seen["github"], "action": self.step.id or f"__{self.step.key}"}
        for name in ("action_path", "action_repository", "action_ref"):
            github[name] = self.level.action.get(f"GITHUB_{name.upper()}", "")
        job = {**self.level.seen["job"], "status": self.level.status}
        return {**self.level.seen, "github": github, "job": job, "env": env}

    def _functions_at(self, status: str, inner: str | None) -> Functions:
        def hashed(*patterns: object) -> str:
            wanted = [to_string(known(pattern)) for pattern in patterns]
            return hash_files(self.stage.workspace, wanted)

        return {**status_functions(status, inner), "hashFiles": hashed}

    def _holds(self, status: str, inner: str | None) -> bool:
        """Whether its `if` is met while the job, and the action around it, stand so."""
        condition = self.step.condition
        if condition is None:
            return status_functions(status, inner)["success"]()
        return holds(condition, self.seen, self._functions_at(status, inner))
