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

from runner.engine.actions import action_at, used
from runner.engine.advance import advance
from runner.engine.contexts import Asked
from runner.engine.definitions import workflow_at
from runner.engine.ports import Dispatcher, Store
from runner.engine.sources import Sources
from runner.errors import BrokenDefinition, DatabaseUnavailable, RunnerError, Unavailable
from runner.model import planning
from runner.model.run import Run
from runner.model.source import Route
from runner.workflow.built_in import is_built_in
from runner.workflow.document import ActionDef, Composite, Reusable, StepDef, Steps, Uses, Workflow
from runner.workflow.references import Local, Remote, called_from, remote_call

DEEPEST = 10
"""How deep actions may use each other, and workflows call each other, as on GitHub."""
MOST_PINS = 200
"""Of a run."""
MOST_ACTIONS = 300
"""Of one job, and of one workflow before it runs."""
PATIENCE = 60.0
"""Seconds after which admission looks no further; what is not bound by then is when it is used."""

Trail = tuple[Local | Remote, ...]
"""The actions that a step stands in, from the outermost on."""

log = logging.getLogger(__name__)


@dataclass
class Walk:
    """Follows what steps and jobs use, from file to file, each at its own commit.

    `own` is the run's commit, `keep` what holds the commits of others, `pins` the versions that are bound
    already. `trusted`: whether all files of the run's own commit are of those who may push; else only its
    workflows are. `added` are those that it had to resolve; `routes` and `actions` are what it found.
    """

    sources: Sources
    own: Route
    keep: str
    pins: Mapping[str, str]
    trusted: bool
    added: dict[str, str] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    actions: dict[Remote, ActionDef] = field(default_factory=dict)

    def steps(self, steps: Iterable[StepDef], home: Remote | None, trail: Trail = ()) -> None:
        """Everything that steps of a file in `home` use; None is the run's own repository.

        Errors: `BrokenDefinition`, `Unavailable`.
        """
        for step in steps:
            if not isinstance(step.body, Uses) or is_built_in(step.body.action):
                continue
            with self._step(step.body.action) as action:
                match used(action, home, self.own):
                    case Remote() as wanted:
                        self._action(wanted, trail)
                    case Local() as found:
                        self._of_workspace(found, trail)

    def route(self, wanted: Remote) -> Route:
        """Where a version is; one that is not bound yet is resolved."""
        if wanted.version not in self.routes:
            self.routes[wanted.version] = self._route(wanted)
        return self.routes[wanted.version]

    def _route(self, wanted: Remote) -> Route:
        commit = self.pins.get(wanted.version) or self.added.get(wanted.version)
        if commit is None:
            if len(self.pins) + len(self.added) >= MOST_PINS:
                raise BrokenDefinition(
                    f"{wanted.version}: the run uses {MOST_PINS} versions of repositories already, the most"
                )
            commit = self._resolved(wanted)
        route = self.sources.fetch(self.own, wanted, commit, self.keep, self._seconds())
        if wanted.version not in self.pins:
            # A commit that nobody could fetch is no version of it.
            self.added[wanted.version] = commit
        return route

    def _resolved(self, wanted: Remote) -> str:
        return self.sources.resolve(self.own, wanted, self._seconds())

    def _seconds(self) -> float | None:
        """How long one word with a repository may take; None is as long as any."""
        return None

    @contextmanager
    def _step(self, uses: str) -> Iterator[str]:
        yield uses

    def _action(self, wanted: Remote, trail: Trail) -> None:
        _check(wanted, trail)
        if wanted in self.actions:
            return
        if len(self.actions) >= MOST_ACTIONS:
            raise BrokenDefinition(f"{wanted}: {MOST_ACTIONS} actions are used already, the most")
        if (wanted.repository, wanted.ref) == (self.own.repo, self.own.commit):
            # What a file of the run's own repository calls `$/` is no version of another one.
            self.routes[wanted.version] = self.own
        self._check_shared(wanted, trail)
        route = self.route(wanted)
        try:
            found = action_at(wanted.path, route, self.sources.workspaces)
        except BrokenDefinition as error:
            raise BrokenDefinition(f"{wanted.version}: {error}") from None
        if found is None:
            where = wanted.path or "its top folder"
            raise BrokenDefinition(f"{wanted}: {where} has no action.yml at {route.commit[:12]}")
        if isinstance(found.runs, Composite):
            self.steps(found.runs.steps, wanted, (*trail, wanted))
        # Last: until all below it was seen, it may stand in a circle.
        self.actions[wanted] = found

    def _check_shared(self, wanted: Remote, trail: Trail) -> None:
        """The code of a fork reads no more of the repositories here than the base's files give it."""
        if self.trusted or wanted.version in self.pins or not any(self._is_own(one) for one in trail):
            return
        if self.sources.is_shared(self.own, wanted.repository):
            raise BrokenDefinition(
                f"{wanted.version}: {wanted.repository} is a repository of this server, which an action of a "
                "fork cannot use; a workflow of the base can"
            )

    def _is_own(self, one: Local | Remote) -> bool:
        return isinstance(one, Local) or one.repository.lower() == self.own.repo.lower()

    def _of_workspace(self, wanted: Local, trail: Trail) -> None:
        """An action that a step finds in the workspace, which may have another one by then."""


