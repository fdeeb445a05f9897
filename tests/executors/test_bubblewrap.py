"""What the bubblewrap sandbox keeps from a step, and what it still gives it."""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.engine.ports import Exit
from runner.errors import Unavailable
from runner.executors.bubblewrap import JOIN, Bubblewrap
from runner.executors.cgroups import Limits
from runner.executors.ownership import JOB_UID
from tests.executors.jobs import PATIENCE, Job, Kind, a_token, a_worker, comes_alive, survivors

SANDBOX = Kind("sandbox")


@pytest.fixture
def job(folder: Path) -> Iterator[Job]:
    made = Job(SANDBOX, folder)
    yield made
    made.sandbox.close()


# --- kept from a step ------------------------------------------------------------------------


def test_a_step_is_an_ordinary_user_inside_and_the_jobs_user_outside(job: Job) -> None:
    assert job.sh("id -un; id -u; touch made") == (Exit(0), "runner\n1000\n")
    assert (job.workspace / "made").stat().st_uid == JOB_UID


def test_a_step_cannot_read_what_only_root_may(folder: Path) -> None:
    secret = folder / "shown" / "secret"
    secret.parent.mkdir()
    secret.write_text("canary")
    secret.chmod(0o600)
    job = Job(Kind("sandbox", {"read_only": [secret.parent]}), folder)
    try:
        exit, printed = job.sh(f"ls {secret}; cat {secret} || exit 1")
    finally:
        job.sandbox.close()

    assert exit.code == 1
    assert "canary" not in printed
    assert "Permission denied" in printed


def test_a_step_sees_no_file_of_this_machine_but_usr(job: Job, folder: Path) -> None:
    job.sh("mkdir 'of the job'")

    assert job.sh(f"ls -d / /home /var /work {folder} 2>/dev/null")[1] == "/\n"
    assert job.sh("ls -A /root") == (Exit(0), "")
    assert job.sh("ls /") == (
        Exit(0),
        "bin\ndev\netc\nlib\nlib64\nproc\nroot\nrun\nrunner\nsbin\ntmp\nusr\nworkspace\n",
    )


@pytest.mark.parametrize(
    "path", ["/usr/x", "/etc/hosts", "/etc/passwd", "/run/agent.sh", "/proc/sys/kernel/hostname"]
)
def test_a_step_writes_nowhere_but_in_its_own_folders(job: Job, path: str) -> None:
    exit, printed = job.sh(f"echo x >> {path}")

    assert exit.code == 1
    assert "Read-only file system" in printed or "Permission denied" in printed


def test_a_step_sees_only_its_own_jobs_processes(job: Job) -> None:
    exit, printed = job.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ls -d /proc/[0-9]* | wc -l")

    assert exit == Exit(0)
    assert "pytest" not in printed
    assert int(printed.split()[-1]) < 10


def test_no_process_in_sight_has_the_workers_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "of the worker")
    job = Job(SANDBOX, folder)
    try:
        exit, printed = job.sh("cat /proc/[0-9]*/environ | tr '\\0' '\\n'; kill -0 " + str(os.getpid()))
    finally:
        job.sandbox.close()

    assert exit == Exit(1)
    assert "CANARY" not in printed


def test_without_the_network_there_is_none(folder: Path) -> None:
    job = Job(Kind("sandbox", {"network": False}), folder)
    try:
        _, printed = job.sh("cat /proc/net/dev")
    finally:
        job.sandbox.close()

    assert [line.split(":")[0].strip() for line in printed.splitlines()[2:]] == ["lo"]


def test_with_the_network_a_step_reaches_it(job: Job) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        assert job.sh(f"exec 5<>/dev/tcp/127.0.0.1/{port}")[0] == Exit(0)


