"""The commands that read workflow files and need no server."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.forked import command

GOOD = "on: push\njobs: {a: {runs-on: [self-hosted, linux], steps: [{run: y, on-lost: ask}]}}\n"
BAD = "on: push\njobs:\n  a:\n    runs-on: x\n    steps: [{rnu: y}]\n"


def runner(*args: str, said: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return command(*args, said=said, cwd=cwd)


def answers(name: str, *questions: dict[str, Any]) -> list[dict[str, Any]]:
    done = runner(name, "--batch", said="".join(json.dumps(one) + "\n" for one in questions))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    (folder / "good.yml").write_text(GOOD)
    (folder / "bad.yml").write_text(BAD)
    return tmp_path


def test_a_folder_is_checked_with_a_caret_under_every_problem(checkout: Path) -> None:
    done = runner("check", cwd=checkout)

    assert done.returncode == 5
    assert done.stdout.splitlines() == [
        '.github/workflows/bad.yml:5:13: step 1 needs "run" or "uses"',
        "    5 |     steps: [{rnu: y}]",
        f"{' ' * 20}^",
        '.github/workflows/bad.yml:5:14: unknown key "rnu"; did you mean "run"?',
        "    5 |     steps: [{rnu: y}]",
        f"{' ' * 21}^",
    ]
    assert done.stderr == "2 files, 2 problems\n"


def test_workflows_are_found_in_checkouts_below_and_from_within_one(checkout: Path) -> None:
    (checkout / "below").mkdir()
    (checkout / ".github").rename(checkout / "below/.github")
    assert runner("check", cwd=checkout).stderr == "2 files, 2 problems\n"
    checkout /= "below"
    assert runner("check", ".github", cwd=checkout).stderr == "2 files, 2 problems\n"
    assert runner("check", cwd=checkout / ".github").stderr == "2 files, 2 problems\n"


def test_symlinks_among_workflows_are_problems_wherever_they_lead(checkout: Path) -> None:
    (checkout / "real.yml").write_text(GOOD)
    (checkout / ".github/workflows/bad.yml").unlink()
    for name, target in (("ci.yml", "../../real.yml"), ("lost.yaml", "nowhere")):
        (checkout / ".github/workflows" / name).symlink_to(target)

    done = runner("check", cwd=checkout)

    what = "the file is a symlink, which no run follows; put a regular file there"
    assert (done.returncode, done.stderr) == (5, "3 files, 2 problems\n")
    assert done.stdout.splitlines() == [
        f".github/workflows/{name}:1:1: {what}" for name in ("ci.yml", "lost.yaml")
    ]


PYTHON = """\
from runner.sdk import workflow

@workflow(on="push", env={"A": "${{ githb.ref }}"})
async def deploy(event, step):
    pass
