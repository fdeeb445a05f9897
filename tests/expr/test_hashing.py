"""Which files `hashFiles` takes in, and in which order."""

from collections.abc import Iterable
from hashlib import sha256

import pytest

from runner.expr.hashing import hash_files
from runner.expr.values import ExpressionError


class Named:
    """Files whose content is their own path."""

    def __init__(self, *paths: str) -> None:
        self._paths = paths

    def paths(self) -> Iterable[str]:
        return self._paths

    def digest(self, path: str) -> bytes:
        return sha256(path.encode()).digest()


TREE = Named("README.md", "a/go.mod", "a/go.sum", "a/b/go.sum", "web/package-lock.json", "web/[x].txt")


def digest_of(*paths: str) -> str:
    return sha256(b"".join(sha256(path.encode()).digest() for path in paths)).hexdigest()


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        (("**/go.sum",), ("a/go.sum", "a/b/go.sum")),
        (("a/*.sum",), ("a/go.sum",)),
        (("./a/../a/go.mod",), ("a/go.mod",)),
        (("a",), ("a/go.mod", "a/go.sum", "a/b/go.sum")),
        (("a/**", "!a/b"), ("a/go.mod", "a/go.sum")),
        (("web/p?ck[a-z]ge-lock.json",), ("web/package-lock.json",)),
        (("web/[!p]*",), ("web/[x].txt",)),
        ((r"web/\[x\].txt",), ("web/[x].txt",)),
        (("README.md\na/go.mod\n# not this\n",), ("README.md", "a/go.mod")),
    ],
)
def test_files_are_taken_in_by_patterns(patterns: tuple[str, ...], taken: tuple[str, ...]) -> None:
    assert hash_files(TREE, patterns) == digest_of(*taken)


@pytest.mark.parametrize("patterns", [("*.rs",), ("!a",), ("",), ()])
def test_no_file_gives_an_empty_text(patterns: tuple[str, ...]) -> None:
    assert hash_files(TREE, patterns) == ""


@pytest.mark.parametrize("pattern", ["/etc/passwd", "../x", "a/../../x"])
def test_nothing_outside_of_the_workspace_is_hashed(pattern: str) -> None:
    with pytest.raises(ExpressionError, match="inside the workspace"):
        hash_files(TREE, [pattern])


def test_a_pattern_of_many_wildcards_is_answered_at_once() -> None:
    assert hash_files(Named("a" * 200), ["*a" * 100 + "b"]) == ""
