"""What a repository's jobs keep for later runs, and which of it a run may see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from runner.model.blob import Blob
from runner.model.source import Event

LONGEST_KEY = 512
MOST_KEYS = 10
"""As on GitHub: the key, and those to go back to."""


class BadKey(ValueError):
    """No cache can have such a key; the message says why."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose a cache is among those of its repository: a ref's, and of code that is trusted or of a fork's."""

    ref: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class Cache:
    """What was kept under a key. It never changes.

    `version` stands for the paths that it was made of: who asks for others does not find it.
    """

    id: int
    key: str
    version: str
    scope: Scope
    blob: Blob
    created_at: datetime


def scopes_of(event: Event) -> tuple[Scope, ...]:
    """Where a run looks for caches, in this order; the first is the only one that it writes to.

    A pull request reads also what its base branch has, which is everybody's who may open one. What it writes
    is seen by itself only, and what a fork wrote not even by a later run that is trusted. The store adds the
    default branch where the event does not tell it.
    """
    pull = event.payload.get("pull_request")
    base = pull.get("base") if isinstance(pull, Mapping) else None
    base_ref = base.get("ref") if isinstance(base, Mapping) and event.ref.startswith("refs/pull/") else None
    own = Scope(event.ref, event.trusted)
    branches = [str(name) for name in (base_ref, event.default_branch) if name]
    return tuple(dict.fromkeys((own, *(Scope(f"refs/heads/{branch}", True) for branch in branches))))


def checked_keys(keys: Sequence[str]) -> tuple[str, ...]:
    """Raises `BadKey`."""
    if len(keys) > MOST_KEYS:
        raise BadKey(f"there are {len(keys)} keys, and {MOST_KEYS} are the limit, with those of restore-keys")
    for key in keys:
        shown = f"{key[:50]!a}{'...' if len(key) > 50 else ''}"
        if not key:
            raise BadKey("the key of a cache is empty")
        if len(key) > LONGEST_KEY:
            raise BadKey(f"the key {shown} has {len(key)} letters, and {LONGEST_KEY} are the limit")
        if "," in key:
            raise BadKey(f"the key {shown} has a comma in it; write a dash")
        if not key.isprintable():
            raise BadKey(f"the key {shown} has letters in it that cannot be printed")
    return tuple(keys)
