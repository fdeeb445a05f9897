"""A worker killed at any moment of opening, keeping or sealing a job's folder."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.model.source import Route
from runner.workspaces import GitWorkspaces
from runner.workspaces.mounts import clear
from tests.workspaces.origin import Origin

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="overlays are mounted by root alone")

WORKER = """
import sys
from pathlib import Path
from runner.model.source import Route
from runner.workspaces import GitWorkspaces
home, attempt, *commits = sys.argv[1:]
workspaces = GitWorkspaces(Path(home), "file")
print("begun", flush=True)
for number in range(10_000):
    commit = commits[number % len(commits)]
    route = Route("git", "octo/hello", commit)
    opened = workspaces.open(route, f"job-{number % 3}", int(attempt) + number, None)
    for step in range(4):
        (opened.path / f"d{step}").mkdir()
        (opened.path / f"d{step}/file").write_text(f"{number} {step}")
        (opened.path / "f1").unlink(missing_ok=True)
        busy = open(opened.path / "busy", "w") if step % 2 else None
        print(commit, f"job-{number % 3}", number, step, opened.save(), flush=True)
        busy and busy.close()
    opened.close()
    workspaces.tidy(0)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    clear(tmp_path)


def test_what_was_kept_is_there_and_nothing_else_is_left(home: Path, tmp_path: Path) -> None:
    origin = Origin(tmp_path / "origin")
    files = {f"f{number}": f"{number}" for number in range(30)}
    commits = [origin.commit({**files, "f2": f"changed {number}"}) for number in range(4)]
    with GitWorkspaces(home, "file") as workspaces:
        for commit in commits:
            workspaces.fetch(origin.repository, origin.route(commit), "run-1")
    chance = random.Random(5)
    for attempt in range(0, 50_000, 10_000):
        said = _killed(home, attempt, commits, chance.random() / 2)
        with GitWorkspaces(home, "file") as workspaces:
            for job in workspaces.names():
                workspaces.retire(job)
            workspaces.tidy(0)

            assert _mounted_below(home) == []
            assert [
                path.name for path in (home / "bases").iterdir() if not path.name.startswith(".lock-")
            ] == []
            named = {path.stat().st_ino for path in (home / "snapshots").glob("*/*")}
            assert {path.stat().st_ino for path in (home / "layers").glob("*/snapshot")} == named
            assert len(list((home / "layers").iterdir())) == len(named)
            for line in said[-6:]:
                commit, job, number, step, snapshot = line.split()
                opened = workspaces.open(Route("git", "octo/hello", commit), job, 90_000 + attempt, snapshot)
                there = {str(path.relative_to(opened.path)): path for path in opened.path.rglob("*")}
                folders = [f"d{one}" for one in range(int(step) + 1)]
                expected = {*files, *folders, *(f"{folder}/file" for folder in folders)} - {"f1"}
                assert set(there) - {"busy"} == expected
                assert there[f"d{step}/file"].read_text() == f"{number} {step}"
                assert there["f2"].read_text() == f"changed {commits.index(commit)}"


def _killed(home: Path, attempt: int, commits: list[str], after: float) -> list[str]:
    """What a worker has said that was killed at some moment."""
    command = [sys.executable, "-c", WORKER, str(home), str(attempt), *commits]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        try:
            assert worker.stdout.readline() == "begun\n"
            first = worker.stdout.readline()
            signal.sigtimedwait([], after)
        finally:
            worker.kill()
        rest = worker.stdout.read()
    return (first + rest[: rest.rfind("\n") + 1]).splitlines()


def _mounted_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if line.split(" ")[4].startswith(f"{folder}/")]
