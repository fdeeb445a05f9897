"""What is restored from a cache as a layer: as if it had been unpacked, and shared with nobody who writes."""

import os
import secrets
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runner.engine.errands.archive import Member, pack, unpack
from runner.engine.ports import Folder
from runner.errors import BrokenDefinition, Damaged, SnapshotGone
from runner.model.source import Route
from runner.workspaces import GitWorkspaces, mounts
from runner.workspaces.reach import Reach
from runner.workspaces.removal import Trash
from runner.workspaces.stock import Stock
from tests.executors.jobs import Kind, docker_kind, open_folder
from tests.workspaces import test_overlays
from tests.workspaces.origin import Origin
from tests.workspaces.test_archives import carry
from tests.workspaces.test_overlays import Job, bases_of, layers_of, overlay
from tests.workspaces.test_snapshots import edit, small_edits

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="overlays are mounted by root alone")

Fill = Callable[[Folder], int]
OWNER = (4321, 4322)


def never(folder: Folder) -> int:
    raise AssertionError("it is here already")


def archived(root: Path, without: frozenset[str] = frozenset()) -> Fill:
    """Unpacks what is in a folder now; folders are only named by what is in them where they are `without`."""
    packed = BytesIO()
    with Reach(root, None).held() as folder:
        found = [entry for entry in folder.walk() if entry.path not in without]
        pack((Member(entry.path, folder, entry) for entry in found), packed, 10**9, lambda: None)

    def fill(folder: Folder) -> int:
        packed.seek(0)
        return unpack(packed, lambda path: (folder, path), lambda: None)

    return fill


@pytest.fixture
def deps(tmp_path: Path) -> Path:
    """What a cache holds."""
    root = tmp_path / "deps"
    for name in ("node_modules/one/lib/a.js", "node_modules/two/b.js", "build/out"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "node_modules/link").symlink_to("one")
    (root / "build/out").chmod(0o755)
    os.utime(root / "build/out", ns=(5_000, 1_000_000_000_123_456_789))
    (root / "node_modules/empty").mkdir(mode=0o700)
    return root


@pytest.fixture
def route(workspaces: GitWorkspaces, origin: Origin) -> Route:
    route = origin.route(origin.commit({"a": "1", "build/in": "2", "build/old": "3"}))
    workspaces.fetch(origin.repository, route, "run-1")
    return route


def everything(root: Path) -> dict[str, Any]:
    """All of a folder as one value; a link that is unpacked has the time at which it was."""
    found: dict[str, Any] = test_overlays.everything(root)
    for name, (mode, uid, value, attributes) in found.items():
        if stat.S_ISLNK(mode):
            found[name] = (mode, uid, value[1], attributes)
    return found


def stock_of(home: Path) -> list[Path]:
    return [path for path in (home / "stock").iterdir() if not path.name.startswith(".")]


def seen(root: Path) -> dict[str, object]:
    """All there is in a folder, with all times."""
    times = {str(path.relative_to(root)): path.lstat().st_mtime_ns for path in root.rglob("*")}
    return {name: (value, times[name]) for name, value in everything(root).items()}


# --- the same as unpacking ---------------------------------------------------------------------


