"""Plain git: a `post-receive` hook posts each changed ref, signed as Standard Webhooks say.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping

from runner.engine.ports import Status
from runner.errors import Rejected, Unauthorized
from runner.forges.github import REFUSED
from runner.forges.payload import optional, push, read_json, text
from runner.model.source import Event

TOLERANCE = 5 * 60
"""Seconds that a signed timestamp may be off, as the specification advises."""


class PlainGit:
    reports = False

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    def parse(
        self, headers: Mapping[str, str], body: bytes, secret: Callable[[str], str | None]
    ) -> tuple[Event, str]:
        try:
            guid, at, said = (headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        except KeyError as missing:
            raise Rejected(
                f"the header {missing.args[0]} is needed; `runner repo hook` prints the hook"
            ) from None
        payload = read_json(body, headers.get("content-type", ""))
        repo = text(payload, "repository", "full_name")
        known = secret(repo)
        expected = sign(known or "unknown", guid, at, body)
        # A header may hold several signatures, while a secret is being changed.
        fits = [hmac.compare_digest(expected.encode(), one.encode()) for one in said.split()]
        if known is None or not any(fits):
            raise Unauthorized(REFUSED)
        if not at.isdecimal() or abs(self._clock() - int(at)) > TOLERANCE:
            raise Unauthorized(f"the signed time {at!r} is more than {TOLERANCE} s off; check the clocks")
        actor = optional(payload, "pusher", "name") or ""
        return push(payload, "git", repo, actor), guid[:128]

    def report(self, status: Status) -> None:
        """Plain git has nowhere to show a status."""


def sign(secret: str, guid: str, at: str, body: bytes) -> str:
    """`v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`."""
    signed = b".".join((guid.encode(), at.encode(), body))
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def _key(secret: str) -> bytes:
    """`whsec_` introduces a base64 key; anything else is the key itself."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            return secret.encode()
    return secret.encode()
