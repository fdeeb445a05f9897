"""Caches through the whole engine: what a machine had of one is not unpacked again."""

import os
from pathlib import Path
from typing import Any

import pytest

from runner.model.source import Repository
from tests.scenarios.engine import Engine, publish

WORKFLOW = """
on: push
jobs:
  save:
    runs-on: ubuntu-latest
    steps:
      - run: mkdir -p tool/old other && echo one > tool/one && echo other > other/file
      - uses: actions/cache/save@v4
        with: {path: "tool\\nother", key: tool-1}
  change:
    needs: save
    runs-on: ubuntu-latest
    steps:
      - name: Restore
        uses: actions/cache@v4
        with: {path: "tool\\nother", key: tool-2, restore-keys: tool-}
      - run: rm -r tool/old other && echo more >> tool/one && echo two > tool/two
  see:
    needs: change
    runs-on: ubuntu-latest
    steps:
      - name: Restore
        uses: actions/cache/restore@v4
        with: {path: "tool\\nother", key: tool-2}
      - name: See
        run: echo tool/* other* && cat tool/one tool/two && cat /proc/self/mountinfo
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="overlays are mounted by root alone")
@pytest.mark.parametrize("executor", ["host", "sandbox", "docker"])
def test_what_a_job_is_given_first_of_all_is_a_layer_that_is_seen_changed_and_saved_like_files(
    engine: Engine, tmp_path: Path, request: pytest.FixtureRequest, executor: str
) -> None:
    (tmp_path / "files/.runner/workflows").mkdir(parents=True)
    (tmp_path / "files/.runner/workflows/ci.yml").write_text(WORKFLOW)
    commit = publish(tmp_path / "files", tmp_path / "origin", "v1")
    image = request.getfixturevalue("docker_image") if executor == "docker" else None
    repository = Repository("git", f"{executor}/layers", str(tmp_path / "origin"), executor, image)

    seen: Any = engine.seen(engine.push(repository, commit))["runs"]["ci.yml"]

    jobs = seen["jobs"]
    assert seen["result"] == "success", jobs
    assert b"restored 5 files and folders" in jobs["change"]["steps"]["Restore"]["log"]
    said = jobs["see"]["steps"]["See"]["log"].decode().split("\n")
    assert said[:4] == ["tool/one tool/two other*", "one", "more", "two"]
    assert [line for line in said if " - overlay " in line and "/stock/" in line]
    assert engine.left_behind() == []