"""


def test_python_is_checked_where_it_is_a_workflow(tmp_path: Path) -> None:
    folder = tmp_path / ".runner/workflows"
    folder.mkdir(parents=True)
    (folder / "deploy.py").write_text(PYTHON)
    (folder / "shared.py").write_text("x = 1\n")

    done = runner("check", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (5, "1 file, 1 problem\n")
    assert done.stdout.splitlines() == [
        '.runner/workflows/deploy.py:3:37: no context named "githb"; here you can use github, inputs, '
        "matrix, needs, secrets, strategy, vars",
        '    3 | @workflow(on="push", env={"A": "${{ githb.ref }}"})',
        f"{' ' * 44}^",
    ]
    named = runner("check", ".runner/workflows/shared.py", cwd=tmp_path)
    assert (named.returncode, "no function here is decorated with @workflow" in named.stdout) == (5, True)

    (folder / "deploy.py").write_text(PYTHON.replace("githb", "github"))
    assert runner("check", cwd=tmp_path).returncode == 0
    assert '"@workflow" is not GitHub' in runner("check", "--github", cwd=tmp_path).stdout
    assert json.loads(runner("plan", str(folder / "deploy.py"), "--json").stdout)["stages"] == [["deploy"]]


def test_problems_are_told_to_programs_too(checkout: Path) -> None:
    found = json.loads(runner("check", "--json", ".github/workflows/bad.yml", cwd=checkout).stdout)
    (first, _) = runner("check", "--format", "github", cwd=checkout).stdout.splitlines()

    assert [(row["line"], row["col"], row["severity"]) for row in found[0]["errors"]] == [
        (5, 13, "error"),
        (5, 14, "error"),
    ]
    assert first == '::error file=.github/workflows/bad.yml,line=5,col=13::step 1 needs "run" or "uses"'


def test_a_warning_stays_one_beside_an_error(tmp_path: Path) -> None:
    file = tmp_path / "ci.yml"
    file.write_text("on: push\njobs:\n  a:\n    steps:\n      - run: ${{ inputs.x }}\n")
    (found,) = json.loads(runner("check", "--json", str(file)).stdout)

    assert [(row["line"], row["message"]) for row in found["errors"]] == [(3, 'the job "a" needs "runs-on"')]
    assert [(row["line"], row["message"]) for row in found["warnings"]] == [
        (5, 'this workflow has no input "x"')
    ]


def test_what_no_container_can_have_here_is_a_warning_but_for_github(tmp_path: Path) -> None:
    file = tmp_path / "ci.yml"
    job = "{runs-on: x, container: {image: a, options: --privileged}, steps: [{run: y}]}"
    file.write_text(f"on: push\njobs:\n  a: {job}\n")

    done = runner("check", "--json", str(file))
    (found,) = json.loads(done.stdout)[0]["warnings"]
    assert runner("check", str(file)).stderr == "1 file, no problems, 1 warning\n"

    assert done.returncode == 0
    assert found["message"].startswith('the container of a job cannot have the option "--privileged"; here')
    assert json.loads(runner("check", "--json", "--github", str(file)).stdout)[0]["warnings"] == []


def test_what_github_does_not_have_is_refused_for_github(checkout: Path) -> None:
    good = str(checkout / ".github/workflows/good.yml")

    assert runner("check", good).returncode == 0
    done = runner("check", "--github", good)
    assert (done.returncode, '"on-lost" is not GitHub' in done.stdout) == (5, True)


def test_plan_and_triggers_say_what_an_event_starts(checkout: Path) -> None:
    good = str(checkout / ".github/workflows/good.yml")

    planned = json.loads(runner("plan", good, "--json").stdout)
    refused = json.loads(runner("triggers", good, "--event", "release", "--json").stdout)

    assert planned["stages"] == [["a"]]
    assert planned["jobs"]["a"]["runs_on"] == ["self-hosted", "linux"]
    assert refused == {"triggered": False, "reason": "it does not start on release"}


def test_the_graph_and_the_schema_are_printed(checkout: Path) -> None:
    good = str(checkout / ".github/workflows/good.yml")

    assert runner("graph", good, "--format", "mermaid").stdout == 'flowchart LR\n  job1["a"]\n'
    assert json.loads(runner("schema").stdout)["required"] == ["on", "jobs"]
    assert json.loads(runner("schema", "--action").stdout)["required"] == ["name", "description", "runs"]


def test_expressions_are_evaluated_one_by_one_and_in_batches(tmp_path: Path) -> None:
    contexts = tmp_path / "contexts.json"
    contexts.write_text('{"github": {"ref": "x"}}')

    assert runner("eval", "github.ref == 'X' && 1", "--contexts", str(contexts)).stdout == "1\n"
    assert runner("eval", "1 +").stderr.startswith("runner: column 3: ")
    assert answers("eval", {"id": 1, "expr": "1.5 > 1"}, {"id": 2, "mode": "if", "expr": "failure()"}) == [
        {"id": 1, "ok": True, "kind": "Boolean", "value": True, "string": "true"},
        {"id": 2, "ok": True, "kind": "Boolean", "value": False, "string": "false"},
    ]


def test_problems_are_told_in_words_that_fit(tmp_path: Path) -> None:
    (tmp_path / "action.yml").write_text("name: x\n")
    (tmp_path / "ci.yml").write_text(GOOD + "concurrency: {group: ''}\n")

    assert 'an action needs "runs"' in runner("check", "action.yml", cwd=tmp_path).stdout
    assert '"group" must not be empty' in runner("check", "ci.yml", cwd=tmp_path).stdout


@pytest.mark.parametrize(("text", "says"), [("{", "not JSON: "), ("[]", "a JSON list; give an object")])
def test_contexts_that_are_none_are_named(tmp_path: Path, text: str, says: str) -> None:
    contexts = tmp_path / "contexts.json"
    contexts.write_text(text)

    ran = runner("eval", "1", "--contexts", str(contexts))

    assert ran.returncode == 1
    assert ran.stderr.startswith(f"runner: --contexts {contexts}: {says}")


def test_single_rules_are_probed() -> None:
    assert answers(
        "probe",
        {"id": 1, "kind": "shell", "shell": "pwsh"},
        {"id": 2, "kind": "cron", "cron": "* * * * *"},
        {"id": 3, "kind": "filecmd", "file": "env", "content": "\ufeffA=1\nNODE_OPTIONS=x"},
        {"id": 4, "kind": "nothing"},
    ) == [
        {"id": 1, "value": "pwsh -command . '{0}'"},
        {"id": 2, "valid": True, "more_often_than_5_minutes": True},
        {"id": 3, "value": {"A": "1"}},
        {"id": 4, "error": "no kind 'nothing'; there are filecmd, wfcmd, mask, shell, cron, github_context"},
    ]


def test_a_line_that_is_no_question_is_named() -> None:
    done = runner("eval", "--batch", said="{\n")

    assert (done.returncode, done.stderr.startswith("runner: line 1 of standard input")) == (1, True)
