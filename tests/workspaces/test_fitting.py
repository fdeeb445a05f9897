"""What goes first where there is too much of what can be made again."""

from collections.abc import Collection
from functools import partial

import pytest

from runner.workspaces.fitting import Spare, fit


def spares(gone: list[str], needed: Collection[str] = (), below: dict[str, str] | None = None) -> list[Spare]:
    """Three of ten bytes, `a` the one that was not used for longest; `below`: what lies on each."""

    def remove(name: str) -> bool:
        above = (below or {}).get(name)
        if name in needed or (above is not None and above not in gone):
            return False
        gone.append(name)
        return True

    return [Spare(used, 10, partial(remove, name)) for used, name in ((2, "b"), (3, "c"), (1, "a"))]


@pytest.mark.parametrize(
    ("limit", "expected"), [(30, []), (29, ["a"]), (20, ["a"]), (11, ["a", "b"]), (0, ["a", "b", "c"])]
)
def test_what_was_not_used_for_longest_goes_until_the_rest_fits(limit: int, expected: list[str]) -> None:
    gone: list[str] = []
    fit(limit, spares(gone))
    assert gone == expected


def test_what_is_needed_stays_and_the_next_goes() -> None:
    gone: list[str] = []
    fit(10, spares(gone, needed={"a"}))
    assert gone == ["b", "c"]


def test_what_others_lie_on_goes_once_they_are_gone() -> None:
    gone: list[str] = []
    fit(0, spares(gone, below={"a": "c"}))
    assert gone == ["b", "c", "a"]
