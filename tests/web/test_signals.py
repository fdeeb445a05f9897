"""Signals that are signed with a repository's webhook secret."""

import hashlib
import hmac
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from runner.engine.ports import Verdict
from runner.model.run import Finished
from runner.model.source import Repository, Route
from runner.model.step import Result
from runner.store.tables import signals
from tests.builders import COMMIT, a_new_run, an_event
from tests.web.conftest import SECRET, Web

OTHER = "b" * 40
ONCE = {"repeated": False, "taken": False}
"""What is said of one that no job waits for yet."""


def by(secret: str, body: bytes) -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"content-type": "application/json", "x-hub-signature-256": f"sha256={digest}"}


def send(web: Web, repo: str = "octo/hello", *, secret: str = SECRET, **said: Any) -> httpx2.Response:
    body = json.dumps({"signal": "go"} | said).encode()
    return web.post(f"signals/{repo}", body, by(secret, body))


def a_run(web: Web, guid: str = "one", commit: str = COMMIT, repo: str = "octo/hello", **given: Any) -> int:
    event = an_event(commit=commit, repo=repo)
    delivery, _ = web.site.store.receive(event, guid, guid)
    verdict = Verdict("admitted", route=Route("git", repo, commit), runs=(a_new_run(**given),))
    return web.site.store.settle(delivery.id, verdict)[0].id


def inbox(web: Web) -> list[tuple[int, str, str, Any, str]]:
    columns = (signals.c.run, signals.c.name, signals.c.key, signals.c.payload, signals.c.sender)
    with web.site.database.reading() as connection:
        return [tuple(row) for row in connection.execute(select(*columns).order_by(signals.c.id))]


def test_a_signed_signal_is_put_into_the_inbox_of_its_run(web: Web) -> None:
    web.add()
    run = a_run(web)

    answer = send(web, run=run, payload={"region": "eu"}, key="one")

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"signal": "go", "key": "one", "runs": [ONCE | {"run": run}]}
    assert inbox(web) == [(run, "go", "one", {"region": "eu"}, "webhook")]


def test_a_request_that_is_sent_again_is_a_copy_whatever_its_headers_say(web: Web) -> None:
    web.add()
    run = a_run(web)
    body = json.dumps({"signal": "go", "run": run}).encode()

    answers = [
        web.post("signals/octo/hello", body, by(SECRET, body) | {"x-request-id": name}).json()
        for name in ("first", "second")
    ]

    assert [one["runs"][0]["repeated"] for one in answers] == [False, True]
    assert len(inbox(web)) == 1


def test_by_its_commit_a_signal_reaches_every_run_of_it_that_goes_on(web: Web) -> None:
    web.add()
    here, ended, elsewhere = a_run(web, "1"), a_run(web, "2"), a_run(web, "3", OTHER)
    deploy = a_run(web, "4", workflow=".runner/workflows/deploy.yml")
    web.add("octo/other")
    a_run(web, "5", repo="octo/other")
    web.site.store.update(
        ended,
        lambda run, now: run.with_job(replace(run.jobs[0], phase=Finished(Result.SUCCESS, now))),
    )

    first = send(web, commit=COMMIT).json()
    second = send(web, commit=COMMIT, workflow="deploy.yml", signal="ship").json()
    gone = send(web, commit="c" * 40)

    assert [one["run"] for one in first["runs"]] == [here, deploy]
    assert [one["run"] for one in second["runs"]] == [deploy]
    assert elsewhere not in {row[0] for row in inbox(web)}
    assert (gone.status_code, "goes on" in gone.json()["message"]) == (409, True)
    late = send(web, run=ended)
    assert (late.status_code, "has ended" in late.json()["message"]) == (409, True)


def test_a_bad_signature_and_an_unknown_repository_are_told_alike(web: Web) -> None:
    web.add()
    run = a_run(web)

    answers = [
        send(web, run=run, secret="another"),
        send(web, "octo/nothing", run=run),
        send(web, "octo/HELLO", run=run),
        send(web, "octo//hello", run=run),
        web.post("signals/octo/hello", b"{}", {"content-type": "application/json"}),
    ]

    assert {one.status_code for one in answers} == {401}
    assert len({one.text for one in answers}) == 1
    assert inbox(web) == []


