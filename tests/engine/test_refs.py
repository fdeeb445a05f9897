"""The refs that events are about."""

from typing import Any

import pytest

from runner.engine.refs import Head, ref_of, sha_of, short_ref

HEAD = Head("refs/heads/work", "h" * 40, "base")


@pytest.mark.parametrize(
    ("kind", "payload", "ref"),
    [
        ("push", {"ref": "refs/tags/v1"}, "refs/tags/v1"),
        ("pull_request", {"number": 7}, "refs/pull/7/merge"),
        ("pull_request_target", {"pull_request": {"base": {"ref": "main"}}}, "refs/heads/main"),
        ("pull_request_target", {}, "refs/heads/base"),
        ("release", {"release": {"tag_name": "v1"}}, "refs/tags/v1"),
        ("deployment", {"deployment": {"ref": "x"}}, "x"),
        ("issues", {"repository": {"default_branch": "main"}}, "refs/heads/main"),
        ("issues", {}, "refs/heads/work"),
    ],
)
def test_an_event_is_about_a_ref(kind: str, payload: dict[str, Any], ref: str) -> None:
    assert ref_of(kind, payload, HEAD) == ref


def test_an_event_is_about_a_commit() -> None:
    assert sha_of("push", {"after": "a"}, HEAD) == "a"
    assert sha_of("push", {"after": "0", "deleted": True}, HEAD) == HEAD.sha
    assert sha_of("pull_request_target", {"pull_request": {"base": {"sha": "b"}}}, HEAD) == "b"


@pytest.mark.parametrize(
    ("ref", "name"),
    [("refs/heads/a/b", "a/b"), ("refs/tags/v1", "v1"), ("refs/pull/7/merge", "7/merge"), ("x", "x")],
)
def test_a_ref_has_a_short_name(ref: str, name: str) -> None:
    assert short_ref(ref) == name
