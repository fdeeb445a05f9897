from pathlib import Path

from runner.sdk.testing import Fail, load, play

nightly = load(Path(__file__).parents[1] / ".runner/workflows/nightly.py")
BEFORE = {"latest": "nightly-2025-12-31"}


def test_a_night_is_published_under_its_date():
    played = play(nightly, results=BEFORE)

    assert played["publish"].request["command"] == "sh release.sh publish nightly-2026-01-01"
    assert played.value == {"before": "nightly-2025-12-31"}


def test_what_does_not_hold_is_taken_back_the_newest_first():
    played = play(nightly, results={**BEFORE, "try": Fail("broken"), "rollback latest": None})

    assert played.result == "failure"
    assert played.failure.reason == "step try: broken; tried 2 times"
    assert played.names[-2:] == ["rollback latest", "rollback publish"]


def test_a_night_that_is_cancelled_is_taken_back_too():
    played = play(nightly, results={**BEFORE, "rollback latest": None}, cancel_at="try")

    assert played.result == "cancelled"
    assert played.names[-2:] == ["rollback latest", "rollback publish"]


def test_where_nothing_was_published_nothing_is_withdrawn():
    assert play(nightly, results={"build": Fail("no space")}).names == ["build"]
