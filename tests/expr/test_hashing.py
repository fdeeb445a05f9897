"""Which files `hashFiles` takes in, and in which order."""

from collections.abc import Iterable
from hashlib import sha256
from itertools import count

import pytest

from runner.expr.hashing import MOST_BYTES, MOST_ENTRIES, MOST_SECONDS, HashingTooMuch, Spend, hash_files
from runner.expr.values import ExpressionError


class Named:
    """Files whose content is their own path."""

    def __init__(self, *paths: str) -> None:
        self._paths = paths

    def paths(self, spend: Spend) -> Iterable[str]:
        for path in self._paths:
            spend(1, 0)
            yield path

    def digest(self, path: str, spend: Spend) -> bytes:
        spend(0, len(path))
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


class Endless(Named):
    """Folders that link to each other: their paths have no end."""

    def __init__(self, entries: int = 0, read: int = 0) -> None:
        super().__init__("a")
        self._spent = entries, read

    def paths(self, spend: Spend) -> Iterable[str]:
        while True:
            spend(*self._spent)
            yield "a"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        (Endless(entries=1000), f"{MOST_ENTRIES} files and folders"),
        (Endless(read=MOST_BYTES // 10), f"{MOST_BYTES} bytes"),
        (Endless(), "120 seconds"),
    ],
)
def test_hashing_ends_at_its_limit_and_names_it(files: Endless, limit: str) -> None:
    seconds = (tick * MOST_SECONDS / 2000 for tick in count())

    with pytest.raises(HashingTooMuch, match=f"its limit of {limit};"):
        hash_files(files, ["**"], lambda: next(seconds))
