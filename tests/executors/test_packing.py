"""What of a folder an image is made of."""

import tarfile
from pathlib import Path
from time import process_time

import pytest

from runner.executors.packing import BadRecipe, CutShort, packed


def test_the_history_of_a_workspace_is_no_part_of_an_action(tmp_path: Path) -> None:
    for name in (".git", "deep/.git"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "HEAD").write_text("x")
    (tmp_path / "Dockerfile").write_text("FROM x")

    with packed(tmp_path, "", "Dockerfile") as (context, _), tarfile.open(fileobj=context) as tar:
        assert tar.getnames() == ["Dockerfile", "deep", "deep/.git", "deep/.git/HEAD"]


def names(folder: Path, ignored: str) -> list[str]:
    (folder / "Dockerfile").touch()
    (folder / ".dockerignore").write_text(ignored)
    with packed(folder, "", "Dockerfile") as (context, _), tarfile.open(fileobj=context) as tar:
        return [name for name in tar.getnames() if name not in ("Dockerfile", ".dockerignore")]


@pytest.mark.parametrize(
    ("ignored", "left"),
    [
        ("# nothing\n\n", ["A", "a.md", "docs", "docs/a.md", "docs/keep.md"]),
        ("*\n", []),
        ("**/*.md\n", ["A", "docs"]),
        ("/docs/\n./a", ["A", "a.md"]),
        ("docs\n!docs/keep.md\n", ["A", "a.md", "docs/keep.md"]),
        ("docs/*\nDockerfile\n", ["A", "a.md", "docs"]),
        ("a\n", ["A", "a.md", "docs", "docs/a.md", "docs/keep.md"]),
    ],
)
def test_what_a_list_names_is_left_out(tmp_path: Path, ignored: str, left: list[str]) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("A", "a.md", "docs/a.md", "docs/keep.md"):
        (tmp_path / name).touch()

    assert names(tmp_path, ignored) == left


def test_a_list_takes_time_in_proportion_to_it(tmp_path: Path) -> None:
    (tmp_path / ("a" * 200)).touch()
    began = process_time()

    assert names(tmp_path, "*a" * 100 + "b\n") == ["a" * 200]
    assert process_time() - began < 5


def test_packing_ends_when_it_is_not_awaited_any_more(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").touch()

    with pytest.raises(CutShort), packed(tmp_path, "", "Dockerfile", lambda: True):
        pass


@pytest.mark.parametrize(
    ("ignored", "problem"),
    [("a\n" * 1001, "1000 patterns"), ("a" * 1001, "1000 char"), ("a**b", "whole folders")],
)
def test_a_list_that_cannot_be_followed_is_refused(tmp_path: Path, ignored: str, problem: str) -> None:
    with pytest.raises(BadRecipe, match=f"^.dockerignore.*{problem}"):
        names(tmp_path, ignored)
