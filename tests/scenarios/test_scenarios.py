"""Each scenario through the whole engine: a real push, the worker, the executor, and what they left."""

import json
from pathlib import Path
from typing import Any

import pytest

from runner.model.source import Repository
from tests.scenarios.engine import Engine, as_expected, committed, published
from tests.workspaces.origin import git

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "pipelines_examples"
SCENARIOS = {path.parent.name: json.loads(path.read_text()) for path in sorted(HERE.glob("*/expected.json"))}


@pytest.mark.parametrize(
    ("name", "executor"),
    [
        (name, executor)
        for name, expected in SCENARIOS.items()
        for executor in expected.get("executors", ["sandbox"])
    ],
)
def test_scenario(
    name: str, executor: str, engine: Engine, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    expected: dict[str, Any] = dict(SCENARIOS[name])
    image = request.getfixturevalue(expected["docker"]) if "docker" in expected else None
    source = EXAMPLES / expected["example"] if "example" in expected else HERE / name
    ref = expected.get("ref", "refs/heads/main")
    commit, before = committed(source, tmp_path / "origin", expected.get("change", {}))
    git(tmp_path / "origin", "update-ref", ref, commit)
    published(source, engine.others)
    repository = Repository("git", f"{executor}/{name}", str(tmp_path / "origin"), executor, image)

    delivery = engine.push(repository, commit, ref, before, expected.get("environments", {}))
    engine.tell(delivery, expected.get("told", []))

    wanted = {part: expected[part] for part in ("delivery", "runs") if part in expected}
    assert lines(as_expected(engine.seen(delivery), wanted)) == lines(wanted)
    assert engine.left_behind() == []


def lines(value: Any) -> str:
    """As text, so that a difference is shown by itself."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)


def test_every_folder_is_a_scenario_and_every_example_is_one() -> None:
    folders = {path.name for path in HERE.iterdir() if path.is_dir() and not path.name.startswith("__")}
    examples = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}

    assert folders == set(SCENARIOS)
    assert examples == {expected.get("example") for expected in SCENARIOS.values()} - {None}
