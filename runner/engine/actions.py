"""What a step `uses`: an action of the workspace or of another repository, or one that is built in."""

import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from runner.engine.ports import Recipe, Sandbox, Workspace, Workspaces
from runner.errors import BrokenDefinition, NotFound
from runner.expr.values import to_string
from runner.model.source import Route
from runner.workflow.document import ActionDef, Composite, Docker, Script
from runner.workflow.load import MAX_BYTES, load_action
from runner.workflow.references import BadReference, Image, Local, Remote, parse_action
from runner.workflow.trees import settled

FILES = ("action.yml", "action.yaml")
Moment = Literal["pre", "main", "post"]
"""When an action does something: before the first step of its job, in its own, or at the job's end."""
IMAGE = "docker://"
"""How the name of an image begins where something else could be meant."""

_NOT_IN_VARIABLES = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class Found:
    """An action, the folder that it is in, as steps see it, and where it is from where that is elsewhere."""

    folder: str
    action: ActionDef
    origin: Remote | None = None

    @property
    def variables(self) -> dict[str, str]:
        """What says which action its steps belong to."""
        repository, ref = (self.origin.repository, self.origin.ref) if self.origin else ("", "")
        return {
            "GITHUB_ACTION_PATH": self.folder,
            "GITHUB_ACTION_REPOSITORY": repository,
            "GITHUB_ACTION_REF": ref,
        }


def used(uses: str, home: Remote | None, own: Route) -> Local | Remote | Image:
    """What a step means that stands in a file of `home`; None is the run's own repository, at `own`.

    Raises `BrokenDefinition`.
    """
    try:
        reference = parse_action(uses)
    except BadReference as error:
        raise BrokenDefinition(f"{uses}: {error}") from None
    match reference:
        case Local(path, fixed=True):
            path = "" if path == "." else path
            return Remote(home.repository, path, home.ref) if home else Remote(own.repo, path, own.commit)
        case other:
            return other


def image_of(uses: str) -> str | None:
    """The image that a step runs, where it uses no more than one."""
    return uses.removeprefix(IMAGE) if uses.startswith(IMAGE) else None


def find_action(path: str, workspace: Workspace, root: str) -> Found:
    """The action in a folder of the workspace, as it is now, which steps see at `root`.

    Raises `BrokenDefinition`.
    """
    folder = _prefix(path)
    for name in FILES:
        try:
            text = workspace.read(folder + name, MAX_BYTES)
        except NotFound:
            continue
        return Found(posixpath.join(root, folder.rstrip("/")), _parsed(folder + name, text))
    raise BrokenDefinition(f"./{path}: the workspace has no {folder}{FILES[0]} and no {folder}{FILES[1]}")


def action_at(path: str, route: Route, workspaces: Workspaces) -> ActionDef | None:
    """The action in a folder of a commit; None where there is none. Raises `BrokenDefinition`."""
    folder = _prefix(path)
    files = workspaces.read(route, folder, FILES)
    for name in FILES:
        if folder + name in files:
            return _parsed(folder + name, files[folder + name])
    return None


def _prefix(path: str) -> str:
    return "" if path in ("", ".") else f"{path}/"


_parsed = lru_cache(maxsize=256)(load_action)


def inputs_of(action: ActionDef, given: Mapping[str, str], seen: Mapping[str, Any]) -> dict[str, str]:
    """What an action gets for each of its inputs: what it is given, else its default, as text."""
    found = {name.lower(): value for name, value in given.items()}
    return {
        name: found[name.lower()] if name.lower() in found else to_string(settled(wanted.default, seen))
        for name, wanted in action.inputs.items()
    }


def unknown_inputs(action: ActionDef, given: Mapping[str, str]) -> list[str]:
    known = {name.lower() for name in action.inputs}
    if isinstance(action.runs, Docker):
        known |= {"args", "entrypoint"}
    return [name for name in given if name.lower() not in known]


def input_variables(inputs: Mapping[str, str]) -> dict[str, str]:
    """How a program is given its inputs."""
    return {f"INPUT_{_NOT_IN_VARIABLES.sub('_', name).upper()}": value for name, value in inputs.items()}


def given(inputs: Mapping[str, str], name: str) -> str:
    return next((value for one, value in inputs.items() if one.lower() == name), "")


def image_for(docker: Docker, found: Found | None, workspace: Workspace, sandbox: Sandbox) -> str | Recipe:
    """The image of an action, or what one is made of: a Dockerfile in its folder, wherever that is."""
    if found is None or docker.image.startswith(IMAGE):
        return docker.image.removeprefix(IMAGE)
    here, there = (workspace.path, sandbox.workspace)
    if found.origin is not None:
        here, there = (sandbox.host_temp, sandbox.temp)
    folder = posixpath.relpath(found.folder, there)
    return Recipe(here, "" if folder == "." else folder, docker.image)


def entrypoint_of(docker: Docker, moment: Moment, inputs: Mapping[str, str]) -> str | None:
    """What a container is begun with; None is what its image says."""
    match moment:
        case "pre":
            return docker.pre_entrypoint
        case "post":
            return docker.post_entrypoint
        case _:
            return docker.entrypoint or given(inputs, "entrypoint") or None


def words(text: str) -> tuple[str, ...]:
    """What a container is started with, from one text. Raises `BrokenDefinition`."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise BrokenDefinition(f"args cannot be read: {error}") from None


def pre_of(runs: Composite | Script | Docker) -> str | None:
    """What an action does before the first step of its job."""
    match runs:
        case Script(pre=pre) | Docker(pre_entrypoint=pre):
            return pre
    return None


def post_of(runs: Composite | Script | Docker) -> str | None:
    """What an action does when its job ends."""
    match runs:
        case Script(post=post) | Docker(post_entrypoint=post):
            return post
    return None
