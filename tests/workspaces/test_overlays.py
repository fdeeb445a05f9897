"""Jobs' folders that are overlays: what is shared stays as it was, and a snapshot is what a step left."""

import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runner.engine.ports import Command
from runner.errors import SnapshotGone, Unavailable
from runner.executors.agent import AgentSandbox
from runner.model.snapshot import BASE
from runner.model.source import Route
from runner.workspaces import GitWorkspaces
from runner.workspaces.bases import Base
from runner.workspaces.layers import new_layer, read_manifest
from runner.workspaces.mounts import clear
from runner.workspaces.overlay import OverlayWorkspace
from runner.workspaces.pool import Layers
from runner.workspaces.removal import Trash
from tests.executors.jobs import Kind, docker_kind, open_folder
from tests.workspaces.origin import Origin
from tests.workspaces.test_snapshots import edit, small_edits

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="overlays are mounted by root alone")


@pytest.fixture
def route(workspaces: GitWorkspaces, origin: Origin) -> Route:
    route = origin.route(origin.commit({"a": "1", "b/c": "2", "b/d": "3"}))
    workspaces.fetch(origin.repository, route, "run-1")
    return route


@pytest.fixture
def opened(workspaces: GitWorkspaces, route: Route) -> OverlayWorkspace:
    return overlay(workspaces, route)


def overlay(
    workspaces: GitWorkspaces, route: Route, attempt: int = 1, snapshot: str | None = None, job: str = "17"
) -> OverlayWorkspace:
    opened = workspaces.open(route, job, attempt, snapshot)
    assert isinstance(opened, OverlayWorkspace)
    return opened


def everything(root: Path) -> dict[str, object]:
    """All of a folder as one value, with what a copy would easily lose."""
    found: dict[str, object] = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(folder, name)
            status = path.lstat()
            value: object = status.st_mtime_ns
            if path.is_symlink():
                value = (value, path.readlink())
            elif path.is_file():
                value = (value, path.read_bytes())
            elif path.is_dir():
                value = None
            attributes = {
                name: os.getxattr(path, name, follow_symlinks=False)
                for name in os.listxattr(path, follow_symlinks=False)
                if name.startswith("user.")
            }
            key = os.fsdecode(os.path.relpath(path, root))
            found[key] = (status.st_mode, status.st_uid, value, attributes)
    return found


def mounted_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [path for path in (line.split(" ")[4] for line in lines) if path.startswith(f"{folder}/")]


# --- snapshots ---------------------------------------------------------------------------------

step = st.tuples(small_edits, st.booleans())


