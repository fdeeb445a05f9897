"""What the forges' adapters believe, and what they refuse, on bytes as they come over the wire."""

import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import Rejected, Unauthorized
from runner.forges.git import TOLERANCE, PlainGit, sign
from runner.forges.github import GitHub
from runner.forges.payload import UnsupportedType
from runner.model.source import Event

SECRET = "s3cret"
OLD, NEW, NONE = "1" * 40, "2" * 40, "0" * 40
NOW = 1_800_000_000


def secrets(name: str) -> str | None:
    return SECRET if name == "octo/hello" else None


def a_push(**given: Any) -> dict[str, Any]:
    return {
        "ref": "refs/heads/main",
        "before": OLD,
        "after": NEW,
        "repository": {"full_name": "octo/hello", "default_branch": "main"},
        "sender": {"login": "ada"},
        "pusher": {"name": "ada"},
    } | given


def from_github(payload: Any, kind: str = "push", secret: str = SECRET, **headers: str) -> Event:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    said = {
        "x-github-event": kind,
        "x-github-delivery": "guid-1",
        "x-hub-signature-256": f"sha256={digest}",
        "content-type": "application/json",
    }
    event, guid = GitHub().parse(said | headers, body, secrets)
    assert guid == "guid-1"
    return event


def from_git(payload: Any, at: int = NOW, secret: str = SECRET, **headers: str) -> Event:
    body = json.dumps(payload).encode()
    said = {
        "webhook-id": "msg-1",
        "webhook-timestamp": str(at),
        "webhook-signature": sign(secret, "msg-1", str(at), body),
        "content-type": "application/json",
    }
    return PlainGit(clock=lambda: NOW).parse(said | headers, body, secrets)[0]


def test_both_forges_read_a_push_alike() -> None:
    github, git = from_github(a_push()), from_git(a_push())

    for event, forge in ((github, "github"), (git, "git")):
        assert (event.forge, event.kind, event.repo, event.ref) == (
            forge,
            "push",
            "octo/hello",
            "refs/heads/main",
        )
        assert (event.commit, event.before, event.actor, event.default_branch) == (NEW, OLD, "ada", "main")
        assert event.ignored is None


def test_githubs_form_encoding_is_read_too() -> None:
    body = urlencode({"payload": json.dumps(a_push())}).encode()

    assert from_github(body, **{"content-type": "application/x-www-form-urlencoded"}).commit == NEW


def test_a_new_branch_has_no_commit_before() -> None:
    assert from_github(a_push(before=NONE)).before is None


def test_a_deleted_branch_is_stored_and_starts_nothing() -> None:
    event = from_github(a_push(after=NONE))

    assert (event.commit, event.ignored) == (None, "refs/heads/main was deleted")


@pytest.mark.parametrize(
    ("kind", "says"),
    [("ping", "the hook works"), ("star", "'star' starts nothing"), ("workflow_run", "runs of this server")],
)
def test_other_events_are_stored_and_ignored_with_the_reason(kind: str, says: str) -> None:
    event = from_github({"repository": {"full_name": "octo/hello"}}, kind)

    assert says in str(event.ignored)


@pytest.mark.parametrize("parse", [from_github, from_git])
def test_an_unknown_repository_and_a_wrong_signature_are_told_alike(parse: Any) -> None:
    with pytest.raises(Unauthorized) as wrong:
        parse(a_push(), secret="guessed")
    with pytest.raises(Unauthorized) as unknown:
        parse(a_push(repository={"full_name": "octo/other"}))

    assert str(wrong.value) == str(unknown.value)


@given(st.integers(0, len(json.dumps(a_push())) * 8 - 1))
def test_any_flipped_bit_of_a_body_is_refused(bit: int) -> None:
    body = bytearray(json.dumps(a_push()).encode())
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    body[bit // 8] ^= 1 << bit % 8
    headers = {
        "x-github-event": "push",
        "x-github-delivery": "g",
        "x-hub-signature-256": f"sha256={digest}",
        "content-type": "application/json",
    }

    with pytest.raises(Rejected):
        GitHub().parse(headers, bytes(body), secrets)


@pytest.mark.parametrize("off", [-TOLERANCE - 1, TOLERANCE + 1])
def test_a_signed_time_that_is_too_far_off_is_refused(off: int) -> None:
    with pytest.raises(Unauthorized, match="check the clocks"):
        from_git(a_push(), at=NOW + off)


def test_one_of_several_signatures_is_enough_while_a_secret_is_changed() -> None:
    body = json.dumps(a_push()).encode()
    right = sign(SECRET, "msg-1", str(NOW), body)

    assert from_git(a_push(), NOW, SECRET, **{"webhook-signature": f"v1,AAAA {right}"}).commit == NEW


def test_a_standard_webhooks_key_is_base64_behind_its_prefix() -> None:
    assert sign("whsec_c2VjcmV0", "a", "1", b"x") == sign("secret", "a", "1", b"x")


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "send an object"),
        ({"repository": "octo/hello"}, "no text at repository.full_name"),
        (a_push(after="main"), "full commit id"),
        (a_push(ref=["refs/heads/main"]), "no text at ref"),
    ],
)
def test_a_body_that_is_no_push_is_refused_with_what_is_wrong(payload: Any, says: str) -> None:
    with pytest.raises(Rejected, match=says):
        from_github(payload)