@settings(max_examples=12, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(small_edits, small_edits, small_edits, st.booleans(), st.data())
def test_a_folder_with_a_layer_is_one_into_which_the_same_was_unpacked(
    committed: list[tuple[str, str, object]],
    before: list[tuple[str, str, object]],
    cached: list[tuple[str, str, object]],
    saved: bool,
    data: st.DataObject,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        origin, source = Origin(Path(folder, "origin")), Path(folder, "source")
        source.mkdir()
        for change in committed:
            edit(origin.path, *change)
        for change in cached:
            edit(source, *change)
        folders = [name for name, (mode, *_) in sorted(everything(source).items()) if stat.S_ISDIR(mode)]
        without = data.draw(st.frozensets(st.sampled_from(folders))) if folders else frozenset()
        fill = archived(source, without)
        route = origin.route(origin.commit_all())
        with GitWorkspaces(Path(folder, "home"), "file", OWNER, keeping=False) as workspaces:
            workspaces.fetch(origin.repository, route, "run-1")
            laid, unpacked = overlay(workspaces, route), overlay(workspaces, route, job="18")
            for opened in (laid, unpacked):
                prepare(opened.path, before)
                if saved:
                    opened.save()
            was = everything(laid.path)

            count = laid.lay("deps", fill)

            if count is None:
                assert everything(laid.path) == was
                return
            with Reach(unpacked.path, OWNER).held() as into:
                assert fill(into) == count
            assert everything(laid.path) == everything(unpacked.path)
            for path in set(folders) - without:
                ours, theirs = (laid.path / path).lstat(), (unpacked.path / path).lstat()
                assert ours.st_mtime_ns == theirs.st_mtime_ns
            # And for the next one too, and from its snapshot.
            again = overlay(workspaces, route, job="19")
            prepare(again.path, before)
            assert again.lay("deps", never) == count
            then = everything(laid.path)
            assert everything(again.path) == then
            assert everything(overlay(workspaces, route, 2, laid.save()).path) == then


def prepare(root: Path, changes: list[tuple[str, str, object]]) -> None:
    """Change a folder the same way each time, also as to when that was."""
    begin = time.time_ns() - 10_000_000
    for change in changes:
        edit(root, *change)
    for path in root.rglob("*"):
        if path.lstat().st_mtime_ns >= begin:
            os.utime(path, ns=(1, 1), follow_symlinks=False)


def test_files_are_replaced_folders_merged_and_what_was_removed_stays_removed(
    workspaces: GitWorkspaces, route: Route, deps: Path
) -> None:
    opened = overlay(workspaces, route)
    (opened.path / "build/old").unlink()
    shutil.rmtree(opened.path / "build")
    (opened.path / "build").mkdir()
    (opened.path / "build").chmod(0o770)
    os.chown(opened.path / "build", 7, 8)
    (opened.path / "build/out").write_text("older")
    (opened.path / "build/own").write_text("stays")

    assert opened.lay("deps", archived(deps, frozenset({"build"}))) == 9

    assert sorted(path.name for path in (opened.path / "build").iterdir()) == ["out", "own"]
    assert (opened.path / "build/out").read_text() == "build/out"
    status = (opened.path / "build").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o770, 7, 8)


@pytest.mark.parametrize("kind", ["link", "file", "folder", "special"])
def test_where_a_layer_would_take_the_place_of_something_else_nothing_is_laid(
    workspaces: GitWorkspaces, route: Route, deps: Path, kind: str
) -> None:
    opened = overlay(workspaces, route)
    match kind:
        case "link":
            (opened.path / "node_modules").symlink_to("build")
        case "file":
            (opened.path / "node_modules").touch()
        case "folder":
            (opened.path / "build/out").mkdir()
        case "special":
            (opened.path / "build").chmod(0o2755)
    was = everything(opened.path)

    assert opened.lay("deps", archived(deps)) is None

    assert everything(opened.path) == was


# --- sharing -----------------------------------------------------------------------------------


def test_what_a_job_does_with_it_no_other_sees(workspaces: GitWorkspaces, route: Route, deps: Path) -> None:
    first = overlay(workspaces, route)
    assert first.lay("deps", archived(deps)) == 10
    made = seen(first.path)
    (first.path / "build/out").write_text("mine")
    (first.path / "node_modules/two/b.js").unlink()
    (first.path / "node_modules/one").rename(first.path / "node_modules/moved")
    first.save()

    second = overlay(workspaces, route, job="18")

    assert second.lay("deps", never) == 10
    assert seen(second.path) == made


def test_only_the_same_content_for_the_same_owner_is_shared(
    workspaces: GitWorkspaces, route: Route, deps: Path, home: Path
) -> None:
    overlay(workspaces, route).lay("deps", archived(deps))
    (deps / "build/out").write_text("another")
    other = overlay(workspaces, route, job="18")
    other.lay("others", archived(deps))
    with GitWorkspaces(home, "file", OWNER) as theirs:
        owned = overlay(theirs, route, job="19")
        owned.lay("deps", archived(deps))
        assert (owned.path / "build/out").stat().st_uid == OWNER[0]

    assert (other.path / "build/out").read_text() == "another"
    assert len(stock_of(home)) == 3


def test_many_who_ask_at_once_have_one(
    workspaces: GitWorkspaces, route: Route, deps: Path, home: Path
) -> None:
    opened = [overlay(workspaces, route, job=f"{number}") for number in range(6)]
    together, fill = threading.Barrier(6), archived(deps)
    packed = threading.Lock()

    def together_first(folder: Folder) -> int:
        # All of them are making it now.
        together.wait(30)
        with packed:
            return fill(folder)

    with ThreadPoolExecutor(6) as threads:
        counts = list(threads.map(lambda one: one.lay("deps", together_first), opened))

    assert counts == [10] * 6
    assert [len(everything(one.path)) for one in opened] == [len(everything(opened[0].path))] * 6
    assert len(list((home / "stock").iterdir())) == 1


# --- snapshots ---------------------------------------------------------------------------------


def test_a_job_that_is_given_several_at_once_and_saved_meanwhile_has_all_of_them(
    workspaces: GitWorkspaces, route: Route, tmp_path: Path
) -> None:
    opened, together = overlay(workspaces, route), threading.Barrier(5)
    fills = []
    for number in range(4):
        (tmp_path / f"{number}" / f"deps-{number}").mkdir(parents=True)
        (tmp_path / f"{number}" / f"deps-{number}" / "file").write_text(f"{number}")
        fills.append(archived(tmp_path / f"{number}"))

    def lay(number: int) -> int | None:
        def fill(folder: Folder) -> int:
            count = fills[number](folder)
            together.wait(60)
            return count

        return opened.lay(f"deps-{number}", fill)

    with ThreadPoolExecutor(4) as threads:
        (opened.path / "made").write_text("by a step")
        laid = [threads.submit(lay, number) for number in range(4)]
        together.wait(60)
        for _ in range(20):
            opened.save()

    assert [one.result() for one in laid] == [2] * 4
    there = seen(opened.path)
    assert [(opened.path / f"deps-{number}" / "file").read_text() for number in range(4)] == list("0123")
    assert (opened.path / "made").read_text() == "by a step"
    assert seen(overlay(workspaces, route, 2, opened.save()).path) == there


def test_each_snapshot_has_what_was_there_then(workspaces: GitWorkspaces, route: Route, deps: Path) -> None:
    opened, saved = overlay(workspaces, route), []
    (opened.path / "before").touch()
    saved.append((opened.save(), seen(opened.path)))
    opened.lay("deps", archived(deps))
    assert opened.snapshot == saved[0][0]
    saved.append((opened.save(), seen(opened.path)))
    (opened.path / "build/out").write_text("changed")
    (opened.path / "not-saved-before").touch()
    saved.append((opened.save(), seen(opened.path)))
    # The kernel takes no layer twice.
    assert opened.lay("deps", never) is None
    opened.lay("others", archived(deps))
    saved.append((opened.save(), seen(opened.path)))
    assert (opened.path / "build/out").read_text() == "build/out"

    assert len({name for name, _ in saved}) == 4
    for attempt, (name, then) in enumerate(saved, start=2):
        assert seen(overlay(workspaces, route, attempt, name).path) == then


def test_it_stays_as_long_as_a_snapshot_needs_it_and_goes_with_the_last(
    workspaces: GitWorkspaces, route: Route, deps: Path, home: Path
) -> None:
    opened = overlay(workspaces, route)
    opened.lay("deps", archived(deps))
    then, snapshot = everything(opened.path), opened.save()
    # A process that knows nothing of it finds that the files are missing, not that there are none.
    (layer,) = [path for path in layers_of(home) if (path / "snapshot").exists()]
    assert not (layer / "files").exists()
    opened.close()
    workspaces.inherit("18", ["17"], snapshot)
    workspaces.forget("17")
    workspaces.tidy(0)
    assert len(stock_of(home)) == 1
    assert everything(overlay(workspaces, route, 1, snapshot, "18").path) == then

    workspaces.close()
    workspaces.forget("18")
    assert len(stock_of(home)) == 1
    workspaces.tidy(10**9)
    assert len(stock_of(home)) == 1
    workspaces.tidy(0)

    assert (stock_of(home), layers_of(home), bases_of(home)) == ([], [], {})


def test_where_nothing_is_saved_nothing_is_kept(
    workspaces: GitWorkspaces, route: Route, deps: Path, home: Path
) -> None:
    opened = overlay(workspaces, route)
    (opened.path / "large").write_text("1")
    opened.lay("deps", archived(deps))
    opened.close()
    workspaces.retire("17")
    workspaces.tidy(0)

    assert (stock_of(home), layers_of(home), bases_of(home)) == ([], [], {})


def test_it_counts_with_the_commits_that_are_unpacked_and_what_was_not_used_for_longest_goes_first(
    workspaces: GitWorkspaces, origin: Origin, home: Path, tmp_path: Path
) -> None:
    for number in range(3):
        route = origin.route(origin.commit({"large": os.urandom(50_000).hex()}))
        workspaces.fetch(origin.repository, route, "run-1")
        source = tmp_path / f"source-{number}"
        source.mkdir()
        (source / "large").write_text("x" * 100_000)
        opened = overlay(workspaces, route, job=f"{number}")
        opened.lay(f"content-{number}", archived(source))
        opened.close()
        workspaces.forget(f"{number}")
        # What is to be noted in the folders once they are on the disk is noted by then, and later nothing is.
        workspaces.close()
        # A folder's own time says when it was used last.
        for path in (*stock_of(home), *bases_of(home).values()):
            if path.stat().st_mtime > 10_000:
                os.utime(path, (number * 10, number * 10))

    workspaces.tidy(300_000)

    left = [int(path.stat().st_mtime) // 10 for path in (*stock_of(home), *bases_of(home).values())]
    assert sorted(left) in ([1, 2], [2, 2])


def test_a_snapshot_with_it_is_archived_and_restored_elsewhere(
    workspaces: GitWorkspaces, origin: Origin, route: Route, deps: Path, home: Path, tmp_path: Path
) -> None:
    opened = overlay(workspaces, route)
    (opened.path / "before").touch()
    opened.lay("deps", archived(deps))
    (opened.path / "build/out").write_text("changed")
    snapshot = opened.save()

    carry(home, tmp_path / "elsewhere", snapshot)

    with GitWorkspaces(tmp_path / "elsewhere", "file") as there:
        there.fetch(origin.repository, route, "run-1")
        assert everything(overlay(there, route, 2, snapshot).path) == everything(opened.path)


# --- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "files/build/out").write_text("other, longer"),
        lambda path: shutil.rmtree(path / "files"),
        lambda path: (path / "about.json").write_text("{"),
        lambda path: (path / "about.json").unlink(),
    ],
)
def test_what_is_damaged_is_made_again_and_a_snapshot_of_it_is_gone(
    workspaces: GitWorkspaces, route: Route, deps: Path, home: Path, damage: Callable[[Path], object]
) -> None:
    opened = overlay(workspaces, route)
    opened.lay("deps", archived(deps))
    then, snapshot = everything(opened.path), opened.save()
    workspaces.close()
    (kept,) = stock_of(home)
    damage(kept)

    with GitWorkspaces(home, "file") as again:
        with pytest.raises(SnapshotGone, match="shares with others is damaged or gone"):
            again.open(route, "17", 2, snapshot)
        fresh = overlay(again, route, 3)
        assert fresh.lay("deps", archived(deps)) == 10
        assert everything(fresh.path) == then


