from typing import Any

import pytest

from runner.cli.lines import Lines, in_order, tree_of


def a_job(path: str, **given: Any) -> dict[str, Any]:
    fields = {"path": path, "label": path, "name": path, "status": "running", "conclusion": None}
    times = {"started_at": None, "finished_at": None}
    return {"id": 1, **fields, **times, "reason": "", "steps": [], "tries": [], **given}


def test_jobs_that_are_planned_later_stand_where_they_belong() -> None:
    paths = ["build", "deploy", "test", "build", "deploy/push", "deploy/more", "test", "deploy/more/last"]
    jobs = [a_job(path, id=number) for number, path in enumerate(paths)]

    assert [(one["path"], one["id"]) for one in in_order(jobs)] == [
        ("build", 0),
        ("build", 3),
        ("deploy", 1),
        ("deploy/push", 4),
        ("deploy/more", 5),
        ("deploy/more/last", 7),
        ("test", 2),
        ("test", 6),
    ]


def test_a_failure_that_does_not_count_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    failed = {"status": "failure", "conclusion": "success", "reason": "exit code 1"}

    assert list(tree_of([a_job("build", **failed)])) == ["✗ build  failure  exit code 1  (continue-on-error)"]


def test_a_job_that_has_deployed_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    places = ({"name": "staging", "url": ""}, {"name": "production\x1b[1m", "url": "https://eu.test/"}, None)
    jobs = [a_job("deploy", environment=one) for one in places]

    assert [line for line in tree_of(jobs) if not line.startswith("*")] == [
        "  environment staging",
        "  environment production  https://eu.test/",
    ]


def test_lines_say_which_leg_they_are_of(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for number in (1, 2):
        said = {"job": number, "label": f"test ({number})", "attempt": 1, "step": "1", "name": ""}
        lines.log(said | {"text": f"{number}\n"})

    assert capsys.readouterr().out == "[test (1)] 1\n[test (2)] 2\n"


def test_a_job_that_waits_for_its_group_says_so_once_and_again_when_it_waits_for_another(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    lines = Lines()
    held = 'concurrency group "deploy" is held by run'
    for reason in ("", f"{held} 1", f"{held} 1", f"{held} 2"):
        lines.job(a_job("build", status="waiting", reason=reason))

    assert capsys.readouterr().out.splitlines() == [
        f"[build] \u00b7 build  waiting  {held} {run}" for run in (1, 2)
    ]
