"""What a type checker knows of a workflow: this file is checked with all others, and it is run."""

from typing import Any, assert_type

from runner.sdk import Approval, Event, Handle, Received, Route, Shell, Step, Used, workflow
from runner.sdk.testing import an_event, play


@workflow(on="push")
async def typed(event: Event, step: Step) -> int:
    async def later() -> int:
        return 1

    assert_type(event.route, Route)
    handle = step.do("a", lambda: "text")
    assert_type(handle, Handle[str])
    assert_type(await handle, str)
    assert_type(await step.do("b", later), int)
    assert_type(await step.do("c", lambda: {"d": 1}), dict[str, int])
    assert_type(await step.sh("e", "true"), Shell)
    assert_type(await step.sleep("f", 1), None)
    assert_type(await step.wait_for_event("g", type="g"), Received)
    assert_type(await step.approve("h"), Approval)
    assert_type(await step.gather(step.sleep("i", 1), step.sh("j", "true")), list[Any])
    assert_type(await step.wait_any(step.sleep("k", 1)), tuple[int, Any])
    assert_type(await step.uses("l", "actions/checkout@v4", **{"with": {"path": "x"}}), Used)
    return await step.do("m", later)


def test_a_workflow_that_is_typed_is_a_workflow() -> None:
    assert play(typed, event=an_event(), events={"g": 1}, approvals={"h": "anna"}).value == 1
