"""A workflow that is played by its test."""

import asyncio
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.engine.retries import delay_of
from runner.sdk import Event, NonRetryable, Rejected, Shell, Step, StepFailed, TimedOut, workflow
from runner.sdk.testing import (
    After,
    Diverged,
    Fail,
    Reject,
    Tries,
    Unplayable,
    an_event,
    load,
    play,
)
from runner.sdk.testing.answers import delay
from runner.workflow.document import Retry

BODIES: list[str] = []


@pytest.fixture(autouse=True)
def bodies() -> list[str]:
    """What bodies say that they were run."""
    BODIES.clear()
    return BODIES


def said(word: str) -> str:
    BODIES.append(word)
    return word


@workflow(on={"push": {"branches": ["main"]}})
async def deploy(event: Event, step: Step) -> Any:
    await step.sh("install", "make install")
    _, test = await step.gather(
        step.sh("lint", "make lint"),
        step.sh("test", "make test", retry={"max-attempts": 3, "delay": 10, "backoff": "exponential"}),
    )
    version = await step.do("version", lambda: said("1.2"), rollback="git tag --delete 1.2")
    await step.sleep("settle", "10 minutes")
    ok = await step.wait_for_event("go", type="deploy-approval", timeout="24 hours")
    await step.sh("ship", f"make ship REGION={ok.payload['region']}")
    return {"version": version, "report": test.outputs.get("report")}


GO = {"go": {"region": "eu"}}


def test_a_played_workflow_gives_its_value_and_what_it_asked_for_in_order(bodies: list[str]) -> None:
    played = play(deploy, results={"test": {"report": "12 of 12"}}, events=GO)

    assert (played.result, played.failure) == ("success", None)
    assert played.value == {"version": "1.2", "report": "12 of 12"}
    assert played.names == ["install", "lint", "test", "version", "settle", "go", "ship"]
    assert played["ship"].request["command"] == "make ship REGION=eu"
    assert played["ship"].line.startswith(f"{__file__}:")
    assert played["test"].value == Shell({"report": "12 of 12"})
    assert played["go"].value.payload == {"region": "eu"}
    assert played.took == timedelta(minutes=10)


def test_a_body_is_run_once_though_the_workflow_is_run_again_after_each_step(bodies: list[str]) -> None:
    play(deploy, events=GO)

    assert bodies == ["1.2"]


def test_a_body_whose_value_the_test_says_is_not_run(bodies: list[str]) -> None:
    assert play(deploy, results={"version": "9"}, events=GO).value["version"] == "9"
    assert bodies == []


def test_a_step_that_fails_fails_the_workflow_and_what_was_done_is_taken_back() -> None:
    played = play(deploy, results={"ship": Fail("no route", exit_code=7)}, events=GO)

    assert played.result == "failure"
    assert played.failure is not None
    assert (played.failure.reason, played.failure.type) == ("step ship: no route", "StepFailed")
    assert "make ship" in played.failure.traceback
    assert "runner/sdk/steps.py" not in played.failure.traceback
    assert played.names[-1] == "rollback version"
    assert played["rollback version"].request["command"] == "git tag --delete 1.2"
    assert (played["ship"].ok, played["ship"].value) == (False, "no route")


def test_what_fails_while_something_is_taken_back_is_told() -> None:
    played = play(
        deploy, results={"ship": Fail("no route"), "rollback version": Fail("no such tag")}, events=GO
    )

    assert played.failure is not None
    assert played.failure.undo == ("step rollback version: no such tag",)


def test_an_event_that_does_not_come_is_a_timeout() -> None:
    played = play(deploy)

    assert played.failure is not None
    assert played.failure.type == "TimedOut"
    assert played.took == timedelta(hours=24, minutes=10)


def test_a_late_event_comes_when_it_does() -> None:
    assert play(deploy, events={"go": After("3 hours", GO["go"])}).took == timedelta(hours=3, minutes=10)
    assert play(deploy, events={"go": After("25 hours", GO["go"])}).result == "failure"


