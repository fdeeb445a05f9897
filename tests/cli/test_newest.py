"""`runs watch` and `runs view` without a run take the newest."""

import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.conftest import PATIENCE, Machine, Shell
from tests.cli.test_commands import FAILS, PASSES

DEMO = Path(__file__).parents[2] / "pipelines_examples" / "demo.sh"
ON_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
NEVER = """
on:
  push:
    branches: [release]
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: "true"
"""


def test_a_server_without_runs_says_how_to_start_one(bare_machine: Machine) -> None:
    bare_machine.start()

    watched, viewed = bare_machine.run("runs", "watch"), bare_machine.run("runs", "view")

    assert (watched.status, viewed.status) == (1, 1)
    assert "`runner trigger NAME` or a push starts one" in watched.err
    assert "`runner trigger NAME` or a push starts one" in viewed.err


@pytest.mark.parametrize(("workflow", "status"), [(PASSES, 0), (FAILS, 1)])
def test_watch_follows_the_run_of_the_push_before_it(
    machine: Machine, on_machine: Shell, workflow: str, status: int
) -> None:
    machine.push(workflow)
    watched = on_machine("runs", "watch")

    commit = machine.git("rev-parse", "HEAD").strip()
    assert watched.status == status
    assert commit[:12] in watched.out.splitlines()[0]
    assert f"commit:      {commit}" in on_machine("runs", "view").out
    assert on_machine("runs", "view", "--json", "commit").json == {"commit": commit}
    assert on_machine("runs", "view", "--exit-status").status == status


def test_watch_follows_every_run_of_the_push(machine: Machine, on_machine: Shell) -> None:
    (machine.folder / "work/.runner/workflows").mkdir(parents=True, exist_ok=True)
    second = machine.folder / "work/.runner/workflows/second.yml"
    second.write_text(PASSES)
    machine.push(FAILS)

    watched = on_machine("runs", "watch")

    second.unlink()
    lines = [line for line in watched.out.splitlines() if line.startswith("run ") and " in " in line]
    assert [line.split()[2] for line in lines] == ["failure", "success"]
    assert watched.status == 1


def test_watch_waits_for_the_admission_of_the_newest_delivery(machine: Machine, on_machine: Shell) -> None:
    machine.push(PASSES)
    on_machine("runs", "watch")
    bare = machine.folder / "bare.git"
    machine.git("commit", "-q", "--allow-empty", "-m", "unseen")
    # Whoever lists the repository's refs waits until somebody writes into the pipe.
    (bare / "packed-refs").unlink(missing_ok=True)
    (bare / "hooks/post-receive").rename(bare / "hooks/kept")
    machine.git("push", "-q", "origin", "HEAD:refs/heads/main")
    (bare / "hooks/kept").rename(bare / "hooks/post-receive")
    os.mkfifo(bare / "packed-refs")
    try:
        made = on_machine("trigger", "octo/hello", "--ref", "main", "--json").json["delivery"]
        with machine.spawn("runs", "watch") as watching:
            assert watching.stdout is not None

            waited, _, _ = select.select([watching.stdout], [], [], 1.5)
            status = on_machine("deliveries", "show", made, "--json", "status").json["status"]
            release(bare / "packed-refs")
            out, _ = watching.communicate(timeout=PATIENCE)
    finally:
        release(bare / "packed-refs")

    assert (waited, status) == ([], "received")
    assert watching.returncode == 0, out
    assert machine.git("rev-parse", "HEAD").strip()[:12] in out.splitlines()[0]


def release(pipe: Path) -> None:
    """Let go whoever waits for the pipe, and be an ordinary missing file from now on; twice is fine."""
    if not pipe.exists():
        return
    held = os.open(pipe, os.O_RDWR)
    pipe.unlink()
    os.close(held)


def test_watch_says_why_the_newest_delivery_started_nothing(machine: Machine, on_machine: Shell) -> None:
    machine.push(NEVER)
    ignored = on_machine("runs", "watch")
    on_machine("trigger", "octo/hello", "--commit", "4" * 40)
    failed = on_machine("runs", "watch")

    assert (ignored.status, ignored.out) == (1, "")
    assert "of octo/hello, is ignored: no workflow matches: " in ignored.err
    assert (failed.status, failed.out) == (1, "")
    assert "of octo/hello, is failed: " in failed.err


# --- the demo ------------------------------------------------------------------------------------


@pytest.fixture
def demo_env() -> Iterator[dict[str, str]]:
    """Its temporary files are known by their place, which sandboxes can pass through."""
    folder = Path(tempfile.mkdtemp(prefix="runner-cli-", dir="/tmp"))
    folder.chmod(0o711)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    yield {"PATH": path, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8", "TERM": "xterm"}
    assert list(folder.glob("runner-demo.*")) == []
    assert left_alive(folder) == []
    shutil.rmtree(folder)


def left_alive(folder: Path) -> list[str]:
    """What goes on running with the folder in its command or environment; what is about to end is awaited."""
    until = time.monotonic() + PATIENCE
    while (found := processes_of(folder)) and (left := until - time.monotonic()) > 0:
        with suppress(ProcessLookupError):
            held = os.pidfd_open(next(iter(found)))
            try:
                select.select([held], [], [], left)
            finally:
                os.close(held)
    return list(found.values())


def processes_of(folder: Path) -> dict[int, str]:
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            # It has ended since.
            continue
        if str(folder).encode() in said:
            found[int(process.name)] = said.decode(errors="replace")
    return found


def test_the_demo_runs_to_its_green_end(demo_env: dict[str, str]) -> None:
    done = subprocess.run(["bash", DEMO], env=demo_env, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "run 1 success in" in done.stdout
    assert 'aria-label="ci: passing"' in done.stdout


@pytest.mark.parametrize("moment", ["1. An embedded server", "runner listens on", "4. The run, live"])
def test_ctrl_c_ends_the_demo_and_all_it_started(demo_env: dict[str, str], moment: str) -> None:
    command = [sys.executable, "-c", ON_A_TERMINAL, "bash", str(DEMO)]
    with subprocess.Popen(
        command, env=demo_env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as demo:
        assert demo.stdin is not None
        assert demo.stdout is not None
        try:
            said = b""
            while moment.encode() not in said:
                said += (more := demo.stdout.read(4096))
                assert more, said.decode()
            demo.stdin.write(b"\x03")
            said += demo.communicate(timeout=PATIENCE)[0]
        finally:
            demo.kill()

    assert demo.returncode == 130, said.decode()
