"""What a local run is asked for: which workflows, on which event, with what."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from runner import environment
from runner.cli import givens
from runner.cli.checking import is_workflow_file
from runner.engine.definitions import FOLDERS
from runner.engine.refs import Head, ref_of
from runner.errors import Rejected
from runner.local import FORGE
from runner.model.source import Event
from runner.workflow.document import InvalidWorkflow, Problem, Workflow
from runner.workflow.load import YAML
from runner.workflow.python import SUFFIX
from runner.workflow.supported import load
from runner.workspaces.checkouts import Checkout

OVERRIDES = ("repository", "actor", "ref", "event_name", "event", "server_url")
DERIVED = ("repository_owner", "ref_name", "ref_type", "triggering_actor")
"""What follows from the others, and is none of its own here."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which event to play, and what it brings."""

    kind: str
    ref: str | None
    payload: Mapping[str, Any]
    github: Mapping[str, Any]
    inputs: Mapping[str, str]


def asked_for(given: Mapping[str, Any]) -> Asked:
    github = _read_object("--github", given["github"])
    payload = {**(github.get("event") or {}), **_read_object("--event-payload", given["event_payload"])}
    source = click.get_current_context().get_parameter_source("kind")
    kind = given["kind"]
    if source is click.core.ParameterSource.DEFAULT:
        kind = github.get("event_name", kind)
    inputs = both("input", given["input_files"], given["inputs"])
    return Asked(kind, given["ref"] or github.get("ref"), payload, github, inputs)


def actor_of(asked: Asked) -> str:
    """Who runs it."""
    return str(asked.github.get("actor") or environment.variable("USER") or "runner")


def both(kind: str, files: Sequence[Path], said: Sequence[str]) -> dict[str, str]:
    """What files say, and what options say over it."""
    return givens.from_files(f"--{kind}-file", files) | givens.pairs(f"--{kind}", said)


def _read_object(option: str, file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise Rejected(f"{option} {file}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Rejected(f"{option} {file}: a JSON {type(found).__name__}; give an object")
    return found


def combinations(said: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for one in said:
        # `act` has a colon.
        key, mark, value = one.partition("=") if "=" in one else one.partition(":")
        if not mark or not key:
            raise Rejected(f"--matrix {one}: write --matrix KEY=VALUE")
        found[key] = (*found.get(key, ()), value)
    return found


# --- which workflows -------------------------------------------------------------------------------


def workflow_files(root: Path, said: str | None) -> tuple[str, ...]:
    """The files that are meant, as paths in the checkout. Raises `Rejected` naming those that are there."""
    there = next((found for folder in FOLDERS if (found := _in_folder(root, folder))), ())
    if said is None:
        if not there:
            raise Rejected(
                f"no workflow files in {' or '.join(FOLDERS)} of {root}; name one that is elsewhere"
            )
        return there
    names = [said, *(f"{said}{suffix}" for suffix in YAML)]
    places = [Path.cwd(), root, *(root / folder for folder in FOLDERS)]
    # Python files elsewhere that are called so are surely something else.
    ours = root / FOLDERS[0] / f"{said}{SUFFIX}"
    for path in (*(place / name for place in places for name in names), ours):
        inside = Path(os.path.relpath(path.parent.resolve() / path.name, root))
        if ".." in inside.parts:
            continue
        if path.is_file():
            return (inside.as_posix(),)
        if path.is_dir() and (found := _in_folder(root, inside.as_posix())):
            return found
    known = f"there are {', '.join(there)}" if there else f"{' and '.join(FOLDERS)} have none"
    raise Rejected(f"no workflow {said!r} in {root}; {known}")


def _in_folder(root: Path, folder: str) -> tuple[str, ...]:
    if not (root / folder).is_dir():
        return ()
    found = sorted(path.name for path in (root / folder).iterdir() if is_workflow_file(path))
    return tuple(name if folder == "." else f"{folder}/{name}" for name in found)


def definitions_of(
    root: Path, files: Sequence[str]
) -> tuple[dict[str, Workflow], list[tuple[Problem, list[str]]]]:
    found, problems = {}, []
    for path in files:
        text = (root / path).read_bytes()
        try:
            found[path] = load(path, text)
        except InvalidWorkflow as error:
            lines = text.decode(errors="replace").splitlines()
            problems += [(problem, lines) for problem in error.problems]
    return found, problems


# --- the event -------------------------------------------------------------------------------------


def event_of(asked: Asked, name: str, checkout: Checkout, commit: str, files: Sequence[str]) -> Event:
    """What a forge would have sent of this checkout; whatever the user says of it wins."""
    actor = actor_of(asked)
    owner, _, short = name.partition("/")
    payload: dict[str, Any] = {
        "repository": {"name": short, "full_name": name, "owner": {"login": owner, "name": owner}},
        "sender": {"login": actor},
    }
    if asked.kind == "push":
        payload |= {
            "ref": checkout.ref,
            "before": checkout.before or "0" * 40,
            "after": commit,
            "pusher": {"name": checkout.person or actor},
        }
    payload |= asked.payload
    if asked.inputs or asked.kind == "workflow_dispatch":
        payload["inputs"] = {**(payload.get("inputs") or {}), **asked.inputs}
        # By hand one workflow is started, by its name.
        payload.setdefault("workflow", files[0] if len(files) == 1 else "")
    if asked.ref and asked.kind == "push":
        payload["ref"] = asked.ref
    ref = asked.ref or ref_of(asked.kind, payload, Head(checkout.ref, commit))
    return Event(asked.kind, FORGE, name, ref, commit, checkout.before, actor, payload)
