"""Whose caches a run sees, and what a cache may be called."""

import pytest

from runner.model.cache import LONGEST_KEY, BadKey, Scope, checked_keys, scopes_of
from runner.model.source import Event
from tests.builders import an_event

MAIN, FEATURE = Scope("refs/heads/main", True), Scope("refs/heads/feature", True)


def a_pull(head: str = "octo/hello", **given: object) -> Event:
    pull = {
        "head": {"ref": "change", "repo": {"full_name": head}},
        "base": {"ref": "release", "repo": {"full_name": "octo/hello"}},
    }
    payload = {"pull_request": pull}
    fields = {
        "kind": "pull_request",
        "ref": "refs/pull/7/merge",
        "payload": payload,
        "default_branch": "main",
    }
    return an_event(**fields | given)


def test_a_branch_and_a_tag_read_their_own_and_the_default_branch() -> None:
    assert scopes_of(an_event(ref="refs/heads/feature", default_branch="main")) == (FEATURE, MAIN)
    assert scopes_of(an_event(ref="refs/tags/v1", default_branch="main")) == (
        Scope("refs/tags/v1", True),
        MAIN,
    )
    assert scopes_of(an_event(ref="refs/heads/main", default_branch="main")) == (MAIN,)
    assert scopes_of(an_event(ref="refs/heads/main", default_branch=None)) == (MAIN,)


def test_a_pull_request_reads_its_own_its_base_and_the_default_branch() -> None:
    base = Scope("refs/heads/release", True)

    assert scopes_of(a_pull()) == (Scope("refs/pull/7/merge", True), base, MAIN)


def test_what_a_fork_writes_is_apart_from_what_a_trusted_run_of_that_ref_reads() -> None:
    own, *others = scopes_of(a_pull(head="mallory/hello"))

    assert own == Scope("refs/pull/7/merge", False)
    assert all(other.trusted for other in others)
    assert own not in scopes_of(a_pull())


def test_a_payload_that_is_no_pull_request_adds_no_branch() -> None:
    payload = {"pull_request": {"base": {"ref": "other"}}}

    assert scopes_of(an_event(payload=payload)) == (MAIN,)
    assert scopes_of(a_pull(payload={"pull_request": "none"})) == (Scope("refs/pull/7/merge", True), MAIN)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("k" * (LONGEST_KEY + 1),), "has 513 letters, and 512 are the limit"),
        (("a,b",), "has a comma in it"),
        (("a\nb",), "cannot be printed"),
        (("a\0b",), "cannot be printed"),
        (("key", ""), "the key of a cache is empty"),
        (("key",) * 11, "there are 11 keys, and 10 are the limit"),
    ],
)
def test_keys_that_cannot_be_are_refused_with_what_is_wrong(keys: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadKey, match=said):
        checked_keys(keys)


def test_keys_may_have_every_letter_that_can_be_printed() -> None:
    assert checked_keys(("Linux-node-ü 1/2", "k" * LONGEST_KEY)) == ("Linux-node-ü 1/2", "k" * LONGEST_KEY)
