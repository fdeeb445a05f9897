"""The bodies of a workflow's steps: what each is to be run with, and what came of it."""

import json
import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any

from runner.engine.commands import FOLDER, BadCommandFile, CommandFiles, place_file
from runner.engine.conversation.asked import SHOWN_LETTERS, Asked
from runner.engine.outcomes import TooMuch, within_limits
from runner.engine.output import StepOutput
from runner.engine.stage import Stage, too_long
from runner.errors import BrokenDefinition
from runner.model.step import Exports, Outcome, Result
from runner.workflow.shells import script_name, shell_argv, shell_problem

MOST_AT_ONCE = 64
"""Bodies that run at the same time; others begin when these have ended."""
VALUE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bodies:
    """`env` are the variables of the job."""

    stage: Stage
    env: Mapping[str, str]

    def begin(self, step: Asked, others: Collection[Asked]) -> Mapping[str, Any]:
        """Make ready for a body beside `others`; gives what its process is told.

        Raises `BrokenDefinition`.
        """
        limit = step.request.get("timeout")
        step.limit = float(limit) if limit is not None else float("inf")
        step.until = min(monotonic() + step.limit, self.stage.end)
        step.output = self.listener(step.key)
        step.told_to_end = False
        taken = {one.slot for one in others}
        step.slot = next(number for number in range(1, len(taken) + 2) if number not in taken)
        return {"is": "proceed", "id": step.number, **(self._command(step) if step.kind == "sh" else {})}

    def listener(self, key: str) -> StepOutput:
        """Who takes what is printed under a step's key."""
        return StepOutput(
            partial(self.stage.log, key),
            self.stage.masks,
            self.stage.matchers,
            self.stage.read,
            debug=self.env.get("ACTIONS_STEP_DEBUG") == "true",
        )

    def _command(self, step: Asked) -> Mapping[str, Any]:
        shell, sandbox = step.request.get("shell"), self.stage.scene.sandbox
        if shell is not None and (problem := shell_problem(shell)):
            raise BrokenDefinition(problem)
        script = script_name(shell, f"{FOLDER}step-{step.slot}")
        place_file(f"{sandbox.host_temp}/{script}", str(step.request["command"]).encode(), 0o755)
        files = self._files(step)
        files.empty()
        return {
            "argv": list(shell_argv(shell, f"{sandbox.temp}/{script}")),
            "env": {**step.request["env"], **files.variables, "RUNNER_STEP": step.key},
            "cwd": posixpath.join(sandbox.workspace, str(step.request.get("folder") or "")),
        }

    def _files(self, step: Asked) -> CommandFiles:
        sandbox = self.stage.scene.sandbox
        return CommandFiles(sandbox.host_temp, sandbox.temp, f"{step.slot}-")

    def judged(self, step: Asked, message: Mapping[str, Any]) -> tuple[Outcome, bool]:
        """What came of a body, and whether that is final however often it may be tried."""
        value, code, stopped = message.get("value"), message.get("exit"), message.get("stopped")
        if stopped == "timeout":
            outcome = Outcome(Result.TIMED_OUT, Result.TIMED_OUT, code, reason=too_long(step.limit))
            return self.kept(step, outcome, {"kind": "timeout", "reason": too_long(step.limit)}), False
        if stopped is not None:
            return self.kept(step, failure("it was cancelled", Result.CANCELLED, code), {}), True
        if step.kind == "sh":
            return self._shell(step, code if isinstance(code, int) else 1, value), False
        if message.get("ok") and value is None:
            # It came in parts before.
            return success(), False
        if message.get("ok") and isinstance(value, str):
            if len(value) > VALUE_BYTES:
                reason = f"the step's value has {len(value)} bytes; {VALUE_BYTES} are the most"
                return self.kept(step, failure(reason), {"type": "TooLong"}), True
            return replace(success(), value=value), False
        told = dict(value) if isinstance(value, Mapping) else {}
        reason = str(told.get("reason") or "it failed")
        self._complain(step, str(told.get("traceback") or reason))
        return self.kept(step, failure(reason), told), bool(told.pop("final", False))

    def errand(self, step: Asked, outcome: Outcome) -> Outcome:
        """What came of an action that the engine did itself."""
        if outcome.result.ok:
            return outcome
        if outcome.result is not Result.CANCELLED:
            self._complain(step, outcome.reason)
        told = {"kind": "timeout"} if outcome.result is Result.TIMED_OUT else {}
        return self.kept(step, outcome, told)

    def _shell(self, step: Asked, code: int, value: object) -> Outcome:
        output = step.output
        assert output is not None
        try:
            written = self._files(step).read()
            reason = value.get("reason", "") if isinstance(value, Mapping) else ""
            result = Result.FAILURE if code else Result.SUCCESS
            outcome = Outcome(
                result,
                result,
                code,
                {**output.outputs, **written.outputs},
                Exports(output.env, tuple(output.path)).then(written.exports),
                written.summary,
                str(reason),
                tuple(output.annotations),
            )
            outcome = within_limits(outcome)
        except (BadCommandFile, TooMuch) as error:
            self._complain(step, str(error))
            outcome = failure(str(error), code=code or 1)
        if outcome.result.failed:
            reason = outcome.reason or f"the command ended with exit code {code}"
            return self.kept(step, outcome, {"reason": reason, "exit_code": code})
        return outcome

    def kept(self, step: Asked, outcome: Outcome, told: Mapping[str, Any]) -> Outcome:
        """A failure with what the workflow is told of it, now and whenever it is run again."""
        said = {"reason": outcome.reason, "exit_code": outcome.exit_code, **told}
        text = json.dumps(said)
        if len(text) > VALUE_BYTES:
            text = json.dumps({"reason": outcome.reason[:SHOWN_LETTERS], "exit_code": outcome.exit_code})
        return replace(outcome, value=text)

    def _complain(self, step: Asked, what: str) -> None:
        lines = what.rstrip("\n").split("\n")
        said = "\n".join([*lines[:-1], f"##[error]{lines[-1]}"]) + "\n"
        self.stage.log(step.key, self.stage.masks.hide(said.encode(errors="replace")))


def success() -> Outcome:
    return Outcome(Result.SUCCESS, Result.SUCCESS)


def failure(reason: str, result: Result = Result.FAILURE, code: int | None = None) -> Outcome:
    return Outcome(result, result, code, reason=reason)
