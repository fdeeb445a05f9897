"""Which artifacts count, and what they and their files may be called."""

from datetime import timedelta

import pytest

from runner.errors import BrokenDefinition
from runner.model.artifact import LONGEST_NAME, Artifact, checked_name, checked_path, newest
from runner.model.blob import Blob
from tests.builders import NOON


def an_artifact(id: int, name: str, run_attempt: int = 1) -> Artifact:
    blob = Blob(f"artifacts/1/{id:032x}", 1, "0" * 64)
    return Artifact(id, 1, run_attempt, 1, "1", name, blob, 1, True, NOON, NOON + timedelta(days=1))


def test_of_a_name_the_newest_attempts_counts_and_of_that_the_one_made_last() -> None:
    old, later, other = an_artifact(9, "a", 1), an_artifact(2, "a", 2), an_artifact(3, "b", 1)
    last = an_artifact(4, "a", 2)

    assert newest([old, last, later, other]) == [last, other]
    assert newest([]) == []


@pytest.mark.parametrize("name", ["a", "über alles", "v1.2.3-x86_64 (linux)", "x" * LONGEST_NAME, "..."])
def test_names_that_file_systems_take_are_fine(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "x" * (LONGEST_NAME + 1), "a\tb", "a\0b", "\u202eabc", "a/b", "a\nb"]
)
def test_names_that_they_do_not_take_are_not(name: str) -> None:
    with pytest.raises(BrokenDefinition, match="The artifact name is not valid: "):
        checked_name(name)


@pytest.mark.parametrize("path", ["a/b", "a\\b", ".hidden", "a b/ü"])
def test_paths_that_file_systems_take_are_fine(path: str) -> None:
    assert checked_path(path) == path


@pytest.mark.parametrize("path", ["a\rb", "what?", "a|b", "\udcff"])
def test_paths_that_they_do_not_take_are_not(path: str) -> None:
    with pytest.raises(BrokenDefinition, match="The path for one of the files in artifact is not valid: "):
        checked_path(path)
