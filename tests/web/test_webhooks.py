import asyncio
import hashlib
import hmac
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from runner.model.source import Repository
from runner.web.answers import TooSlow
from runner.web.bodies import read_body
from runner.web.webhooks import BODY_BYTES
from tests.builders import COMMIT
from tests.web.conftest import PATIENCE, SECRET, Web, a_key, a_push, signed

PUSH = a_push()
SIGNATURE_LETTERS = len(signed(PUSH)["webhook-signature"])


def by_github(body: bytes, event: str = "push") -> dict[str, str]:
    return {
        "content-type": "application/json",
        "x-github-event": event,
        "x-github-delivery": str(uuid4()),
        "x-hub-signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
    }


def test_a_push_is_stored_rung_for_and_answered_with_its_url(web: Web) -> None:
    web.add()
    body = a_push()

    answer = web.post("git", body, signed(body))

    assert answer.status_code == 202
    said = answer.json()
    assert said["status"] == "received"
    assert said["url"] == answer.headers["location"] == f"{web.url}/api/v1/deliveries/{said['delivery']}"
    stored = web.api("GET", f"/deliveries/{said['delivery']}")
    assert (stored["repo"], stored["ref"], stored["commit"]) == ("octo/hello", "refs/heads/main", COMMIT)
    assert stored["payload"] == json.loads(body)
    assert web.dispatcher.rung.wait(PATIENCE)
    assert web.dispatcher.admitted == [said["delivery"]]


def test_a_base64_key_signs_as_standard_webhooks_say(web: Web) -> None:
    web.site.repositories.add(_repository("octo/keyed"), a_key())
    body = a_push("octo/keyed")

    assert web.post("git", body, signed(body, a_key())).status_code == 202


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, len(PUSH) * 8 - 1))
def test_flipping_any_bit_of_a_signed_body_is_refused(web: Web, bit: int) -> None:
    web.site.repositories.remove(_repository())
    web.add()
    body = bytearray(PUSH)
    body[bit // 8] ^= 1 << bit % 8

    answer = web.post("git", bytes(body), signed(PUSH))

    # What is no JSON any more, or names no repository, cannot be checked against a signature at all.
    assert answer.status_code == (401 if _names_a_repository(bytes(body)) else 400)
    assert web.site.views.counts().deliveries == 0


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, SIGNATURE_LETTERS * 8 - 1))
def test_flipping_any_bit_of_a_signature_is_401(web: Web, bit: int) -> None:
    web.site.repositories.remove(_repository())
    web.add()
    headers = signed(PUSH)
    signature = bytearray(headers["webhook-signature"].encode())
    signature[bit // 8] ^= 1 << bit % 8

    status, _ = asyncio.run(_raw(web, PUSH, headers | {"webhook-signature": signature.decode("latin-1")}))

    assert status == 401
    assert web.site.views.counts().deliveries == 0


def test_twenty_copies_at_once_under_new_ids_are_stored_once(served: Web) -> None:
    served.add(forge="github")
    body = a_push()

    with ThreadPoolExecutor(20) as pool, httpx2.Client(base_url=served.url, timeout=PATIENCE) as client:
        posts = [
            pool.submit(client.post, "/hooks/github", content=body, headers=by_github(body))
            for _ in range(20)
        ]
        answers = [post.result() for post in posts]

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["delivery"] for answer in answers}) == 1
    assert served.site.views.counts().deliveries == 1


def test_many_deliveries_at_once_are_each_answered_with_their_own(served: Web) -> None:
    served.add()
    bodies = [a_push(ref=f"refs/heads/{number}") for number in range(60)]

    with ThreadPoolExecutor(20) as pool, httpx2.Client(base_url=served.url, timeout=PATIENCE) as client:
        posts = [
            pool.submit(client.post, "/hooks/git", content=body, headers=signed(body)) for body in bodies
        ]
        ids = [post.result().json()["delivery"] for post in posts]

    refs = [served.site.views.delivery(one).ref for one in ids]
    assert refs == [f"refs/heads/{number}" for number in range(60)]


def test_an_unknown_repository_and_a_wrong_signature_get_the_same_answer(web: Web) -> None:
    web.add()
    unknown, known = a_push("octo/other"), a_push()

    for forge, headers in (("git", signed), ("github", by_github)):
        stranger = web.post(forge, unknown, headers(unknown))
        wrong = web.post(forge, known, headers(known) | headers(b"something else"))
        assert stranger.status_code == wrong.status_code == 401
        assert stranger.content == wrong.content
        assert stranger.headers.items() == wrong.headers.items()


def test_an_announced_body_over_the_limit_is_refused_at_once(web: Web) -> None:
    status, taken = asyncio.run(
        _raw(web, b"", {"content-length": str(BODY_BYTES + 1)}, chunks=[b"x" * 1024] * 2000)
    )

    assert (status, taken) == (413, 0)