@settings(max_examples=3, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(small_edits, st.lists(step, min_size=50, max_size=50), st.integers(0, 49))
def test_every_snapshot_of_a_chain_of_fifty_is_restored_whoever_uses_the_folder_meanwhile(
    committed: list[tuple[str, str, object]],
    steps: list[tuple[list[tuple[str, str, object]], bool]],
    resume: int,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        origin = Origin(Path(folder, "origin"))
        for change in committed:
            edit(origin.path, *change)
        route = origin.route(origin.commit_all())
        with GitWorkspaces(Path(folder, "home"), "file", keeping=False) as workspaces:
            workspaces.fetch(origin.repository, route, "run-1")
            opened = overlay(workspaces, route)
            saved = [(opened.save(), everything(opened.path))]
            for number, (changes, busy) in enumerate(steps):
                if number == resume:
                    opened = overlay(workspaces, route, 2, saved[-1][0])
                here = os.open(opened.path, os.O_RDONLY) if busy else None
                for change in changes:
                    edit(opened.path, *change)
                saved.append((opened.save(), everything(opened.path)))
                if here is not None:
                    os.close(here)

            for attempt, (snapshot, then) in enumerate(saved, start=3):
                assert everything(overlay(workspaces, route, attempt, snapshot).path) == then


def test_all_that_a_file_system_keeps_is_kept(workspaces: GitWorkspaces, route: Route) -> None:
    for attempt, busy in ((1, False), (3, True)):
        opened = overlay(workspaces, route, attempt)
        here = os.open(opened.path, os.O_RDONLY) if busy else None
        (opened.path / "empty").mkdir(mode=0o750)
        (opened.path / "a").unlink()
        shutil.rmtree(opened.path / "b")
        (opened.path / "b").mkdir()
        (opened.path / "b/new").write_text("not merged with what was there")
        (opened.path / "nested/.git").mkdir(parents=True)
        (opened.path / "nested/.git/HEAD").write_text("ref: refs/heads/main\n")
        os.mkfifo(opened.path / "fifo")
        (opened.path / "link").symlink_to("/etc/passwd")
        (opened.path / "setuid").touch()
        (opened.path / "setuid").chmod(0o4755)
        os.chown(opened.path / "setuid", 1, 1)
        (opened.path / "setuid").chmod(0o4755)
        os.setxattr(opened.path / "b/new", "user.origin", b"step")
        os.utime(opened.path / "b/new", ns=(1, 1))
        (opened.path / "twin").hardlink_to(opened.path / "b/new")
        then = everything(opened.path)

        snapshot = opened.save()
        if here is not None:
            os.close(here)
        restored = overlay(workspaces, route, attempt + 1, snapshot)

        assert everything(restored.path) == then
        assert "a" not in then
        assert (restored.path / "twin").stat().st_ino == (restored.path / "b/new").stat().st_ino


def test_a_folder_of_an_earlier_step_can_be_renamed(opened: OverlayWorkspace) -> None:
    (opened.path / "made").mkdir()
    (opened.path / "made/file").write_text("1")
    opened.save()

    (opened.path / "made").rename(opened.path / "moved")
    (opened.path / "b").rename(opened.path / "moved/b")
    opened.save()

    assert sorted(path.name for path in opened.path.rglob("*")) == ["a", "b", "c", "d", "file", "moved"]


def test_what_one_job_does_another_does_not_see(workspaces: GitWorkspaces, route: Route) -> None:
    first, second = overlay(workspaces, route), overlay(workspaces, route, job="18")
    for change in (lambda path: (path / "a").write_text("x"), lambda path: shutil.rmtree(path / "b")):
        change(first.path)
        first.save()

    assert sorted(path.name for path in second.path.rglob("*")) == ["a", "b", "c", "d"]
    assert (second.path / "a").read_text() == "1"


def test_a_layer_that_is_lost_or_was_changed_is_noticed(
    workspaces: GitWorkspaces, opened: OverlayWorkspace, route: Route, home: Path
) -> None:
    saved = []
    for number in range(3):
        (opened.path / "a").write_text(f"{number}")
        saved.append(opened.save())
    workspaces.close()
    newest = next(path for path in layers_of(home) if (path / "files/a").read_text() == "2")
    middle = next(path for path in layers_of(home) if (path / "files/a").read_text() == "1")

    (newest / "files/a").write_text("9")
    with GitWorkspaces(home, "file") as again:
        with pytest.raises(SnapshotGone, match="are damaged"):
            again.open(route, "17", 2, saved[2])
        shutil.rmtree(middle / "files")
        with pytest.raises(SnapshotGone, match="not on this machine"):
            again.open(route, "17", 2, saved[1])
        assert (again.open(route, "17", 2, saved[0]).path / "a").read_text() == "0"


def test_what_was_not_on_the_disk_when_the_machine_went_down_does_not_count(
    home: Path, origin: Origin
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    # One that keeps nothing never has it written.
    with GitWorkspaces(home, "file", keeping=False) as workspaces:
        workspaces.fetch(origin.repository, route, "run-1")
        opened = overlay(workspaces, route)
        (opened.path / "a").write_text("2")
        snapshot = opened.save()
        (layer,) = [path for path in layers_of(home) if (path / "snapshot").exists()]
        about = home / "snapshots/17" / snapshot
        assert about.stat().st_ino == (layer / "snapshot").stat().st_ino
        assert (overlay(workspaces, route, 2, snapshot).path / "a").read_text() == "2"

        pretend_an_earlier_boot(about)

        with pytest.raises(SnapshotGone, match="the machine went down before"):
            workspaces.open(route, "17", 3, snapshot)


def pretend_an_earlier_boot(about: Path) -> None:
    said = read_manifest(about)
    with new_layer(about) as layer:
        layer.end({**said, "boot": "an earlier one"})


def layers_of(home: Path) -> list[Path]:
    return [path for path in (home / "layers").iterdir() if not path.name.startswith(".")]


def test_a_full_disk_is_said_and_the_folder_stays_as_it_is(tmp_path: Path, origin: Origin) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    home = tmp_path / "small"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,nr_inodes=300", "none", str(home)], check=True)
    try:
        with GitWorkspaces(home, "file") as workspaces:
            workspaces.fetch(origin.repository, route, "run-1")
            opened = overlay(workspaces, route)
            (opened.path / "kept").write_text("1")
            snapshot = opened.save()
            with pytest.raises(OSError, match="No space left"):
                fill(opened.path)

            with pytest.raises(Unavailable, match="No space left"):
                opened.save()

            assert opened.snapshot == snapshot
            assert (opened.path / "file-7").exists()
            for path in opened.path.glob("file-*"):
                path.unlink()
            (opened.path / "more").touch()
            assert opened.save() != snapshot
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


def fill(folder: Path) -> None:
    for number in range(1000):
        (folder / f"file-{number}").touch()


# --- bases -------------------------------------------------------------------------------------


def bases_of(home: Path) -> dict[str, Path]:
    return {path.name: path for path in (home / "bases").iterdir() if not path.name.startswith(".")}


def test_a_commit_that_changes_little_is_unpacked_as_what_it_changes(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    commits = [origin.commit({f"f{number}/g": f"{number}" for number in range(20)})]
    for gone in ("f3", "f4"):
        shutil.rmtree(origin.path / gone)
    (origin.path / "f3").write_text("a file where a folder was")
    (origin.path / "f4").symlink_to("f1")
    (origin.path / "f5/g").unlink()
    (origin.path / "new/deep").mkdir(parents=True)
    (origin.path / "new/deep/er").touch()
    commits.append(origin.commit_all())
    (origin.path / "f4").unlink()
    (origin.path / "f4").mkdir()
    (origin.path / "f4/h").touch()
    commits.append(origin.commit_all())
    for number, commit in enumerate(commits):
        workspaces.fetch(origin.repository, origin.route(commit), "run-1")
        opened = overlay(workspaces, origin.route(commit), job=f"{number}")
        there = {
            str(path.relative_to(opened.path))
            for path in opened.path.rglob("*")
            if path.is_symlink() or not path.is_dir()
        }
        assert there == set(workspaces.changed(origin.route(commit), None))

    second = bases_of(home)[origin.tree_of(commits[1])] / "files"
    assert sorted(path.name for path in second.iterdir()) == ["f3", "f4", "f5", "new"]
    assert stat.S_ISCHR((second / "f5").lstat().st_mode)


def test_a_file_has_the_time_of_the_commit_for_which_it_was_first_unpacked(
    workspaces: GitWorkspaces, origin: Origin
) -> None:
    paths = {f"f{number}": "1" for number in range(9)}
    first = origin.route(origin.commit(paths))
    second = origin.route(origin.commit({**paths, "f1": "2"}))
    times = []
    for number, route in enumerate((first, second)):
        workspaces.fetch(origin.repository, route, "run-1")
        opened = overlay(workspaces, route, job=f"{number}")
        times.append([(opened.path / name).stat().st_mtime_ns for name in ("f0", "f1")])

    assert times[0][0] == times[0][1] == times[1][0]
    assert times[1][1] >= times[1][0]


def test_many_commits_lie_on_few_bases_and_a_base_in_use_stays(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    files = {f"f{number}": "1" for number in range(40)}
    for number in range(12):
        route = origin.route(origin.commit({**files, "f1": f"{number}"}))
        workspaces.fetch(origin.repository, route, "run-1")
        opened = overlay(workspaces, route, job=f"{number}")
        assert (opened.path / "f1").read_text() == f"{number}"
        if number < 11:
            opened.close()
    assert len(bases_of(home)) == 12

    workspaces.tidy(0)

    assert 1 < len(bases_of(home)) < 12
    assert (opened.path / "f1").read_text() == "11"
    assert (opened.path / "f39").read_text() == "1"
    opened.close()
    workspaces.tidy(0)
    assert bases_of(home) == {}
    assert (overlay(workspaces, route, 2).path / "f1").read_text() == "11"


@pytest.mark.parametrize(
    "damage",
    [
        lambda base: (base / "files/a").write_text("other"),
        lambda base: (base / "files/b/c").unlink(),
        lambda base: shutil.rmtree(base / "files"),
        lambda base: (base / "about.json").write_text("{"),
        lambda base: (base / "files/more").touch(),
    ],
)
def test_a_damaged_base_is_made_again(
    workspaces: GitWorkspaces, route: Route, home: Path, damage: Callable[[Path], object]
) -> None:
    then = everything(overlay(workspaces, route).path)
    workspaces.close()
    (base,) = bases_of(home).values()
    damage(base)

    with GitWorkspaces(home, "file") as again:
        assert everything(overlay(again, route, 2).path) == then


def test_many_jobs_at_once_at_a_new_commit_share_one_base(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    files = {f"f{number}": "1" for number in range(300)}
    first = origin.route(origin.commit(files))
    second = origin.route(origin.commit({**files, "f1": "2"}))
    for route in (first, second):
        workspaces.fetch(origin.repository, route, "run-1")
        with ThreadPoolExecutor(8) as threads:
            jobs = [f"{route.commit}-{number}" for number in range(8)]
            opened = list(threads.map(partial(overlay, workspaces, route, 1, None), jobs))
        texts = {(one.path / "f1").read_text() for one in opened}
        assert texts == {"1" if route is first else "2"}
        assert [len(list(one.path.iterdir())) for one in opened] == [300] * 8

    assert len(bases_of(home)) == 2
    assert [path.name for path in (home / "bases").iterdir() if path.name.startswith(".")] == []


def test_a_base_that_lies_on_one_that_is_gone_is_good_again(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    files = {f"f{number}": "1" for number in range(9)}
    first = origin.route(origin.commit(files))
    second = origin.route(origin.commit({**files, "f1": "2"}))
    for route in (first, second):
        workspaces.fetch(origin.repository, route, "run-1")
        overlay(workspaces, route).close()
    workspaces.close()
    shutil.rmtree(bases_of(home)[origin.tree_of(first.commit)])

    with GitWorkspaces(home, "file") as again:
        opened = overlay(again, second, 2)
        assert {path.name: path.read_text() for path in opened.path.iterdir()} == {**files, "f1": "2"}


# --- who uses it -------------------------------------------------------------------------------


@dataclass
class Job:
    """A job's folder, and the sandbox in which its steps run."""

    opened: OverlayWorkspace
    sandbox: AgentSandbox

    def step(self, script: str) -> str:
        said: list[bytes] = []
        environment = {"PATH": self.sandbox.path}
        command = Command(("sh", "-ec", script), environment, self.sandbox.workspace, 30)
        exit = self.sandbox.run(command, said.append)
        assert exit.code == 0, b"".join(said).decode()
        return b"".join(said).decode()


@pytest.fixture(params=["host", "sandbox", "docker"])
def job(request: pytest.FixtureRequest, origin: Origin) -> Iterator[tuple[Job, GitWorkspaces, Route]]:
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
                yield Job(opened, sandbox), workspaces, route


def test_each_step_sees_what_the_steps_before_it_left(
    job: tuple[Job, GitWorkspaces, Route],
) -> None:
    steps, workspaces, route = job
    place = steps.step("pwd -P")
    saved = []
    for number in range(5):
        steps.step(f"echo {number} >>log; mkdir -p d{number}; touch d{number}/f; rm -f d{number - 1}/f")
        saved.append(steps.opened.save())
        assert len(layers_of(steps.opened.path.parents[2])) == number + 2
    assert steps.step("pwd -P; cat log; echo d*/f") == f"{place}0\n1\n2\n3\n4\nd4/f\n"
    assert (steps.opened.path / "log").read_text() == "0\n1\n2\n3\n4\n"

    restored = overlay(workspaces, route, 2, saved[2])
    assert (restored.path / "log").read_text() == "0\n1\n2\n"
    assert [path.parent.name for path in restored.path.rglob("f")] == ["d2"]


SERVICE = """
mkfifo asked answered
while read line; do echo "$line" >>notes; echo done >answered; done <>asked >/dev/null 2>&1 &
"""


def test_a_process_in_the_background_that_uses_the_folder_goes_on_and_all_see_what_it_writes(
    job: tuple[Job, GitWorkspaces, Route],
) -> None:
    steps, workspaces, route = job
    steps.step(SERVICE)
    saved = [steps.opened.save()]
    for number in range(3):
        steps.step(f"echo step {number} >file-{number}; echo {number} >asked; read answer <answered")
        saved.append(steps.opened.save())
        assert (steps.opened.path / "notes").read_text() == "".join(f"{one}\n" for one in range(number + 1))
    steps.step("cat notes; test -e file-0; rm file-0; kill %1 2>/dev/null || true")
    saved.append(steps.opened.save())
    steps.sandbox.close()

    for attempt, (snapshot, count) in enumerate(zip(saved, (0, 1, 2, 3, 3), strict=True), start=2):
        restored = overlay(workspaces, route, attempt, snapshot).path
        notes = restored / "notes"
        assert (notes.read_text() if notes.exists() else "") == "".join(f"{one}\n" for one in range(count))
        assert (restored / "file-0").exists() == (attempt in (3, 4, 5))


def test_a_copy_shares_with_the_one_before_what_did_not_change_and_nothing_with_what_is_written_to(
    workspaces: GitWorkspaces, opened: OverlayWorkspace, route: Route, home: Path
) -> None:
    saved = []
    with (opened.path / "busy").open("w") as busy:
        (opened.path / "large").write_bytes(b"x" * 100_000)
        saved.append(until_nothing_is_fresh(opened))
        for _ in range(2):
            busy.write("more")
            busy.flush()
            saved.append(opened.save())
        copies = [layer_of(home, snapshot) for snapshot in saved]
        shared = {(copy / "files/large").stat().st_ino for copy in copies}
        own = {(copy / "files/busy").stat().st_ino for copy in copies}
        live = {(opened.path / name).stat().st_ino for name in ("large", "busy")}
    assert (len(shared), len(own)) == (1, 3)
    assert not live & (shared | own)

    texts = [
        (overlay(workspaces, route, attempt, name).path / "busy").read_text()
        for attempt, name in enumerate(saved, start=2)
    ]
    assert texts == ["", "more", "moremore"]


def until_nothing_is_fresh(opened: OverlayWorkspace) -> str:
    """Save until no file is so new any more that it may have changed unseen."""
    name = opened.save()
    while (again := opened.save()) != name:
        name = again
    return name


def layer_of(home: Path, snapshot: str) -> Path:
    inode = (home / "snapshots/17" / snapshot).stat().st_ino
    sealed = [path for path in layers_of(home) if (path / "snapshot").exists()]
    return next(path for path in sealed if (path / "snapshot").stat().st_ino == inode)


def test_a_mount_in_the_folder_or_of_it_elsewhere_keeps_it_where_it_is(
    opened: OverlayWorkspace, workspaces: GitWorkspaces, route: Route, tmp_path: Path
) -> None:
    (opened.path / "inner").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with mounted("--bind", str(opened.path), str(elsewhere)):
        (elsewhere / "written").write_text("1")
        first = opened.save()
        (elsewhere / "written").write_text("2")
        assert (opened.path / "written").read_text() == "2"
        second = opened.save()
    with mounted("-t", "tmpfs", "none", str(opened.path / "inner")):
        (opened.path / "inner/not-kept").touch()
        (opened.path / "kept").touch()
        third = opened.save()
        assert (opened.path / "inner/not-kept").exists()
    opened.save()

    assert (overlay(workspaces, route, 2, first).path / "written").read_text() == "1"
    assert (overlay(workspaces, route, 3, second).path / "written").read_text() == "2"
    restored = overlay(workspaces, route, 4, third).path
    assert (restored / "kept").exists()
    assert list((restored / "inner").iterdir()) == []


@contextmanager
def mounted(*arguments: str) -> Iterator[None]:
    subprocess.run(["mount", *arguments], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", arguments[-1]], check=True)


def test_a_home_behind_a_link_is_no_other(tmp_path: Path, origin: Origin) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    route = origin.route(origin.commit({"a": "1"}))
    with GitWorkspaces(tmp_path / "link/home", "file") as workspaces:
        workspaces.fetch(origin.repository, route, "run-1")
        opened = overlay(workspaces, route)
        (opened.path / "b").touch()
        opened.save()
        # Sealed and not copied: the layer on top is a new one.
        assert list(opened.path.glob("b"))
        assert len(layers_of(tmp_path / "real/home")) == 2
        assert mounted_below(tmp_path / "real/home")
        opened.close()
        assert mounted_below(tmp_path) == []


def test_root_that_may_not_mount_has_no_overlays_and_is_told_so(home: Path) -> None:
    code = "import sys; from pathlib import Path; from runner.workspaces import GitWorkspaces as G\n"
    code += "print(G(Path(sys.argv[1]), 'file').overlay_problem())"
    less = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    said = subprocess.check_output([*less, sys.executable, "-c", code, str(home)], text=True)

    assert said == "root may mount nothing here, as in a container without CAP_SYS_ADMIN\n"


def test_a_home_whose_path_is_too_long_for_the_kernel_has_no_overlays(tmp_path: Path) -> None:
    with GitWorkspaces(tmp_path / ("x" * 200), "file") as workspaces:
        assert "has more than" in str(workspaces.overlay_problem())


def test_a_disk_that_is_full_at_the_beginning_does_not_end_what_began_with_overlays(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,nr_inodes=300", "none", str(home)], check=True)
    try:
        with GitWorkspaces(home, "file", keeping=False) as workspaces:
            for name in map(str, range(300)):
                with suppress(OSError):
                    (home / name).mkdir()
            with pytest.raises(Unavailable, match="No space left"):
                workspaces.overlay_problem()

            for folder in home.iterdir():
                shutil.rmtree(folder)
            assert workspaces.overlay_problem() is None
    finally:
        subprocess.run(["umount", str(home)], check=True)


# --- what is left ------------------------------------------------------------------------------


def test_a_layer_that_is_kept_while_others_sweep_stays(tmp_path: Path) -> None:
    layers = Layers(tmp_path / "layers", Trash(tmp_path / "trash"), None)
    over = threading.Event()

    def sweep() -> None:
        while not over.is_set():
            layers.sweep()

    with ThreadPoolExecutor(3) as threads:
        sweeps = [threads.submit(sweep) for _ in range(3)]
        try:
            for number in range(400):
                snapshot = tmp_path / f"snapshots/1.{number}"
                files = layers.seal(layers.begin(tmp_path), snapshot, "0" * 40, BASE)
                # A sweep that was underway when it was sealed has its turn now: it gives no other sign.
                time.sleep(0.0005)
                assert files.is_dir()
                snapshot.unlink()
        finally:
            over.set()
    assert [sweep.result() for sweep in sweeps] == [None] * 3


def test_a_folder_that_cannot_be_mounted_leaves_nothing_open(tmp_path: Path) -> None:
    trash = Trash(tmp_path / "trash")
    below = Base((tmp_path, tmp_path / "gone"), ())
    place = (tmp_path / "1", trash, tmp_path / "snapshots", "0" * 40, BASE, below)
    opened = descriptors()
    try:
        with pytest.raises(Unavailable, match="no overlay can be mounted"):
            OverlayWorkspace(*place, [], Layers(tmp_path / "layers", trash, None), None)
    finally:
        clear(tmp_path)

    assert list((tmp_path / "layers").iterdir()) == []
    assert descriptors() <= opened


def descriptors() -> set[str]:
    """Those of this process; what is only garbage may be closed at any moment."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_whatever_else_is_mounted_on_this_machine_is_called_is_no_matter(
    opened: OverlayWorkspace, tmp_path: Path
) -> None:
    odd = tmp_path / "a\u0085b\x1cc d\\e"
    odd.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", odd], check=True)
    try:
        (opened.path / "x").touch()
        assert opened.save() == "1.1"
    finally:
        subprocess.run(["umount", odd], check=True)


def test_a_workspace_in_order_leaves_no_mount_and_no_layer(
    workspaces: GitWorkspaces, opened: OverlayWorkspace, home: Path
) -> None:
    (opened.path / "x").touch()
    opened.save()
    (opened.path / "y").touch()
    opened.close()
    assert mounted_below(home) == []
    assert len(layers_of(home)) == 1

    workspaces.retire("17")
    workspaces.forget("17")

    assert layers_of(home) == []


KILLED = """
import sys
from pathlib import Path
from runner.model.source import Route
from runner.workspaces import GitWorkspaces
home, commit = sys.argv[1:]
workspaces = GitWorkspaces(Path(home), "file")
opened = workspaces.open(Route("git", "octo/hello", commit), "17", 1, None)
(opened.path / "x").write_text("1")
print(opened.save(), flush=True)
(opened.path / "y").write_text("1")
sys.stdin.read()
"""


@contextmanager
def a_process(home: Path, commit: str) -> Iterator[str]:
    """One that has a job's folder open, by the name of the snapshot it made; it is killed at the end."""
    command = [sys.executable, "-c", KILLED, str(home), commit]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def test_what_a_killed_process_left_mounted_is_taken_off_and_nothing_below_is_touched(
    workspaces: GitWorkspaces, route: Route, home: Path
) -> None:
    with a_process(home, route.commit) as snapshot:
        workspaces.tidy(0)
        assert len(layers_of(home)) == 2
        assert len(bases_of(home)) == 1
    assert mounted_below(home)

    workspaces.retire("17")
    workspaces.tidy(10**9)

    assert mounted_below(home) == []
    assert len(layers_of(home)) == 1
    restored = overlay(workspaces, route, 2, snapshot)
    files = sorted(path.name for path in restored.path.rglob("*"))
    assert files == ["a", "b", "c", "d", "x"]
    assert (restored.path / "b/c").read_text() == "2"


def test_what_is_mounted_and_cannot_be_taken_off_is_named_and_worth_another_try(
    workspaces: GitWorkspaces, route: Route, home: Path
) -> None:
    path = overlay(workspaces, route).path

    with pytest.raises(Unavailable, match=f"something is mounted at {path}; umount it"):
        Trash(home / "workspaces/.trash").remove(path)


def test_a_later_attempt_takes_the_folder_from_one_that_was_thought_dead(
    workspaces: GitWorkspaces, route: Route, home: Path
) -> None:
    with a_process(home, route.commit) as snapshot:
        second = overlay(workspaces, route, 2, snapshot)
        assert (second.path / "x").read_text() == "1"
        assert not (second.path / "y").exists()
        assert {path.split("/")[-1] for path in mounted_below(home)} == {"2"}


def test_what_a_job_keeps_is_measured_and_what_two_share_counts_by_halves(
    workspaces: GitWorkspaces, opened: OverlayWorkspace, home: Path
) -> None:
    (opened.path / "large").write_bytes(b"x" * 1_000_000)
    snapshot = opened.save()
    workspaces.inherit("18", ["17"], snapshot)
    # By then all of it is on the disk.
    workspaces.close()

    with GitWorkspaces(home, "file") as again:
        sizes = {kept.name: kept.size for kept in again.kept()}
        assert sizes["17"] == sizes["18"]
        assert 500_000 < sizes["17"] < 520_000
        again.forget("17")
        (left,) = again.kept()
        assert (left.name, left.size > 1_000_000) == ("18", True)
        again.forget("18")
        assert layers_of(home) == []


def test_hundred_jobs_of_one_repository_take_the_space_of_one_checkout(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    route = origin.route(origin.commit({f"f{number}": "x" * 100_000 for number in range(20)}))
    workspaces.fetch(origin.repository, route, "run-1")
    for job in range(100):
        opened = overlay(workspaces, route, job=f"{job}")
        (opened.path / "log").write_text("1")
        opened.save()
        workspaces.close()

    taken = subprocess.check_output(["du", "-sk", "--exclude=mirrors", str(home)], text=True)
    assert int(taken.split()[0]) < 2 * 20 * 100 + 100 * 40
