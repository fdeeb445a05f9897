"""Pauses and blocks over the API and on the pages."""

from typing import Any

import pytest

from runner.engine.ports import Verdict
from runner.model.run import Run
from runner.web import stops
from runner.web.api import PREFIX
from tests.builders import a_new_run, a_route, an_event
from tests.web.conftest import PATIENCE, Web
from tests.web.test_pages import sign_in

BAD, GOOD = "b" * 40, "a" * 40
AT = "/repos/octo/hello"


def a_run(web: Web, commit: str = BAD, guid: str = "") -> Run:
    guid = guid or str(len(web.api("GET", "/runs")))
    delivery, _ = web.site.store.receive(an_event(commit=commit), guid, guid)
    return web.site.store.settle(
        delivery.id, Verdict("admitted", route=a_route(commit), runs=(a_new_run(),))
    )[0]


@pytest.fixture(autouse=True)
def hello(web: Web) -> None:
    web.add()


def test_a_paused_run_says_so_wherever_it_is_shown(web: Web) -> None:
    run = a_run(web)

    paused = web.api("POST", f"/runs/{run.id}/pause", {"reason": "it floods <the> registry"})

    assert paused["stopped"]
    assert paused["status"] == "queued"
    assert paused["reason"].startswith("paused by admin since 20")
    assert paused["reason"].endswith("UTC: it floods <the> registry")
    assert paused["jobs"][0]["reason"] == paused["reason"]
    assert web.api("GET", "/runs")[0]["stopped"]
    session = {"cookie": sign_in(web, web.token).headers["set-cookie"].partition(";")[0]}
    page = web.call("GET", f"/runs/{run.id}", headers=session).text
    assert page.count("it floods &lt;the&gt; registry") == 2
    on = web.api("POST", f"/runs/{run.id}/unpause")
    assert (on["stopped"], on["reason"], web.api("GET", "/runs")[0]["stopped"]) == (False, "", False)


def test_a_run_that_has_ended_cannot_be_paused_and_shows_no_stop(web: Web) -> None:
    run = a_run(web)
    web.api("POST", f"/runs/{run.id}/cancel")

    answer = web.call("POST", f"{PREFIX}/runs/{run.id}/pause")

    assert (answer.status_code, answer.json()["message"]) == (409, f"run {run.id} has ended: cancelled")
    web.api("POST", f"{AT}/pause")
    assert not web.api("GET", f"/runs/{run.id}")["stopped"]


def test_a_block_is_listed_holds_and_is_taken_back(web: Web) -> None:
    run = a_run(web)

    (listed,) = web.api("POST", f"{AT}/block", {"commit": BAD[:8], "reason": "bad"})["stops"]

    assert (listed["commit"], listed["workflow"], listed["actor"]) == (BAD, None, "admin")
    assert web.api("GET", f"{AT}/stops") == [listed]
    assert web.api("GET", f"/runs/{run.id}")["reason"] == listed["words"]
    assert web.api("POST", f"{AT}/unblock", {"commit": BAD})["stops"] == []
    assert web.api("POST", f"{AT}/unblock", {"commit": BAD})["stops"] == []
    assert web.api("GET", f"/runs/{run.id}")["reason"] == ""
    acts = web.api("GET", "/audit")
    assert [(one["act"], one["details"]["changed"]) for one in acts] == [
        ("unblock", False),
        ("unblock", True),
        ("block", True),
    ]


def test_a_repository_says_what_is_stopped_of_it(web: Web) -> None:
    a_run(web)
    web.add("octo/other")
    assert web.api("GET", "/repos/octo/hello")["stops"] == []

    web.api("POST", f"{AT}/block", {"commit": BAD, "reason": "bad"})
    stops = web.api("POST", f"{AT}/pause")["stops"]

    assert [(one["commit"], one["reason"]) for one in stops] == [(BAD, "bad"), (None, "")]
    assert web.api("GET", "/repos/octo/hello")["stops"] == stops
    assert [(one["name"], one["stops"]) for one in web.api("GET", "/repos")] == [
        ("octo/hello", stops),
        ("octo/other", []),
    ]


def test_runs_that_stand_still_are_listed_by_that(web: Web) -> None:
    paused, blocked, _, cancelled = (a_run(web, commit=one) for one in (GOOD, BAD, GOOD, GOOD))
    for run in (paused, cancelled):
        web.api("POST", f"/runs/{run.id}/pause")
    web.api("POST", f"/runs/{cancelled.id}/cancel")
    web.api("POST", f"{AT}/block", {"commit": BAD})

    listed = web.api("GET", "/runs?status=stopped")

    assert [one["id"] for one in listed] == [blocked.id, paused.id]
    assert [one["stopped"] for one in listed] == [True, True]
    web.api("POST", f"/runs/{paused.id}/unpause")
    assert [one["id"] for one in web.api("GET", "/runs?status=stopped")] == [blocked.id]
    refused = web.call("GET", f"{PREFIX}/runs?status=paused")
    assert refused.json()["message"].endswith("timed_out, stopped")


