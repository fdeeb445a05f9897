"""Runs that are asked for over the API."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from runner.engine.ports import Verdict
from runner.engine.standings import following
from runner.model.standing import Scheduled, Standing
from runner.web.api import PREFIX
from tests.builders import a_new_run, a_route
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


def test_a_default_branch_is_read_again_when_somebody_asks(web: Web) -> None:
    web.add()

    made = web.api("POST", "/repos/octo/hello/sync")

    event = web.site.store.event(made["delivery"])
    assert (event.kind, event.ref, event.commit) == ("sync", "HEAD", None)
