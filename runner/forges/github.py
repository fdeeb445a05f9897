"""GitHub's webhooks: https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries"""

import hashlib
import hmac
from collections.abc import Callable, Mapping

from runner.engine.ports import Status
from runner.engine.refs import Head, ref_of, sha_of, within
from runner.engine.subject import HEAD
from runner.errors import Rejected, Unauthorized
from runner.forges.payload import optional, push, read_json, text
from runner.model.source import FULL_COMMIT_ID, Event
from runner.workflow.event_tables import EVENTS

REFUSED = "the signature does not fit, or the repository is not registered here"
"""Said alike for both, so that a stranger learns nothing about which repositories there are."""

IGNORED = {
    "ping": "ping: the hook works",
    "workflow_run": "a run of GitHub's own starts nothing here; workflow_run follows runs of this server",
    "pull_request_target": "GitHub sends pull_request, of which pull_request_target is made here",
}


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
    reason = IGNORED.get(kind)
    if reason is None and kind not in EVENTS:
        reason = f"event {kind[:64]!r} starts nothing here"
    if reason is not None:
        return Event(kind[:64], "github", repo, actor=actor, payload=payload, ignored=reason)
    ref, commit = _subject(kind, payload)
    branch = optional(payload, "repository", "default_branch")
    return Event(kind, "github", repo, ref, commit, actor=actor, payload=payload, default_branch=branch)


def _subject(kind: str, payload: dict[str, object]) -> tuple[str, str | None]:
    """The ref that an event is about, and its commit where that is not simply the newest one."""
    ref, commit = ref_of(kind, payload, Head(HEAD)), None
    match kind:
        case "create":
            folder = "tags" if payload.get("ref_type") == "tag" else "heads"
            ref = f"refs/{folder}/{ref}"
        case "deployment" | "deployment_status":
            commit = sha_of(kind, payload, Head()) or None
            ref = ref if ref.startswith("refs/") or ref == commit else f"refs/heads/{ref}"
        case "merge_group":
            ref = text(payload, "merge_group", "head_ref")
            commit = text(payload, "merge_group", "head_sha")
        case "pull_request" if within(payload, "pull_request", "merged") is True:
            # There is nothing left to merge: it is about the branch that it was merged into.
            ref = f"refs/heads/{text(payload, 'pull_request', 'base', 'ref')}"
            commit = optional(payload, "pull_request", "merge_commit_sha")
    if commit is not None and not FULL_COMMIT_ID.fullmatch(commit):
        raise Rejected(f"the payload names the commit {commit[:100]!r}; a full commit id is needed")
    return ref, commit