def test_a_job_is_cancelled_where_the_test_says_so() -> None:
    played = play(deploy, cancel_at="settle")

    assert played.result == "cancelled"
    assert played.names[-2:] == ["settle", "rollback version"]
    assert played["settle"].ok is None


def test_a_step_with_a_retry_is_tried_again_after_its_delay() -> None:
    played = play(deploy, results={"test": Tries(Fail("flaky"), Fail("flaky"), {"report": "ok"})}, events=GO)

    assert (played.result, played["test"].tried) == ("success", 3)
    assert played.took == timedelta(minutes=10, seconds=10 + 20)


def test_a_step_that_fails_each_time_says_how_often_it_was_tried() -> None:
    played = play(deploy, results={"test": Fail("flaky")}, events=GO)

    assert played.failure is not None
    assert played.failure.reason == "step test: flaky; tried 3 times"


def test_names_of_answers_that_nobody_took_are_told() -> None:
    assert play(deploy, results={"instal": {}}, events=GO).unused == ("instal",)


def test_the_same_workflow_can_be_played_in_one_go() -> None:
    assert play(deploy, events=GO, crashes=False) == play(deploy, events=GO)


@workflow(on="push")
async def retrying(event: Event, step: Step) -> Any:
    numbers = count(1)

    def body() -> str:
        number = next(numbers)
        said(f"{number}")
        if number < 3:
            raise ValueError("not yet")
        raise NonRetryable("never")

    try:
        await step.do("try", body, retry={"max-attempts": 9})
    except StepFailed as failed:
        return [failed.reason, failed.type]


def test_a_body_that_fails_is_run_again_until_it_says_that_it_is_of_no_use(bodies: list[str]) -> None:
    played = play(retrying, crashes=False)

    assert played.value == ["runner.sdk.errors.NonRetryable: never; tried 3 times", "NonRetryable"]
    assert bodies == ["1", "2", "3"]


def test_an_exception_can_be_what_a_body_raises() -> None:
    played = play(retrying, results={"try": Tries(ValueError("no"), NonRetryable("never"))})

    assert played.value == ["runner.sdk.errors.NonRetryable: never; tried 2 times", "NonRetryable"]


@workflow(on="push")
async def racing(event: Event, step: Step) -> Any:
    which, value = await step.wait_any(
        step.sleep("long", "1 hour"), step.sh("work", "make"), step.sleep("longer", "2 hours")
    )
    other, _ = await step.wait_any(step.sleep("b", 20), step.sleep("a", 10))
    return [which, None if value is None else value.exit_code, other, step.now().isoformat()]


def test_who_ends_first_is_told_by_the_clock() -> None:
    assert play(racing).value == [1, 0, 1, "2026-01-01T09:00:10+00:00"]
    assert play(racing, results={"work": After("3 hours")}).value[:3] == [0, None, 1]
    assert play(racing, results={"work": After("1 minute", Shell({}, 3))}).value[:2] == [1, 3]


def test_the_clock_begins_where_the_test_says() -> None:
    played = play(racing, started=datetime(2030, 1, 1, tzinfo=UTC))

    assert played.value[3] == "2030-01-01T00:00:10+00:00"


@workflow(on="push")
async def asking(event: Event, step: Step) -> Any:
    try:
        first = await step.approve("ask", "go?", timeout="1 hour")
        second = await step.approve("ask", "sure?")
    except Rejected as no:
        return ["no", no.reason]
    except TimedOut as late:
        return ["late", late.reason]
    return [first.by, second.by]


def test_the_second_step_of_one_name_has_a_name_of_its_own_and_else_the_same_answer() -> None:
    assert play(asking, approvals={"ask": "anna", "ask (2)": "bert"}).value == ["anna", "bert"]
    assert play(asking, approvals={"ask": "anna"}).value == ["anna", "anna"]
    assert play(asking, approvals={"ask": "anna"}).names == ["ask", "ask (2)"]


