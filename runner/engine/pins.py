"""What a workflow uses of other repositories, each version bound to one commit.

A version is a tag or a branch, which may be moved or deleted at any time. A run resolves each one once and
stores the commit: before it exists where its files show the use, else before the first step that uses it.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from runner.engine.actions import CHECKOUT, action_at, used
from runner.engine.advance import advance
from runner.engine.definitions import workflow_at
from runner.engine.ports import Dispatcher, Store
from runner.engine.sources import Sources
from runner.errors import BrokenDefinition, DatabaseUnavailable, RunnerError, Unavailable
from runner.model import lifecycle
from runner.model.run import Run
from runner.model.source import Route
from runner.workflow.document import ActionDef, Composite, Reusable, StepDef, Steps, Uses, Workflow
from runner.workflow.references import Local, Remote, called_from, remote_call

DEEPEST = 10
"""How deep actions may use each other, and workflows call each other, as on GitHub."""
MOST_PINS = 200
"""Of a run."""
PATIENCE = 60.0
"""Seconds after which admission asks no more repositories; what is not bound then is when it is used."""

Trail = tuple[Local | Remote, ...]
"""The actions that a step stands in, from the outermost on."""

log = logging.getLogger(__name__)


@dataclass
class Walk:
    """Follows what steps and jobs use, from file to file, each at its own commit.

    `own` is the run's commit, `keep` what holds the commits of others, `pins` the versions that are bound
    already. `added` are those that it had to resolve, `actions` what it found.
    """

    sources: Sources
    own: Route
    keep: str
    pins: Mapping[str, str]
    added: dict[str, str] = field(default_factory=dict)
    actions: dict[Remote, ActionDef] = field(default_factory=dict)

    def steps(self, steps: Iterable[StepDef], home: Remote | None, trail: Trail = ()) -> None:
        """Everything that steps of a file in `home` use; None is the run's own repository.

        Errors: `BrokenDefinition`, `Unavailable`.
        """
        for step in steps:
            if not isinstance(step.body, Uses) or CHECKOUT.fullmatch(step.body.action):
                continue
            with self._step(step.body.action) as action:
                match used(action, home, self.own):
                    case Remote() as wanted:
                        self._action(wanted, trail)
                    case Local() as found:
                        self._of_workspace(found, trail)

    def route(self, wanted: Remote) -> Route:
        """Where a version is; one that is not bound yet is resolved."""
        commit = self.pins.get(wanted.version) or self.added.get(wanted.version)
        if commit is None:
            if len(self.pins) + len(self.added) >= MOST_PINS:
                raise BrokenDefinition(
                    f"{wanted.version}: the run uses {MOST_PINS} versions of repositories already, the most"
                )
            commit = self._resolved(wanted)
        route = self.sources.fetch(self.own, wanted, commit, self.keep)
        if wanted.version not in self.pins:
            # A commit that nobody could fetch is no version of it.
            self.added[wanted.version] = commit
        return route

    def _resolved(self, wanted: Remote) -> str:
        return self.sources.resolve(self.own, wanted)

    @contextmanager
    def _step(self, uses: str) -> Iterator[str]:
        yield uses

    def _action(self, wanted: Remote, trail: Trail) -> None:
        _check(wanted, trail)
        if wanted in self.actions:
            return
        route = self.route(wanted)
        found = action_at(wanted.path, route, self.sources.workspaces)
        if found is None:
            where = wanted.path or "its top folder"
            raise BrokenDefinition(f"{wanted}: {where} has no action.yml at {route.commit[:12]}")
        if isinstance(found.runs, Composite):
            self.steps(found.runs.steps, wanted, (*trail, wanted))
        # Last: until all below it was seen, it may stand in a circle.
        self.actions[wanted] = found

    def _of_workspace(self, wanted: Local, trail: Trail) -> None:
        """An action that a step finds in the workspace, which may have another one by then."""


class FirstWalk(Walk):
    """What can be bound before there is a run. What cannot is left to the job that uses it."""

    def __init__(self, sources: Sources, own: Route, keep: str) -> None:
        super().__init__(sources, own, keep, {})
        self._until = monotonic() + PATIENCE
        self._seen: set[str] = set()

    def workflow(self, workflow: Workflow, home: Remote | None = None, depth: int = 0) -> None:
        for job in workflow.jobs:
            match job.body:
                case Steps(steps):
                    self.steps(steps, home)
                case Reusable(uses) if depth < DEEPEST:
                    with self._step(uses):
                        self._call(called_from(uses, home), depth)

    def _call(self, called: str, depth: int) -> None:
        if called in self._seen:
            return
        self._seen.add(called)
        wanted = remote_call(called)
        route = self.own if wanted is None else self.route(wanted)
        path = called if wanted is None else wanted.path
        self.workflow(workflow_at(path, route, self.sources.workspaces), wanted, depth + 1)

    def _resolved(self, wanted: Remote) -> str:
        if monotonic() > self._until:
            raise Unavailable(f"{wanted.version}: there was no time left to ask for it")
        return super()._resolved(wanted)

    @contextmanager
    def _step(self, uses: str) -> Iterator[str]:
        try:
            yield uses
        except DatabaseUnavailable:
            raise
        except RunnerError as error:
            log.info("not bound to a commit yet", extra={"uses": uses, "error": str(error)})

    def _of_workspace(self, wanted: Local, trail: Trail) -> None:
        _check(wanted, trail)
        if wanted.path in self._seen:
            return
        self._seen.add(wanted.path)
        found = action_at(wanted.path, self.own, self.sources.workspaces)
        if found is not None and isinstance(found.runs, Composite):
            self.steps(found.runs.steps, None, (*trail, wanted))


def _check(wanted: Local | Remote, trail: Trail) -> None:
    if wanted in trail:
        circle = " -> ".join(str(one) for one in (*trail[trail.index(wanted) :], wanted))
        raise BrokenDefinition(f"actions use each other in a circle: {circle}")
    if len(trail) >= DEEPEST:
        raise BrokenDefinition(f"{trail[0]}: actions use each other more than {DEEPEST} deep")


def first_pins(workflow: Workflow, sources: Sources, own: Route, keep: str) -> Mapping[str, str]:
    """The versions that a workflow can be seen to use, bound to what they are now."""
    walk = FirstWalk(sources, own, keep)
    walk.workflow(workflow)
    return walk.added


def walked(
    run: Run, sources: Sources, what: Callable[[Walk], object], store: Store, dispatcher: Dispatcher
) -> tuple[Run, Walk]:
    """Have a walk do something, and bind the run to all that it resolved before anybody relies on it."""
    while True:
        walk = Walk(sources, run.route, run.delivery, run.pins)
        what(walk)
        if not walk.added:
            return run, walk
        change = partial(_pinned, found=dict(walk.added))
        run = advance(run.id, change, store=store, dispatcher=dispatcher).after
        if walk.added.items() <= run.pins.items():
            return run, walk


def _pinned(run: Run, now: object, found: Mapping[str, str]) -> Run:
    return lifecycle.pin(run, found)
