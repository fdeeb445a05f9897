# ruff: noqa: E501 - what a workflow does and what is said of it are compared side by side
"""The process of a workflow is the repository's own, and may say anything: it fails its own job and no more."""

import resource
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.engine.conversation import hearing, watch
from runner.engine.conversation.sound import REQUEST_BYTES, Unsound, check_ask, plain
from runner.engine.conversation.sound import given as given_value
from runner.sdk import wire
from tests.engine.conftest import Bench
from tests.engine.flows import SILENCE, Flows, Peer

pytestmark = pytest.mark.slow("workflows in Python are processes of their own")

Says = Iterator[Mapping[str, Any]]
TERMS = {"retry": None, "timeout": None, "on-lost": None}
RETRY = {"max-attempts": 2, "delay": 0, "backoff": "constant", "jitter": False, "on-exit-codes": []}


@pytest.fixture
def flows(bench: Bench, tmp_path: Path) -> Flows:
    return Flows(bench, tmp_path)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECONDS", "FIRST_SECONDS", "LAST_SECONDS"):
        monkeypatch.setattr(watch, name, 0.1)


def ask(number: int = 1, kind: str = "do", **request: Any) -> dict[str, Any]:
    terms = TERMS if kind in ("do", "sh") else {}
    return {"is": "ask", "id": number, "kind": kind, "name": "x", "request": terms | request, "line": "a:1"}


UNSOUND: list[dict[str, Any]] = [
    {"is": "what"},
    {"is": "ask"},
    {"is": "begin"},
    {"is": "end"},
    {"is": "end", "result": "splendid"},
    {"is": "tell", "id": 1, "ok": True},
    {"is": "tell", "id": [], "ok": True},
    {"is": "drop", "id": 10**30},
    {"is": "drop", "id": None},
    {"is": "print", "id": 1, "text": 5},
    {"is": "find", "module": ["x"]},
    {"is": "stack", "text": "never asked for"},
    ask(2),
    ask(kind="sleep", seconds=-1),
]
UNSOUND_ASKS: list[dict[str, Any]] = [
    ask(2),
    ask(0),
    ask(-1),
    ask(10**40),
    ask(True),
    ask() | {"id": "1"},
    ask() | {"id": 1.0},
    ask() | {"name": ""},
    ask() | {"name": "x" * 257},
    ask() | {"name": "a\nb"},
    ask() | {"name": "a\0b"},
    ask() | {"name": "\ud800"},
    ask() | {"name": ["x"]},
    ask() | {"kind": 7},
    ask() | {"request": []},
    ask() | {"line": 7},
    ask(kind="sleep"),
    ask(kind="sleep", seconds=-1),
    ask(kind="sleep", seconds=10**400),
    ask(kind="sleep", seconds=1e300),
    ask(kind="sleep", seconds="1"),
    ask(kind="sleep", seconds=True),
    ask(kind="sleep", seconds=float("nan")),
    ask(kind="until", until="tomorrow"),
    ask(kind="until", until="2030-01-01T00:00:00"),
    ask(kind="until", until="9999-12-31T23:59:59-23:59"),
    ask(kind="event", type="", seconds=1),
    ask(kind="event", type="x" * 300, seconds=1),
    ask(kind="event", type="go", seconds=[]),
    ask(kind="approve", message=5, approvers=[], seconds=None),
    ask(kind="approve", message="", approvers="ada", seconds=None),
    ask(kind="approve", message="", approvers=[5], seconds=None),
    ask(timeout=-5),
    ask(timeout="1h"),
    ask() | {"request": TERMS | {"on-lost": "explode"}},
    ask(retry=5),
    ask(retry={}),
    ask(retry=RETRY | {"max-attempts": "many"}),
    ask(retry=RETRY | {"max-attempts": 10**9}),
    ask(retry=RETRY | {"delay": -1}),
    ask(retry=RETRY | {"delay": None}),
    ask(retry=RETRY | {"backoff": "random"}),
    ask(retry=RETRY | {"on-exit-codes": ["x"]}),
    ask(retry=RETRY | {"on-exit-codes": 5}),
    ask(kind="sh", command=5, env={}, shell=None, folder=""),
    ask(kind="sh", command="\ud800", env={}, shell=None, folder=""),
    ask(kind="sh", command="true", env=[], shell=None, folder=""),
    ask(kind="sh", command="true", env={"x": 5}, shell=None, folder=""),
    ask(kind="sh", command="true", env={}, shell=5, folder=""),
    ask(kind="sh", command="true", env={}, shell=None, folder=None),
]


@pytest.mark.parametrize("said", UNSOUND, ids=range(len(UNSOUND)))
def test_what_is_no_part_of_the_conversation_fails_the_job_by_name(
    flows: Flows, hasty: None, said: dict[str, Any]
) -> None:
    def script(peer: Peer) -> Says:
        yield said
        yield peer.idle
        yield SILENCE

    ended = flows.says(script)

    assert ended.result == "failure"
    assert "the workflow's process says what is no part of the conversation: " in ended.reason


