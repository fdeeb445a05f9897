"""How much of the public suites' cases we agree with; see ../shared/conformance/README.md.

The cases stay where they are: `RUNNER_CONFORMANCE` names their folder where it is not beside the
checkout. Without them there is nothing to measure, and this says so.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PLACES = (
    *filter(None, [os.environ.get("RUNNER_CONFORMANCE")]),
    *(str(parent / "shared/conformance") for parent in CHECKOUT.parents),
)

HELD_WRONG = {
    "actionlint/err/evaluated_template": "GitHub renders an object in a text as Object, so it is a warning; "
    "its validator refuses the file for the `env: ${{ }}` of another step, which the suite holds to be right",
    "actionlint/projects/config_variables": "the file is wrong by the rules of an actionlint.yaml, which is "
    "actionlint's own",
    "ls-reader/escape-html-values": "text around ${{ }} in an `if` is always true and never what was meant; "
    "GitHub's own validator refuses the file too",
    "ls-reader/round-to-infinity": "a timeout of minus infinity minutes",
}
"""Cases whose verdict we do not share, and why."""

LINES_HELD_WRONG = {
    "actionlint/err/evaluated_template": "as above",
    "actionlint/examples/main": "three of its lines are lint: labels of GitHub's own machines, inputs of a "
    "popular action, and a script that could be injected",
    "actionlint/projects/config_variables": "as above",
    "actionlint/projects/paths_config": "labels that an actionlint.yaml does not list",
    "ls-validate/validate.yaml-anchors/006": "an alias inside what it names is wrong where it stands; the "
    "case wants the lines at which another YAML parser loses its way",
    "ls-validate/validate.yaml-anchors/007": "the same, for an alias without an anchor",
}
"""Cases whose lines we do not share, and why."""


def found_cases() -> Path | None:
    return next((Path(place) for place in PLACES if (Path(place) / "score.py").is_file()), None)


def score(file: str, folder: Path) -> dict[str, Any]:
    """What score.py says of one file of cases."""
    shared = found_cases()
    if shared is None:
        pytest.skip("the conformance cases are not here; RUNNER_CONFORMANCE can name their folder")
    report = folder / "score.json"
    scorer = [sys.executable, str(shared / "score.py"), str(shared / "cases")]
    subprocess.run(
        [*scorer, "--cli", f"{sys.executable} -m runner.cli", "--only", file, "--json", str(report)],
        check=True,
        capture_output=True,
        cwd=CHECKOUT,
        timeout=900,
    )
    loaded: dict[str, Any] = json.loads(report.read_text())
    return loaded


def added_up(score: dict[str, Any], *tiers_left_out: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for row in score["results"]:
        if row["tier"] not in tiers_left_out:
            total.update({key: value for key, value in row.items() if isinstance(value, int)})
    return total


@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", ["expressions", "filters", "commands", "plan"])
def test_we_agree_with_every_case(file: str, tmp_path: Path) -> None:
    found = score(file, tmp_path)
    total = added_up(found, "contested")

    assert total["pass"] == total["n"] > 0, [one for one in found["failures"] if one["tier"] != "contested"]


@pytest.mark.timeout(900)
def test_no_workflow_that_github_takes_is_rejected(tmp_path: Path) -> None:
    assert score("corpus", tmp_path)["failures"] == []


@pytest.mark.timeout(900)
def test_we_find_the_same_mistakes_in_the_same_lines(tmp_path: Path) -> None:
    found = score("check", tmp_path)
    total = added_up(found, "contested", "options", "lint", "extended")
    failed = {one["id"] for one in found["failures"] if one["tier"] == "core"}

    assert failed <= set(HELD_WRONG), failed - set(HELD_WRONG)
    assert total["pass"] >= 0.99 * total["n"]
    assert total["lines"] >= 0.95 * (total["lines_n"] - len(LINES_HELD_WRONG))
