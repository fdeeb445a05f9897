"""What it takes to have a job's files on another machine, beside the store's own throughput."""

import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from runner.model.blob import Blob
from runner.model.source import Route
from runner.objects import FolderObjects
from runner.workspaces import GitWorkspaces
from runner.workspaces.archives import GitLayers
from runner.workspaces.layers import nothing
from tests.bench.checkouts import fetched, timed
from tests.bench.report import Figure

LARGE = 512
"""MiB of what zstd cannot make smaller, in files of 8."""
SMALL = 20_000
ROUNDS = 3
KINDS: dict[str, Callable[[], str | None]] = {"overlay": lambda: None, "no overlay": lambda: "the bench"}


def restores() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="runner-bench-") as name:
        folder = Path(name)
        bare = _bare(folder)
        much = f"{LARGE} MiB"
        yield from _restored(folder / "large", bare, _write_large, much, _copied, "copying the objects")
        many = f"{SMALL} files"
        yield from _restored(folder / "small", bare, _write_small, many, _untarred, "tar --zstd -x")


def _restored(
    folder: Path,
    bare: Path,
    write: Callable[[Path], None],
    what: str,
    bound_of: Callable[[Path, Path, FolderObjects, list[Blob]], None],
    bound_is: str,
) -> Iterator[Figure]:
    """A job whose machine keeps overlays goes to another one, of either kind."""
    objects = FolderObjects(folder / "objects")
    with GitWorkspaces(folder / "here", "file") as here:
        route = fetched(here, bare, "main")
        opened = here.open(route, "17", 1, None)
        write(opened.path)
        snapshot = opened.save()
        layers = GitLayers(folder / "here")
        stored = []
        for one in layers.chain("17", snapshot):
            blob = objects.put("bench/0", partial(layers.pack, "17", one.name))
            stored.append((one.name, layers.content("17", one.name), blob))
        blobs = [blob for *_, blob in stored]
        bounds = [
            timed(partial(bound_of, opened.path, folder / f"bound-{number}", objects, blobs))
            for number in range(ROUNDS)
        ]
        opened.close()
    bound = statistics.median(bounds)
    for kind, hindrance in KINDS.items():
        taken = []
        for number in range(ROUNDS):
            home = folder / f"{kind} {number}"
            with GitWorkspaces(home, "file", hindrance=hindrance) as there:
                fetched(there, bare, "main")
                # What is unpacked once for all jobs is there.
                there.open(route, "16", 1, None).close()
                taken.append(
                    timed(partial(_restore, there, home, hindrance, route, snapshot, objects, stored))
                )
            shutil.rmtree(home)
        yield Figure(f"restore {what} elsewhere, {kind}", statistics.median(taken), "ms", bound, bound_is)


def _restore(
    there: GitWorkspaces,
    home: Path,
    hindrance: Callable[[], str | None],
    route: Route,
    snapshot: str,
    objects: FolderObjects,
    stored: list[tuple[str, str, Blob]],
) -> None:
    layers = GitLayers(home, hindrance)
    for layer, content, blob in stored:
        with objects.open(blob) as file:
            layers.unpack("17", layer, content, file, nothing)
    there.open(route, "17", 2, snapshot)


def _copied(_: Path, target: Path, objects: FolderObjects, blobs: list[Blob]) -> None:
    with target.open("wb") as file:
        for blob in blobs:
            with objects.open(blob) as stored:
                shutil.copyfileobj(stored, file, 1 << 20)


def _untarred(files: Path, target: Path, objects: FolderObjects, blobs: list[Blob]) -> None:
    target.mkdir()
    packed = target.with_name("packed.tar.zst")
    if not packed.exists():
        subprocess.run(["tar", "--zstd", "-C", str(files), "-cf", str(packed), "."], check=True)
    subprocess.run(["tar", "--zstd", "-C", str(target), "-xf", str(packed)], check=True)


def _write_large(folder: Path) -> None:
    for number in range(LARGE // 8):
        with Path("/dev/urandom").open("rb") as chance:
            (folder / f"large-{number}").write_bytes(chance.read(8 << 20))


def _write_small(folder: Path) -> None:
    for number in range(SMALL):
        path = folder / f"modules/p{number // 20}/m{number}.js"
        if number % 20 == 0:
            path.parent.mkdir(parents=True)
        path.write_text("".join(f"exports.f{line} = () => {hash((number, line))};\n" for line in range(200)))


def _bare(folder: Path) -> Path:
    work, bare = folder / "work", folder / "bare.git"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "--quiet", "--initial-branch=main", str(work)], check=True)
    (work / "readme").write_text("hello\n")
    subprocess.run([*git, "-C", str(work), "add", "--all"], check=True)
    subprocess.run([*git, "-C", str(work), "commit", "--quiet", "-m", "first"], check=True)
    subprocess.run(["git", "clone", "--quiet", "--bare", str(work), str(bare)], check=True)
    return bare
