from pathlib import Path

from runner.sdk.testing import Fail, load, play

changed = load(Path(__file__).parents[1] / ".runner/workflows/changed.py")


def test_each_changed_project_is_checked_in_its_folder():
    played = play(changed, results={"what has changed": ["api", "web"]})

    assert played.names == ["what has changed", "check api", "check web"]
    assert played["check web"].request["folder"] == "web"
    assert played.value == {"checked": "api, web"}


def test_one_that_fails_does_not_end_the_others():
    played = play(changed, results={"what has changed": ["api", "web"], "check api": Fail("broken")})

    assert played.result == "failure"
    assert played["check web"].ok


def test_a_push_that_changes_no_project_checks_nothing():
    assert play(changed, results={"what has changed": []}).value == {"checked": "nothing"}
