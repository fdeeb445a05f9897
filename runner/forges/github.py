"""GitHub's webhooks: https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries"""

import hashlib
import hmac
from collections.abc import Callable, Mapping

from runner.engine.ports import Status
from runner.errors import Rejected, Unauthorized
from runner.forges.payload import optional, push, read_json, text
from runner.model.source import Event

REFUSED = "the signature does not fit, or the repository is not registered here"
"""Said alike for both, so that a stranger learns nothing about which repositories there are."""


class GitHub:
    reports = True

    def parse(
        self, headers: Mapping[str, str], body: bytes, secret: Callable[[str], str | None]
    ) -> tuple[Event, str]:
        kind, guid = headers.get("x-github-event", ""), headers.get("x-github-delivery", "")
        if not kind or not guid:
            raise Rejected("the headers X-GitHub-Event and X-GitHub-Delivery are needed")
        payload = read_json(body, headers.get("content-type", ""), form=True)
        repo = text(payload, "repository", "full_name")
        known = secret(repo)
        # An unknown repository costs the same HMAC as a known one.
        digest = hmac.new((known or "unknown").encode(), body, hashlib.sha256).hexdigest()
        said = headers.get("x-hub-signature-256", "")
        same = hmac.compare_digest(f"sha256={digest}".encode(), said.encode())
        if known is None or not same:
            raise Unauthorized(REFUSED)
        return _event(kind, repo, payload), guid[:128]

    def report(self, status: Status) -> None:
        """Nothing yet: GitHub is not told."""


def _event(kind: str, repo: str, payload: dict[str, object]) -> Event:
    actor = optional(payload, "sender", "login") or ""
    if kind == "push":
        return push(payload, "github", repo, actor)
    reason = "ping: the hook works" if kind == "ping" else f"event {kind!r} starts nothing here; push does"
    return Event(kind[:64], "github", repo, actor=actor, payload=payload, ignored=reason)
