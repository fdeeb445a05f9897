"""Which events start a workflow."""

from collections.abc import Sequence

import pytest

from runner.model.source import Event
from runner.workflow.triggers import refusal, skip_word, starts
from tests.workflow.samples import a_job, loaded


def why_not(push: str, ref: str, changed: Sequence[str] | None = ("src/a.py",)) -> str | None:
    workflow = loaded(a_job("{runs-on: x, steps: [{run: y}]}", f"on: {{push: {push}}}"))
    event = Event("push", "github", "o/r", ref)
    assert starts(workflow, event, lambda: changed) is (refusal(workflow, event, lambda: changed) is None)
    return refusal(workflow, event, lambda: changed)


BRANCH, TAG = "refs/heads/main", "refs/tags/v1.2"


@pytest.mark.parametrize(
    ("push", "ref", "reason"),
    [
        ("{}", BRANCH, None),
        ("{}", TAG, None),
        ("{branches: main}", BRANCH, None),
        ("{branches: [dev]}", BRANCH, "its filter on branches leaves out main"),
        ("{branches: ['**', '!main']}", BRANCH, "its filter on branches leaves out main"),
        ("{branches-ignore: [main]}", BRANCH, "its filter on branches leaves out main"),
        ("{branches-ignore: [main]}", TAG, "it starts on branches only"),
        ("{branches: ['**']}", TAG, "it starts on branches only"),
        ("{tags: ['v*']}", TAG, None),
        ("{tags: ['v*']}", BRANCH, "it starts on tags only"),
        ("{tags-ignore: ['v1.*']}", TAG, "its filter on tags leaves out v1.2"),
        ("{tags: ['v*'], branches: [dev]}", TAG, None),
        ("{paths: ['src/**']}", BRANCH, None),
        ("{paths: ['docs/**']}", BRANCH, "its filter on paths leaves out everything that changed"),
        ("{paths: ['docs/**']}", TAG, None),
        ("{paths-ignore: ['src/**']}", BRANCH, "its filter on paths leaves out everything that changed"),
        ("{branches: [main], paths: ['docs/**']}", BRANCH, "its filter on paths leaves out"),
        ("{}", "refs/pull/1/merge", "refs/pull/1/merge names neither a branch nor a tag"),
    ],
)
def test_a_push_starts_what_its_filters_let_pass(push: str, ref: str, reason: str | None) -> None:
    found = why_not(push, ref)

    assert found is None if reason is None else found is not None and found.startswith(reason)


def test_one_path_that_passes_is_enough() -> None:
    assert why_not("{paths-ignore: ['docs/**']}", BRANCH, ["docs/a", "src/b"]) is None
    assert why_not("{paths: ['**', '!docs/**']}", BRANCH, ["docs/a", "src/b"]) is None


def test_paths_that_cannot_be_known_start_it() -> None:
    assert why_not("{paths: ['docs/**']}", BRANCH, None) is None


def test_paths_are_not_asked_for_where_no_filter_needs_them() -> None:
    def never() -> Sequence[str]:
        raise AssertionError

    workflow = loaded(a_job("{runs-on: x, steps: [{run: y}]}", "on: {push: {branches: [main], paths: [a]}}"))

    assert not starts(workflow, Event("push", "github", "o/r", "refs/heads/dev"), never)


def test_another_event_starts_nothing() -> None:
    workflow = loaded(a_job("{runs-on: x, steps: [{run: y}]}"))

    assert refusal(workflow, Event("ping", "github", "o/r"), list) == "it does not start on ping"


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("Fix [skip ci]", "[skip ci]"),
        ("[CI Skip] fix", "[CI Skip]"),
        ("fix\n\nbody [no ci] more", "[no ci]"),
        ("[skip actions]", "[skip actions]"),
        ("[actions skip]", "[actions skip]"),
        ("fix\n\n\nskip-checks: true", "skip-checks: true"),
        ("fix\r\n\r\nSigned-off-by: A\r\nSkip-Checks:true\r\n", "Skip-Checks:true"),
        ("fix", None),
        ("skip ci", None),
        ("[skip  ci]", None),
        ("fix\n\nskip-checks: true\n\nlast paragraph", None),
        ("skip-checks: false", None),
        ("", None),
    ],
)
def test_a_message_may_ask_for_no_run(message: str, word: str | None) -> None:
    assert skip_word(message) == word
