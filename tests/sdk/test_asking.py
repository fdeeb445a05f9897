"""What steps ask the engine for, as the workflow writes them."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from runner.sdk.steps import Body, Handle, Step


class Remembering:
    """Answers nothing."""

    at = datetime(2026, 1, 1, tzinfo=UTC)
    seed = "1"

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._loop = loop

    def ask(self, kind: str, name: str, request: dict[str, Any], body: Body | None) -> Handle[Any]:
        self.asked.append((kind, request))
        return Handle(name, self._loop.create_future())


def asked(ask: Callable[[Step], object]) -> tuple[str, dict[str, Any]]:
    with closing(asyncio.new_event_loop()) as loop:
        asker = Remembering(loop)
        ask(Step(asker))
    (found,) = asker.asked
    return found


def test_inputs_of_actions_become_texts() -> None:
    given = {"path": ["a", "b"], "overwrite": True, "retention-days": 3, "name": "x"}
    kind, request = asked(lambda step: step.uses("up", "actions/upload-artifact@v4", **{"with": given}))

    assert (kind, request["action"]) == ("uses", "actions/upload-artifact@v4")
    assert request["with"] == {"path": "a\nb", "overwrite": "true", "retention-days": "3", "name": "x"}


def test_a_cache_is_saved_at_the_end_unless_it_is_said_otherwise() -> None:
    for save, action in ((True, "actions/cache@v4"), (False, "actions/cache/restore@v4")):
        _, request = asked(lambda step, save=save: step.cache("c", key="k", path="p", save=save))  # type: ignore[misc]
        assert (request["action"], request["with"]) == (action, {"key": "k", "path": "p"})


def test_a_run_is_asked_for_with_its_inputs_as_they_are() -> None:
    kind, request = asked(lambda step: step.run_workflow("c", "c.yml", inputs={"n": 3}, timeout="1 hour"))

    assert (kind, request) == ("run", {"workflow": "c.yml", "inputs": {"n": 3}, "seconds": 3600.0})


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda step: step.uses("u", "a@v1", wth={}), "uses() takes no wth"),
        (lambda step: step.uses("u", "a@v1", **{"with": "x"}), "with is a mapping of inputs, not str"),
        (lambda step: step.uses("u", "a@v1", **{"with": {"a": {}}}), "with: a is text, a number"),
        (lambda step: step.uses("u", 3), "uses() takes the name of an action, not int"),
        (lambda step: step.run_workflow("r", 3), "run_workflow() takes the path of a workflow, not 3"),
        (lambda step: step.run_workflow("r", "c.yml", inputs={"a": []}), "the input a is text"),
    ],
)
def test_a_wrong_argument_is_named(ask: Callable[[Step], object], what: str) -> None:
    with pytest.raises(TypeError) as failed:
        asked(ask)

    assert what in str(failed.value)
