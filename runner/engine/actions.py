"""What a step `uses`: an action of the repository's own, or one that is built in."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from runner.engine.ports import Workspace
from runner.errors import BrokenDefinition, NotFound
from runner.expr.values import to_string
from runner.workflow.document import ActionDef, Composite, Docker, Script
from runner.workflow.load import MAX_BYTES, load_action
from runner.workflow.references import Image, Local, parse_action
from runner.workflow.trees import settled

FILES = ("action.yml", "action.yaml")
CHECKOUT = re.compile(r"actions/checkout@.+", re.IGNORECASE)
"""Built in: a job begins with the files of its commit."""

_NOT_IN_VARIABLES = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class Found:
    """An action, and the folder that it is in, relative to the workspace."""

    folder: str
    action: ActionDef


def image_of(uses: str) -> str | None:
    """The image that a step runs, where it uses no more than one."""
    reference = parse_action(uses)
    return reference.name if isinstance(reference, Image) else None


def find_action(uses: str, workspace: Workspace) -> Found:
    """The action that a step names, as the workspace has it now. Raises `BrokenDefinition`."""
    reference = parse_action(uses)
    if not isinstance(reference, Local):
        raise BrokenDefinition(f"{uses}: actions of other repositories are not supported yet")
    folder = "" if reference.path in ("", ".") else f"{reference.path}/"
    for name in FILES:
        try:
            text = workspace.read(folder + name, MAX_BYTES)
        except NotFound:
            continue
        return Found(folder.rstrip("/"), _parsed(folder + name, text))
    raise BrokenDefinition(f"{uses}: the workspace has no {folder}{FILES[0]} and no {folder}{FILES[1]}")


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


def words(text: str) -> tuple[str, ...]:
    """What a container is started with, from one text. Raises `BrokenDefinition`."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise BrokenDefinition(f"args: {text[:60]!r} cannot be read: {error}") from None


def post_of(runs: Composite | Script | Docker) -> str | None:
    """What an action does when its job ends."""
    match runs:
        case Script(post=post) | Docker(post_entrypoint=post):
            return post
    return None


def needs_history(name: str, value: str) -> bool:
    """Whether an input of a checkout asks for other commits than its own."""
    wanted = value.strip().lower()
    match name.lower():
        case "fetch-depth":
            return wanted not in ("", "1")
        case "fetch-tags":
            return wanted == "true"
    return False


def checked_out(inputs: Mapping[str, str], github: Mapping[str, Any]) -> dict[str, str]:
    """What a checkout gives where it asks for what is there anyhow. Raises `BrokenDefinition`."""
    wanted = {name.lower(): value.strip() for name, value in inputs.items()}
    there = {
        "repository": (github["repository"],),
        "ref": (github["ref"], github["ref_name"], github["sha"]),
        "path": (".", "./"),
        "submodules": ("false",),
        "lfs": ("false",),
        "ssh-key": (),
        "sparse-checkout": (),
    }
    for name, values in there.items():
        value = wanted.get(name, "")
        if value and value.lower() not in [str(one).lower() for one in values]:
            raise BrokenDefinition(
                f"actions/checkout: {name}: {value[:60]!r} is not supported yet; a job begins with the "
                f"files of {github['sha'][:12]} of {github['repository']}"
            )
    return {"ref": str(github["ref"]), "commit": str(github["sha"])}