def test_a_person_can_say_no_or_be_late() -> None:
    assert play(asking, approvals={"ask": Reject("anna", "not today")}).value == [
        "no",
        "anna rejected it: not today",
    ]
    assert play(asking, approvals={"ask": After("2 hours", "anna")}).value == [
        "late",
        "nobody approved it by 2026-01-01 10:00:00 UTC",
    ]


def test_a_workflow_that_nobody_approves_is_told_by_the_step() -> None:
    @workflow(on="push")
    async def asks(event: Event, step: Step) -> None:
        await step.approve("ask", "go?")
        await step.approve("sure")

    with pytest.raises(Unplayable, match=r"nobody approves sure; say who does: play\(\.\.\., approvals="):
        play(asks, approvals={"ask": "anna"})


@workflow(on="push")
async def parallel(event: Event, step: Step) -> Any:
    async def slow(word: str, ticks: int) -> str:
        for _ in range(ticks):
            await asyncio.sleep(0)
        return said(word)

    async def hang() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            said("ended")

    steps = [step.do(f"s{n}", partial(slow, f"v{n}", 9 - n)) for n in range(4)]
    found = await step.gather(*steps)
    await step.wait_any(step.do("hang", hang), step.do("thread", lambda: said("t")))
    return found


def test_bodies_that_run_at_once_are_run_once_and_those_that_are_given_up_are_ended(
    bodies: list[str],
) -> None:
    assert play(parallel, crashes=False).value == ["v0", "v1", "v2", "v3"]
    assert sorted(bodies) == ["ended", "t", "v0", "v1", "v2", "v3"]


def test_a_workflow_that_gives_up_nothing_has_each_body_run_once_over_all_crashes(bodies: list[str]) -> None:
    @workflow(on="push")
    async def gathers(event: Event, step: Step) -> Any:
        return await step.gather(*(step.do(f"s{n}", partial(said, f"v{n}")) for n in range(6)))

    assert play(gathers).value == [f"v{n}" for n in range(6)]
    assert sorted(bodies) == [f"v{n}" for n in range(6)]


# --- what is not the same each time ---------------------------------------------------------------


def test_a_workflow_that_asks_for_another_step_when_it_is_run_again_has_diverged() -> None:
    numbers = count()

    @workflow(on="push")
    async def diverges(event: Event, step: Step) -> None:
        await step.sh("first", "true")
        await step.sh("second", f"echo {next(numbers)}")
        await step.sh("third", "true")

    with pytest.raises(Diverged) as raised:
        play(diverges)

    assert "asked for `sh second: echo 1` (" in str(raised.value)
    assert "where it had asked for `sh second: echo 0` (" in str(raised.value)
    assert f"{__file__}:" in str(raised.value)


def test_a_workflow_that_comes_to_another_end_when_it_is_run_again_has_diverged() -> None:
    @workflow(on="push")
    async def diverges(event: Event, step: Step) -> float:
        await step.sh("only", "true")
        return random.random()

    with pytest.raises(Diverged, match="came to another end, success: 0"):
        play(diverges)


@pytest.mark.parametrize("more", [True, False])
def test_a_workflow_that_asks_for_more_or_less_at_its_end_has_diverged(more: bool) -> None:
    ends = count()

    @workflow(on="push")
    async def diverges(event: Event, step: Step) -> None:
        await step.sh("first", "true")
        if (next(ends) >= 1) is more:
            await step.sh("last", "true")

    wanted = (
        "asked for `sh last: true` .*which it had not before" if more else "did not ask for `sh last: true`"
    )
    with pytest.raises(Diverged, match=wanted):
        play(diverges)


def test_chance_and_names_from_the_steps_are_the_same_each_time() -> None:
    @workflow(on="push")
    async def chancy(event: Event, step: Step) -> Any:
        await step.sh("a", f"echo {step.random()} {step.uuid()} {step.now()}")
        await step.sleep("b", step.random() * 100)
        return str(step.uuid())

    assert play(chancy).value == play(chancy).value != play(chancy, seed="another").value


