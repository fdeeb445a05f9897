"""What bodies of steps print."""

import asyncio
import contextvars
import io
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from runner.sdk.bodies import Bodies
from runner.sdk.line import Line
from runner.sdk.prints import Printed


class Said:
    """The engine's end: what it hears, as it is sent."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any], soon: bool = True) -> None:
        self.messages.append(message)

    @property
    def printed(self) -> list[tuple[int | None, str]]:
        return [(one["id"], one["text"]) for one in self.messages if one["is"] == "print"]


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def runs(said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Runs bodies at once, as those of steps 1, 2 ..., to their ends; each is given where it prints to."""
    # They take the process to the workspace, and to the root when they have ended.
    monkeypatch.chdir(tmp_path)
    loop = asyncio.new_event_loop()
    bodies = Bodies(cast(Line, said), loop, str(tmp_path))
    out = Printed(bodies, io.StringIO())

    async def all_of(*functions: Callable[[Printed], Any]) -> None:
        for number, function in enumerate(functions, start=1):
            bodies.begin(number, "do", partial(function, out), contextvars.copy_context(), {"n": number})
        while bodies.running:
            await asyncio.sleep(0.001)

    yield lambda *functions: loop.run_until_complete(all_of(*functions))
    loop.close()


def test_a_line_is_one_message_of_however_many_pieces_it_is_made(
    runs: Callable[..., None], said: Said
) -> None:
    def body(out: Printed) -> None:
        out.writelines(["a", " ", "b", "\n", "next", "\n"])

    runs(body)

    assert said.printed == [(1, "a b\n"), (1, "next\n")]


def test_what_has_no_end_of_line_goes_where_it_is_flushed_and_at_the_end_of_the_body(
    runs: Callable[..., None], said: Said
) -> None:
    def body(out: Printed) -> None:
        out.write("first")
        out.flush()
        out.write("second")
        assert said.printed == [(1, "first")]

    runs(body)

    assert said.printed == [(1, "first"), (1, "second")]
    assert [one["ok"] for one in said.messages if one["is"] == "tell"] == [True]


def test_bodies_that_print_at_once_do_not_get_into_each_others_lines(
    runs: Callable[..., None], said: Said
) -> None:
    both = threading.Barrier(2, timeout=60)

    def body(out: Printed) -> None:
        out.write("a")
        both.wait()
        out.write("b\n")

    runs(body, body)

    assert sorted(said.printed, key=str) == [(1, "ab\n"), (2, "ab\n")]


def test_what_cannot_be_printed_is_how_the_body_fails(runs: Callable[..., None], said: Said) -> None:
    runs(lambda out: out.write("a\ud800"))

    (told,) = [one for one in said.messages if one["is"] == "tell"]
    assert told["value"]["type"] == "UnicodeEncodeError"