@pytest.mark.parametrize("said", UNSOUND_ASKS, ids=range(len(UNSOUND_ASKS)))
def test_what_no_step_can_be_asked_for_with_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(Unsound, match="no part of the conversation"):
        check_ask(said, 1)


def until(peer: Peer, kind: str) -> Says:
    """Say that nothing can go on until the engine says something of that kind."""
    while not any(message["is"] == kind for message in peer.heard):
        yield peer.idle


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([ask(1)], "asked for with the number 1"),
        ([{"is": "drop", "id": 1}, {"is": "drop", "id": 1}], "given up twice"),
    ],
)
def test_what_is_said_twice_fails_the_job_by_name(
    flows: Flows, after: list[dict[str, Any]], said: str
) -> None:
    def script(peer: Peer) -> Says:
        yield ask(1)
        yield from after

    assert said in flows.says(script).reason


@pytest.mark.parametrize("kind", ["sleep", "do"])
def test_a_step_that_does_not_run_cannot_end(flows: Flows, kind: str) -> None:
    def script(peer: Peer) -> Says:
        yield ask(1, kind, **({"seconds": 60} if kind == "sleep" else {}))
        yield ask(2) | {"name": "other"}
        yield from until(peer, "proceed")
        of = 0 if kind == "sleep" else next(m["n"] for m in peer.heard if m.get("id") == 1)
        told = {"is": "tell", "id": 1, "ok": True, "value": "1", "of": of, "stopped": None, "exit": None}
        yield told
        yield told

    assert "step x has ended, which does not run" in flows.says(script).reason


@pytest.mark.parametrize(
    ("told", "result", "said"),
    [
        ({"ok": True, "value": "no json"}, "failure", "its value is nothing that JSON knows"),
        ({"ok": True, "value": "NaN"}, "failure", "its value is nothing that JSON knows"),
        ({"ok": True, "value": "1" * 5000}, "failure", "its value is nothing that JSON knows"),
        ({"ok": True, "value": "[" * 100_000}, "failure", "its value is nothing that JSON knows"),
        ({"ok": True, "value": {}}, "failure", "its value is nothing that JSON knows"),
        ({"ok": True, "value": '"\ud800\\u0000"'}, "success", ""),
        ({"ok": 1, "value": "1", "exit": "x", "stopped": None}, "success", ""),
        ({"ok": False}, "failure", "it failed"),
        ({"ok": False, "value": "x"}, "failure", "it failed"),
        ({"ok": False, "value": {"reason": "\ud800\0", "traceback": 5, "type": []}}, "failure", "??"),
        ({"ok": False, "value": {"reason": "x" * 9_000_000}}, "failure", "xxx"),
        ({"stopped": "timeout", "exit": 10**400}, "timed_out", "the job ran longer"),
        ({"stopped": ["x"]}, "cancelled", "it was cancelled"),
    ],
)
def test_whatever_is_told_of_a_body_is_stored(
    flows: Flows, told: dict[str, Any], result: str, said: str
) -> None:
    def script(peer: Peer) -> Says:
        yield ask(1)
        yield from until(peer, "proceed")
        yield {"is": "tell", "id": 1, "of": peer.heard[-1]["n"], **told}
        yield from until(peer, "recall")
        yield {"is": "end", "result": "success", "value": "null"}

    ended = flows.says(script)

    assert ended.result == "success", ended.reason
    (done,) = ended.steps.values()
    assert str(done.outcome.result) == result
    assert done.outcome.reason.replace("\ufffd", "?").startswith(said)
    assert len(done.outcome.reason) <= 4000


@pytest.mark.parametrize(
    "end",
    [
        {"result": "success", "value": "no json"},
        {"result": "success", "value": {"a": 1}},
        {"result": "success"},
        {"result": "failure", "value": 5},
        {
            "result": "failure",
            "value": {"reason": "\ud800\0" * 10_000, "undo": 5, "traceback": [], "exit_code": "x"},
        },
        {"result": "failure", "value": {"undo": [5, None, {}] * 1000, "exit_code": 10**30}},
        {"result": "cancelled"},
    ],
)
def test_whatever_is_said_at_the_end_is_an_end(flows: Flows, end: dict[str, Any]) -> None:
    def script(peer: Peer) -> Says:
        yield {"is": "end", **end}
        yield {"is": "end", "result": "success", "value": "1"}

    ended = flows.says(script)

    assert ended.result == "failure"
    assert "internal error" not in ended.reason
    assert len(ended.reason) < 30_000


@pytest.mark.parametrize(
    "module",
    [
        "../../etc/passwd",
        "..",
        "",
        ".",
        "a..b",
        "a/b",
        "/etc/passwd",
        "a\0b",
        "\ud800",
        "a." * 5000 + "b",
        "x" * 9_000_000,
    ],
)
def test_no_module_is_looked_for_outside_of_the_commit(flows: Flows, module: str) -> None:
    def script(peer: Peer) -> Says:
        yield {"is": "find", "module": module}
        assert peer.heard[-1]["found"] == ""
        yield {"is": "end", "result": "success", "value": "null"}

    assert flows.says(script).result == "success"


