"""A cgroup per job, where this machine lets us make one: limits that a step cannot shake off."""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
PREFIX = "runner-"
ROUNDS = 50
SECONDS_TO_ENTER = 300


@dataclass(frozen=True, slots=True)
class Limits:
    """The most processes of one job, threads included, and the most bytes of memory (None: no limit)."""

    processes: int = 4096
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A job's folders in the cgroup tree: one with version 2, one per controller with version 1."""

    folders: tuple[Path, ...]

    @property
    def entrances(self) -> tuple[str, ...]:
        """A process that writes 0 to each of these files joins, and so do its later children."""
        return tuple(str(folder / "cgroup.procs") for folder in self.folders)

    def remove(self) -> None:
        """Kill whoever is left inside, and remove the folders."""
        for folder in self.folders:
            for _ in range(ROUNDS):
                with suppress(OSError):
                    folder.rmdir()
                if not folder.exists():
                    break
                _kill(folder)
                time.sleep(0.01)


def create(label: str, limits: Limits, root: Path = ROOT, own: Path = OWN) -> Cgroup | None:
    """The cgroup of one job, or None where this process may not make one."""
    name = PREFIX + re.sub(r"[^A-Za-z0-9_-]", "_", label)[:200]
    wanted = {"pids": str(limits.processes)}
    if limits.memory is not None:
        wanted["memory"] = str(limits.memory)
    for parents, files in _places(wanted, root, own):
        cgroup = Cgroup(tuple(parent / name for parent in parents))
        try:
            for folder in cgroup.folders:
                _make(folder)
            for file, value in files:
                (file.parent / name / file.name).write_text(value)
        except OSError:
            cgroup.remove()
            continue
        return cgroup
    return None


def sweep(root: Path = ROOT, own: Path = OWN) -> None:
    """Remove the empty cgroups of jobs whose worker was killed."""
    for parents, _ in _places({"pids": "", "memory": ""}, root, own):
        for folder in (folder for parent in parents for folder in parent.glob(f"{PREFIX}*")):
            with suppress(OSError):
                # A young one may belong to a job that is about to enter it.
                if time.time() - folder.stat().st_mtime > SECONDS_TO_ENTER:
                    folder.rmdir()


def _places(
    wanted: dict[str, str], root: Path, own: Path
) -> Iterator[tuple[tuple[Path, ...], list[tuple[Path, str]]]]:
    """Where a job's folders could be, the best first, with the limit files as beside them."""
    mine: dict[str, str] = {}
    for line in own.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        mine.update(dict.fromkeys(controllers.split(","), path.strip("/")))
    if (root / "cgroup.controllers").exists():
        here = root / mine.get("", "")
        # A cgroup with processes of its own cannot have limited children, so a service that was
        # given a subtree sits in a leaf of it, and its jobs go beside that leaf.
        for parent in (here, here.parent) if here != root else (here,):
            for name in wanted:
                with suppress(OSError):
                    (parent / "cgroup.subtree_control").write_text(f"+{name}")
            yield (parent,), [(parent / f"{name}.max", value) for name, value in wanted.items()]
    elif all(name in mine for name in wanted):
        parents = {name: root / name / mine[name] for name in wanted}
        files = {"pids": "pids.max", "memory": "memory.limit_in_bytes"}
        yield tuple(parents.values()), [(parents[name] / files[name], wanted[name]) for name in wanted]


def _make(folder: Path) -> None:
    """Make it, or take over an empty one that a worker which was killed left behind."""
    try:
        folder.mkdir()
    except FileExistsError:
        Cgroup((folder,)).remove()
        folder.mkdir()


def _kill(folder: Path) -> None:
    with suppress(OSError):
        (folder / "cgroup.kill").write_text("1")
        return
    with suppress(OSError):
        for pid in (folder / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
