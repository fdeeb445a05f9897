"""Locks that other processes hold: waited for, but not for ever."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.errors import Unavailable
from runner.workspaces import GitWorkspaces, holding
from runner.workspaces.holding import Held, alone
from tests.workspaces.origin import Origin, contents, mirror_of

HOLDER = """
import sys
from pathlib import Path
from runner.workspaces.holding import alone
with alone(Path(sys.argv[1]), 1):
    print("held", flush=True)
    sys.stdin.read()
"""


class Vain(Exception):
    """Nobody wants it any more."""


@contextmanager
def held_by_another(lock: Path) -> Iterator[int]:
    """A process that holds a lock, by its id."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process.pid
        finally:
            process.kill()


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "STOPPED_SECONDS", 0.2)


def test_a_lock_is_one_threads_at_a_time_and_may_be_removed_by_it(tmp_path: Path) -> None:
    lock, inside, most = tmp_path / "lock", 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with alone(lock, 60):
                inside += 1
                most = max(most, inside)
                inside -= 1
                # From here on it is another's.
                lock.unlink()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (inside, most, lock.exists()) == (0, 1, False)


def test_the_lock_of_one_that_was_killed_is_free(tmp_path: Path) -> None:
    with held_by_another(tmp_path / "lock"):
        pass
    with alone(tmp_path / "lock", 0):
        pass


def test_whoever_is_not_wanted_any_more_waits_no_longer(tmp_path: Path) -> None:
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Vain

    with held_by_another(tmp_path / "lock"), pytest.raises(Vain), alone(tmp_path / "lock", 60, check):
        pass


@pytest.mark.usefixtures("hurried")
def test_one_that_is_stopped_is_waited_for_a_moment_and_named(tmp_path: Path) -> None:
    with held_by_another(tmp_path / "lock") as pid:
        stop(pid)
        with (
            pytest.raises(Held, match=f"process {pid} holds it, and is stopped"),
            alone(tmp_path / "lock", 60),
        ):
            pass


def test_one_that_is_slow_is_waited_for_as_long_as_is_said(tmp_path: Path) -> None:
    with (
        held_by_another(tmp_path / "lock") as pid,
        pytest.raises(Held, match=rf"process {pid} has held it for \d+ seconds"),
        alone(tmp_path / "lock", 0.1),
    ):
        pass


@pytest.mark.usefixtures("hurried")
@pytest.mark.skipif(os.geteuid() != 0, reason="bases are of overlays, which root alone mounts")
def test_a_base_whose_maker_is_stopped_is_made_beside_it(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    commit = origin.commit({"a": "1"})
    route = origin.route(commit)
    workspaces.fetch(origin.repository, route, "run-1")
    lock = home / "bases" / f".lock-{origin.tree_of(commit)}"
    with held_by_another(lock) as pid:
        stop(pid)
        opened = workspaces.open(route, "17", 1, None)
        assert contents(opened.path).keys() == {"a"}
        os.kill(pid, signal.SIGCONT)
    assert contents(workspaces.open(route, "18", 1, None).path) == contents(opened.path)
    assert not lock.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="bases are of overlays, which root alone mounts")
def test_a_cancel_ends_the_waiting_for_a_base(workspaces: GitWorkspaces, origin: Origin, home: Path) -> None:
    commit = origin.commit({"a": "1"})
    workspaces.fetch(origin.repository, origin.route(commit), "run-1")

    def check() -> None:
        raise Vain

    with held_by_another(home / "bases" / f".lock-{origin.tree_of(commit)}"), pytest.raises(Vain):
        workspaces.open(origin.route(commit), "17", 1, None, None, check)
    workspaces.open(origin.route(commit), "17", 2, None)


@pytest.mark.usefixtures("hurried")
def test_a_mirror_that_a_stopped_process_holds_is_named_and_worth_another_try(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    workspaces.fetch(origin.repository, origin.route(origin.commit({"a": "1"})), "run-1")
    route = origin.route(origin.commit({"a": "2"}))
    with held_by_another(mirror_of(home).with_suffix(".lock")) as pid:
        stop(pid)
        with pytest.raises(
            Unavailable, match=f"octo/hello is locked: process {pid} holds it, and is stopped"
        ):
            workspaces.fetch(origin.repository, route, "run-2")
    workspaces.fetch(origin.repository, route, "run-2")
