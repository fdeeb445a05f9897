import json
from collections.abc import Mapping
from typing import Any

from runner.engine.conversation.answers import BYTES_AHEAD, STEPS_AHEAD, Ahead, Told
from runner.model.step import Checkpoint, Exports, Outcome, Result, named_key
from tests.builders import NOON


def done(name: str, value: object = None, **given: Any) -> Checkpoint:
    text = None if value is None else json.dumps(value)
    outcome = Outcome(Result.SUCCESS, Result.SUCCESS, value=text, **given)
    return Checkpoint(1, named_key(name, 1), 1, "f", outcome, NOON, NOON, "base")


def ahead_of(*steps: Checkpoint) -> Ahead:
    checkpoints = {step.key: step for step in steps}
    return Ahead(list(checkpoints), checkpoints, Told("/bin"))


def names(said: list[Mapping[str, Any]]) -> list[str]:
    return [one["name"] for one in said]


def test_steps_are_said_ahead_in_their_order_until_there_are_none_left() -> None:
    ahead = ahead_of(*(done(f"step.{number}") for number in range(STEPS_AHEAD + 1)))

    first, second, third = ahead.more(), ahead.more(), ahead.more()

    assert names(first + second) == [f"step.{number}" for number in range(STEPS_AHEAD + 1)]
    assert len(first) == STEPS_AHEAD
    assert third == []


def test_no_more_is_said_ahead_at_once_than_fits_and_one_value() -> None:
    much = "x" * (BYTES_AHEAD * 3 // 4)
    ahead = ahead_of(done("a", much), done("b", much), done("c", 2))

    assert names(ahead.more()) == ["a", "b"]
    assert names(ahead.more()) == ["c"]


def test_a_value_that_does_not_fit_is_left_to_its_turn() -> None:
    long, short = ahead_of(done("a", "x" * BYTES_AHEAD), done("b", 1)).more()

    assert (long["name"], long["long"], long["value"]) == ("a", True, None)
    assert (short["name"], short["long"], short["value"]) == ("b", False, 1)


def test_what_is_said_of_a_step_is_what_it_gave_and_the_path_as_it_was_by_then() -> None:
    ahead = ahead_of(
        done("a", exports=Exports({"A": "1"}, ("/a",))),
        done("b", {"n": 1}, outputs={"o": "2"}, exports=Exports(path=("/b",))),
    )

    first, second = ahead.more()

    assert first["env"] == {"A": "1", "PATH": "/a:/bin"}
    assert second["env"] == {"PATH": "/b:/a:/bin"}
    assert (second["ok"], second["value"], second["outputs"]) == (True, {"n": 1}, {"o": "2"})
    assert second["at"] == NOON.isoformat()


def test_of_a_step_that_failed_it_is_said_how() -> None:
    outcome = Outcome(Result.FAILURE, Result.FAILURE, 2, reason="broken")
    failed = Checkpoint(1, named_key("a", 1), 1, "f", outcome, NOON, NOON, "base")

    (said,) = ahead_of(failed).more()

    assert (said["ok"], said["value"]) == (False, {"reason": "broken"})
