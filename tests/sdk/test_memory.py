from typing import Any

from runner.sdk.memory import Memory


def said(name: str, number: int = 1) -> dict[str, Any]:
    return {"name": name, "number": number, "ok": True, "value": f"{name} {number}"}


def taken(memory: Memory, *waiting: int) -> list[tuple[int, str]]:
    """All that is there for the steps that wait, in order."""
    left, found = set(waiting), []
    while (answer := memory.take(left)) is not None:
        left.remove(answer["id"])
        found.append((answer["id"], answer["value"]))
    return found


def test_what_was_asked_for_is_answered_in_the_order_in_which_it_ended_then() -> None:
    memory = Memory()
    memory.learn([said("b"), said("a"), said("c")])

    memory.ask(1, "a")
    memory.ask(2, "b")

    assert taken(memory, 1, 2) == [(2, "b 1"), (1, "a 1")]


def test_what_is_asked_for_between_two_answers_comes_before_the_second_where_it_did_then() -> None:
    memory = Memory()
    memory.learn([said("a"), said("after a"), said("b")])
    memory.ask(1, "a")
    memory.ask(2, "b")

    first = memory.take({1, 2})
    memory.ask(3, "after a")

    assert first is not None
    assert first["id"] == 1
    assert taken(memory, 2, 3) == [(3, "after a 1"), (2, "b 1")]


def test_steps_of_one_name_are_told_apart_by_how_often_it_was_asked_for() -> None:
    memory = Memory()
    memory.learn([said("a", 2), said("a", 1)])

    memory.ask(1, "a")
    memory.ask(2, "a")

    assert taken(memory, 1, 2) == [(2, "a 2"), (1, "a 1")]


def test_what_is_said_after_it_was_asked_for_answers_it_all_the_same() -> None:
    memory = Memory()
    memory.ask(1, "a")
    memory.ask(2, "b")
    assert taken(memory, 1, 2) == []

    memory.learn([said("b")])
    memory.learn([said("a")])

    assert taken(memory, 1, 2) == [(2, "b 1"), (1, "a 1")]


def test_a_step_that_nobody_waits_for_any_more_is_passed_over() -> None:
    memory = Memory()
    memory.learn([said("a"), said("b")])
    memory.ask(1, "a")
    memory.ask(2, "b")

    assert taken(memory, 2) == [(2, "b 1")]
