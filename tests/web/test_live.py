import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import groupby

import httpx2
import pytest

from runner.client import Client
from runner.engine.beginnings import begins
from runner.engine.ports import NewRun
from runner.model.access import Role, Token
from runner.model.audit import Act
from runner.model.leasing import retry
from runner.model.run import UNSAVED, Lease, Run
from runner.model.step import Outcome, Post, Result, named_key
from runner.settings import Settings
from runner.web import live
from runner.web.auth import digest_of
from tests.builders import NOON, a_checkpoint, a_job
from tests.web.conftest import PATIENCE, Web
from tests.web.test_api import a_run, finish, take

Event = httpx2.ServerSentEvent


def stream(web: Web, run_id: int, after: str = "", who: dict[str, str] | None = None) -> Iterator[Event]:
    headers = (who or web.admin) | ({"last-event-id": after} if after else {})
    with (
        httpx2.Client(timeout=PATIENCE) as client,
        client.stream("GET", f"{web.url}/api/v1/runs/{run_id}/stream", headers=headers) as answer,
    ):
        yield from httpx2.EventSource(answer)


def text_of(events: list[Event]) -> str:
    return "".join(json.loads(event.data)["text"] for event in events if event.event == "log")


def again(web: Web, run: Run, lease: Lease) -> None:
    """A job has failed and is to begin once more."""
    web.site.store.update(
        run.id,
        lambda run, now: run.with_job(
            retry(run.job(lease.job), lease, now, timedelta(), Result.FAILURE, "it failed")
        ),
    )


def test_a_finished_run_is_told_whole_and_ends(served: Web) -> None:
    run = a_run(served)
    lease = take(served, run)
    served.logs.append(lease.job, 1, "1", b"hello\n")
    served.site.store.record(lease, a_checkpoint(lease))
    finish(served, run, lease)

    events = list(stream(served, run.id))

    assert [event.event for event in events] == ["run", "log", "job", "end"]
    assert json.loads(events[0].data)["status"] == "success"
    assert json.loads(events[1].data)["text"] == "hello\n"
    assert json.loads(events[2].data)["steps"][0]["status"] == "success"
    assert json.loads(events[3].data) == {"status": "success"}


def test_a_running_job_is_followed_as_it_prints(served: Web) -> None:
    run = a_run(served)
    lease = take(served, run)
    heard, events = threading.Event(), []

    def listen() -> None:
        for event in stream(served, run.id):
            events.append(event)
            if event.event == "job":
                heard.set()
            if event.event == "log" and "first" in event.data:
                served.logs.append(lease.job, 1, "1", b"\x93 last\n")
                served.site.store.record(lease, a_checkpoint(lease))
                finish(served, run, lease)

    thread = threading.Thread(target=listen)
    thread.start()
    assert heard.wait(PATIENCE)
    # A letter that is cut in two, as a chunk may cut it, is told once it is whole.
    served.logs.append(lease.job, 1, "1", b"first \xe2\x9c")
    thread.join(PATIENCE)

    assert text_of(events) == "first \u2713 last\n"
    assert events[-1].event == "end"


def test_whoever_reads_does_so_no_longer_once_the_token_is_revoked(
    served: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.0)
    run, who = a_run(served), {"authorization": "Bearer annas"}
    token = Token("anna", Role.VIEWER, None, digest_of("annas"))
    served.site.tokens.add(token, Act("admin", "create-token"))

    events = []
    for event in stream(served, run.id, who=who):
        events.append(event.event)
        if event.event == "job":
            served.site.tokens.revoke("anna", Act("admin", "revoke-token"))

    # It came to its end, though the run did not.
    assert events == ["run", "job"]


def test_whoever_comes_back_gets_only_what_is_new(served: Web) -> None:
    run = a_run(served, "build", "test")
    leases = [take(served, run, 0), take(served, run, 1)]
    for lease in leases:
        served.logs.append(lease.job, 1, "1", b"before\n")
    seen = []
    for event in stream(served, run.id):
        seen.append(event)
        if len([one for one in seen if one.event == "log"]) == 2:
            break
    for lease in leases:
        served.logs.append(lease.job, 1, "1", b"after\n")
        served.site.store.record(lease, a_checkpoint(lease))
        finish(served, run, lease)

    rest = list(stream(served, run.id, after=seen[-1].id))

    assert text_of(seen) == "before\nbefore\n"
    assert text_of(rest) == "after\nafter\n"


