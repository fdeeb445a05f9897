"""A folder that steps write in too, reached from outside."""

import stat
from pathlib import Path

import pytest

from runner.errors import BrokenDefinition, NotFound
from runner.workspaces import reach as module
from runner.workspaces.reach import Reach


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/file").write_text("inside")
    (root / "inner").symlink_to("a/b")
    (root / "outer").symlink_to(tmp_path)
    (tmp_path / "secret").write_text("outside")
    return root


@pytest.fixture
def reach(root: Path) -> Reach:
    return Reach(root, None)


def test_all_is_walked_in_order_and_no_link_followed(reach: Reach) -> None:
    found = [(entry.path, stat.S_IFMT(entry.mode)) for entry in reach.walk()]

    assert found == [
        ("a", stat.S_IFDIR),
        ("a/b", stat.S_IFDIR),
        ("a/b/file", stat.S_IFREG),
        ("inner", stat.S_IFLNK),
        ("outer", stat.S_IFLNK),
    ]
    assert [entry.path for entry in reach.walk("a")] == ["a/b", "a/b/file"]


def test_a_folder_of_more_than_anybody_keeps_is_named_before_it_fills_the_memory(
    reach: Reach, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "full").mkdir()
    for number in range(4):
        (root / f"full/{number}").touch()
    monkeypatch.setattr(module, "TREE_ENTRIES", 3)

    with pytest.raises(BrokenDefinition, match="a folder has more than 3 files and folders: 'full/'"):
        list(reach.walk("full"))


def test_a_file_is_read_also_behind_links_that_stay_inside(reach: Reach) -> None:
    for path in ("a/b/file", "inner/file", "./a/../a/b/file"):
        with reach.reading(path) as file:
            assert file.read() == b"inside"


@pytest.mark.parametrize("path", ["outer/secret", "../secret", "/etc/passwd", "a/../../secret", "a\0b"])
def test_nothing_outside_is_read_or_written(reach: Reach, root: Path, path: str) -> None:
    with pytest.raises(BrokenDefinition), reach.reading(path):
        pass
    with pytest.raises(BrokenDefinition), reach.writing(path):
        pass
    with pytest.raises(BrokenDefinition):
        reach.link(path, "x")
    with pytest.raises(BrokenDefinition):
        reach.make(f"{path}/deeper")

    assert sorted(entry.name for entry in root.parent.iterdir()) == ["root", "secret"]
    assert (root.parent / "secret").read_text() == "outside"


def test_a_file_is_written_whole_with_its_mode_and_time(reach: Reach, root: Path) -> None:
    with reach.writing("new/folder/file", 0o755, 1_000_000_000) as file:
        file.write(b"content")
        assert not (root / "new/folder/file").exists()

    written = root / "new/folder/file"
    assert written.read_bytes() == b"content"
    assert stat.S_IMODE(written.stat().st_mode) == 0o755
    assert written.stat().st_mtime_ns == 1_000_000_000
    assert list(written.parent.iterdir()) == [written]


def test_a_write_that_fails_changes_nothing(reach: Reach, root: Path) -> None:
    with pytest.raises(ZeroDivisionError), reach.writing("a/b/file") as file:
        raise ZeroDivisionError(file.write(b"other"))

    assert list((root / "a/b").iterdir()) == [root / "a/b/file"]
    assert (root / "a/b/file").read_text() == "inside"


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(reach: Reach, root: Path) -> None:
    (root / "file").symlink_to("../secret")

    with reach.writing("file") as file:
        file.write(b"inside")

    assert not (root / "file").is_symlink()
    assert (root.parent / "secret").read_text() == "outside"


def test_what_is_there_is_looked_at_and_what_is_not_is_none(reach: Reach) -> None:
    found = reach.look("a/b/file")
    assert found is not None
    assert found.size == len("inside")
    assert reach.look("nothing") is None
    assert reach.look("a/b/file/below") is None
    assert reach.target("inner") == "a/b"


def test_what_is_in_the_way_or_missing_is_named(reach: Reach) -> None:
    with pytest.raises(BrokenDefinition, match="a/b"), reach.writing("a/b"):
        pass
    with pytest.raises(BrokenDefinition), reach.writing("a/b/file/below"):
        pass
    with pytest.raises(NotFound), reach.reading("nothing"):
        pass
    with pytest.raises(NotFound):
        list(reach.walk("nothing"))
