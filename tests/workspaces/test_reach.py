"""A folder that steps write in too, reached from outside."""

import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.engine.ports import Folder
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


@pytest.fixture(params=["path by path", "held"])
def reach(root: Path, request: pytest.FixtureRequest) -> Iterator[Folder]:
    folder = Reach(root, None)
    if request.param == "path by path":
        yield folder
        return
    with folder.held() as held:
        yield held


def test_all_is_walked_in_order_and_no_link_followed(reach: Folder) -> None:
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
    reach: Folder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "full").mkdir()
    for number in range(4):
        (root / f"full/{number}").touch()
    monkeypatch.setattr(module, "TREE_ENTRIES", 3)

    with pytest.raises(BrokenDefinition, match="a folder has more than 3 files and folders: 'full/'"):
        list(reach.walk("full"))


def test_a_file_is_read_also_behind_links_that_stay_inside(reach: Folder) -> None:
    for path in ("a/b/file", "inner/file", "./a/../a/b/file"):
        with reach.reading(path) as file:
            assert file.read() == b"inside"
        assert reach.read(path, 100) == b"inside"
        assert reach.read(path, 2) == b"in"


@pytest.mark.parametrize("path", ["outer/secret", "../secret", "/etc/passwd", "a/../../secret", "a\0b"])
def test_nothing_outside_is_read_or_written(reach: Folder, root: Path, path: str) -> None:
    with pytest.raises(BrokenDefinition), reach.reading(path):
        pass
    with pytest.raises(BrokenDefinition):
        reach.read(path, 100)
    with pytest.raises(BrokenDefinition), reach.writing(path):
        pass
    with pytest.raises(BrokenDefinition):
        reach.put(path, b"evil", 0o644, 0)
    with pytest.raises(BrokenDefinition):
        reach.link(path, "x")
    with pytest.raises(BrokenDefinition):
        reach.make(f"{path}/deeper")

    assert sorted(entry.name for entry in root.parent.iterdir()) == ["root", "secret"]
    assert (root.parent / "secret").read_text() == "outside"


def test_a_file_is_written_whole_with_its_mode_and_time(reach: Folder, root: Path) -> None:
    with reach.writing("new/folder/file", 0o755, 1_000_000_000) as file:
        file.write(b"content")
        assert not (root / "new/folder/file").exists()

    written = root / "new/folder/file"
    assert written.read_bytes() == b"content"
    assert stat.S_IMODE(written.stat().st_mode) == 0o755
    assert written.stat().st_mtime_ns == 1_000_000_000
    assert list(written.parent.iterdir()) == [written]


def test_a_small_file_is_put_where_nothing_is_and_in_place_of_what_is(reach: Folder, root: Path) -> None:
    (root / "a/link").symlink_to("../../secret")
    shared = os.open(root / "a/b/file", os.O_RDONLY)

    for path in ("new/folder/file", "a/b/file", "a/link", "inner/other"):
        reach.put(path, b"content", 0o750, 1_000_000_000)

    for path in ("new/folder/file", "a/b/file", "a/link", "a/b/other"):
        status = (root / path).lstat()
        assert (root / path).read_bytes() == b"content"
        assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o750, 1_000_000_000)
    assert os.read(shared, 100) == b"inside", "who has the former file open keeps it"
    os.close(shared)
    assert sorted(path.name for path in (root / "a").rglob("*")) == ["b", "file", "link", "other"]
    assert (root.parent / "secret").read_text() == "outside"


def test_a_small_file_for_which_there_is_no_space_is_not_there(reach: Folder, root: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises((OSError, BrokenDefinition)):
            reach.put("a/large", bytes(20), 0o644, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert [path.name for path in (root / "a").iterdir()] == ["b"]


def test_a_write_that_fails_changes_nothing(reach: Folder, root: Path) -> None:
    with pytest.raises(ZeroDivisionError), reach.writing("a/b/file") as file:
        raise ZeroDivisionError(file.write(b"other"))

    assert list((root / "a/b").iterdir()) == [root / "a/b/file"]
    assert (root / "a/b/file").read_text() == "inside"


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(reach: Folder, root: Path) -> None:
    (root / "file").symlink_to("../secret")

    with reach.writing("file") as file:
        file.write(b"inside")

    assert not (root / "file").is_symlink()
    assert (root.parent / "secret").read_text() == "outside"


def test_what_is_there_is_looked_at_and_what_is_not_is_none(reach: Folder) -> None:
    found = reach.look("a/b/file")
    assert found is not None
    assert found.size == len("inside")
    assert reach.look("nothing") is None
    assert reach.look("a/b/file/below") is None
    assert reach.target("inner") == "a/b"


def test_what_is_in_the_way_or_missing_is_named(reach: Folder) -> None:
    with pytest.raises(BrokenDefinition, match="a/b"), reach.writing("a/b"):
        pass
    with pytest.raises(BrokenDefinition), reach.writing("a/b/file/below"):
        pass
    with pytest.raises(NotFound), reach.reading("nothing"):
        pass
    with pytest.raises(NotFound):
        list(reach.walk("nothing"))


# --- many paths in a row ---------------------------------------------------------------------


@pytest.fixture
def held(root: Path) -> Iterator[Folder]:
    with Reach(root, None).held() as held:
        yield held


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_a_folder_that_was_held_and_is_a_link_now_leads_nowhere_else(held: Folder, root: Path) -> None:
    (root / "a/b/deep").mkdir()
    held.put("a/b/deep/one", b"1", 0o644, 0)
    (root / "a/b").rename(root / "a/moved")
    (root / "a/b").symlink_to(root.parent)

    held.put("a/b/deep/two", b"2", 0o644, 0)
    held.put("a/three", b"3", 0o644, 0)
    with pytest.raises(BrokenDefinition, match="leads out"):
        held.put("a/b/four", b"4", 0o644, 0)

    assert sorted(path.name for path in (root / "a/moved/deep").iterdir()) == ["one", "two"]
    assert sorted(path.name for path in root.parent.iterdir()) == ["root", "secret"]


def test_a_folder_that_begins_with_the_name_of_another_is_another(held: Folder, root: Path) -> None:
    for path in ("a/b/file", "a/bc/file", "a/b/c/file", "ab/file", "a/b/file2", "file"):
        held.put(path, path.encode(), 0o644, 0)
        assert held.read(path, 100) == (root / path).read_bytes() == path.encode()


def test_however_deep_a_path_is_few_folders_are_open(held: Folder, root: Path) -> None:
    before = len(open_files())
    names = ["d"] * 300

    for depth in range(0, 300, 7):
        held.make("/".join(names[: depth + 1]))
        held.put("/".join([*names[: depth + 1], "file"]), str(depth).encode(), 0o644, 0)
        assert len(open_files()) < before + 80
    held.put("/".join([*names, "file"]), b"deepest", 0o644, 0)

    assert held.read("/".join([*names, "file"]), 100) == b"deepest"
    assert (root / "/".join(names[:8]) / "file").read_bytes() == b"7"


def test_what_was_held_is_let_go_of_at_the_end(root: Path) -> None:
    before = open_files()

    with Reach(root, None).held() as held:
        held.put("a/b/c/d/file", b"", 0o644, 0)
        held.put("inner/e/file", b"", 0o644, 0)
        with pytest.raises(BrokenDefinition):
            held.put("a/b/file/below", b"", 0o644, 0)

    assert open_files() == before