# --- what cannot be played ------------------------------------------------------------------------


def test_a_workflow_that_waits_for_what_is_no_step_is_told_by_name() -> None:
    @workflow(on="push")
    async def waits(event: Event, step: Step) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Unplayable, match="waits for something that is no step"):
        play(waits)


def test_a_workflow_that_holds_on_to_its_life_is_ended_all_the_same() -> None:
    @workflow(on="push")
    async def holds(event: Event, step: Step) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        while True:
            try:
                await step.sh("one", "true")
                await asyncio.shield(future)
            except asyncio.CancelledError:
                await asyncio.shield(future)

    with pytest.raises(Unplayable, match="waits for something that is no step"):
        play(holds)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"results": {"settle": 1}}, "step settle sleeps, and needs no answer"),
        (
            {"results": {"install": "fine"}},
            "step install is 'fine'; write its outputs by their names",
        ),
        ({"results": {"version": {1, 2}}}, "step version is nothing that JSON knows"),
        ({"results": {"version": float("nan")}}, "step version is nothing that JSON knows"),
        ({"results": {"go": 1}, "events": GO}, "two answers are given for the step 'go'"),
        ({"events": {"go": {1}}}, "step go is nothing that JSON knows"),
        (
            {"cancel_at": "shipp", "events": GO},
            "cancel_at is 'shipp', and no such step began; there were install",
        ),
        ({"event": an_event(payload={"x": {1}})}, "the event is nothing that JSON knows"),
    ],
)
def test_what_a_test_says_wrong_is_told_by_name(said: dict[str, Any], message: str) -> None:
    with pytest.raises(Unplayable, match=message):
        play(deploy, **said)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"results": {"install": After("soon")}},
            "the answer for the step install is 'soon', which is no span",
        ),
        ({"started": datetime(2026, 1, 1)}, "has no time zone"),
    ],
)
def test_times_that_a_test_says_wrong_are_told(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        play(deploy, **said)


def test_only_a_workflow_can_be_played() -> None:
    async def bare(event: Event, step: Step) -> None: ...

    for one in (bare, print, 3):
        with pytest.raises(TypeError, match=r"decorated with @workflow"):
            play(one)  # type: ignore[arg-type]


def test_a_workflow_is_played_where_no_loop_runs_and_in_the_main_thread() -> None:
    async def within() -> None:
        play(deploy)

    with pytest.raises(Unplayable, match="a test that is no coroutine"):
        asyncio.run(within())
    with ThreadPoolExecutor(1) as pool, pytest.raises(Unplayable, match="main thread"):
        pool.submit(play, deploy).result()


def test_nobody_approves_what_is_not_said_and_it_is_told_with_its_name() -> None:
    with pytest.raises(KeyError, match="no step 'nothing' was asked for, but install, lint"):
        _ = play(deploy, events=GO)["nothing"]


def test_a_play_ends_in_the_folder_that_it_began_in() -> None:
    here = Path.cwd()

    play(parallel, crashes=False)

    assert Path.cwd() == here


# --- files ----------------------------------------------------------------------------------------


def test_the_workflow_of_a_file_is_loaded_with_what_lies_beside_it_and_in_the_root(tmp_path: Path) -> None:
    folder = tmp_path / ".runner" / "workflows"
    folder.mkdir(parents=True)
    (folder / "beside_of_play.py").write_text("A = 1\n")
    (tmp_path / "root_of_play.py").write_text("B = 2\n")
    (folder / "ship.py").write_text(
        "from runner.sdk import workflow\nfrom beside_of_play import A\nfrom root_of_play import B\n"
        '@workflow(on="push")\nasync def ship(event, step):\n    return [A, B, event.inputs["c"]]\n'
    )

    assert play(load(str(folder / "ship.py")), event=an_event(inputs={"c": 3})).value == [1, 2, 3]


def test_loading_a_workflow_leaves_nothing_in_its_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "beside_quiet.py").write_text("there = 1\n")
    (tmp_path / "quiet.py").write_text(
        "import beside_quiet\nfrom runner.sdk import workflow\n"
        '@workflow(on="push")\nasync def quiet(event, step): ...\n'
    )

    load(tmp_path / "quiet.py")

    assert sorted(one.name for one in tmp_path.iterdir()) == ["beside_quiet.py", "quiet.py"]
    assert not sys.dont_write_bytecode