class FirstWalk(Walk):
    """What can be bound before there are runs. What cannot is left to the job that uses it.

    It is for all workflows that one delivery starts, and asks for a version once.
    """

    def __init__(self, sources: Sources, own: Route, keep: str, trusted: bool) -> None:
        super().__init__(sources, own, keep, {}, trusted)
        self._until = monotonic() + PATIENCE
        self._resolutions: dict[str, str] = {}
        self._seen: set[str] = set()

    def pinned(self, workflow: Workflow) -> Mapping[str, str]:
        """The versions that a workflow can be seen to use, bound to what they are now."""
        self.added, self.routes, self.actions, self._seen = {}, {}, {}, set()
        self._workflow(workflow, None, 0)
        return self.added

    def _workflow(self, workflow: Workflow, home: Remote | None, depth: int) -> None:
        for job in workflow.jobs:
            match job.body:
                case Steps(steps):
                    self.steps(steps, home)
                case Reusable(uses) if depth < DEEPEST:
                    with self._step(uses):
                        self._call(called_from(uses, home), depth)

    def _call(self, called: str, depth: int) -> None:
        if not self._is_new(called):
            return
        wanted = remote_call(called)
        route = self.own if wanted is None else self.route(wanted)
        path = called if wanted is None else wanted.path
        self._workflow(workflow_at(path, route, self.sources.workspaces), wanted, depth + 1)

    def _is_new(self, file: str) -> bool:
        """Whether a file is to be looked at that may use more."""
        self._seconds()
        new = file not in self._seen and len(self._seen) < MOST_ACTIONS
        self._seen.add(file)
        return new

    def _seconds(self) -> float:
        left = self._until - monotonic()
        if left <= 0:
            raise Unavailable("there is no time left to look for it")
        return left

    def _action(self, wanted: Remote, trail: Trail) -> None:
        if self._is_new(str(wanted)):
            super()._action(wanted, trail)

    def _resolved(self, wanted: Remote) -> str:
        version = wanted.version
        if version not in self._resolutions:
            self._resolutions[version] = super()._resolved(wanted)
        return self._resolutions[version]

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
        if not self._is_new(str(wanted)):
            return
        found = action_at(wanted.path, self.own, self.sources.workspaces)
        if found is not None and isinstance(found.runs, Composite):
            self.steps(found.runs.steps, None, (*trail, wanted))


def _check(wanted: Local | Remote, trail: Trail) -> None:
    if wanted in trail:
        circle = " -> ".join(str(one) for one in (*trail[trail.index(wanted) :], wanted))
        raise BrokenDefinition(f"actions use each other in a circle: {circle}")
    if len(trail) >= DEEPEST:
        raise BrokenDefinition(f"{trail[0]}: actions use each other more than {DEEPEST} deep")


def walked(
    asked: Asked, sources: Sources, what: Callable[[Walk], object], store: Store, dispatcher: Dispatcher
) -> tuple[Run, Walk]:
    """Have a walk do something, and bind the run to all that it resolved before anybody relies on it."""
    run = asked.run
    while True:
        walk = Walk(sources, run.route, run.delivery, run.pins, asked.event.trusted)
        what(walk)
        if not walk.added:
            return run, walk
        change = partial(_pinned, found=dict(walk.added))
        run = advance(run.id, change, store=store, dispatcher=dispatcher).after
        if walk.added.items() <= run.pins.items():
            return run, walk


def _pinned(run: Run, now: object, found: Mapping[str, str]) -> Run:
    return planning.pin(run, found)
