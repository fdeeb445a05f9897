"""Jobs' files as clones, where the file system can share blocks and no overlay is wanted."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
from zstandard import ZstdDecompressor

from runner.model.source import Route
from runner.workspaces import GitWorkspaces
from tests.workspaces.origin import Origin, contents

BTRFS = Path(__file__).with_name("btrfs.img.zst")
"""An empty file system of 128 MiB: `truncate -s 128M btrfs.img; mkfs.btrfs -m single -d single btrfs.img`."""

FILES = {"a": "1" * 100_000, "b/c": "2" * 50_000, "b/empty": "", "d": "4"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0 or "btrfs" not in Path("/proc/filesystems").read_text().split():
        pytest.skip("btrfs can be mounted by root alone, where the kernel has it")
    # Not in the tests' own folder, which only root can enter.
    image, place = tmp_path / "btrfs.img", Path(mkdtemp(prefix="runner-btrfs-"))
    with BTRFS.open("rb") as packed, image.open("wb") as file:
        ZstdDecompressor().copy_stream(packed, file)
    place.chmod(0o755)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def cloning(home: Path) -> GitWorkspaces:
    return GitWorkspaces(home, "file", hindrance=lambda: "none is wanted")


def extents(path: Path) -> list[str]:
    """Where on its disk a file is."""
    said = subprocess.check_output(["filefrag", "-v", str(path)], text=True)
    return [line.split()[3] for line in said.splitlines() if line.strip()[:1].isdigit()]


def fetched(workspaces: GitWorkspaces, origin: Origin, files: dict[str, str]) -> Route:
    route = origin.route(origin.commit(files))
    workspaces.fetch(origin.repository, route, "run-1")
    return route


def test_jobs_share_the_blocks_of_what_none_of_them_changed(disk: Path, origin: Origin) -> None:
    with cloning(disk / "home") as workspaces:
        assert workspaces.clone_problem() is None
        route = fetched(workspaces, origin, FILES)
        first, second = (workspaces.open(route, job, 1, None) for job in ("17", "18"))
        os.sync()
        assert extents(first.path / "a") == extents(second.path / "a") != []
        (first.path / "a").write_text("mine")
        with (first.path / "b/c").open("r+") as file:
            file.write("3")
        os.sync()
        third = workspaces.open(route, "19", 1, None)

    for untouched in (second, third):
        assert {name: (untouched.path / name).read_text() for name in FILES} == FILES


def test_a_folder_of_clones_is_like_one_that_was_written(disk: Path, tmp_path: Path, origin: Origin) -> None:
    changes = [
        "mkdir b; echo 1 >a; echo 2 >b/c; echo 3 >b/d; : >empty; echo x >run; chmod +x run; ln -s b/c link",
        "echo other >b/d; rm a",
        "rm -r b; echo a file now >b; mkdir a; echo a folder now >a/b",
    ]
    with cloning(disk / "home") as cloned, cloning(tmp_path / "home") as written:
        assert written.clone_problem() == "the file system there cannot"
        seen = []
        for change in changes:
            subprocess.run(["sh", "-ec", change], cwd=origin.path, check=True)
            route = origin.route(origin.commit_all())
            for workspaces in (cloned, written):
                workspaces.fetch(origin.repository, route, "run-1")
                job = workspaces.open(route, f"{route.commit}", 1, None)
                (job.path / "new").write_text("1")
                os.utime(job.path / "new", (1, 1))
                snapshot = job.save()
                again = workspaces.open(route, f"{route.commit}", 2, snapshot)
                seen.append((contents(again.path), (again.path / "run").stat().st_mtime_ns))

    for ours, theirs in zip(seen[::2], seen[1::2], strict=True):
        assert ours == theirs
    assert len(seen) == 6


def test_what_clones_were_made_of_goes_when_there_is_too_much(disk: Path, origin: Origin) -> None:
    with cloning(disk / "home") as workspaces:
        route = fetched(workspaces, origin, FILES)
        opened = workspaces.open(route, "17", 1, None)
        workspaces.tidy(0)
        assert [path for path in (disk / "home/bases").iterdir() if not path.name.startswith(".")] == []
        assert (opened.path / "a").read_text() == FILES["a"]
        assert (workspaces.open(route, "18", 1, None).path / "a").read_text() == FILES["a"]


def test_what_does_not_outlive_the_process_is_not_unpacked_twice(disk: Path, origin: Origin) -> None:
    with GitWorkspaces(disk / "home", "file", keeping=False, hindrance=lambda: "a test") as workspaces:
        route = fetched(workspaces, origin, FILES)
        assert (workspaces.open(route, "17", 1, None).path / "d").read_text() == "4"
        assert workspaces.clone_problem() == "what is unpacked here is not kept"
    assert not (disk / "home/bases").exists()


AS_NOBODY = """
import sys
from pathlib import Path
from runner.model.source import Repository, Route
from runner.workspaces import GitWorkspaces

disk, *commits = sys.argv[1:]
with GitWorkspaces(Path(disk, "home"), "file") as workspaces:
    print(workspaces.overlay_problem())
    print(workspaces.clone_problem())
    for commit in commits:
        route = Route("git", "octo/hello", commit)
        workspaces.fetch(Repository("git", "octo/hello", f"{disk}/origin"), route, "run-1")
        opened = workspaces.open(route, commit, 1, None)
        print(sorted(path.name for path in opened.path.iterdir()))
"""


def test_a_worker_that_is_not_root_has_no_overlays_but_clones_and_is_told_why(disk: Path) -> None:
    origin = Origin(disk / "origin")
    commits = [
        origin.commit({"a": "1", "b": "2", "c": "3", "d": "4"}),
        origin.commit({"a": "1", "b": "2", "c": "3"}),
    ]
    subprocess.run(["chown", "-R", "65534:65534", str(disk)], check=True)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = [*nobody, sys.executable, "-c", AS_NOBODY, str(disk), *commits]

    said = subprocess.check_output(command, text=True, cwd="/tmp", env={**os.environ, "HOME": str(disk)})

    assert said.splitlines() == [
        "that takes root: in a user namespace no step could rename a folder of an earlier one",
        "None",
        "['a', 'b', 'c', 'd']",
        "['a', 'b', 'c']",
    ]
