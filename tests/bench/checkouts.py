"""What a job's files cost: its folder at a commit, and keeping what its steps left, on a large repository."""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from runner.model.source import Repository, Route
from runner.workspaces import GitWorkspaces, mounts
from tests.bench.report import Figure

FILES = 10_000
COMMITS = 10_000
WRITTEN = 20_000
ROUNDS = 7
JOBS = 100
FORGE, NAME = "git", "bench/large"


def checkouts() -> Iterator[Figure]:
    with (
        tempfile.TemporaryDirectory(prefix="runner-bench-") as folder,
        a_repository(Path(folder)) as bare,
        GitWorkspaces(Path(folder, "home"), "file") as workspaces,
        GitWorkspaces(Path(folder, "other"), "file") as others,
    ):
        yield from _opening(workspaces, bare, Path(folder))
        yield from _keeping(workspaces, bare, Path(folder))
        yield _disk(others, bare, Path(folder, "other"))


def _opening(workspaces: GitWorkspaces, bare: Path, folder: Path) -> Iterator[Figure]:
    routes = [fetched(workspaces, bare, f"main~{back}") for back in range(ROUNDS + 1, -1, -1)]
    workspaces.open(routes[0], "first", 1, None).close()
    known = [timed(partial(workspaces.open, routes[0], f"known-{job}", 1, None)) for job in range(ROUNDS)]
    clone = ["git", "clone", "--quiet", "--depth", "1", f"file://{bare}", str(folder / "clone")]

    def cloned() -> None:
        shutil.rmtree(folder / "clone", ignore_errors=True)
        subprocess.run(clone, check=True)

    bound = statistics.median(timed(cloned) for _ in range(3))
    value = statistics.median(known)
    met = value <= 20 and bound / value >= 50
    yield Figure(
        "open at a known commit", value, "ms", bound, "git clone --depth 1", "20 ms and 50 times faster", met
    )
    new = [timed(partial(workspaces.open, route, "new", 1, None)) for route in routes[1:]]
    value = statistics.median(new)
    yield Figure("open at a new commit, 10 files changed", value, "ms", target="150 ms", met=value <= 150)


def _keeping(workspaces: GitWorkspaces, bare: Path, folder: Path) -> Iterator[Figure]:
    opened = workspaces.open(fetched(workspaces, bare, "main"), "keeping", 1, None)
    few, many, packed = [], [], []
    for number in range(ROUNDS):
        for file in range(10):
            (opened.path / f"d{file}/f{file}").write_text(f"round {number}\n")
        few.append(timed(opened.save))
    value = statistics.median(few)
    bound = statistics.median(timed(partial(_bare, folder / f"bare-{number}")) for number in range(ROUNDS))
    yield Figure("keep what changed 10 files", value, "ms", bound, "overlay on and off", "10 ms", value <= 10)
    for number in range(3):
        modules = opened.path / f"modules-{number}"
        for file in range(WRITTEN):
            path = modules / f"p{file // 20}" / f"m{file}.js"
            if file % 20 == 0:
                path.parent.mkdir(parents=True)
            path.write_text(
                "".join(f"exports.f{line} = () => {hash((file, line))};\n" for line in range(200))
            )
        many.append(timed(opened.save))
        pack = f"tar -C {opened.path} -cf - {modules.name} | zstd -q -1 -o {folder}/packed-{number}"
        packed.append(timed(partial(subprocess.run, ["sh", "-c", pack], check=True)))
    value, bound = statistics.median(many), statistics.median(packed)
    yield Figure(
        f"keep what wrote {WRITTEN} files",
        value,
        "ms",
        bound,
        "tar | zstd -1",
        "a quarter",
        value <= bound / 4,
    )
    opened.close()


def _bare(folder: Path) -> None:
    """An overlay put on and taken off again: what the kernel and the file system take for it."""
    lower, upper, work, at = (folder / name for name in ("lower", "upper", "work", "at"))
    for one in (folder, lower, upper, work, at):
        one.mkdir()
    descriptor = mounts.mount_overlay([lower], upper, work)
    mounts.attach(descriptor, at)
    os.close(descriptor)
    mounts.unmount(at)


def _disk(workspaces: GitWorkspaces, bare: Path, home: Path) -> Figure:
    """Of as many runs, each at a commit of its own, with what is theirs and what they share."""
    written = 0
    for number in range(JOBS):
        opened = workspaces.open(fetched(workspaces, bare, f"main~{number}"), f"disk-{number}", 1, None)
        (opened.path / "log").write_bytes(b"x" * 65536)
        written += 65536
        opened.save()
        opened.close()
    checkout = workspaces.open(fetched(workspaces, bare, "main~200"), "one", 1, None)
    one = _space(checkout.path)
    checkout.close()
    taken = sum(_space(home / name) for name in ("layers", "bases", "snapshots"))
    value = (taken - written) / one
    return Figure(f"disk of {JOBS} runs, without what they wrote", value, "trees", target="2", met=value < 2)


def _space(folder: Path) -> int:
    return int(subprocess.check_output(["du", "-s", "--block-size=1", str(folder)]).split()[0])


def timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - begun)


def fetched(workspaces: GitWorkspaces, bare: Path, name: str) -> Route:
    commit = subprocess.check_output(["git", "-C", str(bare), "rev-parse", name], text=True).strip()
    route = Route(FORGE, NAME, commit)
    workspaces.fetch(Repository(FORGE, NAME, str(bare)), route, "bench")
    return route


@contextmanager
def a_repository(folder: Path) -> Iterator[Path]:
    """A bare repository with a long history, each commit of which changes ten files of many."""
    bare = folder / "bare.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(bare)], check=True)
    importing = subprocess.Popen(["git", "-C", str(bare), "fast-import", "--quiet"], stdin=subprocess.PIPE)
    assert importing.stdin is not None
    for number in range(COMMITS):
        said = f"commit refs/heads/main\ncommitter a <a@b> {1_700_000_000 + number} +0000\ndata 1\nx\n"
        changed = range(FILES) if number == 0 else [(number * 10 + one) * 7 % FILES for one in range(10)]
        for file in changed:
            text = f"file {file} as of commit {number}\n" * 30
            said += f"M 100644 inline d{file % 100}/f{file}\ndata {len(text)}\n{text}\n"
        importing.stdin.write(said.encode())
    importing.stdin.close()
    if importing.wait():
        raise RuntimeError("git fast-import failed")
    yield bare
