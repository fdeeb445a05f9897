"""What the host executor does besides the contract: limits, leftovers, and life without root."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.engine.ports import Exit
from runner.engine.remove import remove
from runner.executors.cgroups import Limits
from tests.executors.jobs import WORKER, Job, Kind, a_token, comes_alive, survivors


def test_a_fork_bomb_hurts_only_its_own_job(folder: Path) -> None:
    job = Job(Kind("host", {"limits": Limits(processes=64)}), folder)
    try:
        exit, printed = job.sh("bomb() { bomb | bomb & }; bomb; while :; do :; done", timeout=3)
        after = job.sh("echo on")
    finally:
        job.sandbox.close()

    assert exit.stopped == "timeout"
    assert "Resource temporarily unavailable" in printed
    assert after == (Exit(0), "on\n")


def test_a_job_leaves_no_cgroup_behind(folder: Path) -> None:
    job = Job(Kind("host", {"limits": Limits(memory=1 << 33)}), folder)
    job.sh("sleep 60 &")
    # Other tests remove cgroups meanwhile, which `os.walk` passes over.
    name = f"runner-{job.label}"
    mine = [Path(top, name) for top, names, _ in os.walk("/sys/fs/cgroup") if name in names]
    job.sandbox.close()

    assert mine
    assert not any(folder.exists() for folder in mine)


def test_leftovers_under_the_same_label_are_ended_first(folder: Path) -> None:
    token = a_token()
    first = Job(Kind("host", {"namespaces": False}), folder)
    try:
        first.sh(f"setsid sleep {token} &")
        assert comes_alive(token)

        first.open(folder / "second").close()

        assert survivors(token) == []
    finally:
        first.sandbox.close()


def test_a_stop_that_failed_can_be_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_mark: str) -> None:
        raise BlockingIOError("no process can be made")

    token = a_token()
    job = Job(Kind("host", {"namespaces": False}), folder)
    try:
        job.sh(f"sleep {token} &")
        assert comes_alive(token)
        with monkeypatch.context() as full:
            full.setattr("runner.executors.host.sweep", fails)
            with pytest.raises(BlockingIOError):
                job.sandbox.stop()

        job.sandbox.stop()

        assert survivors(token) == []
    finally:
        job.sandbox.close()


def test_the_path_is_the_one_the_executor_was_given(folder: Path) -> None:
    job = Job(Kind("host", {"path": "/opt/tools:/usr/bin"}), folder)
    try:
        assert job.sh("echo $PATH") == (Exit(0), "/opt/tools:/usr/bin\n")
    finally:
        job.sandbox.close()


def test_a_worker_that_is_not_root_has_a_pid_namespace_too(folder: Path) -> None:
    for name in ("workspace", "temp"):
        (folder / name).mkdir()
        os.chown(folder / name, 61001, 61001)
    script = "ls -d /proc/[0-9]* | wc -l; id -u; trap '' TERM; setsid sleep 1000 & exit 3"
    places = (str(folder / "workspace"), str(folder / "temp"))
    told = json.dumps(["host", {}, None, *places, "plain-1", script])
    done = subprocess.run(
        # Where the interpreter and its packages are may be closed to others.
        [sys.executable, "-c", AS_ANOTHER + WORKER, told],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    processes, uid = done.stdout.split()
    assert (int(processes) < 10, uid) == (True, "61001")


AS_ANOTHER = """
import docker.errors, os, pathlib, subprocess, sys
import runner.executors.host
os.setgroups([])
os.setresgid(61001, 61001, 61001)
os.setresuid(61001, 61001, 61001)
"""


def test_a_folder_that_a_step_locked_is_removed_all_the_same(tmp_path: Path) -> None:
    locked = tmp_path / "temp" / "a" / "b"
    locked.mkdir(parents=True)
    (locked / "file").write_text("x")
    (tmp_path / "temp" / "link").symlink_to("/")
    for folder in (locked, locked.parent, locked.parent.parent):
        folder.chmod(0)

    remove(tmp_path / "temp")

    assert not (tmp_path / "temp").exists()
