"""GitHub's filter patterns."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.workflow.globs import (
    BadPattern,
    check_path_pattern,
    check_ref_pattern,
    compile_glob,
    excluded,
    included,
)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("main", ["main"], ["Main", "main2", "a/main"]),
        ("*", ["main", ""], ["a/b"]),
        ("**", ["main", "a/b/c"], []),
        ("feature/*", ["feature/a"], ["feature/a/b", "feature"]),
        ("feature/**", ["feature/a/b"], ["feature"]),
        ("**.js", ["a.js", "b/c/a.js"], ["a.jsx"]),
        ("**/a.md", ["a.md", "b/c/a.md"], ["ba.md", "b/ca.md"]),
        ("docs/**/*.md", ["docs/a.md", "docs/b/c/a.md"], ["docsa.md"]),
        ("*.jsx?", ["a.js", "a.jsx"], ["a.jsxx"]),
        ("v[12].[0-9]+", ["v1.0", "v2.10"], ["v3.0", "v1."]),
        ("[a-cx]", ["b", "x"], ["d", "-"]),
        ("a+b", ["ab", "aab"], ["b"]),
        ("\\!a\\+", ["!a+"], ["a"]),
        ("a.c", ["a.c"], ["abc"]),
        ("(a|b)$", ["(a|b)$"], ["a"]),
    ],
)
def test_a_pattern_matches_as_github_documents(pattern: str, matching: list[str], others: list[str]) -> None:
    glob = compile_glob(pattern)

    assert [name for name in matching + others if glob.matches(name)] == matching


def test_the_last_pattern_that_matches_decides() -> None:
    assert included(["a*", "!ab*", "abc"], "abc")
    assert not included(["a*", "!ab*", "abc"], "abd")
    assert not included(["!a"], "b")


def test_among_ignored_ones_each_pattern_counts_by_itself() -> None:
    assert excluded(["*.md"], "a.md")
    assert not excluded(["*.md"], "a.py")
    assert excluded(["!a.py"], "b.py")


@pytest.mark.parametrize(
    "pattern", ["", "!", "?", "+a", "a**?", "a++", "[", "[]", "[a-]", "[b-a]", "a\nb", "a?" * 60, "a" * 2_000]
)
def test_what_is_no_pattern_is_refused_everywhere(pattern: str) -> None:
    with pytest.raises(BadPattern):
        check_ref_pattern(pattern)
    with pytest.raises(BadPattern):
        check_path_pattern(pattern)


@pytest.mark.parametrize("pattern", ["/a", "a/", "a.", "a b", "a~", "a^", "a:", "\\d", "a\\"])
def test_what_no_branch_is_called_is_refused_for_branches_only(pattern: str) -> None:
    check_path_pattern(pattern)
    with pytest.raises(BadPattern):
        check_ref_pattern(pattern)


@pytest.mark.parametrize("pattern", [".", "./a", "../a", "!./a", " a"])
def test_what_no_path_looks_like_is_refused_for_paths(pattern: str) -> None:
    with pytest.raises(BadPattern):
        check_path_pattern(pattern)


def test_a_pattern_made_to_be_slow_is_not() -> None:
    began = time.monotonic()

    assert not compile_glob("**a" * 24).matches("a" * 4_000 + "b")
    assert time.monotonic() - began < 5


NAMES = st.text("ab/.-", max_size=12)


@given(NAMES)
def test_a_name_without_special_characters_matches_itself_only(name: str) -> None:
    if name:
        assert compile_glob(name).matches(name)
        assert not compile_glob(name).matches(name + "a")
    assert compile_glob("**").matches(name)
    assert compile_glob("*").matches(name) is ("/" not in name)


@given(st.text("ab/*?+[]!\\-", max_size=10), NAMES)
def test_a_pattern_either_matches_or_not_or_is_refused(pattern: str, name: str) -> None:
    try:
        glob = compile_glob(pattern)
    except BadPattern:
        return
    assert included([pattern], name) is (glob.matches(name) and not glob.negative)
    assert excluded([pattern], name) is (glob.matches(name) is not glob.negative)


@given(NAMES, NAMES)
def test_leading_folders_may_be_any_or_none(folder: str, name: str) -> None:
    if name and "/" not in name:
        assert compile_glob(f"**/{name}").matches(name)
        assert compile_glob(f"**/{name}").matches(f"{folder}/{name}")