def test_a_refused_delivery_says_why_and_is_judged_again_afterwards(web: Web) -> None:
    a_run(web)
    web.api("POST", f"{AT}/block", {"workflow": "ci.yml", "reason": "bad"})
    delivery, _ = web.site.store.receive(an_event(commit=GOOD), "new", "new")
    web.site.store.settle(delivery.id, Verdict("admitted", route=a_route(GOOD), runs=(a_new_run(),)))

    shown = web.api("GET", f"/deliveries/{delivery.id}")

    assert (shown["status"], shown["runs"]) == ("ignored", [])
    assert ".runner/workflows/ci.yml is blocked by admin since" in shown["reason"]
    web.api("POST", f"{AT}/unblock", {"workflow": "ci.yml"})
    assert web.api("POST", f"/deliveries/{delivery.id}/replay")["status"] == "received"


@pytest.mark.parametrize(
    ("path", "given", "status", "says"),
    [
        (f"{AT}/block", {}, 400, "give commit or workflow; `runner repo pause` stops all of a repository"),
        (f"{AT}/block", {"commit": BAD, "workflow": "ci.yml"}, 400, "give commit or workflow"),
        (f"{AT}/block", {"commit": "dddd"}, 404, "no run or delivery of octo/hello is at a commit dddd"),
        (f"{AT}/unblock", {"commit": "main"}, 400, "'main' is no commit"),
        (f"{AT}/block", {"workflow": "x.yml"}, 404, "there are .runner/workflows/ci.yml"),
        (f"{AT}/block", {"commit": BAD, "reason": "two\nlines"}, 400, "one line of printable text"),
        (f"{AT}/pause", {"reason": "x" * 1001}, 400, "reason"),
        ("/repos/octo/gone/pause", {}, 404, "no repository octo/gone"),
        ("/repos/octo/gone/actions/runs/cancel", {}, 404, "no repository octo/gone"),
        (
            f"{AT}/actions/runs/cancel",
            {"commit": "dddd"},
            404,
            "no run or delivery of octo/hello is at a commit dddd",
        ),
        ("/runs/999/pause", {}, 404, "no run 999"),
        ("/runs/999/unpause", {}, 404, "no run 999"),
    ],
)
def test_what_cannot_be_stopped_is_named(web: Web, path: str, given: Any, status: int, says: str) -> None:
    a_run(web)

    answer = web.call("POST", f"{PREFIX}{path}", given)

    assert answer.status_code == status, answer.text
    assert says in answer.json()["message"]


def test_many_runs_are_acted_on_until_none_is_left(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stops, "BATCH", 2)
    monkeypatch.setattr(stops, "SECONDS", PATIENCE)
    runs, other = [a_run(web) for _ in range(5)], a_run(web, GOOD)

    for verb in ("pause", "unpause", "cancel"):
        answers = [web.api("POST", f"{AT}/actions/runs/{verb}", {"commit": BAD}) for _ in range(4)]
        assert [(one["done"], one["left"]) for one in answers] == [(2, 3), (2, 1), (1, 0), (0, 0)], verb

    assert [web.api("GET", f"/runs/{run.id}")["status"] for run in runs] == ["cancelled"] * 5
    assert web.api("GET", f"/runs/{other.id}")["status"] == "queued"
    acts = web.api("GET", f"/audit?run={runs[0].id}")
    assert [one["act"] for one in acts] == ["cancel", "unpause", "pause"]
    assert acts[0]["details"]["of"] == {"commit": BAD, "workflow": None}


def test_all_runs_of_a_repository_are_ended_by_force(web: Web) -> None:
    run = a_run(web)

    assert web.api("POST", f"{AT}/actions/runs/cancel", {"force": True}) == {"done": 1, "left": 0}
    assert web.api("GET", f"/audit?run={run.id}")[0]["act"] == "force-cancel"


def test_no_repository_is_called_as_its_stops_are(web: Web) -> None:
    answer = web.call("POST", f"{PREFIX}/repos", {"name": "octo/stops", "url": "https://example.org/a.git"})

    assert (answer.status_code, "has a meaning in the API" in answer.json()["message"]) == (400, True)
