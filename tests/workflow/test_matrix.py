"""Which combinations a matrix gives."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.workflow.matrix import MAX_COMBINATIONS, BadMatrix, combinations

OS = ["linux", "mac"]


@pytest.mark.parametrize(
    ("matrix", "legs"),
    [
        (None, [{}]),
        ({"os": OS}, [{"os": "linux"}, {"os": "mac"}]),
        ({"os": OS, "exclude": [{"os": "MAC"}]}, [{"os": "linux"}]),
        ({"include": [{"a": "1"}, {"a": "2", "b": "3"}]}, [{"a": "1"}, {"a": "2", "b": "3"}]),
        (
            {"os": OS, "include": [{"os": "mac", "arch": "arm"}, {"os": "bsd"}, {"fast": True}]},
            [{"os": "linux", "fast": True}, {"os": "mac", "arch": "arm", "fast": True}, {"os": "bsd"}],
        ),
        (
            {"os": ["linux"], "include": [{"color": "green"}, {"color": "pink", "os": "linux"}]},
            [{"os": "linux", "color": "pink"}],
        ),
        (
            {"os": [{"name": "a", "size": 1.0}, {"name": "b"}], "exclude": [{"os": {"name": "A"}}]},
            [{"os": {"name": "b"}}],
        ),
        ({"v": [1.0, 2.0], "exclude": [{"v": "1"}]}, [{"v": 2.0}]),
    ],
)
def test_a_matrix_gives_combinations_as_on_github(matrix: Any, legs: list[dict[str, Any]]) -> None:
    assert list(combinations(matrix)) == legs


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        ("os", "must be a mapping"),
        ({"os": "linux"}, '"os" of the matrix must be a list'),
        ({"os": []}, "empty list"),
        ({"include": {"a": "b"}}, '"include" of the matrix must be a list of mappings'),
        ({"exclude": ["a"], "os": OS}, '"exclude" of the matrix must be a list of mappings'),
        ({"a": ["x"] * 20, "b": ["y"] * 20}, f"400 combinations; {MAX_COMBINATIONS} are the most"),
        ({name: ["x"] * 100 for name in "abcdef"}, "are the most"),
    ],
)
def test_a_matrix_that_gives_none_says_why(matrix: Any, reason: str) -> None:
    with pytest.raises(BadMatrix, match=reason):
        combinations(matrix)


MANY = list(range(256))


@pytest.mark.parametrize(
    "matrix",
    [
        {"a": MANY, "b": MANY, "exclude": [{"a": -1}] * 3000},
        {"a": MANY, "include": [{"a": 1, "c": 2}] * 10_000},
        {"a": ["é" * 100_000] * 256, "include": [{"a": "é" * 100_000}] * 100},
        {
            "a": [{str(key): key for key in MANY}] * 256,
            "exclude": [{"a": {**{str(key): key for key in MANY}, "255": -1}}] * 256,
        },
    ],
)
def test_a_matrix_is_given_up_before_it_takes_a_second(matrix: Any) -> None:
    begun = time.process_time()
    with pytest.raises(BadMatrix, match="too much to compare"):
        combinations(matrix)

    assert time.process_time() - begun < 2, "a second, and one more for a machine that has much to do"


NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from(["x", "y", 1.0, True])
LISTS = st.dictionaries(NAMES, st.lists(VALUES, min_size=1, max_size=3), min_size=1)
ITEMS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), VALUES, min_size=1), max_size=4)


@given(LISTS, ITEMS)
def test_an_include_never_changes_a_value_of_the_lists(lists: dict[str, Any], include: list[Any]) -> None:
    plain = combinations(lists)

    grown = combinations({**lists, "include": include})

    assert [{name: leg[name] for name in lists} for leg in grown[: len(plain)]] == list(plain)
    assert len(grown) <= len(plain) + len(include)


@given(LISTS, ITEMS)
def test_an_exclude_only_takes_away(lists: dict[str, Any], exclude: list[Any]) -> None:
    known = [item for item in exclude if {name.lower() for name in item} <= {name.lower() for name in lists}]

    kept = combinations({**lists, "exclude": known})

    assert all(leg in combinations(lists) for leg in kept)


def test_an_exclude_of_a_key_that_the_matrix_has_not_is_refused() -> None:
    with pytest.raises(BadMatrix, match='"exclude" names "node", which the matrix does not have'):
        combinations({"os": OS, "exclude": [{"os": "mac", "node": "1"}]})