def test_a_chunked_body_over_the_limit_is_not_read_to_its_end(web: Web) -> None:
    status, taken = asyncio.run(_raw(web, b"", {}, chunks=[b"x" * 65536] * 3200))

    assert status == 413
    assert taken <= BODY_BYTES + 65536


def test_a_body_of_exactly_the_limit_is_taken(web: Web) -> None:
    web.add()
    short = a_push(pad="")
    body = a_push(pad="x" * (BODY_BYTES - len(short)))
    assert len(body) == BODY_BYTES

    assert web.post("git", body, signed(body)).status_code == 202


def test_a_body_that_drips_is_cut_off() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    with pytest.raises(TooSlow, match=r"0\.01 s"):
        asyncio.run(read_body([], receive, BODY_BYTES, seconds=0.01))


@pytest.mark.parametrize(
    ("body", "kind", "status", "reason"),
    [
        (b"{", "application/json", 400, "not JSON"),
        (b"[" * 100_000, "application/json", 400, "not JSON"),
        (b"[]", "application/json", 400, "JSON list; send an object"),
        (b"{}", "application/json", 400, "repository.full_name"),
        (b"\xff\xfe", "application/json", 400, "not JSON"),
        (PUSH, "text/plain", 415, "text/plain"),
        (PUSH, "", 415, "send application/json"),
    ],
)
def test_what_is_no_delivery_is_refused_with_the_reason(
    web: Web, body: bytes, kind: str, status: int, reason: str
) -> None:
    web.add()

    answer = web.post("git", body, signed(body) | {"content-type": kind})

    assert answer.status_code == status
    assert reason in answer.json()["message"]


@pytest.mark.parametrize("ref", ["refs/heads/\ud800", "refs/heads/a\0b"])
def test_a_ref_that_is_no_text_is_refused(web: Web, ref: str) -> None:
    web.add()
    body = a_push(ref=ref)

    assert web.post("git", body, signed(body)).status_code == 400


def test_a_repository_name_that_could_never_be_registered_is_unknown(web: Web) -> None:
    for name in ("a\0b", "\ud800", "../x", "x" * 100_000):
        body = a_push(name)
        assert web.post("git", body, signed(body)).status_code == 401


def test_githubs_ping_and_unknown_events_are_stored_and_ignored(web: Web) -> None:
    web.add(forge="github")
    for event in ("ping", "star"):
        body = a_push(event=event)
        answer = web.post("github", body, by_github(body, event))
        assert (answer.status_code, answer.json()["status"]) == (202, "ignored")
        assert event in answer.json()["reason"]
    assert [one["event"] for one in web.api("GET", "/deliveries")] == ["star", "ping"]
    assert web.dispatcher.admitted == []


def test_a_deleted_branch_is_stored_and_ignored(web: Web) -> None:
    web.add()
    body = a_push(after="0" * 40)

    said = web.post("git", body, signed(body)).json()

    assert (said["status"], said["reason"]) == ("ignored", "refs/heads/main was deleted")


def test_an_unknown_forge_is_404_and_a_get_405(web: Web) -> None:
    assert web.post("gitless", PUSH, signed(PUSH)).status_code == 404
    assert web.call("GET", "/hooks/git").status_code == 405


def test_a_database_that_does_not_answer_is_503_said_in_the_log_and_comes_back(
    web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    web.add()
    body = a_push()
    with sqlite3.connect(web.site.settings.home / "runner.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = web.post("git", body, signed(body))
        other.execute("ROLLBACK")
    other.close()

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert [(one.levelname, one.message) for one in caplog.records] == [("ERROR", "delivery not stored")]
    assert web.post("git", body, signed(body)).status_code == 202


def test_a_delivery_is_accepted_while_the_broker_is_away(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    web.add()
    web.dispatcher.away = True
    body = a_push()

    answer = web.post("git", body, signed(body))

    assert answer.status_code == 202
    assert web.dispatcher.rung.wait(PATIENCE)
    web.app.close()
    assert "message not sent" in caplog.text
    assert web.site.views.delivery(answer.json()["delivery"]).status == "received"


def _repository(name: str = "octo/hello") -> Repository:
    return Repository("git", name, "https://example.org/x.git")


def _names_a_repository(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body)["repository"]["full_name"], str)
    except (ValueError, KeyError, TypeError):
        return False


async def _raw(
    web: Web, body: bytes, headers: dict[str, str], chunks: list[bytes] | None = None
) -> tuple[int, int]:
    """The status, and how many bytes were taken of the chunks."""
    left, taken, status = list(chunks or [body]), 0, 0

    async def receive() -> Message:
        nonlocal taken
        chunk = left.pop()
        taken += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": bool(left)}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)

    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/hooks/git", "headers": pairs, "query_string": b""}
    await web.app(scope, receive, send)
    return status, taken
