"""What an action is given that the engine itself does."""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from runner.engine.heart import Why
from runner.engine.ports import BOX_TEMP, BOX_WORKSPACE, Folder
from runner.engine.stage import Released, Stage, too_long
from runner.errors import BrokenDefinition, LeaseLost, RunnerError
from runner.model.step import Outcome, Result


class Interrupted(RunnerError):
    """What is done has to end; `result` is what it then comes to."""

    def __init__(self, result: Result, reason: str) -> None:
        super().__init__(reason)
        self.result = result


@dataclass(frozen=True)
class Errand:
    """One use of such an action. `inputs` are by small letters, `path` leads to its step.

    `until` is a reading of `time.monotonic()`, `limit` the seconds that the step has in all.
    """

    inputs: Mapping[str, str]
    # What a traceback shows of an errand must not show the secrets in it.
    seen: Mapping[str, Any] = field(repr=False)
    stage: Stage
    path: tuple[int, ...]
    note: Callable[[bytes], None]
    until: float
    limit: float
    cancellable: bool = True
    version: str = ""
    """Which one of the action the step names."""
    key: str = ""
    """That of its step, where that has a name; else it is what `path` says."""

    def say(self, line: str) -> None:
        self.note(f"{line}\n".encode(errors="replace"))

    def check(self) -> None:
        """To be called now and then: raises what ends long work that nobody waits for any more."""
        hold = self.stage.hold
        match hold.why:
            case Why.LATE:
                raise Interrupted(Result.CANCELLED, "cancelled")
            case Why.RELEASED:
                raise Released(Why.RELEASED.value)
            case Why.LOST:
                raise LeaseLost(Why.LOST.value)
        if self.cancellable and hold.cancelled is not None:
            raise Interrupted(Result.CANCELLED, "cancelled")
        if monotonic() > self.until:
            raise Interrupted(Result.TIMED_OUT, too_long(self.limit))

    def place(self, path: str) -> tuple[Folder, str]:
        """The folder of the job that a path as a step writes it is in, and where it is there.

        That is its workspace, or its temporary folder with its HOME. Raises `BrokenDefinition` for any other.
        """
        stage, sandbox = self.stage, self.stage.scene.sandbox
        if path == "~" or path.startswith("~/"):
            path = sandbox.home + path[1:]
        path = posixpath.normpath(posixpath.join(sandbox.workspace, path))
        temp = sandbox.host_temp
        roots = {sandbox.workspace: stage.workspace.path, BOX_WORKSPACE: stage.workspace.path}
        for inside, root in {**roots, sandbox.temp: temp, BOX_TEMP: temp}.items():
            if path == inside or path.startswith(f"{inside}/"):
                return stage.station.workspaces.reach(root), path[len(inside) :].lstrip("/")
        raise BrokenDefinition(
            f"{path[:200]!a} is in no folder of the job; give a path in the workspace, in RUNNER_TEMP or in ~"
        )


def done(outputs: Mapping[str, str] | None = None) -> Outcome:
    return Outcome(Result.SUCCESS, Result.SUCCESS, 0, outputs or {})