@pytest.mark.parametrize(("text", "number"), [("", 0), ("from tests.sdk.test_testing import deploy\n", 0)])
def test_a_file_without_a_workflow_is_told(tmp_path: Path, text: str, number: int) -> None:
    (tmp_path / "empty.py").write_text(text)

    with pytest.raises(ValueError, match=f"has {number} functions decorated with @workflow"):
        load(str(tmp_path / "empty.py"))


# --- whatever the workflow is ---------------------------------------------------------------------

Part = tuple[str, Any]
STEPS: st.SearchStrategy[Part] = st.one_of(
    st.tuples(st.just("sh"), st.integers(0, 3)),
    st.tuples(st.just("sleep"), st.integers(0, 3)),
    st.tuples(st.just("event"), st.integers(0, 3)),
    st.tuples(st.just("fail"), st.integers(0, 3)),
    st.tuples(st.just("do"), st.integers(0, 3)),
)
PARTS = st.recursive(
    STEPS,
    lambda inner: st.tuples(
        st.sampled_from(["seq", "gather", "settle", "any", "try"]), st.lists(inner, min_size=1, max_size=4)
    ),
    max_leaves=8,
)


async def run(step: Step, part: Part) -> Any:
    kind, what = part
    if kind == "sh":
        return (await step.sh(f"sh {what}", "true", rollback="undo")).exit_code
    if kind == "fail":
        return await step.sh(f"fail {what}", "false", retry={"max-attempts": 2, "delay": what})
    if kind == "sleep":
        return await step.sleep("sleep", what)
    if kind == "event":
        return (await step.wait_for_event(f"event {what}", type="e", timeout=2)).payload
    if kind == "do":
        return await step.do(f"do {what}", dict)
    if kind in ("gather", "settle"):
        return await step.gather(*(run(step, one) for one in what), cancel=kind == "gather")
    if kind == "any":
        return list(await step.wait_any(*(run(step, one) for one in what)))
    try:
        return [await run(step, one) for one in what]
    except StepFailed as failed:
        if kind == "seq":
            raise
        return [failed.name, step.now().isoformat()]


@settings(max_examples=min(40, settings().max_examples))
@given(PARTS)
def test_whatever_a_workflow_does_it_comes_to_the_same_end_over_all_crashes(part: Part) -> None:
    @workflow(on="push")
    async def any_one(event: Event, step: Step) -> Any:
        return [await run(step, part), step.now().isoformat()]

    results: dict[str, Any] = {f"sh {n}": After(n, {}) for n in range(4)}
    results |= {f"fail {n}": After(n, Fail("no")) for n in range(4)}
    # Bodies that are run end in the order that their threads do.
    results |= {f"do {n}": After(n, n) for n in range(4)}
    events = {f"event {n}": After(n, n) for n in range(4)}
    said: dict[str, Any] = {"results": results, "events": events}

    assert play(any_one, **said) == play(any_one, **said, crashes=False)


# --- as the engine does it ------------------------------------------------------------------------


@given(
    st.sampled_from(["constant", "linear", "exponential"]),
    st.floats(0, 40_000_000),
    st.none() | st.floats(0, 1000),
    st.integers(1, 100),
)
def test_a_played_delay_is_that_of_the_engine(
    backoff: str, length: float, most: float | None, failed: int
) -> None:
    said = {"backoff": backoff, "delay": length, "max-delay": most}
    engine = delay_of(Retry(100, length, backoff, most, False, ()), failed, "")

    assert timedelta(seconds=delay(said, failed)) == engine
