"""`actions/checkout`: what a job begins with anyhow."""

from collections.abc import Mapping
from typing import Any

from runner.engine.errands.errand import Errand, done
from runner.errors import BrokenDefinition
from runner.model.step import Outcome


def check_out(errand: Errand) -> Outcome:
    github = errand.seen["github"]
    outputs = _checked_out(errand.inputs, github)
    for name in filter(lambda name: _needs_history(name, errand.inputs[name]), errand.inputs):
        errand.say(f"##[warning]{name}: the workspace has no history of commits yet")
    errand.say(f"the workspace holds {github['sha']} of {github['repository']}")
    return done(outputs)


def _needs_history(name: str, value: str) -> bool:
    """Whether an input of a checkout asks for other commits than its own."""
    wanted = value.strip().lower()
    match name:
        case "fetch-depth":
            return wanted not in ("", "1")
        case "fetch-tags":
            return wanted == "true"
    return False


def _checked_out(inputs: Mapping[str, str], github: Mapping[str, Any]) -> dict[str, str]:
    """What a checkout gives where it asks for what is there anyhow. Raises `BrokenDefinition`."""
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
        value = inputs.get(name, "").strip()
        if value and value.lower() not in [str(one).lower() for one in values]:
            raise BrokenDefinition(
                f"actions/checkout: this {name} is not supported yet; a job begins with the "
                f"files of {github['sha'][:12]} of {github['repository']}"
            )
    return {"ref": str(github["ref"]), "commit": str(github["sha"])}
