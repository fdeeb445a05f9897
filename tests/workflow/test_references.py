"""What a `uses` means."""

import pytest

from runner.workflow.references import BadReference, Image, Local, Remote, parse_action, parse_call


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("actions/checkout@v4", Remote("actions/checkout", "", "v4")),
        ("o/r/a/b@refs/heads/main", Remote("o/r", "a/b", "refs/heads/main")),
        ("./tools/lint/", Local("tools/lint")),
        ("docker://alpine:3", Image("alpine:3")),
    ],
)
def test_a_step_uses_an_action(text: str, meant: object) -> None:
    assert parse_action(text) == meant


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("checkout@v4", "no owner and repository"),
        ("actions/checkout", "no version after @"),
        ("a b/c@v1", "cannot be the owner"),
        ("docker://", "lacks the name of an image"),
        ("o/r/.github/workflows/x.yml@v1", "a workflow is no step"),
    ],
)
def test_a_step_that_uses_none_says_why(text: str, reason: str) -> None:
    with pytest.raises(BadReference, match=reason):
        parse_action(text)


def test_a_job_calls_a_workflow() -> None:
    assert parse_call("./.runner/workflows/x.yml") == Local(".runner/workflows/x.yml")
    assert parse_call("o/r/.github/workflows/x.yaml@v1") == Remote("o/r", ".github/workflows/x.yaml", "v1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("./x.yml", "workflows are called from .github/workflows"),
        ("./.github/workflows/x.yml@v1", "leave out the @"),
        ("./.github/workflows/x.sh", "ends with .yml or .yaml"),
        ("o/r/.github/workflows/x.yml@v1.", 'begins or ends with "/" or "."'),
        ("o/r/.github/workflows/x.yml@a..b", "cannot be the name of a version"),
    ],
)
def test_a_job_that_calls_none_says_why(text: str, reason: str) -> None:
    with pytest.raises(BadReference, match=reason):
        parse_call(text)
