from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from runner.cli.lines import Lines, in_order, tree_of
from runner.cli.tree import Tree
from runner.model.step import name_in


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


def test_what_somebody_has_said_is_shown_with_what_it_was_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    said = {"awaited": "approval", "answer": "approved", "by": "ada", "comment": "fine"}
    about = ('approval of step 3 "Ship\x1b[1m it"', "approval of environment production")
    waits = [said | {"subject": one} for one in about]
    of_a_former_server = said | {"comment": ""}

    assert list(tree_of([a_job("deploy", waits=[*waits, of_a_former_server])]))[1:] == [
        '  approval of step 3 "Ship it": approved by ada: fine',
        "  approval of environment production: approved by ada: fine",
        "  approval: approved by ada",
    ]


def test_lines_say_which_leg_they_are_of(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for number in (1, 2):
        said = {"job": number, "label": f"test ({number})", "attempt": 1, "step": "1", "name": ""}
        lines.log(said | {"text": f"{number}\n"})

    assert capsys.readouterr().out == "[test (1)] 1\n[test (2)] 2\n"


def a_step(key: str, status: str, **given: Any) -> dict[str, Any]:
    over = status not in ("running", "waiting", "queued")
    fields = {"key": key, "name": name_in(key), "status": status, "conclusion": status if over else None}
    more = {"number": 1, "attempt": 1, "job": 1, "annotations": [], "value": None, "finished_at": None}
    return {**fields, **more, "started_at": None, "reason": "", "tries": [], **given}


def test_lines_of_steps_that_print_at_once_say_whose_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    lines = Lines()

    def prints(key: str, text: str) -> None:
        said = {"job": 1, "label": "deploy", "attempt": 1, "step": key, "name": name_in(key), "text": text}
        lines.log(said)

    lines.job(a_job("deploy", steps=[a_step("lint#1", "running")]))
    prints("lint#1", "one\ntw")
    prints("test #2#1", "first\nno end")
    prints("lint#1", "o\nno end either")
    waiting = a_step("settle#1", "waiting", reason="sleeps, until 12:00")
    lines.job(a_job("deploy", steps=[a_step("lint#1", "success"), a_step("test #2#1", "running"), waiting]))
    done = [a_step(key, "success") for key in ("lint#1", "test #2#1", "settle#1")]
    lines.job(a_job("deploy", steps=done, status="success"))

    assert capsys.readouterr().out.splitlines() == [
        "[deploy] * lint  running",
        "[deploy] * deploy  running",
        "[deploy / lint] one",
        "[deploy] * test #2  running",
        "[deploy / test #2] first",
        "[deploy / lint] two",
        "[deploy / lint] no end either",
        "[deploy] \u2713 lint  success",
        "[deploy] \u25f7 settle  waiting  sleeps, until 12:00",
        "[deploy / test #2] no end",
        "[deploy] \u2713 test #2  success",
        "[deploy] \u2713 settle  success",
        "[deploy] \u2713 deploy  success",
    ]


def test_a_step_says_what_it_gave_to_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    steps = [
        a_step("version#1", "success", value='{"version": "1.2"}'),
        a_step("long#1", "success", value="x" * 2000),
        a_step("odd#1", "success", value='"\x1b[1m\n"'),
    ]

    assert list(tree_of([a_job("deploy", steps=steps)]))[1:] == [
        '  \u2713 version  success  = {"version": "1.2"}',
        f"  \u2713 long  success  = {'x' * 79}\u2026",
        '  \u2713 odd  success  = " "',
    ]


def test_of_the_thousand_steps_of_a_program_the_last_are_drawn_and_all_that_run() -> None:
    done = [a_step(f"a#{number}", "success") for number in range(1, 1001)]
    early = [*done[:3], a_step("b#1", "running"), *done[3:]]
    drawn = []
    for steps in (done, early, done[:5]):
        console = Console(width=60, file=StringIO())
        tree = Tree()
        tree.run(
            {"id": 1, "title": "ci", "name": "ci", "number": 1, "repo": "octo/hello", "commit": "1" * 40}
        )
        tree.job(a_job("deploy", steps=steps))
        console.print(tree._drawn())
        drawn.append(console.file.getvalue().splitlines()[2:])  # type: ignore[attr-defined]

    last = [f"  \u2713 a ({number})" for number in range(985, 1001)]
    whole, late, few = ([line.rstrip() for line in lines] for lines in drawn)
    assert whole == ["    984 more, which are over", *last]
    assert late[0] == "    984 more, which are over"
    assert late[1].endswith(" b")
    assert late[2:] == last
    assert few == ["  \u2713 a", *(f"  \u2713 a ({number})" for number in range(2, 6))]


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
