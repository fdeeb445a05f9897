"""Snapshots: byte for byte what a step left, or not at all."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runner.errors import SnapshotGone
from runner.workspaces import GitWorkspaces, Unkeepable
from runner.workspaces.layers import SMALL_BYTES
from runner.workspaces.removal import Trash
from runner.workspaces.scanning import Beneath, Vanished, scan
from runner.workspaces.workspace import GitWorkspace
from tests.workspaces.origin import Origin, contents

NAMES = [b"a", b"b", b"C", b"new\nline", b"-x", b"\xff\xfe", "ü".encode(), b" ", b".hidden", b"*"]

names = st.sampled_from(NAMES).map(os.fsdecode)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
data = st.binary(max_size=6) | st.sampled_from([b"x" * 4096, b"y" * (SMALL_BYTES + 5)])
others = (
    st.tuples(st.just("remove"), paths, st.none()),
    st.tuples(st.just("chmod"), paths, st.sampled_from([0o600, 0o755, 0o500, 0o777])),
    st.tuples(st.just("link"), paths, st.sampled_from(["a", "/etc/passwd", "../..", "no\nwhere"])),
    st.tuples(st.just("folder"), paths, st.none()),
    st.tuples(st.just("touch"), paths, st.integers(0, 2**40)),
    st.tuples(st.just("move"), paths, paths),
    st.tuples(st.just("fifo"), paths, st.none()),
)
edits = st.lists(st.one_of(st.tuples(st.just("write"), paths, data), *others), max_size=8)
small_edits = st.lists(
    st.one_of(st.tuples(st.just("write"), paths, st.binary(max_size=6)), *others), max_size=8
)


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def place(root: Path, name: str) -> Path:
    """A path in a folder whose parents are folders, whatever they were before."""
    path = root / name
    for parent in reversed(path.relative_to(root).parents[:-1]):
        if (root / parent).is_symlink() or not (root / parent).is_dir():
            clear(root / parent)
            (root / parent).mkdir()
    return path


def edit(root: Path, kind: str, name: str, value: object) -> None:
    path = place(root, name)
    exists = os.path.lexists(path) and not path.is_symlink()
    match kind, value:
        case "write", bytes() as content:
            if path.is_symlink() or not path.is_file():
                clear(path)
            path.write_bytes(content)
        case "remove", _:
            clear(path)
        case "chmod", int() as mode if exists:
            path.chmod(mode | 0o700 if path.is_dir() else mode)
        case "link", str() as target:
            clear(path)
            path.symlink_to(target)
        case "folder", _:
            clear(path)
            path.mkdir()
        case "touch", int() as time if exists:
            os.utime(path, ns=(time, time))
        case "move", str() as target if exists:
            there = place(root, target)
            if there != path and path not in there.parents and there not in path.parents and path.exists():
                clear(there)
                path.rename(there)
        case "fifo", _:
            clear(path)
            os.mkfifo(path)


@settings(max_examples=25, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(edits, st.lists(edits, min_size=1, max_size=4), st.integers(0, 3))
def test_every_snapshot_of_a_chain_is_restored_byte_for_byte(
    committed: list[tuple[str, str, object]], steps: list[list[tuple[str, str, object]]], resume: int
) -> None:
    all_are_restored(committed, steps, resume)


@settings(max_examples=3, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(small_edits, st.lists(small_edits, min_size=50, max_size=50), st.integers(0, 49))
def test_so_is_every_snapshot_of_a_chain_of_fifty(
    committed: list[tuple[str, str, object]], steps: list[list[tuple[str, str, object]]], resume: int
) -> None:
    all_are_restored(committed, steps, resume)


def all_are_restored(
    committed: list[tuple[str, str, object]], steps: list[list[tuple[str, str, object]]], resume: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        origin = Origin(Path(folder, "origin"))
        for change in committed:
            edit(origin.path, *change)
        route = origin.route(origin.commit_all())
        with GitWorkspaces(Path(folder, "home"), "file", hindrance=lambda: "a test") as workspaces:
            workspaces.fetch(origin.repository, route, "run-1")
            opened = workspaces.open(route, "17", 1, None)
            saved = [(opened.save(), contents(opened.path))]
            for number, changes in enumerate(steps):
                if number == resume:
                    opened = workspaces.open(route, "17", 2, saved[-1][0])
                for change in changes:
                    edit(opened.path, *change)
                saved.append((opened.save(), contents(opened.path)))
                assert opened.save() == saved[-1][0]

            for attempt, (snapshot, then) in enumerate(saved, start=3):
                assert contents(workspaces.open(route, "17", attempt, snapshot).path) == then


@pytest.fixture
def workspaces(home: Path) -> Iterator[GitWorkspaces]:
    with GitWorkspaces(home, protocols="file", hindrance=lambda: "a test") as opened:
        yield opened


@pytest.fixture
def opened(workspaces: GitWorkspaces, origin: Origin) -> GitWorkspace:
    route = origin.route(origin.commit({"a": "1", "b/c": "2"}))
    workspaces.fetch(origin.repository, route, "run-1")
    workspace = workspaces.open(route, "17", 1, None)
    assert isinstance(workspace, GitWorkspace)
    return workspace


@pytest.fixture
def restore(workspaces: GitWorkspaces, origin: Origin) -> Callable[[str], Path]:
    def restore(snapshot: str) -> Path:
        route = origin.route(workspaces.resolve(origin.repository, "main"))
        restore.attempt += 1  # type: ignore[attr-defined]
        return workspaces.open(route, "17", restore.attempt, snapshot).path  # type: ignore[attr-defined]

    restore.attempt = 10  # type: ignore[attr-defined]
    return restore


def test_a_file_written_again_at_once_with_the_same_size_is_noticed(
    opened: GitWorkspace, restore: Callable[[str], Path]
) -> None:
    first = opened.save()
    saved = []
    for number in range(200):
        (opened.path / "a").write_text(str(number % 10))
        saved.append(opened.save())

    assert first not in saved
    assert len(set(saved)) == 200
    assert (restore(saved[137]) / "a").read_text() == "7"


def test_a_symlink_pointed_elsewhere_at_once_is_noticed(
    opened: GitWorkspace, restore: Callable[[str], Path]
) -> None:
    saved = []
    for number in range(100):
        (opened.path / "link").unlink(missing_ok=True)
        (opened.path / "link").symlink_to(f"to-{number % 10}")
        saved.append(opened.save())

    assert len(set(saved)) == 100
    assert str((restore(saved[42]) / "link").readlink()) == "to-2"


def test_a_file_removed_and_made_again_at_once_is_noticed(opened: GitWorkspace) -> None:
    saved = []
    for number in range(100):
        (opened.path / "a").unlink()
        (opened.path / "a").write_text(str(number % 10))
        saved.append(opened.save())

    assert len(set(saved)) == 100


def test_a_large_file_is_kept_and_counts_as_unchanged_afterwards(
    opened: GitWorkspace, restore: Callable[[str], Path]
) -> None:
    content = os.urandom(3 * SMALL_BYTES + 17)
    (opened.path / "small").write_text("before the large one")
    (opened.path / "large").write_bytes(content)

    snapshot = opened.save()

    assert opened.save() == snapshot
    assert (restore(snapshot) / "large").read_bytes() == content


def test_a_removed_workspace_is_kept_as_an_empty_one(
    opened: GitWorkspace, restore: Callable[[str], Path]
) -> None:
    shutil.rmtree(opened.path)

    assert contents(restore(opened.save())) == {}


def test_hard_links_come_back_as_files_of_their_own(
    opened: GitWorkspace, restore: Callable[[str], Path]
) -> None:
    (opened.path / "hard").hardlink_to(opened.path / "a")

    restored = restore(opened.save())

    assert (restored / "hard").read_text() == (restored / "a").read_text() == "1"


def test_folders_that_never_end_are_named_and_not_followed(opened: GitWorkspace) -> None:
    opened.path.joinpath("/".join(["d"] * 210)).mkdir(parents=True)

    with pytest.raises(Unkeepable, match="more than 200 deep"):
        opened.save()


@pytest.mark.parametrize(
    "damage",
    [
        lambda layer: layer.unlink(),
        lambda layer: layer.write_bytes(b""),
        lambda layer: layer.write_bytes(layer.read_bytes()[:-1]),
        lambda layer: layer.write_bytes(layer.read_bytes()[1:]),
        lambda layer: layer.write_bytes(b"X" + layer.read_bytes()[1:]),
        lambda layer: layer.write_bytes(layer.read_bytes().replace(b'"gone":[]', b'"gone":[ ')),
    ],
)
def test_a_missing_or_damaged_snapshot_is_gone(
    opened: GitWorkspace,
    restore: Callable[[str], Path],
    home: Path,
    damage: Callable[[Path], object],
) -> None:
    (opened.path / "a").write_text("2")
    first = opened.save()
    (opened.path / "a").write_text("3")
    (opened.path / "b/c").write_text("3")
    last = opened.save()
    damage(home / "snapshots/17" / last)

    with pytest.raises(SnapshotGone, match=last):
        restore(last)
    assert (restore(first) / "a").read_text() == "2"


@pytest.mark.parametrize("name", ["", "../17/1.1", "1", "1.x", "9.9"])
def test_a_name_that_no_save_gave_is_gone(
    restore: Callable[[str], Path], opened: GitWorkspace, name: str
) -> None:
    if name:
        with pytest.raises(SnapshotGone):
            restore(name)
    else:
        assert contents(restore(name)) == contents(restore("base"))


def test_a_snapshot_of_another_commit_is_gone(
    workspaces: GitWorkspaces, origin: Origin, opened: GitWorkspace
) -> None:
    (opened.path / "a").write_text("2")
    snapshot = opened.save()
    other = origin.route(origin.commit({"a": "other"}))
    workspaces.fetch(origin.repository, other, "run-2")

    with pytest.raises(SnapshotGone, match="is one of commit"):
        workspaces.open(other, "17", 2, snapshot)


def test_a_folder_swapped_for_a_symlink_after_the_scan_is_not_followed(
    opened: GitWorkspace, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "c").write_text("secret")
    assert "b/c" in scan(opened.path)
    (opened.path / "b").rename(opened.path / "moved")
    (opened.path / "b").symlink_to(outside)
    (opened.path / "a").unlink()
    (opened.path / "a").symlink_to(outside / "c")

    with Beneath(opened.path) as beneath:
        for path in ("b/c", "a"):
            with pytest.raises(Vanished), beneath.file(path):
                pass
    assert "b/c" not in scan(opened.path)


SWAP = """
import os, sys
os.chdir(sys.argv[1])
os.mkdir("real"); open("real/c", "w").write("mine")
os.symlink(sys.argv[2], "false")
print("swapping", flush=True)
while True:
    os.rename("real", "b2"); os.rename("false", "real"); os.rename("b2", "false")
    open("file", "w").write("mine"); os.remove("file")
    os.symlink(sys.argv[2] + "/c", "file"); os.remove("file")
