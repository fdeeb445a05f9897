"""Where the steps of a job stand: what they all run with, and where each of them is."""

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
from runner.engine.ports import Workspace
from runner.errors import LeaseLost
from runner.model.step import Exports, Result
from runner.workflow.references import Remote

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
    masks: Masks = field(default_factory=Masks)
    matchers: Matchers = field(default_factory=Matchers)
    recorded: Collection[str] = ()
    pres: tuple[Pre, ...] = ()
    """What actions do before the first step."""

    @cached_property
    def seen(self) -> Mapping[str, Any]:
        """The contexts that do not change while the job runs."""
        seen = contexts(self.scene)
        return seen | {"job": seen["job"] | self.beside.context(self.scene.sandbox)}

    @cached_property
    def given(self) -> Mapping[str, str]:
        """The variables that every step of the job is given, whatever the definition says."""
        return {**environment(self.scene, self.seen), **self.files.variables}

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
