"""Which ref and commit a forge's event is about, as GitHub's table of events has it.

https://docs.github.com/actions/reference/events-that-trigger-workflows
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.model.source import FROM_PULLS

MERGED = FROM_PULLS
DEPLOYED = ("deployment", "deployment_status")
NAMED = ("push", "create", "workflow_dispatch")


@dataclass(frozen=True, slots=True)
class Head:
    """The checkout that an event which names nothing is about."""

    ref: str = ""
    sha: str = ""
    base: str = ""


def ref_of(kind: str, payload: Mapping[str, Any], head: Head) -> str:
    found: object = None
    if kind == "pull_request_target":
        base = within(payload, "pull_request", "base", "ref") or head.base
        found = f"refs/heads/{base}" if base else None
    elif kind in MERGED:
        number = payload.get("number") or within(payload, "pull_request", "number")
        found = f"refs/pull/{number}/merge" if number else None
    elif kind in DEPLOYED:
        found = within(payload, "deployment", "ref")
    elif kind == "release":
        tag = within(payload, "release", "tag_name")
        found = f"refs/tags/{tag}" if tag else None
    elif kind in NAMED:
        found = payload.get("ref")
    else:
        branch = within(payload, "repository", "default_branch")
        found = f"refs/heads/{branch}" if branch else None
    return str(found or head.ref)


def sha_of(kind: str, payload: Mapping[str, Any], head: Head) -> str:
    found: object = None
    if kind == "pull_request_target":
        found = within(payload, "pull_request", "base", "sha")
    elif kind in DEPLOYED:
        found = within(payload, "deployment", "sha")
    elif kind in NAMED and not payload.get("deleted"):
        found = payload.get("after")
    return str(found or head.sha)


def short_ref(ref: str) -> str:
    """`main` of `refs/heads/main`, `7/merge` of `refs/pull/7/merge`."""
    for start in ("refs/heads/", "refs/tags/", "refs/pull/"):
        if ref.startswith(start):
            return ref.removeprefix(start)
    return ref


def within(payload: object, *keys: str) -> object:
    for key in keys:
        payload = payload.get(key) if isinstance(payload, Mapping) else None
    return payload
