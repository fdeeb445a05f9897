"""Removing what steps could write to."""

import os
from pathlib import Path

from runner.engine.commands import place_file
from runner.engine.remove import remove
from runner.workspaces.folders import placing
from tests.deep import nested


def test_folders_of_any_depth_are_removed_and_no_link_is_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    folder = nested(tmp_path / "folder")
    (folder / "link").symlink_to(outside)
    locked = folder / "locked"
    (locked / "in").mkdir(parents=True)
    locked.chmod(0)

    assert remove(folder)

    assert not folder.exists()
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert remove(folder), "it is gone already"


def test_a_link_and_a_file_are_removed_themselves(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "file").touch()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert remove(tmp_path / "link")
        assert remove("file", descriptor)
    finally:
        os.close(descriptor)

    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_what_cannot_be_removed_is_told_of(tmp_path: Path) -> None:
    assert not remove("/proc/self/fd")
    assert not remove(tmp_path / ("x" * 300))


def test_deep_folders_are_in_nobodys_way(tmp_path: Path) -> None:
    place_file(str(nested(tmp_path / "file")), b"1", 0o644)
    assert (tmp_path / "file").read_bytes() == b"1"

    root = nested(tmp_path / "root")
    with placing(root, ()) as there:
        Path(there, "a").touch()
    nested(root / "in")
    with placing(root, ("in",)) as there:
        Path(there, "b").touch()
    assert sorted(str(path.relative_to(root)) for path in root.rglob("?")) == ["a", "in/b"]
    # What tidies up after the tests would give up over it.
    assert remove(root)
