"""How much of the public suites' cases we agree with; see ../shared/conformance/README.md.

The cases stay where they are: `RUNNER_CONFORMANCE` names their folder where it is not beside the
checkout. Without them there is nothing to measure, and this says so.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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

OWN_SETTINGS = "the file is wrong by the rules of an actionlint.yaml, which is actionlint's own"
AT_THE_KEY = (
    "a key that is missing is told where what lacks it has its name, as actionlint does for the very same "
    "mistake; GitHub says it a line below, where the first key stands"
)
LIKE_ANCHORS = "it is wrong where the alias stands; the case wants the lines at which a YAML parser gets lost"
LOOSE = (
    "GitHub's service takes no notice of unknown keys beside `inputs`, as another of its cases says, only "
    "its editor does; so it is a warning"
)

LINES_HELD_WRONG = {
    "actionlint/err/invalid_image_version_event": "one name may stand without a list, as in all filters; "
    "GitHub's validator takes it",
    "actionlint/err/schedule_invalid_timezone": "UTC is a name of IANA's; GitHub's validator takes it",
    "actionlint/examples/invalid_ids_in_needs": "a job that does not exist is told where it is needed, as "
    "GitHub does, not where the job begins that needs it",
    "actionlint/examples/main": "two of its lines are lint: labels of GitHub's own machines, and inputs of a "
    "popular action",
    "actionlint/projects/config_variables": OWN_SETTINGS,
    "actionlint/projects/paths_config": OWN_SETTINGS,
    "ls-reader/errors-job-runs-on-missing": AT_THE_KEY,
    "ls-reader/errors-on-workflow_call-output": AT_THE_KEY,
    "ls-validate/validate.yaml-anchors/006": LIKE_ANCHORS,
    "ls-validate/validate.yaml-anchors/007": LIKE_ANCHORS,
}
"""Cases of which we tell some line neither as an error nor as a warning, and why."""

ERRORS_HELD_WRONG = {
    "actionlint/err/unexpected_keys": LOOSE,
    "ls-reader/errors-job-runs-on-missing": AT_THE_KEY,
    "ls-reader/errors-on-workflow_call-output": AT_THE_KEY,
    "ls-reader/events-single-invalid": LOOSE,
    "ls-reader/job-container-missing-image": AT_THE_KEY,
}
"""Cases with a line that the suite and GitHub's validator agree to be an error, and we do not."""


RUNS_HELD_WRONG = {
    "gitea/local-action-js/push": "the action's main is a file that the case does not have",
    "rs/skippedjob": "a run of which every job is skipped is skipped, and no success, as on GitHub",
}
"""Cases that run otherwise here, and why."""


@dataclass(frozen=True, slots=True)
class Told:
    """Lines of one broken file: those that the suite wants, that GitHub agrees to, and that we tell."""

    case: str
    wanted: set[int]
    agreed: set[int]
    errors: set[int]
    warnings: set[int]


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


def told_of_broken_files() -> Iterator[Told]:
    """score.py counts the lines of errors only, and those that GitHub takes with those it does not."""
    shared = found_cases()
    if shared is None:
        pytest.skip("the conformance cases are not here; RUNNER_CONFORMANCE can name their folder")
    rows = map(json.loads, (shared / "cases/check.jsonl").read_text().splitlines())
    cases = [case for case in rows if case["tier"] == "core" and case["expect"] == "err"]
    done = subprocess.run(
        [sys.executable, "-m", "runner.cli", "check", "--batch"],
        input="".join(json.dumps(asked(case, shared / "cases" / case["dir"])) + "\n" for case in cases),
        capture_output=True,
        text=True,
        check=True,
        cwd=CHECKOUT,
    )
    for case, line in zip(cases, done.stdout.splitlines(), strict=True):
        answer = json.loads(line)
        wanted = lines(case.get("errors") or ())
        if wanted:
            agreed = set(case.get("lines_agreed") or ())
            yield Told(case["id"], wanted, agreed, lines(answer["errors"]), lines(answer["warnings"]))


def asked(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    remote = {uses: str(folder / path) for uses, path in (case.get("remote_workflows") or {}).items()}
    question = {"id": case["id"], "kind": case["kind"], "path": str(folder / case["file"])}
    return {**question, "root": str(folder), **({"remote_workflows": remote} if remote else {})}


def lines(rows: Iterable[dict[str, Any]]) -> set[int]:
    return {row["line"] for row in rows if row.get("line")}


def shortened(cases: set[str]) -> set[str]:
    """The names of cases up to their number, which is enough to tell them apart."""
    return {re.sub(r"/([0-9]{3})-.*", r"/\1", case) for case in cases}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", ["expressions", "filters", "commands", "plan"])
def test_we_agree_with_every_case(file: str, tmp_path: Path) -> None:
    found = score(file, tmp_path)
    total = added_up(found, "contested")

    assert total["pass"] == total["n"] > 0, [one for one in found["failures"] if one["tier"] != "contested"]


@pytest.mark.timeout(900)
def test_a_workflow_runs_as_it_does_elsewhere(tmp_path: Path) -> None:
    found = score("exec", tmp_path)
    failed = {one["id"] for one in found["failures"] if one["tier"] == "core"}

    assert failed == set(RUNS_HELD_WRONG)


@pytest.mark.timeout(900)
def test_no_workflow_that_github_takes_is_rejected(tmp_path: Path) -> None:
    assert score("corpus", tmp_path)["failures"] == []


@pytest.mark.timeout(900)
def test_what_is_wrong_is_refused_and_nothing_else(tmp_path: Path) -> None:
    found = score("check", tmp_path)
    total = added_up(found, "contested", "options", "lint", "extended")
    failed = {one["id"] for one in found["failures"] if one["tier"] == "core"}

    assert failed <= set(HELD_WRONG), failed - set(HELD_WRONG)
    assert total["pass"] >= 0.99 * total["n"]


@pytest.fixture(scope="module")
def told() -> list[Told]:
    return list(told_of_broken_files())


def test_every_line_with_a_mistake_is_told(told: list[Told]) -> None:
    missed = {one.case for one in told if not one.wanted <= one.errors | one.warnings}

    assert shortened(missed) == set(LINES_HELD_WRONG)
    assert len(told) - len(missed) >= 0.9 * len(told)


def test_every_line_for_which_github_refuses_a_file_is_an_error(told: list[Told]) -> None:
    """The other lines of a suite are those that GitHub runs all the same: they are warnings."""
    agreed = [one for one in told if one.agreed]
    missed = {one.case for one in agreed if not one.agreed <= one.errors}

    assert shortened(missed) == set(ERRORS_HELD_WRONG)
    assert len(agreed) - len(missed) >= 0.9 * len(agreed)
