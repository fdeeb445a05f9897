"""Figures of caches: how fast many small files are packed and unpacked."""

import random
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from runner.engine.errands.archive import Member, pack, unpack
from runner.engine.ports import Folder
from runner.executors.ownership import owner
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
        bare = median_of(ROUNDS, lambda: clock(lambda: _shell(f"cp -a {root} {fresh()}")))
        yield Figure("copy of the same files", bare, "s", bound, "tar --zstd -x")


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
    with archive.open("rb") as file, Reach(root, owner()).held() as held:

        def place(path: str) -> tuple[Folder, str]:
            return held, path.partition("/")[2]

        unpack(file, place, lambda: None)


def _shell(line: str) -> None:
    subprocess.run(["bash", "-o", "pipefail", "-ec", line], check=True)
