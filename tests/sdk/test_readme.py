"""The workflow of the README and its test are real ones."""

import re
from pathlib import Path
from typing import Any

import pytest

from runner.sdk.testing import load, play
from runner.workflow.load import read_workflow

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def blocks() -> list[str]:
    chapter = README.read_text().partition("\n## Workflows in Python\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", chapter, re.DOTALL)


def test_the_workflow_of_the_readme_is_right_and_so_is_its_test(
    blocks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, test = blocks[:2]
    path = tmp_path / ".runner" / "workflows" / "deploy.py"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (tmp_path / "version").write_text("1.2\n")
    monkeypatch.chdir(tmp_path)

    reading = read_workflow(".runner/workflows/deploy.py", text.encode())
    played = play(load(path), events={"approval": {"region": "eu"}})
    names: dict[str, Any] = {}
    exec(compile(test, "README.md", "exec"), names)
    names["test_nothing_is_shipped_without_a_version"]()

    assert reading.problems == ()
    assert played.value == {"version": "1.2"}
    assert played["ship"].request["env"] == {"REGION": "eu", "VERSION": "1.2"}