@pytest.mark.parametrize(
    "flood",
    [
        {"is": "idle", "seen": -1, "running": 0, "later": False},
        {"is": "print", "id": None, "text": "x"},
        {"is": "find", "module": "nothing"},
        SILENCE,
    ],
)
def test_who_talks_and_gets_no_further_is_stopped(
    flows: Flows, hasty: None, monkeypatch: pytest.MonkeyPatch, flood: dict[str, Any]
) -> None:
    def script(peer: Peer) -> Says:
        while True:
            yield flood

    monkeypatch.setattr(watch, "LOOK", 0.05)

    ended = flows.says(script)

    assert "it took more than 0.1 seconds before it had asked for a step" in ended.reason


def test_who_does_not_end_after_a_cancel_is_ended(flows: Flows, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(peer: Peer) -> Says:
        while True:
            yield {**peer.idle, "later": True}

    monkeypatch.setattr(watch, "LOOK", 0.05)
    monkeypatch.setattr("runner.engine.stage.CANCEL_SECONDS", 0.3)
    ended = flows.says(script, options="timeout_minutes=0.01")

    assert ended.result == "timed_out"
    assert "it did not end in time" in ended.reason


def test_what_is_asked_for_at_once_is_limited(flows: Flows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "OPEN_BYTES", 5 * REQUEST_BYTES)

    def script(peer: Peer) -> Says:
        for number in range(1, 100):
            yield ask(number, "sh", command="x" * (REQUEST_BYTES - 1000), env={}, shell=None, folder="")

    ended = flows.says(script)

    assert "what the workflow asks for at once is longer than 5242880 bytes" in ended.reason


def test_a_message_of_many_values_is_refused_before_it_is_read() -> None:
    bomb = b'{"is":"ask","x":[' + b"[],[],[]," * 6_000_000 + b"1]}"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(wire.TooLong, match="outside its texts"):
        wire.unpack(bytearray(wire.HEADER.pack(len(bomb)) + bomb))

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024


@pytest.mark.parametrize("text", ['","' * 3_000_000, '\\"' * 3_000_000, "[{" * 3_000_000, "\\" * 5_000_000])
def test_a_long_text_is_no_message_of_many_values(text: str) -> None:
    message = {"is": "print", "id": None, "text": text}

    assert wire.unpack(bytearray(wire.pack(message))) == message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
WORDS = st.sampled_from(
    ["ask", "tell", "drop", "print", "find", "idle", "stack", "end", "begin", "recall", "proceed", "stop"]
)
KEYS = ("id", "kind", "name", "request", "line", "ok", "value", "exit", "stopped", "of", "seen", "later", "text",
        "module", "result")  # fmt: skip
KINDS = st.sampled_from(["do", "sh", "sleep", "until", "event", "approve", "run", "uses"])
LIKELY = {
    "id": st.integers(-1, 4) | JSON,
    "kind": KINDS | JSON,
    "name": st.sampled_from(["a", "b"]) | JSON,
    "of": st.integers(0, 4) | JSON,
    "seen": st.integers(0, 4) | JSON,
    "result": st.sampled_from(["success", "failure"]) | JSON,
    "request": st.fixed_dictionaries(
        {},
        optional={
            key: st.sampled_from(["1", "true", 1, None, {}, []]) | JSON
            for key in ("retry", "timeout", "on-lost", "command", "env", "shell", "folder", "seconds", "until", "type",
                        "message", "approvers")
        },
    )
    | JSON,
}  # fmt: skip
MESSAGES = WORDS.flatmap(
    lambda word: st.fixed_dictionaries(
        {"is": st.just(word)}, optional={key: LIKELY.get(key, JSON) for key in KEYS}
    )
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MESSAGES | st.just({"is": "idle now"}), max_size=12))
def test_no_message_is_a_bug_of_ours(flows: Flows, messages: list[dict[str, Any]]) -> None:
    def script(peer: Peer) -> Says:
        for message in messages:
            yield peer.idle if message["is"] == "idle now" else message
        yield {"is": "end", "result": "success", "value": "null"}

    flows._count += 1
    ended = flows.says(script)

    assert ended.result in ("success", "failure", None)
    assert ended.result is None or "internal error" not in ended.reason


@given(st.dictionaries(st.text(max_size=8), JSON) | MESSAGES)
def test_whatever_is_asked_for_is_sound_or_named(message: dict[str, Any]) -> None:
    with suppress(Unsound):
        assert check_ask(message, 1) > 0


@given(st.text() | st.integers() | st.none(), st.integers(1, 50))
def test_plain_text_can_be_stored(value: Any, most: int) -> None:
    text = plain(value, most)

    assert len(text) <= most
    assert "\0" not in text
    assert text.encode().decode() == text


@given(st.text())
def test_what_a_body_gave_is_json_in_ascii(text: str) -> None:
    found = given_value(text)

    assert found is None or found.isascii()
