"""What the steps say of wrong arguments: at once, by the step's name, with what would have been right."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runner.sdk import Event, Step, workflow
from runner.sdk.terms import LONGEST_NAME
from runner.sdk.testing import play


def failure(ask: Callable[[Any], Any]) -> str:
    """How a workflow fails that asks for this."""

    @workflow(on="push")
    async def asks(event: Event, step: Step) -> None:
        await ask(step)

    played = play(asks)
    assert played.failure is not None
    assert played.names == []
    return played.failure.reason


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda s: s.do("a", 3), "TypeError: step a: do() takes a function to call, not int"),
        (lambda s: s.sh("a", ["ls"]), "TypeError: step a: sh() takes a command as text, not list"),
        (lambda s: s.sh("", "true"), "ValueError: a step needs a name that says what it does, not ''"),
        (lambda s: s.sh(" ", "true"), "ValueError: a step needs a name that says what it does, not ' '"),
        (lambda s: s.sleep(3, 3), "ValueError: a step needs a name that says what it does, not 3"),
        (
            lambda s: s.sh("a" * (LONGEST_NAME + 1), "true"),
            "ValueError: the name of a step has 257 letters; 256 are the most",
        ),
        (lambda s: s.sh("a\nb", "true"), "ValueError: the name of a step is one line of text, not 'a\\nb'"),
        (
            lambda s: s.sh("a", "b", on_lost="no"),
            "ValueError: step a: on_lost is retry, fail or ask, not 'no'",
        ),
        (lambda s: s.sh("a", "b", timeout="soon"), "ValueError: step a: timeout is 'soon', which is no span"),
        (lambda s: s.sh("a", "b", timeout=-1), "ValueError: step a: timeout is -1; it can be from 0 to 365"),
        (
            lambda s: s.sleep("a", "366 days"),
            "ValueError: step a is '366 days'; it can be from 0 to 365 days",
        ),
        (lambda s: s.sleep("a", None), 'ValueError: step a is a span of time such as "10 minutes", not None'),
        (lambda s: s.sleep("a", True), 'ValueError: step a is a span of time such as "10 minutes", not True'),
        (lambda s: s.sleep("a", float("nan")), "ValueError: step a is nan; it can be from 0 to 365 days"),
        (
            lambda s: s.sleep_until("a", datetime(2026, 1, 1)),
            "ValueError: step a: the instant 2026-01-01T00:00:00 has no time zone",
        ),
        (
            lambda s: s.sleep_until("a", datetime(2028, 1, 1, tzinfo=UTC)),
            "ValueError: step a: 2028-01-01T00:00:00+00:00 is more than 365 days ahead",
        ),
        (
            lambda s: s.sleep_until("a", "tomorrow"),
            "ValueError: step a: 'tomorrow' is no instant; write one such as 2026-12-24T18:00:00+01:00",
        ),
        (
            lambda s: s.sleep_until("a", 3),
            "TypeError: step a: sleep_until() takes a datetime or a text in ISO 8601, not int",
        ),
        (
            lambda s: s.sh("a", "b", retry={"attempts": 3}),
            "ValueError: step a: retry has no 'attempts'; it has max-attempts, delay, backoff",
        ),
        (
            lambda s: s.sh("a", "b", retry={"max-attempts": 0}),
            "ValueError: step a: max-attempts is a number from 1 to 100, not 0",
        ),
        (
            lambda s: s.sh("a", "b", retry={"backoff": "cubic"}),
            "ValueError: step a: backoff is constant, linear or exponential, not 'cubic'",
        ),
        (
            lambda s: s.sh("a", "b", retry={"delay": "x"}),
            "ValueError: step a: delay is 'x', which is no span of time",
        ),
        (
            lambda s: s.sh("a", "b", retry=3),
            'TypeError: step a: retry is a mapping such as {"max-attempts": 3}, not int',
        ),
        (
            lambda s: s.sh("a", "b", retry={"on-exit-codes": 3}),
            "TypeError: step a: on-exit-codes is a list of numbers, not 3",
        ),
        (
            lambda s: s.sh("a", "b", retry={"on-exit-codes": ["x"]}),
            "TypeError: step a: on-exit-codes is a list of numbers, not ['x']",
        ),
        (lambda s: s.sh("a", "b", env="X=1"), "TypeError: step a: env is a mapping of variables, not str"),
        (
            lambda s: s.sh("a", "b", rollback=3),
            "TypeError: step a: rollback is a command or a function, not int",
        ),
        (
            lambda s: s.do("a", dict, rollback=[]),
            "TypeError: step a: rollback is a command or a function, not",
        ),
        (
            lambda s: s.rollback("a", None),
            "TypeError: step a: rollback is a command or a function, not NoneType",
        ),
        (lambda s: s.wait_any(), "ValueError: wait_any() needs steps to wait for"),
        (lambda s: s.gather(1), "TypeError: gather() takes steps, and other things to await, not int"),
        (
            lambda s: s.wait_any(None),
            "TypeError: wait_any() takes steps, and other things to await, not NoneType",
        ),
    ],
)
def test_a_wrong_argument_is_told_by_the_step(ask: Callable[[Any], Any], said: str) -> None:
    assert failure(ask).startswith(said)


@pytest.mark.parametrize(
    ("span", "length"),
    [
        ("10 minutes", timedelta(minutes=10)),
        ("1h 30m", timedelta(minutes=90)),
        ("2 days, 3 hours and 4 seconds", timedelta(days=2, hours=3, seconds=4)),
        ("1.5 Weeks", timedelta(days=10.5)),
        (90, timedelta(seconds=90)),
        (0.5, timedelta(seconds=0.5)),
        (timedelta(days=365), timedelta(days=365)),
        (0, timedelta(0)),
    ],
)
def test_a_span_of_time_is_said_in_words_in_seconds_or_as_a_timedelta(span: Any, length: timedelta) -> None:
    @workflow(on="push")
    async def sleeps(event: Event, step: Step) -> None:
        await step.sleep("a", span)

    assert play(sleeps).took == length


@pytest.mark.parametrize("instant", ["2026-01-01T11:00:00+01:00", "2026-01-01T10:00:00Z"])
def test_an_instant_can_be_a_text(instant: str) -> None:
    @workflow(on="push")
    async def sleeps(event: Event, step: Step) -> None:
        await step.sleep_until("a", instant)

    assert play(sleeps).took == timedelta(hours=1)


def test_steps_of_nobody_are_gathered_to_nothing() -> None:
    @workflow(on="push")
    async def gathers(event: Event, step: Step) -> Any:
        return await step.gather()

    assert play(gathers).value == []