"""


def test_symlinks_swapped_while_saving_lead_nothing_from_outside_into_a_snapshot(
    opened: GitWorkspace, tmp_path: Path, home: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "c").write_text("secret")
    command = [sys.executable, "-c", SWAP, str(opened.path), str(outside)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as swapping:
        assert swapping.stdout is not None
        try:
            assert swapping.stdout.readline() == "swapping\n"
            for _ in range(300):
                opened.save()
            assert swapping.poll() is None
        finally:
            swapping.kill()

    layers = [layer.read_bytes() for layer in (home / "snapshots/17").iterdir()]
    assert layers
    assert not any(b"secret" in layer for layer in layers)


SAVING = """
import sys
from pathlib import Path
from runner.model.source import Route
from runner.workspaces import GitWorkspaces
home, commit, attempt = sys.argv[1:]
with GitWorkspaces(Path(home), "file", hindrance=lambda: "a test") as workspaces:
    opened = workspaces.open(Route("git", "octo/hello", commit), "17", int(attempt), None)
    number = 0
    while True:
        number += 1
        for name in range(4):
            (opened.path / f"file-{name}").write_bytes(b"%d." % number * 100_000)
        print(opened.save(), number, flush=True)
"""


def test_a_worker_killed_while_saving_leaves_the_former_snapshots_good(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    commit = origin.commit({"a": "1"})
    workspaces.fetch(origin.repository, origin.route(commit), "run-1")
    chance = random.Random(17)
    for attempt in range(1, 9):
        command = [sys.executable, "-c", SAVING, str(home), commit, str(attempt)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            try:
                first = [worker.stdout.readline() for _ in range(3)]
                # Each save writes some files; the kill comes at any moment of that.
                signal.sigtimedwait([], chance.random() / 50)
            finally:
                worker.kill()
            said = [*first, *worker.stdout.read().splitlines()]
        snapshots = [path.name for path in (home / "snapshots/17").glob(f"{attempt}.*")]
        assert all(line.split()[0] in snapshots for line in said)
        last = max(snapshots, key=lambda name: int(name.split(".")[1]))
        restored = workspaces.open(origin.route(commit), "17", attempt + 100, last)
        number = int(last.split(".")[1])
        assert (restored.path / "file-3").read_bytes() == b"%d." % number * 100_000


def test_without_root_what_its_owner_cannot_read_is_kept_and_removed() -> None:
    """As a worker does that is not root; where the tests are not, that is us."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    if os.getuid() == 0:
        os.chown(folder, 65534, 65534)
    child = os.fork()
    if not child:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            os._exit(keep_and_remove_what_is_unreadable(folder))
        finally:
            os._exit(99)
    status = os.waitpid(child, 0)[1]
    shutil.rmtree(folder)

    assert os.waitstatus_to_exitcode(status) == 0