def test_every_claim_of_a_job_is_told_in_its_order(served: Web) -> None:
    run = a_run(served)
    first = take(served, run)
    served.logs.append(first.job, 1, "1", b"first claim\n")
    served.site.store.stranded(everything=True)
    second = take(served, run)
    assert second.attempt == 2
    served.logs.append(second.job, 2, "0", b"the job starts over\n")
    served.logs.append(second.job, 2, "1", b"second claim\n")
    finish(served, run, second)

    assert text_of(list(stream(served, run.id))) == "first claim\nthe job starts over\nsecond claim\n"


def test_a_reader_at_the_end_of_the_steps_is_told_what_actions_do_afterwards(served: Web) -> None:
    run = a_run(served)
    lease = take(served, run)
    served.logs.append(lease.job, 1, "1", b"step\n")
    seen = []
    for event in stream(served, run.id):
        seen.append(event)
        if event.event == "log":
            left = Outcome(Result.SUCCESS, Result.SUCCESS, 0, posts=(Post((0,)),))
            served.site.store.record(lease, a_checkpoint(lease, outcome=left))
        if event.event == "job" and [step["key"] for step in json.loads(event.data)["steps"]][1:]:
            break
    served.logs.append(lease.job, 1, "1.post", b"afterwards\n")
    served.logs.append(lease.job, 1, "end", b"at the very end\n")
    served.site.store.record(lease, a_checkpoint(lease, "1.post"))
    served.site.store.stranded(everything=True)
    second = take(served, run)
    served.logs.append(lease.job, 2, "0", b"another attempt\n")
    finish(served, run, second)

    rest = list(stream(served, run.id, after=[one.id for one in seen if one.id][-1]))

    assert text_of(rest) == "afterwards\nat the very end\nanother attempt\n"
    said = [json.loads(one.data) for one in rest if one.event == "log"]
    assert (said[0]["step"], said[0]["number"], said[0]["name"]) == ("1.post", 2, "Post Run true")
    assert served.call("GET", f"/api/v1/runs/{run.id}/log?step=1.post").text == "afterwards\n"
    assert text_of(list(stream(served, run.id))) == "step\nafterwards\nat the very end\nanother attempt\n"


def test_every_try_of_a_job_is_told_whole_once_and_in_its_order_whatever_steps_its_actions_add(
    served: Web,
) -> None:
    run = a_run(served)
    job = run.jobs[0].id
    said, cursor = "", ""

    def prints(key: str, text: str) -> None:
        """A step prints, and a reader who comes back again and again is told it."""
        nonlocal said, cursor
        served.logs.append(job, lease.attempt, key, text.encode())
        for event in stream(served, run.id, after=cursor):
            cursor = event.id or cursor
            said += json.loads(event.data)["text"] if event.event == "log" else ""
            if event.event == "job":
                break

    def does(key: str, posts: tuple[Post, ...] = ()) -> None:
        prints(key, f"{lease.attempt} {key} begins\n")
        prints(key, f"{lease.attempt} {key} ends\n")
        outcome = Outcome(Result.SUCCESS, Result.SUCCESS, 0, posts=posts)
        served.site.store.record(lease, a_checkpoint(lease, key, outcome=outcome))

    keys = ("0", "1.2.pre", "1", "1.1.post", "1.2.post", "end")
    for attempt in (1, 2, 3):
        lease = take(served, run)
        for key in keys:
            does(key, (Post((0, 1)), Post((0, 0))) if key == "1" else ())
        if attempt < 3:
            again(served, run, lease)

    whole = "".join(f"{one} {key} {what}\n" for one in "123" for key in keys for what in ("begins", "ends"))
    assert said == whole
    finish(served, run, lease)
    assert text_of(list(stream(served, run.id))) == whole
    assert served.call("GET", f"/api/v1/runs/{run.id}/log").text == whole


def test_a_step_that_only_an_earlier_try_had_keeps_its_log(served: Web) -> None:
    run = a_run(served)
    lease = take(served, run)
    served.logs.append(lease.job, 1, "1.post", b"afterwards\n")
    served.site.store.record(lease, a_checkpoint(lease, "1.post"))
    again(served, run, lease)
    finish(served, run, take(served, run))

    assert [step["key"] for step in served.api("GET", f"/runs/{run.id}")["jobs"][0]["steps"]] == ["1"]
    assert served.call("GET", f"/api/v1/runs/{run.id}/log?step=1.post").text == "afterwards\n"
    (told,) = [json.loads(one.data) for one in stream(served, run.id) if one.event == "log"]
    assert (told["step"], told["number"], told["name"]) == ("1.post", None, "Post Run true")


