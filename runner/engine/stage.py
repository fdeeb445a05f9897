"""Where the steps of a job stand: what they all run with, and where each of them is."""

import posixpath
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from time import monotonic
from typing import Any

from runner.engine.beside import Beside
from runner.engine.commands import CommandFiles
from runner.engine.contexts import Scene, contexts, environment
from runner.engine.heart import CANCEL_SECONDS, Hold
from runner.engine.library import Library, Pre
from runner.engine.masks import Masks
from runner.engine.matchers import Matchers
from runner.engine.ports import BOX_WORKSPACE, History, Workspace
from runner.engine.station import Station
from runner.errors import BrokenDefinition, LeaseLost, NotFound
from runner.expr.values import to_number, to_string
from runner.model.source import Repository
from runner.model.step import Exports, Result
from runner.sdk.spans import spoken
from runner.workflow.document import Number
from runner.workflow.references import Remote
from runner.workflow.trees import settled

MATCHER_BYTES = 256 * 1024
Log = Callable[[str, bytes], None]
"""Takes a step's key and what it printed."""


class Released(LeaseLost):
    """This worker hands the job back unfinished."""


@dataclass(frozen=True)
class Stage:
    """What the steps of a job run with: its scene, its files, its log, its hold on the lease, its deadline.

    `beside` are the containers beside its sandbox. `deadline` is a reading of `time.monotonic()`: the end of
    the job's own `timeout-minutes`. `recorded` are the keys of the steps that have checkpoints.
    """

    scene: Scene
    files: CommandFiles
    workspace: Workspace
    library: Library
    hold: Hold
    log: Log
    deadline: float
    beside: Beside
    station: Station
    repository: Repository
    masks: Masks = field(default_factory=Masks)
    matchers: Matchers = field(default_factory=Matchers)
    recorded: Collection[str] = ()
    pres: tuple[Pre, ...] = ()
    """What actions do before the first step."""
    history: History | None = None
    """What the workspace has for git."""
    unkept: bool = False
    """Whether the workspace knows nothing of what steps have changed, as nothing of it is kept."""

    @cached_property
    def seen(self) -> Mapping[str, Any]:
        """The contexts that do not change while the job runs."""
        seen = contexts(self.scene)
        return seen | {"job": seen["job"] | self.beside.context(self.scene.sandbox)}

    @cached_property
    def given(self) -> Mapping[str, str]:
        """The variables that every step of the job is given, whatever the definition says."""
        return {**environment(self.scene, self.seen), **self.files.variables}

    def read(self, path: str) -> bytes:
        """A file that a step names, where it can only be one of the workspace's.

        Raises `BrokenDefinition`.
        """
        for inside in (self.scene.sandbox.workspace, BOX_WORKSPACE):
            path = path.removeprefix(f"{inside}/")
        if posixpath.isabs(path):
            raise BrokenDefinition("only files of the workspace can be read")
        try:
            return self.workspace.read(posixpath.normpath(path), MATCHER_BYTES)
        except NotFound as error:
            raise BrokenDefinition(str(error)) from None

    @property
    def over(self) -> Result | None:
        """How the job ends whatever its steps do from now on, and though some of them still run."""
        if self.hold.cancelled is not None:
            return Result.CANCELLED
        return Result.TIMED_OUT if monotonic() > self.deadline else None

    @property
    def end(self) -> float:
        """Until when a step may run that begins now: one that runs all the same has some minutes more."""
        if self.hold.cancelled is not None:
            return self.hold.cancelled + CANCEL_SECONDS
        return self.deadline if monotonic() < self.deadline else self.deadline + CANCEL_SECONDS


@dataclass(frozen=True, slots=True)
class Level:
    """Where a step stands: among the steps of its job, or among those of a composite action.

    `seen` are its contexts but for `env` and `job`; `env` is what the definition around it says, `exports`
    what steps before it added. `status` is how the job stands, `inner` how the action does. `outlives`: it
    was begun although the job is cancelled.
    """

    # What a traceback shows of a level must not show the secrets in it.
    seen: Mapping[str, Any] = field(repr=False)
    env: Mapping[str, str] = field(repr=False)
    exports: Exports = field(repr=False)
    status: str
    path: tuple[int, ...]
    outlives: bool = False
    inner: str | None = None
    until: float = float("inf")
    """When the step around it runs out of time."""
    limit: float = float("inf")
    """How many seconds that one has in all."""
    action: Mapping[str, str] = field(default_factory=dict)
    """Variables that say which action it belongs to."""
    home: Remote | None = None
    """The repository of the file that it is in, where that is another one than the run's own."""
    states: Mapping[tuple[int, ...], Mapping[str, str]] = field(default_factory=dict)
    """What actions wrote down for themselves before the first step, by the path to their step."""


def too_long(seconds: float) -> str:
    """Why a step was stopped that could take so many seconds."""
    if seconds == float("inf"):
        return f"it did not end within {CANCEL_SECONDS / 60:.3g} minutes after the job was cancelled"
    return f"the step was stopped after {spoken(seconds)}"


def minutes(value: Number, seen: Mapping[str, Any]) -> float:
    """What a `timeout-minutes` says. Raises `BrokenDefinition`."""
    found = to_number(settled(value, seen))
    if not found > 0:
        raise BrokenDefinition(f'"timeout-minutes" is a number greater than 0, not {to_string(found)}')
    return found
