"""A job's cgroup, in trees that look like the kernel's."""

import os
from pathlib import Path

import pytest

from runner.executors.cgroups import Cgroup, Limits, create, sweep


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own"
    path.write_text("0::/system.slice/runner.service/worker\n")
    return path


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """A service's subtree under version 2, given to it with a leaf for its own process."""
    (tmp_path / "root/system.slice/runner.service/worker").mkdir(parents=True)
    (tmp_path / "root/cgroup.controllers").write_text("cpu memory pids\n")
    return tmp_path / "root/system.slice/runner.service"


def test_a_job_has_a_folder_with_its_limits(tmp_path: Path, service: Path, own: Path) -> None:
    cgroup = create("a/../b 1", Limits(processes=7, memory=8), tmp_path / "root", own)

    folder = service / "worker" / "runner-a____b_1"
    assert cgroup == Cgroup((folder,))
    assert (folder / "pids.max").read_text() == "7"
    assert (folder / "memory.max").read_text() == "8"
    assert (service / "worker" / "cgroup.subtree_control").exists()


def test_a_job_goes_beside_a_leaf_that_can_have_no_children(tmp_path: Path, service: Path, own: Path) -> None:
    (service / "worker").rmdir()
    (service / "worker").write_text("no folder, so nothing can be made in it")

    cgroup = create("one", Limits(), tmp_path / "root", own)

    assert cgroup == Cgroup((service / "runner-one",))


def test_version_1_has_a_folder_per_controller(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("8:pids:/here\n4:cpu,memory:/there\n0::/\n")
    for name in ("pids/here", "memory/there"):
        (tmp_path / name).mkdir(parents=True)

    cgroup = create("one", Limits(memory=9), tmp_path, own)

    assert cgroup == Cgroup((tmp_path / "pids/here/runner-one", tmp_path / "memory/there/runner-one"))
    assert (tmp_path / "memory/there/runner-one/memory.limit_in_bytes").read_text() == "9"


def test_where_none_can_be_made_there_is_none(tmp_path: Path, own: Path) -> None:
    assert create("one", Limits(), tmp_path / "missing", own) is None


def test_a_sweep_removes_old_empty_folders_only(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("8:pids:/\n4:memory:/\n")
    (tmp_path / "memory").mkdir()
    for name in ("runner-old", "runner-young", "runner-busy/child", "other"):
        (tmp_path / "pids" / name).mkdir(parents=True)
    for name in ("runner-old", "runner-busy", "other"):
        os.utime(tmp_path / "pids" / name, (0, 0))

    sweep(tmp_path, own)

    left = {folder.name for folder in (tmp_path / "pids").iterdir()}
    assert left == {"runner-young", "runner-busy", "other"}
