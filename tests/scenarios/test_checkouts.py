"""Checkouts through the whole engine: submodules, who may have them, keys of steps, and files in LFS."""

from pathlib import Path
from typing import Any

import pytest

from runner.model.source import Repository
from tests.homes import files_with
from tests.scenarios.engine import SECRETS, Engine, publish
from tests.workspaces.forge import a_forge
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
        ("https://github.test/x/y", "the protocol 'https' of its URL is not allowed"),
        ("http://169.254.169.254/x/y", "is at 169.254.169.254, which is not public"),
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


WITH_A_TOKEN = """
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - name: Checkout
        uses: actions/checkout@v4
        with: {submodules: true, lfs: true, token: "${{ secrets.TOKEN }}"}
      - name: Push
        run: |
          cat private/secret.txt private/large.bin
          git status --porcelain --ignore-submodules=none
          git config --get-regexp extraheader | wc -l
          cat .git/config private/.git/config | grep --count "path = .*/git-credentials-"
          git push --quiet origin HEAD:refs/heads/pushed
"""


def test_a_token_fetches_submodules_and_pushes_and_shows_nowhere(engine: Engine, tmp_path: Path) -> None:
    with a_forge(tmp_path / "forge", f"x-access-token:{SECRETS['TOKEN']}") as forge:
        files = {
            ".gitattributes": "*.bin filter=lfs\n",
            "large.bin": forge.keep(b"a large file\n"),
            "secret.txt": "of the submodule\n",
        }
        inner = a_repository(tmp_path / "private", files, {})
        workflow = {".runner/workflows/ci.yml": WITH_A_TOKEN}
        commit = a_repository(tmp_path / "own", workflow, {"private": ("../private.git", inner)})
        for name in ("private", "own"):
            there = forge.a_repository(f"on/{name}")
            git(tmp_path / name, "push", "--quiet", str(there), "HEAD:refs/heads/main")
        forge.others["/on/own.git"] = "server:registered"
        url = f"{forge.url.replace('http://', 'http://server:registered@')}/on/own.git"
        delivery = engine.push(Repository("git", f"own/{tmp_path.name}", url), commit)
        seen: Any = engine.seen(delivery)
        job = seen["runs"]["ci.yml"]["jobs"]["build"]
        log = "".join(str(step["log"]) for step in (*job["steps"].values(), *job["posts"].values()))

        assert job["result"] == "success", log
        assert r"of the submodule\na large file\n1\n4\n" in log
        assert SECRETS["TOKEN"] not in log
        assert list(job["posts"]) == ["1.post"]
        assert git(forge.root / "on/own.git", "rev-parse", "pushed") == commit
    assert files_with(engine.services.settings.home, SECRETS["TOKEN"].encode()) == set()
