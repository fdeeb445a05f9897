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
from runner.engine.conversation.sound import given, plain
from runner.engine.outcomes import TooMuch, within_limits
from runner.engine.output import StepOutput
from runner.engine.stage import Stage, too_long
from runner.errors import BrokenDefinition
from runner.model.step import Exports, Outcome, Result
from runner.workflow.shells import script_name, shell_argv, shell_problem

MOST_AT_ONCE = 64
"""Bodies that run at the same time; others begin when these have ended."""
VALUE_BYTES = 1024 * 1024
REASON_LETTERS = 4000
TRACEBACK_LETTERS = 64 * 1024
TOO_LONG = "the job ran longer than its timeout-minutes"


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
        command = step.request["command"].encode("utf-8", "surrogateescape")
        place_file(f"{sandbox.host_temp}/{script}", command, 0o755)
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
        code = code if type(code) is int and 0 <= code < 256 else None
        if stopped == "timeout":
            reason = too_long(step.limit) if step.limit < float("inf") else TOO_LONG
            outcome = Outcome(Result.TIMED_OUT, Result.TIMED_OUT, code, reason=reason)
            return kept(outcome, {"kind": "timeout"}), False
        if stopped is not None:
            return kept(failure("it was cancelled", Result.CANCELLED, code), {}), True
        if step.kind == "sh":
            return self._shell(step, 1 if code is None else code, value), False
        if message.get("ok") and value is None:
            # It came in parts before.
            return success(), False
        if message.get("ok"):
            return self._gave(given(value))
        told = value if isinstance(value, Mapping) else {}
        reason = plain(told.get("reason") or "it failed", REASON_LETTERS)
        traceback = plain(told.get("traceback"), TRACEBACK_LETTERS)
        # That of a group ends with a line below its exceptions.
        last = traceback.rstrip("\n").rpartition("\n")[2]
        self._complain(step, traceback if last.strip(" +-") else traceback + reason)
        said = {"type": plain(told.get("type"), SHOWN_LETTERS), "traceback": traceback}
        return kept(failure(reason), said), told.get("final") is True

    def _gave(self, value: str | None) -> tuple[Outcome, bool]:
        if value is None:
            return kept(failure("its value is nothing that JSON knows"), {"type": "ValueError"}), True
        if len(value) > VALUE_BYTES:
            reason = f"the step's value has {len(value)} bytes; {VALUE_BYTES} are the most"
            return kept(failure(reason), {"type": "TooLong"}), True
        return replace(success(), value=value), False

    def errand(self, step: Asked, outcome: Outcome) -> Outcome:
        """What came of an action that the engine did itself."""
        if outcome.result.ok:
            return outcome
        if outcome.result is not Result.CANCELLED:
            self._complain(step, outcome.reason)
        told = {"kind": "timeout"} if outcome.result is Result.TIMED_OUT else {}
        return kept(outcome, told)

    def _shell(self, step: Asked, code: int, value: object) -> Outcome:
        output = step.output
        assert output is not None
        try:
            written = self._files(step).read()
            reason = plain(value.get("reason"), REASON_LETTERS) if isinstance(value, Mapping) else ""
            result = Result.FAILURE if code else Result.SUCCESS
            outcome = Outcome(
                result,
                result,
                code,
                {**output.outputs, **written.outputs},
                Exports(output.env, tuple(output.path)).then(written.exports),
                written.summary,
                reason,
                tuple(output.annotations),
            )
            outcome = within_limits(outcome)
        except (BadCommandFile, TooMuch) as error:
            self._complain(step, str(error))
            outcome = failure(str(error), code=code or 1)
        if outcome.result.failed:
            reason = outcome.reason or f"the command ended with exit code {code}"
            return kept(replace(outcome, reason=reason), {})
        return outcome

    def _complain(self, step: Asked, what: str) -> None:
        lines = what.rstrip("\n").split("\n")
        said = "\n".join([*lines[:-1], f"##[error]{lines[-1]}"]) + "\n"
        self.stage.log(step.key, self.stage.masks.hide(said.encode(errors="replace")))


def success() -> Outcome:
    return Outcome(Result.SUCCESS, Result.SUCCESS)


def failure(reason: str, result: Result = Result.FAILURE, code: int | None = None) -> Outcome:
    return Outcome(result, result, code, reason=reason)


def kept(outcome: Outcome, told: Mapping[str, Any]) -> Outcome:
    """A failure with what the workflow is told of it, now and whenever it is run again."""
    said = {"reason": outcome.reason, "exit_code": outcome.exit_code, **told}
    return replace(outcome, value=json.dumps(said))


def tried(outcome: Outcome, times: int) -> Outcome:
    """The last failure of a step that failed so often."""
    reason = f"{outcome.reason}; tried {times} times"
    return replace(
        outcome, reason=reason, value=json.dumps(json.loads(outcome.value or "{}") | {"reason": reason})
    )