def test_a_run_of_another_repository_is_not_there(web: Web) -> None:
    web.add()
    web.site.repositories.add(Repository("git", "octo/other", "https://example.org/o.git"), "another one")
    run = a_run(web, repo="octo/other")

    for number in (run, 10**30):
        answer = send(web, run=number)
        assert (answer.status_code, answer.json()["message"]) == (404, f"octo/hello has no run {number}")


def test_of_repositories_with_one_name_the_secret_says_which(web: Web) -> None:
    web.add()
    web.site.repositories.add(Repository("github", "octo/hello", "https://example.org/o.git"), "of github")
    run = a_run(web)

    assert send(web, run=run, secret="of github").status_code == 404
    assert send(web, "github:octo/hello", run=run).status_code == 401
    assert send(web, "git:octo/hello", run=run).status_code == 200


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, 'needs either "run", a number, or "commit"'),
        ({"run": 1, "commit": COMMIT}, 'needs either "run", a number, or "commit"'),
        ({"run": 1, "workflow": "ci.yml"}, '"workflow" goes with "commit"'),
        ({"commit": "abc"}, "'abc' is no full commit id"),
        ({"run": "one"}, "run: Input should be a valid integer"),
        ({"commit": "a" * 40, "attempt": 1}, '"attempt" goes with "run"'),
        ({"run": 1, "attempt": 2}, "run 1 has no attempt 2 yet; it is at attempt 1"),
        ({"run": 1, "signal": ""}, "cannot be the name of a signal"),
        ({"run": 1, "key": "a\0b"}, "the key of a signal has 1 to 255 letters"),
        ({"run": 1, "payload": float("nan")}, "the payload of the signal is no JSON"),
        ({"run": 1, "payload": "x" * 1024 * 1024}, "the payload of the signal has 1048578 bytes"),
        ({"run": 1, "name": "go"}, "no field 'name'; there are signal, run, attempt, commit, workflow"),
    ],
)
def test_what_is_no_signal_is_refused_with_what_would_be_one(
    web: Web, said: dict[str, Any], message: str
) -> None:
    web.add()
    a_run(web)

    answer = send(web, **said)

    assert (answer.status_code in (400, 409), message in answer.json()["message"]) == (True, True), (
        answer.text
    )
    assert inbox(web) == []


def test_only_json_of_a_bounded_size_is_read_and_only_posts(web: Web) -> None:
    web.add()
    body = b'{"signal": "go", "run": 1}'

    form = web.post("signals/octo/hello", body, by(SECRET, body) | {"content-type": "text/plain"})
    large = web.post("signals/octo/hello", b"x" * 1200 * 1024, by(SECRET, b""))

    assert (form.status_code, large.status_code) == (415, 413)
    assert web.call("GET", "/hooks/signals/octo/hello").status_code == 405


def test_the_line_of_the_readme_sends_a_signal_with_nothing_but_openssl_and_curl(served: Web) -> None:
    served.add()
    run = a_run(served)
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    script = readme.split("<!-- signal -->\n```sh\n")[1].split("```")[0]
    script = script.replace("https://ci.example.com", served.url).replace('"run": 12', f'"run": {run}')

    done = subprocess.run(
        ["sh", "-euc", script],
        env={"PATH": "/usr/bin:/bin", "SECRET": SECRET},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, json.loads(done.stdout)["runs"]) == (0, [ONCE | {"run": run}])


@pytest.mark.parametrize("depth", [101, 5000])
def test_a_payload_that_is_nested_too_deep_is_refused(web: Web, depth: int) -> None:
    web.add()
    run = a_run(web)
    body = b'{"signal": "go", "run": %d, "payload": %s1%s}' % (run, b"[" * depth, b"]" * depth)
    answer = web.post("signals/octo/hello", body, by(SECRET, body))
    assert answer.status_code in (400, 409), answer.text
    assert inbox(web) == []