def test_whoever_comes_back_from_an_older_server_is_told_all_anew(served: Web) -> None:
    run = a_run(served)
    lease = take(served, run)
    served.logs.append(lease.job, 1, "1", b"hello\n")
    finish(served, run, lease)

    assert text_of(list(stream(served, run.id, after=f"1;{lease.job}.1.1.6"))) == "hello\n"


def test_a_long_log_is_told_whole_in_many_pieces(served: Web) -> None:
    run = a_run(served)
    lease = take(served, run)
    text = "".join(f"line {number} \u2713\n" for number in range(150_000))
    served.logs.append(lease.job, 1, "1", text.encode())
    finish(served, run, lease)

    assert text_of(list(stream(served, run.id))) == text


def test_a_cursor_of_somebody_elses_is_refused(web: Web) -> None:
    run = a_run(web)
    headers = web.admin | {"last-event-id": "../../etc/passwd"}

    assert web.call("GET", f"/api/v1/runs/{run.id}/stream", headers=headers).status_code == 400
    assert web.call("GET", "/api/v1/runs/99/stream").status_code == 404


def test_a_server_that_goes_down_ends_its_streams(served: Web) -> None:
    run = a_run(served)
    events = stream(served, run.id)
    assert next(events).event == "run"

    served.app.end()

    assert [event.event for event in events] == ["job"]


def test_a_client_watches_to_the_end(served: Web) -> None:
    run = a_run(served)
    lease = take(served, run)
    served.logs.append(lease.job, 1, "1", b"hello\n")
    finish(served, run, lease)

    with Client(Settings(home=served.site.settings.home, url=served.url)) as client:
        kinds = [kind for kind, _ in client.watch(run.id)]

    assert kinds == ["run", "log", "job", "end"]


def test_whoever_follows_steps_that_print_at_once_and_comes_back_misses_nothing(served: Web) -> None:
    run = a_run(served, new=NewRun("deploy.py", "deploy", (a_job(id=UNSAVED, steps=()),)))
    lease = take(served, run)
    said: dict[str, str] = {}
    states: list[list[tuple[str, str]]] = []
    cursor = ""

    def prints(name: str, text: str) -> None:
        served.logs.append(lease.job, 1, named_key(name, 1), text.encode())

    def comes_back(*ended: str) -> None:
        """Hear until so many steps have: who comes right after another one is told what that one was."""
        nonlocal cursor
        for event in stream(served, run.id, after=cursor):
            cursor = event.id or cursor
            told = json.loads(event.data)
            if event.event == "log":
                said[told["name"]] = said.get(told["name"], "") + told["text"]
            if event.event == "job":
                states.append([(step["name"], step["status"]) for step in told["steps"]])
                if [name for name, status in states[-1] if status == "success"] == [*ended]:
                    break

    for name in ("lint", "test & more"):
        begins(lease, named_key(name, 1), NOON, served.logs)
        prints(name, f"{name} begins\n")
    comes_back()
    for name in ("lint", "test & more", "lint"):
        prints(name, f"{name} goes on\n")
        comes_back()
    served.site.store.record(lease, a_checkpoint(lease, named_key("lint", 1)))
    comes_back("lint")
    prints("test & more", "its last\n")
    served.site.store.record(lease, a_checkpoint(lease, named_key("test & more", 1)))
    finish(served, run, lease)
    comes_back("lint", "test & more")

    assert [state for state, _ in groupby(states)] == [
        [("lint", "running"), ("test & more", "running")],
        [("lint", "success"), ("test & more", "running")],
        [("lint", "success"), ("test & more", "success")],
    ]
    assert said == {
        "lint": "lint begins\nlint goes on\nlint goes on\n",
        "test & more": "test & more begins\ntest & more goes on\nits last\n",
    }
    log = f"/api/v1/runs/{run.id}/log"
    for step in ("test & more", "test & more#1", "2"):
        assert served.call("GET", log, params={"step": step}).text == said["test & more"]
    assert served.call("GET", log, params={"step": "begun"}).status_code == 404
    assert served.call("GET", log).text == said["lint"] + said["test & more"]
