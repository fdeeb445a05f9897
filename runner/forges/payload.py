"""Reading a webhook's body: JSON whose shape is checked before it is believed."""

import json
from typing import Any
from urllib.parse import parse_qs

from runner.errors import Rejected
from runner.model.source import FULL_COMMIT_ID, Event

NO_COMMIT = "0" * 40
"""How git writes "nothing": the old value of a new ref, the new value of a deleted one."""


def read_json(body: bytes, content_type: str, *, form: bool = False) -> dict[str, Any]:
    """The JSON object in a body; with `form`, also in the field `payload` of a form, as GitHub sends it."""
    kind = content_type.partition(";")[0].strip().lower()
    if form and kind == "application/x-www-form-urlencoded":
        fields = parse_qs(body.decode("utf-8", errors="replace"))
        body = fields.get("payload", [""])[0].encode()
    elif kind != "application/json":
        wanted = "application/json" + (" or application/x-www-form-urlencoded" if form else "")
        raise UnsupportedType(f"content type {kind or 'missing'!r}; send {wanted}")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Rejected(f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Rejected(f"the body is a JSON {type(found).__name__}; send an object")
    return found


class UnsupportedType(Rejected):
    """The content type is not one that this hook takes."""


def text(payload: dict[str, Any], *path: str) -> str:
    """The string at `path`, or `Rejected` naming it."""
    found: Any = payload
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, str):
        raise Rejected(f"the payload has no text at {'.'.join(path)}")
    return found


def optional(payload: dict[str, Any], *path: str) -> str | None:
    try:
        return text(payload, *path)
    except Rejected:
        return None


def push(payload: dict[str, Any], forge: str, repo: str, actor: str) -> Event:
    """A push as GitHub shapes it: `ref`, `before`, `after`."""
    ref, before, after = (text(payload, key) for key in ("ref", "before", "after"))
    for key, commit in (("before", before), ("after", after)):
        if not FULL_COMMIT_ID.fullmatch(commit):
            raise Rejected(f"the payload's {key} is {commit!r}; a full commit id of 40 hex digits is needed")
    gone = after == NO_COMMIT
    return Event(
        kind="push",
        forge=forge,
        repo=repo,
        ref=ref,
        commit=None if gone else after,
        before=None if before == NO_COMMIT else before,
        actor=actor,
        payload=payload,
        default_branch=optional(payload, "repository", "default_branch"),
        ignored=f"{ref} was deleted" if gone else None,
    )
