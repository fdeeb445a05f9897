"""Submodules, through the whole engine: of what is open to all, of neighbours, and what nobody may have."""

from pathlib import Path
from typing import Any

import pytest

from runner.model.source import Repository
from tests.scenarios.engine import Engine, publish
from tests.workspaces.origin import git

WORKFLOW = """
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - name: Checkout
        uses: actions/checkout@v4
        with: {submodules: SUBMODULES}
      - name: Look
        run: |
          find . -name .git -prune -o -type f -print | sort
          git status --porcelain
          git submodule status --recursive
"""


def a_repository(path: Path, files: dict[str, str], modules: dict[str, tuple[str, str]]) -> str:
    """Commit files, and submodules by their path: each a URL and a commit."""
    if not path.exists():
        path.mkdir(parents=True)
        git(path, "init", "--quiet", "--initial-branch=main")
    for name, text in files.items():
        path.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        path.joinpath(name).write_text(text)
    lines = [f'[submodule "{name}"]\n\tpath = {name}\n\turl = {url}\n' for name, (url, _) in modules.items()]
    (path / ".gitmodules").write_text("".join(lines))
    git(path, "add", "--all")
    for name, (_, commit) in modules.items():
        git(path, "update-index", "--add", "--cacheinfo", f"160000,{commit},{name}")
    git(path, "commit", "--quiet", "--message", "a change")
    return git(path, "rev-parse", "HEAD")


def built(engine: Engine, origin: Path, commit: str, name: str) -> tuple[Any, str]:
    delivery = engine.push(Repository("git", name, str(origin)), commit)
    seen: Any = engine.seen(delivery)
    job = seen["runs"]["ci.yml"]["jobs"]["build"]
    return job, "".join(str(step.get("log")) for step in job["steps"].values())


@pytest.mark.parametrize(("submodules", "deep"), [("true", False), ("recursive", True)])
def test_submodules_come_from_what_is_open_and_from_shared_neighbours(
    engine: Engine, tmp_path: Path, submodules: str, deep: bool
) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/deep.txt").write_text("deep")
    inner = publish(tmp_path / "inner", engine.others / "modules/inner", "v1")
    neighbour = tmp_path / f"origins-{submodules}/lib.git"
    lib = a_repository(neighbour, {"lib.txt": "lib"}, {"in": (f"{engine.others}/modules/inner", inner)})
    shared = Repository("git", f"origins-{submodules}/lib", str(neighbour), shared=True)
    engine.services.repositories.add(shared, "secret")
    origin = tmp_path / f"origins-{submodules}/own"
    files = {".runner/workflows/ci.yml": WORKFLOW.replace("SUBMODULES", submodules)}
    commit = a_repository(origin, files, {"parts/lib": ("../lib", lib)})

    job, log = built(engine, origin, commit, f"own/modules-{submodules}")

    assert job["result"] == "success", log
    assert f" {lib} parts/lib" in log
    assert "./parts/lib/lib.txt" in log
    assert ("./parts/lib/in/deep.txt" in log) is deep


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ext::sh -c 'touch /tmp/x'", "is no address of a repository that is open to all"),
        ("../private", "is no address of a repository that is open to all"),
        ("--upload-pack=touch", "is no address of a repository that is open to all"),
        ("../../../../../../../../../../x", "leads out of the forge"),
        ("http://169.254.169.254/x/y", "the protocol 'http' of its URL is not allowed"),
    ],
)
def test_a_submodule_leads_nowhere_else(engine: Engine, tmp_path: Path, url: str, why: str) -> None:
    private = a_repository(tmp_path / "private", {"secret": "s"}, {})
    name = f"own/{tmp_path.name}"
    # It is registered here, but not shared.
    engine.services.repositories.add(
        Repository("git", f"{tmp_path.name}/private", str(tmp_path / "private")), "secret"
    )
    files = {".runner/workflows/ci.yml": WORKFLOW.replace("SUBMODULES", "true")}
    commit = a_repository(tmp_path / "own", files, {"sub": (url, private)})

    job, log = built(engine, tmp_path / "own", commit, name)

    assert job["result"] == "failure"
    assert "submodule sub: " in log
    assert why in log
