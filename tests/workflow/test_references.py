"""What a `uses` means."""

import pytest

from runner.workflow.references import (
    BadReference,
    Image,
    Local,
    Remote,
    called_from,
    parse_action,
    parse_call,
    remote_call,
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("actions/checkout@v4", Remote("actions/checkout", "", "v4")),
        ("o/r/a/b@refs/heads/main", Remote("o/r", "a/b", "refs/heads/main")),
        ("./tools/lint/", Local("tools/lint")),
        ("docker://alpine:3", Image("alpine:3")),
        ("$/tools/lint", Local("tools/lint", fixed=True)),
        ("./a/../tools", Local("a/../tools")),
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
        ("o/..@v1", "cannot be the name of a repository"),
        ("docker://", "lacks the name of an image"),
        ("o/r/.github/workflows/x.yml@v1", "a workflow is no step"),
        ("../x", "leads out of the repository; write owner/repository@ref"),
        ("./a/../../x", "leads out of the repository"),
        ("$/..", "leads out of the repository"),
    ],
)
def test_a_step_that_uses_none_says_why(text: str, reason: str) -> None:
    with pytest.raises(BadReference, match=reason):
        parse_action(text)


def test_a_job_calls_a_workflow() -> None:
    assert parse_call("./.runner/workflows/x.yml") == Local(".runner/workflows/x.yml")
    assert parse_call("./.runner/workflows/x.py") == Local(".runner/workflows/x.py")
    assert parse_call("o/r/.github/workflows/x.yaml@v1") == Remote("o/r", ".github/workflows/x.yaml", "v1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("./x.yml", "workflows are called from .github/workflows"),
        ("./.github/workflows/x.yml@v1", "leave out the @"),
        ("./.github/workflows/x.sh", "ends with .yml or .yaml"),
        ("./.github/workflows/x.py", "is called as ./.runner/workflows/file.py"),
        ("./.runner/workflows/x/y.py", "workflows are called from"),
        ("o/r/.runner/workflows/x.py@v1", "by its own repository only"),
        ("o/r/.github/workflows/x.yml@v1.", 'begins or ends with "/" or "."'),
        ("o/r/.github/workflows/x.yml@a..b", "cannot be the name of a version"),
    ],
)
def test_a_job_that_calls_none_says_why(text: str, reason: str) -> None:
    with pytest.raises(BadReference, match=reason):
        parse_call(text)


@pytest.mark.parametrize(
    ("text", "home", "called"),
    [
        ("./.github/workflows/x.yml", None, ".github/workflows/x.yml"),
        ("./elsewhere/x.yml", None, "elsewhere/x.yml"),
        ("$/.github/workflows/x.yml", None, ".github/workflows/x.yml"),
        ("o/r/.github/workflows/x.yml@v1", None, "o/r/.github/workflows/x.yml@v1"),
        ("./.github/workflows/y.yml", "o/r@a/b", "o/r/.github/workflows/y.yml@a/b"),
        ("$/.github/workflows/y.yml", "o/r@a/b", "o/r/.github/workflows/y.yml@a/b"),
        ("o/s/.github/workflows/z.yml@v2", "o/r@a/b", "o/s/.github/workflows/z.yml@v2"),
    ],
)
def test_a_called_workflow_is_named_from_wherever_it_is_called(
    text: str, home: str | None, called: str
) -> None:
    reference = parse_action(home) if home else None
    assert reference is None or isinstance(reference, Remote)

    found = called_from(text, reference)

    assert found == called
    assert str(remote_call(found)) == (called if "@" in called else "None")
