"""What the forges' adapters believe, and what they refuse, on bytes as they come over the wire."""

import hashlib
import hmac
import json
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
    ("kind", "says"), [("ping", "the hook works"), ("issues", "'issues' starts nothing")]
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
