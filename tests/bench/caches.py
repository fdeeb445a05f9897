"""Figures of caches: how fast many small files are packed and unpacked."""

import random
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

from runner.engine.errands.archive import Member, pack, unpack
from runner.engine.ports import Folder, Workspace
from runner.executors.ownership import owner
from runner.model.source import Repository, Route
from runner.workspaces import GitWorkspaces
from runner.workspaces.reach import Reach
from tests.bench.report import Figure
from tests.bench.server import clock, median_of

FOLDERS, FILES = 1000, 20
ROUNDS = 3
LARGE = 10**10


def caches() -> Iterator[Figure]:
    """A tree of 20,000 small files, as an `npm ci` leaves it, beside `tar --zstd` on the same disk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root, archive, fresh = folder / "root", folder / "archive", _fresh(folder)
        _grow(root)
        tar = "tar -C {} -c . | zstd -q -3 -T0 -o {} -f"
        value = median_of(ROUNDS, lambda: clock(lambda: _packed(root, archive)))
        bound = median_of(ROUNDS, lambda: clock(lambda: _shell(tar.format(root, folder / "tar"))))
        yield Figure(f"save {FOLDERS * FILES} files", value, "s", bound, "tar | zstd")
        value = median_of(ROUNDS, lambda: clock(lambda: _unpacked(archive, fresh())))
        bound = median_of(ROUNDS, lambda: clock(lambda: _shell(f"tar --zstd -xf {archive} -C {fresh()}")))
        yield Figure(f"restore {FOLDERS * FILES} files", value, "s", bound, "tar --zstd -x")
        yield _laid(folder / "laid", archive, bound)
        bare = median_of(ROUNDS, lambda: clock(lambda: _shell(f"cp -a {root} {fresh()}")))
        yield Figure("copy of the same files", bare, "s", bound, "tar --zstd -x")


def _laid(folder: Path, archive: Path, bound: float) -> Figure:
    """The same files in job after job on one machine, where a job's folder is an overlay."""
    origin, said = folder / "origin", b""
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
    for line in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "1"], ["rev-parse", "HEAD"]):
        origin.mkdir(parents=True, exist_ok=True)
        said = subprocess.run(["git", *identity, *line], cwd=origin, check=True, capture_output=True).stdout
    route = Route("git", "bench/laid", said.decode().strip())
    with GitWorkspaces(folder / "home", "file", owner()) as workspaces:
        workspaces.fetch(Repository("git", "bench/laid", str(origin)), route, "bench")
        opened = [workspaces.open(route, f"{number}", 1, None) for number in range(ROUNDS + 1)]

        def lay(workspace: Workspace) -> None:
            if workspace.lay("archive", lambda into: _into(archive, into)) is None:
                raise RuntimeError(f"no overlays: {workspaces.overlay_problem()}")
            workspace.save()

        lay(opened[0])
        value = median(clock(partial(lay, one)) for one in opened[1:])
        assert len(list(opened[-1].path.rglob("*.js"))) == FOLDERS * FILES
    return Figure(f"second hit, {FOLDERS * FILES} files", value, "s", bound, "tar --zstd -x")


def _grow(root: Path) -> None:
    chance = random.Random(1)
    text = Path(__file__).read_bytes() * 20
    for number in range(FOLDERS):
        folder = root / f"node_modules/package-{number}/lib"
        folder.mkdir(parents=True)
        for file in range(FILES):
            begin = chance.randrange(len(text) // 2)
            content = text[begin : begin + chance.randrange(200, 6000)] + chance.randbytes(40)
            (folder / f"file-{file}.js").write_bytes(content)


def _fresh(folder: Path) -> Callable[[], Path]:
    made: list[Path] = []

    def fresh() -> Path:
        made.append(folder / f"fresh-{len(made)}")
        made[-1].mkdir()
        return made[-1]

    return fresh


def _packed(root: Path, archive: Path) -> None:
    reach = Reach(root, None)
    with archive.open("wb") as file, reach.held() as held:
        found = (Member(f"workspace/{entry.path}", held, entry) for entry in reach.walk())
        pack(found, file, LARGE, lambda: None)


def _unpacked(archive: Path, root: Path) -> None:
    with Reach(root, owner()).held() as held:
        _into(archive, held)


def _into(archive: Path, folder: Folder) -> int:
    def place(path: str) -> tuple[Folder, str]:
        return folder, path.partition("/")[2]

    with archive.open("rb") as file:
        return unpack(file, place, lambda: None)


def _shell(line: str) -> None:
    subprocess.run(["bash", "-o", "pipefail", "-ec", line], check=True)
