"""What the `.git` of a job costs, and what git then takes in it."""

import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from runner.engine.ports import History
from runner.model.source import Repository, Route
from runner.workspaces import GitWorkspaces
from tests.bench.report import Figure
from tests.bench.server import clock

FILES = 10_000
COMMITS = 10_000
ROUNDS = 5
MAIN = History("refs/heads/main", "https://forge.example/bench/large")


def history() -> Iterator[Figure]:
    """On a repository of 10,000 files and 10,000 commits that is known here."""
    with tempfile.TemporaryDirectory(prefix="runner-bench-") as made:
        folder = Path(made)
        origin = folder / "origin.git"
        commit = a_large_repository(origin)
        repository, route = Repository("git", "bench/large", str(origin)), Route("git", "bench/large", commit)
        with GitWorkspaces(folder / "home", "file") as workspaces:
            workspaces.fetch(repository, route, "bench")
            workspaces.open(route, "warm", 1, None, MAIN)
            without: list[float] = []
            with_it: list[float] = []
            for number in range(ROUNDS):
                for history, times in ((None, without), (MAIN, with_it)):
                    name = f"job-{number}-{history is None}"
                    times.append(1000 * clock(lambda: workspaces.open(route, name, 1, None, history)))  # noqa: B023
                    workspaces.retire(name)
            value = statistics.median(with_it) - statistics.median(without)
            shared = ("git", "clone", "--quiet", "--shared", "--no-checkout", str(origin))
            clones = [1000 * clock(lambda: _run(*shared, f"{folder}/clone-{n}")) for n in range(ROUNDS)]  # noqa: B023
            bound = statistics.median(clones)
            note = f"of {statistics.median(with_it):.0f} ms to open the workspace"
            yield Figure("history of a job", value, "ms", bound, "git clone --shared", note=note)
            place = workspaces.open(route, "job", 1, None, MAIN).path
            status = ("git", "-C", str(place), "-c", "safe.directory=*", "status", "--porcelain")
            value = statistics.median(1000 * clock(lambda: _run(*status)) for _ in range(ROUNDS))
            yield Figure("git status in a fresh workspace", value, "ms")


def a_large_repository(path: Path) -> str:
    """A bare repository in which each commit but the first changes one file; gives the newest commit."""
    _run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(path))
    stream = b"".join(_commit(number) for number in range(COMMITS))
    subprocess.run(["git", "-C", str(path), "fast-import", "--quiet"], input=stream, check=True)
    return _run("git", "-C", str(path), "rev-parse", "main").strip()


def _commit(number: int) -> bytes:
    committer = f"committer b <b@b> {1_700_000_000 + number} +0000"
    head = f"commit refs/heads/main\nmark :{number + 1}\n{committer}\ndata 1\nx\n"
    parts = [head, f"from :{number}\n" if number else ""]
    for file in range(FILES) if number == 0 else [number * 7 % FILES]:
        text = f"file {file} of {number}\n" * 20
        parts.append(f"M 100644 inline {file % 100}/{file // 100 % 10}/{file}\ndata {len(text)}\n{text}\n")
    return "".join(parts).encode()


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