def test_what_was_not_on_the_disk_when_the_machine_went_down_is_made_again(
    home: Path, origin: Origin, deps: Path
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    with GitWorkspaces(home, "file", keeping=False) as workspaces:
        workspaces.fetch(origin.repository, route, "run-1")
        overlay(workspaces, route).lay("deps", archived(deps))
    (kept,) = stock_of(home)
    text = (kept / "about.json").read_text()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (kept / "about.json").write_text(text.replace(boot, "an earlier one"))

    with GitWorkspaces(home, "file") as again:
        assert overlay(again, route, 2).lay("deps", archived(deps)) == 6 + 4


def test_what_fails_half_way_leaves_nothing(
    workspaces: GitWorkspaces, route: Route, deps: Path, home: Path
) -> None:
    opened = overlay(workspaces, route)
    was, fill = everything(opened.path), archived(deps)

    def torn(folder: Folder) -> int:
        fill(folder)
        raise Damaged("the archive ends before its end")

    def impossible(folder: Folder) -> int:
        fill(folder)
        raise BrokenDefinition("a link leads out of the folder")

    with pytest.raises(Damaged):
        opened.lay("deps", torn)
    assert opened.lay("deps", impossible) is None
    assert everything(opened.path) == was
    assert list((home / "stock").iterdir()) == []


def test_what_leads_out_of_the_folder_is_left_to_who_unpacks_it_there(
    workspaces: GitWorkspaces, route: Route, home: Path, tmp_path: Path
) -> None:
    opened, outside = overlay(workspaces, route), tmp_path / "outside"
    outside.mkdir()

    def hostile(folder: Folder) -> int:
        folder.link("door", str(outside))
        with folder.writing("door/file") as file:
            file.write(b"1")
        return 2

    assert opened.lay("hostile", hostile) is None
    assert list(outside.iterdir()) == []
    assert list((home / "stock").iterdir()) == []
    assert not os.path.lexists(opened.path / "door")


def test_what_a_process_that_is_gone_was_making_is_removed(
    workspaces: GitWorkspaces, route: Route, home: Path
) -> None:
    opened = overlay(workspaces, route)
    left = home / "stock/.making-0123456789abcdef/files"
    left.mkdir(parents=True)

    def sweeping(folder: Folder) -> int:
        # What somebody is making now stays.
        workspaces.tidy(0)
        with folder.writing("file") as file:
            file.write(b"1")
        return 1

    assert opened.lay("one", sweeping) == 1
    assert not left.exists()
    assert (opened.path / "file").read_text() == "1"


def test_what_is_just_begun_is_not_taken_for_what_a_process_that_is_gone_was_making(tmp_path: Path) -> None:
    stock, over = Stock(tmp_path / "stock", Trash(tmp_path / "trash"), None), threading.Event()

    def fill(folder: Folder) -> int:
        with folder.writing("file") as file:
            file.write(b"1")
        return 1

    def clean() -> None:
        while not over.is_set():
            stock.clean()

    with ThreadPoolExecutor(2) as threads:
        cleaning = [threads.submit(clean) for _ in range(2)]
        try:
            for number in range(100):
                stocked = stock.take(f"content-{number}", None, fill)
                assert stocked is not None
                assert (stocked.files / "file").read_bytes() == b"1"
                stocked.close()
        finally:
            over.set()
    assert [one.result() for one in cleaning] == [None] * 2


def test_a_disk_that_is_full_at_the_worst_moment_leaves_the_folder_as_it_was(
    workspaces: GitWorkspaces, route: Route, deps: Path, home: Path
) -> None:
    opened = overlay(workspaces, route)
    (opened.path / "mine").write_text("1")
    was = everything(opened.path)
    # Where the next snapshot would be named somebody has put a folder.
    (home / "snapshots/17/1.1").mkdir(parents=True)

    with pytest.raises(OSError, match="File exists"):
        opened.lay("deps", archived(deps))

    assert everything(opened.path) == was
    (opened.path / "more").write_text("2")
    (home / "snapshots/17/1.1").rmdir()
    snapshot = opened.save()
    assert (overlay(workspaces, route, 2, snapshot).path / "more").read_text() == "2"


# --- who uses the folder -----------------------------------------------------------------------


@pytest.fixture(params=["host", "sandbox", "docker"])
def job(request: pytest.FixtureRequest, origin: Origin) -> Iterator[Job]:
    with ExitStack() as stack:
        docker = request.param == "docker"
        kind = stack.enter_context(docker_kind()) if docker else Kind(request.param)
        folder = stack.enter_context(open_folder())
        (folder / "home").mkdir(mode=0o711)
        (folder / "temp").mkdir()
        made: Any = kind.make()
        with GitWorkspaces(folder / "home", "file", made.owner) as workspaces:
            route = origin.route(origin.commit({"a": "1", "b/c": "2"}))
            workspaces.fetch(origin.repository, route, "run-1")
            opened = overlay(workspaces, route)
            # Whoever opens one ends what is there under the same label, and others use the same daemon.
            label = f"{secrets.token_hex(4)}-17-1"
            sandbox = made.open(opened.path, folder / "temp", label, kind.container)
            with closing(sandbox):
                opened.shown(sandbox, False)
                yield Job(opened, sandbox)


def test_steps_see_it_and_write_over_it(job: Job, deps: Path) -> None:
    job.step("echo before >before")
    assert job.opened.lay("deps", archived(deps)) == 10

    said = job.step("cat before node_modules/link/lib/a.js; echo; echo more >>build/out; cat build/out")

    assert said == "before\nnode_modules/one/lib/a.js\nbuild/outmore\n"
    assert (job.opened.path / "build/out").read_text() == "build/outmore\n"


def test_while_a_process_is_at_home_in_the_folder_nothing_is_laid(job: Job, deps: Path) -> None:
    job.step("mkfifo wait; (cat wait >/dev/null &) >/dev/null 2>&1")
    assert job.opened.lay("deps", archived(deps)) is None
    job.step("echo over >wait")
    assert not (job.opened.path / "node_modules").exists()


@pytest.mark.parametrize("job", ["host"], indirect=True)
def test_sandboxes_of_others_that_are_being_made_keep_nothing_from_being_laid(
    job: Job, deps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has all that is mounted in it for a moment, below another folder."""
    # On a busy machine that moment is long.
    monkeypatch.setattr(mounts, "_BIRTH_SECONDS", 60.0)
    over = threading.Event()

    def others() -> None:
        while not over.is_set():
            subprocess.run(["bwrap", "--ro-bind", "/usr", "/usr", "/nothing"], capture_output=True)

    with ThreadPoolExecutor(2) as threads:
        for _ in range(2):
            threads.submit(others)
        try:
            job.step("echo before >before")
            laid = [job.opened.lay(f"deps-{number}", archived(deps)) for number in range(10)]
        finally:
            over.set()

    assert laid == [10] * 10


@pytest.mark.parametrize("job", ["host"], indirect=True)
def test_who_has_all_of_this_machine_in_a_folder_for_good_is_not_waited_for_each_time(
    job: Job, deps: Path, tmp_path: Path
) -> None:
    job.step("echo before >before")
    (tmp_path / "machine").mkdir()
    watch = f"mount --rbind / {tmp_path}/machine && echo there && exec cat"
    command = ["unshare", "--mount", "--propagation", "slave", "/bin/sh", "-c", watch]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == b"there\n"
        took = []
        for number in range(6):
            began = time.monotonic()
            assert job.opened.lay(f"deps-{number}", archived(deps)) is None
            took.append(time.monotonic() - began)
        watching.kill()

    assert min(took) < 0.5


def test_containers_beside_a_job_would_not_follow_so_nothing_is_laid(job: Job, deps: Path) -> None:
    job.opened.shown(job.sandbox, True)
    assert job.opened.lay("deps", archived(deps)) is None
