"""The actions of other repositories that one job uses, at the commits that its run is bound to."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import quote

from runner.engine.actions import Found, find_action, post_of, pre_of, used
from runner.engine.commands import FOLDER
from runner.engine.contexts import Asked
from runner.engine.pins import Trail, Walk, walked
from runner.engine.ports import Sandbox, Workspace
from runner.engine.station import Station
from runner.errors import BrokenDefinition, DatabaseUnavailable, Unavailable
from runner.model.source import Route
from runner.model.step import step_key
from runner.workflow.built_in import is_built_in
from runner.workflow.document import ActionDef, Composite, Docker, Script, StepDef, Uses
from runner.workflow.references import Image, Local, Remote

SHELF = f"{FOLDER}actions"
"""The folder in a job's temp folder that they are in."""
MOST_PRES = 1000
"""How many actions of a job may have something to do before its first step."""


@dataclass(frozen=True, slots=True)
class Pre:
    """Something that an action does before the job's first step.

    `path` leads to its step as that of a `Post` does. `posts`: whether it has something to do at the end too.
    """

    path: tuple[int, ...]
    posts: bool

    @property
    def key(self) -> str:
        return f"{step_key(self.path)}.pre"


class Halted(Unavailable):
    """Something that a job needs before it can go on does not answer; no step has begun that uses it."""


class Library:
    """Every action that the steps of one attempt of a job use. For one thread.

    `name` is that of the job's workspace, `home` the repository that the job's file belongs to, where that is
    another one than the run's own.
    """

    def __init__(self, asked: Asked, home: Remote | None, name: str, station: Station) -> None:
        self.home = home
        self._asked = asked
        self.name = name
        self._station = station
        self._routes: dict[str, Route] = {}
        self._actions: dict[Remote, ActionDef] = {}
        self._placed: set[str] = set()

    def prepare(self, steps: Iterable[StepDef], home: Remote | None, trail: Trail = ()) -> None:
        """Know all that these steps use of other repositories, before one of them runs.

        `trail`: the actions that they stand in.
        Errors: `BrokenDefinition` where there is no such thing, `Unavailable` where it cannot be had now.
        """
        station, steps = self._station, tuple(steps)

        def walk(walk: Walk) -> None:
            walk.steps(steps, home, trail)

        run, found = walked(self._asked, station.sources, walk, station.store, station.dispatcher)
        self._asked = replace(self._asked, run=run)
        self._routes |= found.routes
        self._actions |= found.actions

    def extend(
        self, steps: Iterable[StepDef], path: str, sandbox: Sandbox, say: Callable[[bytes], None]
    ) -> None:
        """Have all that the steps of an action use that only the workspace has, in the folder `path`.

        Errors: `BrokenDefinition`, `Halted`.
        """
        try:
            self.prepare(steps, None, (Local(path),))
            self.place(sandbox, say)
        except DatabaseUnavailable:
            raise
        except Unavailable as error:
            raise Halted(str(error)) from error

    def place(self, sandbox: Sandbox, say: Callable[[bytes], None]) -> None:
        """Put the files of all that is known where the job's steps can see them."""
        for wanted in self._actions:
            version = wanted.version
            if version in self._placed:
                continue
            route = self._routes[version]
            say(f"Download action repository '{version}' (SHA:{route.commit})\n".encode())
            try:
                self._station.workspaces.place(route, self.name, sandbox.host_temp, _folders(wanted))
            except BrokenDefinition as error:
                raise BrokenDefinition(f"{version}: {error}") from None
            self._placed.add(version)

    def find(self, uses: str, home: Remote | None, workspace: Workspace, sandbox: Sandbox) -> Found:
        """The action that a step names in a file of `home`. Raises `BrokenDefinition`."""
        wanted = used(uses, home, self._asked.run.route)
        if isinstance(wanted, Local):
            return find_action(wanted.path, workspace, sandbox.workspace)
        if isinstance(wanted, Image) or wanted not in self._actions or wanted.version not in self._placed:
            raise BrokenDefinition(f"{uses}: it was not there when the job began")
        folder = "/".join((sandbox.temp, *_folders(wanted), *filter(None, [wanted.path])))
        return Found(folder, self._actions[wanted], wanted)

    def pres(self, steps: tuple[StepDef, ...]) -> tuple[Pre, ...]:
        """What the actions of a job's steps do before its first one. Raises `BrokenDefinition`."""
        found: list[Pre] = []
        for pre in self._pres(steps, self.home, ()):
            found.append(pre)
            if len(found) > MOST_PRES:
                raise BrokenDefinition(f"more than {MOST_PRES} actions do something before the first step")
        return tuple(found)

    def _pres(self, steps: Iterable[StepDef], home: Remote | None, path: tuple[int, ...]) -> Iterator[Pre]:
        for index, step in enumerate(steps):
            action = self._action(step, home)
            # What is in the workspace is not known before a step has run.
            if action is None:
                continue
            wanted, runs = action
            if pre_of(runs) is not None:
                yield Pre((*path, index), post_of(runs) is not None)
            elif isinstance(runs, Composite) and self._has_pre(wanted):
                yield from self._pres(runs.steps, wanted, (*path, index))

    def _action(
        self, step: StepDef, home: Remote | None
    ) -> tuple[Remote, Composite | Script | Docker] | None:
        if not isinstance(step.body, Uses) or is_built_in(step.body.action):
            return None
        wanted = used(step.body.action, home, self._asked.run.route)
        return (wanted, self._actions[wanted].runs) if isinstance(wanted, Remote) else None

    def _has_pre(self, wanted: Remote) -> bool:
        """Whether there is any below an action: of those that use many others, most have none."""
        ahead, seen = [wanted], {wanted}
        while ahead:
            one = ahead.pop()
            runs = self._actions[one].runs
            if pre_of(runs) is not None:
                return True
            for step in runs.steps if isinstance(runs, Composite) else ():
                inner = self._action(step, one)
                if inner is not None and inner[0] not in seen:
                    seen.add(inner[0])
                    ahead.append(inner[0])
        return False


def _folders(wanted: Remote) -> tuple[str, ...]:
    """Where a version's files are below the temp folder; a branch's name may have slashes in it."""
    return (SHELF, *wanted.repository.split("/"), quote(wanted.ref, safe=""))