def test_another_content_type_is_named_with_those_that_work() -> None:
    with pytest.raises(UnsupportedType, match="application/json"):
        from_github(a_push(), **{"content-type": "text/plain"})


def test_missing_headers_are_named() -> None:
    with pytest.raises(Rejected, match="X-GitHub-Event"):
        GitHub().parse({"content-type": "application/json"}, b"{}", secrets)
    with pytest.raises(Rejected, match="webhook-id"):
        PlainGit().parse({"content-type": "application/json"}, b"{}", secrets)


PULL = {
    "action": "opened",
    "number": 7,
    "pull_request": {
        "number": 7,
        "merged": False,
        "merge_commit_sha": OLD,
        "head": {"ref": "topic", "sha": NEW, "repo": {"full_name": "octo/hello"}},
        "base": {"ref": "main", "sha": OLD, "repo": {"full_name": "octo/hello"}},
    },
}


def about(kind: str, **given: Any) -> tuple[str, str | None]:
    repository = {"full_name": "octo/hello", "default_branch": "trunk"}
    event = from_github({"repository": repository, "sender": {"login": "ada"}, **given}, kind)
    assert (event.kind, event.repo, event.actor, event.ignored) == (kind, "octo/hello", "ada", None)
    assert event.default_branch == "trunk"
    return event.ref, event.commit


def test_githubs_events_are_about_what_its_documentation_says() -> None:
    assert about("issues", action="opened") == ("refs/heads/trunk", None)
    assert about("issue_comment", action="created") == ("refs/heads/trunk", None)
    assert about("delete", ref="old", ref_type="branch") == ("refs/heads/trunk", None)
    assert about("create", ref="new", ref_type="branch") == ("refs/heads/new", None)
    assert about("create", ref="v1", ref_type="tag") == ("refs/tags/v1", None)
    assert about("release", action="published", release={"tag_name": "v1"}) == ("refs/tags/v1", None)
    assert about("deployment", deployment={"ref": "main", "sha": NEW}) == ("refs/heads/main", NEW)
    group = {"head_ref": "refs/heads/queue/1", "head_sha": NEW}
    assert about("merge_group", merge_group=group) == ("refs/heads/queue/1", NEW)
    assert about("pull_request", **PULL) == ("refs/pull/7/merge", None)
    assert about("pull_request_review", **PULL) == ("refs/pull/7/merge", None)
    merged = PULL | {"action": "closed", "pull_request": PULL["pull_request"] | {"merged": True}}  # type: ignore[operator]
    assert about("pull_request", **merged) == ("refs/heads/main", OLD)


def test_a_repository_that_does_not_tell_its_default_branch_is_asked_for_it() -> None:
    assert from_github({"repository": {"full_name": "octo/hello"}}, "issues").ref == "HEAD"


def test_what_is_no_commit_is_refused() -> None:
    with pytest.raises(Rejected, match="a full commit id"):
        about("deployment", deployment={"ref": "main", "sha": "--upload-pack=id"})


@pytest.mark.parametrize(
    ("head", "base", "fork"),
    [
        ("octo/hello", "octo/hello", None),
        ("Octo/Hello", "octo/hello", None),
        ("mallory/hello", "octo/hello", "mallory/hello"),
        (None, "octo/hello", "a deleted repository"),
        ("octo/hello", None, "octo/hello"),
    ],
)
@pytest.mark.parametrize("kind", ["pull_request", "pull_request_review", "pull_request_review_comment"])
def test_a_pull_request_is_trusted_only_from_the_repository_itself(
    kind: str, head: str | None, base: str | None, fork: str | None
) -> None:
    def side(name: str | None) -> dict[str, Any]:
        return {"ref": "x", "sha": NEW, "repo": None if name is None else {"full_name": name}}

    pull = PULL["pull_request"] | {"head": side(head), "base": side(base)}  # type: ignore[operator]
    event = from_github(PULL | {"pull_request": pull, "repository": {"full_name": "octo/hello"}}, kind)

    assert (event.fork, event.trusted) == (fork, fork is None)
    assert replace(event, kind="pull_request_target").trusted
