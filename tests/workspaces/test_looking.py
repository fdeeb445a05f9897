"""What a checkout says of itself, and what becomes a commit of it."""

import os
import subprocess
from pathlib import Path

import pytest

from runner.errors import Rejected
from runner.workspaces.checkouts import Checkout, commit, look
from tests.workspaces.origin import Origin, git

ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path / "origin")


@pytest.fixture
def clone(origin: Origin, tmp_path: Path) -> Path:
    """One commit behind whom there is another, all of it published."""
    origin.commit({"a": "1"})
    origin.commit({"a": "2"})
    git(tmp_path, "clone", "--quiet", str(origin.path), "clone")
    return tmp_path / "clone"


def seen(folder: Path) -> Checkout:
    return look(folder, ENVIRONMENT)


def names(mirror: Path, made: str) -> list[str]:
    return git(mirror, "ls-tree", "-r", "--name-only", made).splitlines()


def test_a_branch_is_compared_with_what_is_published_of_it(clone: Path) -> None:
    published = git(clone, "rev-parse", "HEAD")
    parent = git(clone, "rev-parse", "HEAD^")

    assert (seen(clone).ref, seen(clone).before, seen(clone).changed) == ("refs/heads/main", parent, ())
    (clone / "a").write_text("3")
    assert (seen(clone).commit, seen(clone).before, seen(clone).changed) == (published, published, ("a",))
    git(clone, "commit", "--quiet", "--all", "--message", "mine")
    assert (seen(clone).before, seen(clone).changed) == (published, ())
    git(clone, "checkout", "--quiet", "--no-track", "-b", "own")
    assert (seen(clone).ref, seen(clone).before) == ("refs/heads/own", None)


def test_a_head_that_names_no_branch_is_at_one_or_at_a_tag(clone: Path) -> None:
    git(clone, "checkout", "--quiet", "--detach", "HEAD^")
    assert seen(clone).ref == "refs/heads/main"
    git(clone, "tag", "v1")
    assert seen(clone).ref == "refs/tags/v1"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/octo/hello.git", "octo/hello"),
        ("git@github.com:octo/hello.git", "octo/hello"),
        ("ssh://git@host:22/deep/octo/hello/", "octo/hello"),
        ("/srv/git/hello.git", "git/hello"),
        ("hello", "local/clone"),
    ],
)
def test_a_repository_has_the_name_that_its_origin_has(clone: Path, url: str, name: str) -> None:
    git(clone, "remote", "set-url", "origin", url)

    assert seen(clone).name == name


def test_what_git_cannot_run_from_is_named(tmp_path: Path, origin: Origin) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "bare.git")
    git(tmp_path, "init", "--quiet", "--object-format=sha256", "new")
    git(tmp_path / "new", "commit", "--quiet", "--allow-empty", "--message", "first")
    (tmp_path / "file").write_text("")

    for folder, says in (
        ("bare.git", "is a repository without a checkout"),
        ("new", "has commits of 64 digits"),
        ("file", "is no folder"),
        ("nothing", "there is no folder"),
    ):
        with pytest.raises(Rejected, match=says):
            seen(tmp_path / folder)


def test_the_commit_is_on_top_of_the_newest_one_and_its_own_where_nothing_changed(
    clone: Path, tmp_path: Path
) -> None:
    newest = git(clone, "rev-parse", "HEAD")
    assert commit(seen(clone), tmp_path / "m/1/clean", ENVIRONMENT) == (newest, "")
    (clone / "b\nc é").write_text("new")

    made, unread = commit(seen(clone), tmp_path / "m/1/dirty", ENVIRONMENT)

    assert unread == ""
    assert git(tmp_path / "m/1/dirty", "rev-parse", f"{made}^") == newest
    assert git(tmp_path / "m/1/dirty", "show", f"{made}:b\nc é") == "new"
    assert git(clone, "cat-file", "--batch-all-objects", "--batch-check").count(made) == 0


def test_what_is_staged_and_taken_back_is_no_change(clone: Path, tmp_path: Path) -> None:
    (clone / "a").write_text("3")
    git(clone, "add", "a")
    (clone / "a").write_text("2")

    assert commit(seen(clone), tmp_path / "m/1/x", ENVIRONMENT)[0] == git(clone, "rev-parse", "HEAD")


def test_a_merge_that_is_not_resolved_is_taken_as_it_lies_there(clone: Path, tmp_path: Path) -> None:
    git(clone, "checkout", "--quiet", "-b", "other", "HEAD^")
    (clone / "a").write_text("other")
    git(clone, "commit", "--quiet", "--all", "--message", "other")
    with pytest.raises(subprocess.CalledProcessError):
        git(clone, "merge", "--quiet", "main")

    found = seen(clone)
    made, _ = commit(found, tmp_path / "m/1/x", ENVIRONMENT)

    assert found.changed == ("a",)
    assert "<<<<<<<" in git(tmp_path / "m/1/x", "show", f"{made}:a")


def test_what_cannot_be_read_is_left_out_and_told(clone: Path, tmp_path: Path) -> None:
    git(clone, "init", "--quiet", "inner")
    (clone / "b").write_text("new")

    made, unread = commit(seen(clone), tmp_path / "m/1/x", ENVIRONMENT)

    assert "inner/" in unread
    assert names(tmp_path / "m/1/x", made) == ["a", "b"]


def test_our_own_folder_is_never_part_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    (folder / "temp/home/mirrors").mkdir(parents=True)
    (folder / "a").write_text("1")
    (folder / "temp/b").write_text("1")
    mirror = folder / "temp/home/mirrors/x.git"

    made, _ = commit(seen(folder), mirror, ENVIRONMENT)

    assert names(mirror, made) == ["a", "temp/b"]


def test_a_split_index_leaves_no_other_half_in_the_repository(clone: Path, tmp_path: Path) -> None:
    git(clone, "config", "core.splitIndex", "true")
    git(clone, "update-index", "--split-index")
    (clone / "b").write_text("new")
    before = sorted(path.name for path in (clone / ".git").iterdir())

    made, _ = commit(seen(clone), tmp_path / "m/1/x", ENVIRONMENT)

    assert names(tmp_path / "m/1/x", made) == ["a", "b"]
    assert sorted(path.name for path in (clone / ".git").iterdir()) == before
