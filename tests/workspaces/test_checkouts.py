"""A job's folder: exactly the commit, and nothing that a commit can do to us."""

import os
import stat
from pathlib import Path

import pytest

from runner.errors import BrokenDefinition
from runner.workspaces import GitWorkspaces, HostileTree
from tests.deep import nested
from tests.workspaces.origin import Origin, contents

NEW_YEAR_NOON = 1767268800 * 1_000_000_000


def test_modes_links_and_odd_names_are_as_committed(workspaces: GitWorkspaces, origin: Origin) -> None:
    (origin.path / "tool").write_text("#!/bin/sh\n")
    (origin.path / "tool").chmod(0o755)
    (origin.path / "link").symlink_to("/etc/passwd")
    (origin.path / "new\nline").write_text("a")
    (origin.path / os.fsdecode(b"\xff\\")).write_text("b")
    route = origin.route(origin.commit_all())
    workspaces.fetch(origin.repository, route, "run-1")

    opened = workspaces.open(route, "17", 1, None)

    assert contents(opened.path) == {
        "tool": ("file", 0o100755, NEW_YEAR_NOON, b"#!/bin/sh\n"),
        "link": ("link", "/etc/passwd"),
        "new\nline": ("file", 0o100644, NEW_YEAR_NOON, b"a"),
        os.fsdecode(b"\xff\\"): ("file", 0o100644, NEW_YEAR_NOON, b"b"),
    }


def test_attributes_change_no_byte_and_run_nothing(workspaces: GitWorkspaces, origin: Origin) -> None:
    attributes = "* text eol=crlf ident filter=evil working-tree-encoding=UTF-16\n"
    commit = origin.commit_tree(
        ("100644", ".gitattributes", attributes.encode()), ("100644", "a", b"$Id$\nline\n")
    )
    workspaces.fetch(origin.repository, origin.route(commit), "run-1")

    opened = workspaces.open(origin.route(commit), "17", 1, None)

    assert (opened.path / "a").read_bytes() == b"$Id$\nline\n"


def test_a_submodule_is_an_empty_folder(workspaces: GitWorkspaces, origin: Origin) -> None:
    commit = origin.commit_tree(("160000", "sub", b"1" * 40))
    workspaces.fetch(origin.repository, origin.route(commit), "run-1")

    opened = workspaces.open(origin.route(commit), "17", 1, None)

    assert contents(opened.path) == {"sub": ("folder", 0o40755)}
    with pytest.raises(BrokenDefinition, match="sub is a submodule"):
        workspaces.read(origin.route(commit), "")


def test_a_large_file_is_handed_through_in_pieces(workspaces: GitWorkspaces, origin: Origin) -> None:
    content = os.urandom(5 << 20)
    commit = origin.commit_tree(("100644", "large", content))
    workspaces.fetch(origin.repository, origin.route(commit), "run-1")

    assert (workspaces.open(origin.route(commit), "17", 1, None).path / "large").read_bytes() == content


@pytest.mark.parametrize("name", ["..", ".", ".git", ".GIT", "../x", "/etc/x", "a" * 256])
def test_a_hostile_name_is_refused(workspaces: GitWorkspaces, origin: Origin, name: str) -> None:
    commit = origin.commit_tree(("100644", name, b"x"))
    workspaces.fetch(origin.repository, origin.route(commit), "run-1")

    with pytest.raises(HostileTree, match="cannot be checked out"):
        workspaces.open(origin.route(commit), "17", 1, None)


def test_a_folder_that_is_a_symlink_too_is_refused(
    workspaces: GitWorkspaces, origin: Origin, tmp_path: Path
) -> None:
    inner = origin.tree_of(origin.commit({"x": "1"}))
    commit = origin.commit_tree(("120000", "a", os.fsencode(tmp_path)), ("40000", "a", inner.encode()))
    workspaces.fetch(origin.repository, origin.route(commit), "run-1")

    with pytest.raises(HostileTree, match="two files named 'a'"):
        workspaces.open(origin.route(commit), "17", 1, None)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("target", [b"", b"a\0b", b"a" * 5000])
def test_a_symlink_to_no_path_is_refused(workspaces: GitWorkspaces, origin: Origin, target: bytes) -> None:
    commit = origin.commit_tree(("120000", "a", target))
    workspaces.fetch(origin.repository, origin.route(commit), "run-1")

    with pytest.raises(HostileTree, match="no possible path"):
        workspaces.open(origin.route(commit), "17", 1, None)


def test_a_tree_that_unfolds_without_end_is_refused(workspaces: GitWorkspaces, origin: Origin) -> None:
    tree = origin.tree_of(origin.commit({"x": "1"}))
    for _ in range(8):
        commit = origin.commit_tree(*(("40000", f"f{number}", tree.encode()) for number in range(10)))
        tree = origin.tree_of(commit)
    route = origin.route(commit)
    workspaces.fetch(origin.repository, route, "run-1")

    with pytest.raises(HostileTree, match="more than 1000000 paths"):
        workspaces.open(route, "17", 1, None)
    with pytest.raises(HostileTree, match="more than 1000000 paths"):
        workspaces.changed(route, None)


def test_folders_that_never_end_are_refused(workspaces: GitWorkspaces, origin: Origin) -> None:
    tree = origin.tree_of(origin.commit({"x": "1"}))
    for _ in range(205):
        commit = origin.commit_tree(("40000", "f", tree.encode()))
        tree = origin.tree_of(commit)
    workspaces.fetch(origin.repository, origin.route(commit), "run-1")

    with pytest.raises(HostileTree, match="more than 200 deep"):
        workspaces.open(origin.route(commit), "17", 1, None)


def test_the_folder_belongs_to_its_owner_alone(origin: Origin, home: Path) -> None:
    (origin.path / "link").symlink_to("a")
    route = origin.route(origin.commit({"a": "1", "b/c": "2"}))
    owner = (12345, 12346) if os.getuid() == 0 else (os.getuid(), os.getgid())
    with GitWorkspaces(home, "file", owner) as workspaces:
        workspaces.fetch(origin.repository, route, "run-1")
        first = workspaces.open(route, "17", 1, None)
        (first.path / "b/c").write_text("3")
        opened = workspaces.open(route, "17", 2, first.save())

        status = [path.lstat() for path in [opened.path, *opened.path.rglob("*")]]
        assert {(one.st_uid, one.st_gid) for one in status} == {owner}
        assert stat.S_IMODE(opened.path.stat().st_mode) == 0o700


def test_what_an_earlier_attempt_left_is_removed_and_a_later_attempts_is_not(
    workspaces: GitWorkspaces, origin: Origin
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    first = workspaces.open(route, "17", 1, None)
    third = workspaces.open(route, "17", 3, None)
    (third.path / "b").write_text("left over")

    second = workspaces.open(route, "17", 2, None)
    again = workspaces.open(route, "17", 3, None)

    assert not first.path.exists()
    assert not second.path.exists()
    assert [path.name for path in again.path.iterdir()] == ["a"]


def test_closing_removes_folders_of_any_depth_and_follows_no_symlink(
    workspaces: GitWorkspaces, origin: Origin, tmp_path: Path
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    opened = workspaces.open(route, "17", 1, None)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (opened.path / "link").symlink_to(outside)
    nested(opened.path / "deep")

    opened.close()

    assert not opened.path.exists()
    assert list((opened.path.parents[1] / ".trash").iterdir()) == []
    assert [path.name for path in outside.iterdir()] == ["precious"]
