"""What was read of commits is kept for as long as there is room."""

from collections.abc import Callable, Mapping

import pytest

from runner.errors import BrokenDefinition
from runner.workspaces.recent import Recent


class Reading:
    """Counts how often it is asked for which file."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def of(self, name: str, size: int = 10) -> Callable[[], Mapping[str, bytes]]:
        def work() -> Mapping[str, bytes]:
            self.read.append(name)
            return {name: b"x" * size}

        return work


def test_what_was_read_is_not_read_again() -> None:
    recent, reading = Recent(10_000), Reading()

    found = [recent.get(name, reading.of(name)) for name in ("a", "b", "a")]

    assert reading.read == ["a", "b"]
    assert found == [{"a": b"x" * 10}, {"b": b"x" * 10}, {"a": b"x" * 10}]


def test_what_was_asked_for_longest_ago_makes_room_and_what_is_too_large_is_not_kept() -> None:
    recent, reading = Recent(10_000), Reading()
    for name in ("a", "b", "a", "c"):
        recent.get(name, reading.of(name, 3000))
    assert reading.read == ["a", "b", "c"]

    for name, size in (("a", 3000), ("c", 3000), ("b", 3000), ("huge", 20_000), ("huge", 20_000)):
        recent.get(name, reading.of(name, size))

    assert reading.read == ["a", "b", "c", "b", "huge", "huge"]


def test_nothing_is_kept_of_what_cannot_be_read() -> None:
    recent, reading = Recent(10_000), Reading()

    def broken() -> Mapping[str, bytes]:
        raise BrokenDefinition("a symlink")

    with pytest.raises(BrokenDefinition):
        recent.get("a", broken)

    assert recent.get("a", reading.of("a")) == {"a": b"x" * 10}