def keep_and_remove_what_is_unreadable(folder: Path) -> int:
    root = folder / "workspaces/1"
    (root / "locked").mkdir(parents=True)
    (root / "locked/file").write_text("kept")
    (root / "listed").mkdir()
    (root / "listed/file").write_text("as well")
    opened = GitWorkspace(root, Trash(folder / "trash"), folder / "snapshots", "1" * 40, "base")
    (root / "locked/file").chmod(0)
    (root / "locked").chmod(0)
    (root / "listed").chmod(0o400)
    snapshot = opened.save()
    layer = (folder / "snapshots" / snapshot).read_bytes()
    kept = b"kept" in layer and b"as well" not in layer
    unchanged = (root / "locked").stat().st_mode & 0o777 == 0
    root.chmod(0o500)
    opened.close()
    return 0 if (kept, unchanged, list((folder / "trash").iterdir())) == (True, True, []) else 1


def test_a_sparse_file_takes_no_more_room_in_a_snapshot_than_it_holds(
    opened: GitWorkspace, restore: Callable[[str], Path]
) -> None:
    size = 1 << 30
    with (opened.path / "sparse").open("wb") as file:
        for at in (5 << 20, 700 << 20):
            file.seek(at)
            file.write(b"data")
        file.truncate(size)
    with (opened.path / "hollow").open("wb") as file:
        file.truncate(3 << 20)

    snapshot = opened.save()
    layer = opened.path.parents[2] / "snapshots/17" / snapshot
    restored = restore(snapshot)

    assert layer.stat().st_blocks * 512 < 1 << 20
    assert [(restored / name).stat().st_size for name in ("sparse", "hollow")] == [size, 3 << 20]
    assert (restored / "sparse").stat().st_blocks * 512 < 1 << 20
    with (restored / "sparse").open("rb") as file:
        file.seek((700 << 20) - 2)
        assert file.read(8) == b"\0\0data\0\0"


def test_saving_ends_where_nobody_wants_it_any_more(opened: GitWorkspace) -> None:
    def check() -> None:
        raise KeyboardInterrupt

    before = opened.save()
    (opened.path / "large").write_bytes(bytes(SMALL_BYTES + 1))
    with pytest.raises(KeyboardInterrupt):
        opened.save(check)

    assert opened.save() != before
