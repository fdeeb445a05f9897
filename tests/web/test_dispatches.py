"""Runs that are asked for over the API."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from runner.engine.ports import Verdict
from runner.engine.standings import following
from runner.model.standing import Scheduled, Standing
from runner.web.api import PREFIX
from tests.builders import a_new_run, a_route, an_event
from tests.web.conftest import PATIENCE, Web

DEPLOY = "/repos/octo/hello/actions/workflows/deploy.yml/dispatches"


def judging(web: Web, verdict: Verdict) -> threading.Thread:
    """A worker that says this of the next delivery."""

    def judge() -> None:
        assert web.dispatcher.rung.wait(PATIENCE)
        (delivery,) = web.dispatcher.admitted
        web.site.store.settle(delivery, verdict)

    thread = threading.Thread(target=judge)
    thread.start()
    return thread


def test_a_workflow_is_asked_for_with_its_ref_and_inputs(web: Web) -> None:
    web.add()

    made = web.api("POST", f"{DEPLOY}?wait=0", {"ref": "v1", "inputs": {"level": 3, "dry": True}})

    event = web.site.store.event(made["delivery"])
    assert (event.kind, event.ref, event.commit, event.actor) == ("workflow_dispatch", "v1", None, "admin")
    assert event.payload["workflow"] == "deploy.yml"
    assert event.payload["inputs"] == {"level": 3, "dry": True}
    assert (made["status"], made["runs"], made["workflow_run_id"]) == ("received", [], 0)
    assert web.dispatcher.rung.wait(PATIENCE)
    assert web.dispatcher.admitted == [made["delivery"]]


def test_the_answer_waits_for_the_run_and_names_it(web: Web) -> None:
    web.add()
    worker = judging(web, Verdict("admitted", route=a_route(), runs=(a_new_run(),)))

    answer = web.call("POST", f"{PREFIX}{DEPLOY}", {"ref": "refs/heads/main"})
    worker.join()

    said = answer.json()
    assert answer.status_code == 200
    assert said["runs"] == [said["workflow_run_id"]]
    assert said["run_url"] == f"{web.url}/api/v1/runs/{said['workflow_run_id']}"
    assert said["html_url"] == f"{web.url}/runs/{said['workflow_run_id']}"


def test_what_cannot_start_so_is_a_named_error(web: Web) -> None:
    web.add()
    worker = judging(web, Verdict("failed", 'deploy.yml cannot start so: the input "level" is required'))

    answer = web.call("POST", f"{PREFIX}{DEPLOY}", {})
    worker.join()

    assert answer.status_code == 422
    assert answer.json() == {
        "error": "rejected",
        "message": 'deploy.yml cannot start so: the input "level" is required',
    }


@pytest.mark.parametrize(
    ("path", "wanted", "status"),
    [
        (DEPLOY.replace("hello", "other"), {}, 404),
        (DEPLOY, {"ref": "a\nb"}, 400),
        (DEPLOY, {"ref": "refs/pull/7/head"}, 400),
        ("/repos/octo/hello/trigger", {"ref": "refs/pull/7/head"}, 400),
        (DEPLOY, {"inputs": ["a"]}, 400),
        (f"{DEPLOY}?wait=1000", {}, 400),
    ],
)
def test_what_cannot_be_asked_for_is_not_stored(web: Web, path: str, wanted: Any, status: int) -> None:
    web.add()

    assert web.call("POST", f"{PREFIX}{path}", wanted).status_code == status
    assert web.api("GET", "/deliveries") == []


def test_schedules_are_shown_with_their_next_time(web: Web) -> None:
    web.add()
    repository = web.site.repositories.get("git", "octo/hello")
    wanted = frozenset({Scheduled("ci.yml", "0 0 30 2 *"), Scheduled("ci.yml", "0 * * * *", "Europe/Berlin")})
    assert web.site.standings.stand(repository, 0, Standing("1" * 40, wanted), following)

    hourly, never = web.api("GET", "/repos/octo/hello/schedules")

    assert (hourly["cron"], hourly["timezone"], hourly["workflow"]) == (
        "0 * * * *",
        "Europe/Berlin",
        "ci.yml",
    )
    assert datetime.fromisoformat(hourly["due_at"]) > datetime.now(UTC)
    assert never["due_at"] is None
    assert hourly["skipped_at"] is None


def test_what_a_repository_does_with_missed_schedules_can_be_changed(web: Web) -> None:
    web.add()
    assert web.api("GET", "/repos/octo/hello")["missed"] == "once"

    assert web.api("PATCH", "/repos/octo/hello", {"missed": "skip"})["missed"] == "skip"
    assert web.api("PATCH", "/repos/octo/hello", {})["missed"] == "skip"

    refused = web.call("PATCH", f"{PREFIX}/repos/octo/hello", {"missed": "twice"})
    assert refused.status_code == 400
    assert "'once' or 'skip'" in refused.text
    assert web.call("PATCH", f"{PREFIX}/repos/octo/nobody", {"missed": "skip"}).status_code == 404


def test_a_default_branch_is_read_again_when_somebody_asks(web: Web) -> None:
    web.add()

    made = web.api("POST", "/repos/octo/hello/sync")

    event = web.site.store.event(made["delivery"])
    assert (event.kind, event.ref, event.commit) == ("sync", "HEAD", None)


def test_a_repository_event_is_stored_for_the_default_branch(web: Web) -> None:
    web.add()
    path = "/repos/octo/hello/dispatches"

    made = web.api("POST", path, {"event_type": "deploy", "client_payload": {"where": "here"}})

    event = web.site.store.event(made["delivery"])
    assert (event.kind, event.ref, event.commit) == ("repository_dispatch", "HEAD", None)
    assert (event.payload["action"], event.payload["client_payload"]) == ("deploy", {"where": "here"})
    assert web.call("POST", f"{PREFIX}{path}", {}).status_code == 400
    assert web.call("POST", f"{PREFIX}{path}", {"event_type": "x" * 101}).status_code == 400


def test_only_a_delivery_that_is_held_back_can_be_approved(web: Web) -> None:
    pull = {"head": {"repo": {"full_name": "mallory/hello"}}, "base": {"repo": {"full_name": "octo/hello"}}}
    store, payload = web.site.store, {"pull_request": pull}
    held, _ = store.receive(an_event(kind="pull_request", payload=payload, commit=None), "1", "1")
    store.settle(held.id, Verdict("ignored", "it comes from a fork", a_route()))
    push, _ = store.receive(an_event(), "2", "2")
    store.settle(push.id, Verdict("ignored", "nothing matches", a_route()))
    waiting, _ = store.receive(an_event(kind="pull_request", payload=payload), "3", "3")

    answer = web.call("POST", f"{PREFIX}/deliveries/{held.id}/approve")

    assert (answer.status_code, answer.json()["status"]) == (202, "received")
    approved = store.delivery(held.id)
    assert (approved.approved, approved.event.commit) == (True, a_route().commit)
    for other in (push, waiting):
        assert web.call("POST", f"{PREFIX}/deliveries/{other.id}/approve").status_code == 409
        assert not store.delivery(other.id).approved


def test_what_becomes_of_the_files_of_a_repositorys_jobs_can_be_changed(web: Web) -> None:
    web.add()
    assert web.api("GET", "/repos/octo/hello")["snapshot"] is None

    assert web.api("PATCH", "/repos/octo/hello", {"snapshot": "durable"})["snapshot"] == "durable"
    assert web.api("PATCH", "/repos/octo/hello", {"snapshot": "default"})["snapshot"] is None

    refused = web.call("PATCH", f"{PREFIX}/repos/octo/hello", {"snapshot": "remote"})
    assert refused.status_code == 400
    assert "durable" in refused.json()["message"]
