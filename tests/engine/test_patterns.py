"""Lines of paths and patterns, as the actions that the engine does read them."""

from pathlib import Path
from time import process_time
from typing import cast

import pytest

from runner.engine.errands.artifacts import matching
from runner.engine.errands.patterns import MOST_LINES, fixed, lines_of, outermost, read, taken
from runner.engine.ports import Exit, Sandbox
from runner.errors import BrokenDefinition
from tests.fakes import FakeSandbox


def test_more_lines_than_anybody_writes_are_refused() -> None:
    assert len(lines_of("a\n" * MOST_LINES)) == MOST_LINES
    with pytest.raises(BrokenDefinition, match="at most 1000 lines, not 1001"):
        lines_of("a\n" * (MOST_LINES + 1))


def sandbox(workspace: str = "/w") -> Sandbox:
    found = FakeSandbox(Path("/t"), lambda command: Exit(0), workspace)
    return cast(Sandbox, found)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("a/./b/../c", ("w", "a", "c")),
        ("/t/a", ("t", "a")),
        ("~/a", ("t", "home", "a")),
        ("a/*/b", ("w", "a")),
        (r"a/\*/b", ("w", "a", "*", "b")),
    ],
)
def test_a_line_means_what_is_below_its_first_names(line: str, names: tuple[str, ...]) -> None:
    assert fixed(read(line, sandbox())) == names


@pytest.mark.parametrize("line", ["a", "/[w]*/a"])
def test_what_a_folder_of_a_job_is_called_is_no_pattern(line: str) -> None:
    assert fixed(read(line, sandbox("/[w]*"))) == ("[w]*", "a")


def test_the_last_line_that_means_a_path_counts() -> None:
    patterns = [read(line, sandbox()) for line in ("a", "!a/b", "!!a/b/c")]

    assert [taken(patterns, path.split("/")) for path in ("w/a/x", "w/a/b/x", "w/a/b/c", "w/b")] == [
        *(True, False, True, False)
    ]


def test_of_many_paths_those_below_no_other_are_found_at_once() -> None:
    many = [(str(number), "deep") for number in range(50_000)]
    begun = process_time()

    assert outermost([*many, ("7",), ("8", "deep", "er"), ("9", "deep")]) == [
        *(one for one in many if one[0] != "7"),
        ("7",),
    ]
    assert process_time() - begun < 10


@pytest.mark.parametrize("pattern", ["{" + "," * 1_000_000, "*" * 1001])
def test_a_pattern_for_names_is_no_longer_than_one_for_paths(pattern: str) -> None:
    with pytest.raises(BrokenDefinition, match="`pattern` has up to 1000 letters"):
        matching([], pattern)