def test_a_fork_bomb_hurts_only_its_own_job(folder: Path) -> None:
    job = Job(Kind("sandbox", {"limits": Limits(processes=64)}), folder)
    try:
        exit, printed = job.sh("bomb() { bomb | bomb & }; bomb; while :; do :; done", timeout=3)
        after = job.sh("echo on")
    finally:
        job.sandbox.close()

    assert exit.stopped == "timeout"
    assert "Resource temporarily unavailable" in printed
    assert after == (Exit(0), "on\n")


def test_tmp_is_bounded_and_not_the_machines(folder: Path) -> None:
    job = Job(Kind("sandbox", {"tmp_bytes": 1 << 20}), folder)
    try:
        exit, printed = job.sh("ls -A /tmp; head -c 2000000 /dev/zero > /tmp/large")
    finally:
        job.sandbox.close()

    assert exit.code == 1
    assert printed.startswith("head: error writing")


def test_a_limited_sandbox_enters_its_cgroups_before_it_starts(tmp_path: Path) -> None:
    entrances = (str(tmp_path / "pids"), str(tmp_path / "memory"))

    done = subprocess.run(
        ["/bin/sh", "-c", JOIN, "sh", *entrances, "--", "cat", *entrances], capture_output=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, b"0\n0\n")


# --- given to a step -------------------------------------------------------------------------


def test_ordinary_tools_work(job: Job) -> None:
    script = (
        "git init -q repo; cd repo; git config user.name x; git config user.email x@x;"
        "git commit -q --allow-empty -m x; git log | cat;"
        "python3 -c 'import ssl; assert ssl.create_default_context().get_ca_certs()'; getent hosts localhost"
    )

    exit, printed = job.sh(script, env={"HOME": job.sandbox.home})

    assert (exit, "commit " in printed) == (Exit(0), True)


def test_a_toolchain_outside_usr_is_seen_where_it_is(folder: Path) -> None:
    tools = folder / "tools"
    tools.mkdir()
    (tools / "tool").write_text("#!/bin/sh\necho works\n")
    (tools / "tool").chmod(0o755)
    job = Job(Kind("sandbox", {"read_only": [tools]}), folder)
    try:
        assert job.run(str(tools / "tool")) == (Exit(0), "works\n")
    finally:
        job.sandbox.close()


# --- life and death --------------------------------------------------------------------------


def test_a_sandbox_outlives_the_thread_that_opened_it(folder: Path) -> None:
    opened: list[Job] = []
    thread = threading.Thread(target=lambda: opened.append(Job(SANDBOX, folder)))
    thread.start()
    thread.join(PATIENCE)
    try:
        assert opened[0].sh("echo on") == (Exit(0), "on\n")
    finally:
        opened[0].sandbox.close()


def test_a_step_that_holds_its_agent_still_does_not_outlive_the_worker(folder: Path) -> None:
    token = a_token()
    script = f"kill -STOP 2 3 || :; echo ready; setsid sleep {token}"
    with a_worker(SANDBOX, folder, script) as worker:
        assert comes_alive(token)
        worker.send_signal(signal.SIGKILL)

    assert survivors(token) == []


def test_a_workspace_out_of_the_jobs_users_reach_is_named(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)

    job = Job(SANDBOX, closed)
    try:
        with pytest.raises(Unavailable, match=r"closed/workspace.*Permission denied"):
            job.sh("true")
    finally:
        job.sandbox.close()


def test_a_machine_without_bubblewrap_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert Bubblewrap().check() == "there is no bwrap on this machine: install bubblewrap"


def test_a_sandbox_that_is_closed_while_it_is_made_leaves_nothing(folder: Path) -> None:
    sandboxes = Bubblewrap()
    for number in range(100):
        workspace, temp = folder / f"workspace-{number}", folder / f"temp-{number}"
        workspace.mkdir()
        temp.mkdir(mode=0o700)
        sandbox = sandboxes.open(workspace, temp, f"newborn-{number}", None)
        # Each of them at another moment of its birth.
        threading.Event().wait(number * 0.00006)
        sandbox.close()

    assert survivors(f"{folder}/workspace-") == []
