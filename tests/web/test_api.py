import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from urllib.parse import quote

import pytest
from starlette.routing import Mount, Route

from runner.engine.ports import NewRun, Verdict
from runner.model.leasing import begin_waits, claim, conclude, suspend
from runner.model.run import Lease, Queued, Run, StepName
from runner.model.step import Annotation, Outcome, Result
from runner.model.waits import Awaited, Wait
from runner.web.api import PREFIX
from runner.web.auth import COOKIE
from tests.builders import LENGTH, NOON, a_checkpoint, a_new_run, a_route, an_event
from tests.web.conftest import PATIENCE, Web

PUBLIC = {
    "/badges/{repo:path}.svg",
    "/badges/{repo:path}.json",
    "/{repo:path}/actions/workflows/{workflow}/badge.svg",
    "/healthz",
    "/readyz",
    "/version",
    "/docs",
    "/login",
    "/logout",
    "/static",
    f"{PREFIX}/openapi.json",
}
PAGES = {"/", "/runs/{run_id:id}"}
FILLED = {
    "{name}": "octo/hello",
    "{workflow}": "ci.yml",
    "{secret}": "TOKEN",
    "{variable}": "REGION",
    "{run_id:id}": "1",
    "{run_id}": "1",
    "{delivery_id}": "1",
}


def a_run(web: Web, *keys: str, guid: str = "1", new: NewRun | None = None) -> Run:
    """A run that was admitted, its jobs queued."""
    delivery, _ = web.site.store.receive(an_event(), guid, guid)
    verdict = Verdict("admitted", route=a_route(), runs=(new or a_new_run(*keys),))
    return web.site.store.settle(delivery.id, verdict)[0]


def take(web: Web, run: Run, at: int = 0) -> Lease:
    """Let a worker claim one of its jobs."""
    job = run.jobs[at]
    made = web.site.store.update(
        run.id, lambda run, now: run.with_job(claim(run.job(job.id), "worker-1", now, LENGTH))
    )
    return Lease(job.id, "worker-1", made.after.job(job.id).attempt, NOON)


def finish(web: Web, run: Run, lease: Lease, result: Result = Result.SUCCESS) -> None:
    web.site.store.update(
        run.id, lambda run, now: run.with_job(conclude(run.job(lease.job), lease, result, now))
    )


def routes_of_the_site(web: Web) -> Iterator[tuple[str, str]]:
    for route in web.app.site.routes:
        if isinstance(route, Mount):
            assert route.path in ("/static", PREFIX), "another mount: say whether it is public"
            continue
        assert isinstance(route, Route), "another kind of route: say whether it is public"
        if route.path not in PUBLIC | PAGES:
            yield from ((method, route.path) for method in route.methods or {"GET"})


def routes_of_the_api(web: Web) -> Iterator[tuple[str, str]]:
    for path, methods in web.app.api.openapi()["paths"].items():
        yield from ((method.upper(), PREFIX + path) for method in methods)


def test_every_route_of_the_api_wants_the_token(web: Web) -> None:
    api, others = list(routes_of_the_api(web)), list(routes_of_the_site(web))
    assert len(api) >= 27
    assert others == [("GET", f"{PREFIX}/runs/{{run_id:id}}/stream")]

    for method, path in api + others:
        for word, letters in FILLED.items():
            path = path.replace(word, letters)
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {web.token}"},
            {"cookie": "runner_session=99999999999.0"},
        ):
            answer = web.call(method, path, headers=headers)
            assert answer.status_code == 401, f"{method} {path}"
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_pages_send_a_stranger_to_the_login(web: Web) -> None:
    for path in ("/", "/runs/1"):
        answer = web.call("GET", path, headers={})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/login?to={path}")


def test_a_stranger_cannot_learn_which_paths_there_are(web: Web) -> None:
    assert web.call("GET", f"{PREFIX}/nothing", headers={}).status_code == 401
    assert web.call("GET", f"{PREFIX}/nothing").json()["error"] == "not_found"
    assert web.call("PUT", f"{PREFIX}/runs").status_code == 405


def test_an_unknown_path_is_a_json_404(web: Web) -> None:
    answer = web.call("GET", "/nothing/here", headers={})

    assert answer.status_code == 404
    assert answer.json() == {
        "error": "not_found",
        "message": "nothing is at /nothing/here; the API is at /api/v1",
    }


def test_the_token_is_made_once_and_is_the_owners_alone(web: Web) -> None:
    path = web.site.settings.token_file

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() == web.token
    assert len(web.token) > 40


def test_a_repository_is_registered_shown_and_removed(web: Web) -> None:
    made = web.api("POST", "/repos", {"name": "octo/hello", "url": "https://example.org/hello.git"})

    assert len(made["secret"]) >= 40
    assert web.site.repositories.secret("git", "octo/hello") == made["secret"]
    shown = web.api("GET", "/repos/octo/hello")
    assert (shown["name"], shown["url"], shown["forge"]) == (
        "octo/hello",
        "https://example.org/hello.git",
        "git",
    )
    assert web.api("GET", "/repos") == [shown]
    assert made["secret"] not in str(shown)

    assert web.call("DELETE", f"{PREFIX}/repos/octo/hello").status_code == 204
    assert web.call("GET", f"{PREFIX}/repos/octo/hello").status_code == 404


def test_what_a_repository_may_use_is_said_and_changed_one_by_one(web: Web) -> None:
    given = {"name": "octo/hello", "url": "https://example.org/hello.git"}
    unsaid = dict.fromkeys(
        (
            *("max_jobs", "max_queued", "queue_timeout", "run_timeout"),
            *("keep_logs", "keep_runs", "keep_artifacts", "keep_snapshots", "cache_bytes"),
        )
    )

    made = web.api("POST", "/repos", given | {"limits": {"max_jobs": 4, "queue_timeout": "1h30m"}})
    assert made["limits"] == unsaid | {"max_jobs": 4, "queue_timeout": 5400}

    limits = {"max_jobs": None, "max_queued": 100, "keep_runs": "90d", "keep_logs": 0}
    said = {"limits": limits | {"keep_snapshots": "7d"}}
    changed = web.api("PATCH", "/repos/octo/hello", said)["limits"]
    assert changed == unsaid | {
        "max_queued": 100,
        "queue_timeout": 5400,
        "keep_runs": 90 * 86400,
        "keep_logs": 0,
        "keep_snapshots": 7 * 86400,
    }
    assert web.api("GET", "/repos/octo/hello")["limits"] == changed
    assert web.call("PATCH", f"{PREFIX}/repos/octo/none", said).status_code == 404


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("max_jobs", -1, "greater than or equal to 0"),
        ("keep_logs", "soon", "give a span of time such as 90d, 24h or 1h30m, or a number of seconds"),
        ("keep_logs", "99999w", "give a span of time"),
        ("max_job", 1, "no field 'max_job'; there are max_jobs, max_queued, queue_timeout"),
    ],
)
def test_a_limit_that_is_none_is_refused_by_its_name(web: Web, limit: str, value: object, said: str) -> None:
    web.api("POST", "/repos", {"name": "octo/hello", "url": "https://example.org/hello.git"})

    refused = web.call("PATCH", f"{PREFIX}/repos/octo/hello", {"limits": {limit: value}})

    assert refused.status_code in (400, 422)
    assert said in refused.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "given", "known"),
    [
        ("POST", "/repos", {"share": True}, "name, url, forge, secret, executor, image, shared, limits"),
        ("POST", "/repos/octo/hello/trigger", {"reff": "main"}, "ref, commit"),
        ("POST", "/repos/octo/hello/dispatches", {"input": {}}, "event_type, client_payload"),
        ("POST", "/repos/octo/hello/actions/workflows/ci.yml/dispatches", {"input": {}}, "ref, inputs"),
        ("PATCH", "/repos/octo/hello", {"shared": True}, "limits, missed, snapshot"),
        ("PUT", "/repos/octo/hello/actions/secrets/A", {"encrypted_value": "x"}, "value"),
        ("PUT", "/repos/octo/hello/actions/variables/A", {"valeu": "x"}, "value"),
        ("POST", "/runs/1/rerun", {"fail": True}, "failed, job, from_step"),
    ],
)
def test_a_field_that_is_not_known_is_named_with_those_that_are(
    web: Web, method: str, path: str, given: dict[str, object], known: str
) -> None:
    web.add()

    answer = web.call(method, f"{PREFIX}{path}", given)

    assert answer.status_code == 400
    assert answer.json()["message"] == f"body: no field {next(iter(given))!r}; there are {known}"


def test_a_name_is_registered_once(web: Web) -> None:
    web.add()

    answer = web.call("POST", f"{PREFIX}/repos", {"name": "octo/hello", "url": "https://example.org/x.git"})

    assert (answer.status_code, answer.json()["error"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"url": "ext::sh -c id"}, "no address"),
        ({"url": "ext::id"}, "allowed are https, ssh, file (RUNNER_GIT_PROTOCOLS)"),
        ({"url": "http://169.254.169.254/latest"}, "protocol 'http'"),
        ({"url": "--upload-pack=id"}, "no address"),
        ({"url": "ssh://-oProxyCommand=id/x"}, "a host cannot begin with '-'"),
        ({"url": "hello.git"}, "an absolute path"),
        ({"url": ""}, "no address"),
        ({"url": "https://[::1/x"}, "no host can be read"),
        ({"url": "https://169.254.169.254/x"}, "the host 169.254.169.254 of its URL is at 169.254.169.254"),
        ({"url": "git@localhost:x"}, "allow it with RUNNER_GIT_NETWORKS=127.0.0.1"),
        ({"url": "ssh://octo:s3cret@example.org/x"}, "'ssh://octo:***@example.org/x' holds a password"),
        ({"url": "https://example.org/x?token=s3cret"}, "'https://example.org/x?***' has a query"),
        ({"url": "https://example.org/\nx"}, "no address"),
        ({"url": "https://example.org/\ud800"}, "no address"),
        ({"name": "-x"}, "cannot name a repository"),
        ({"name": "a/../b"}, "cannot name a repository"),
        ({"name": "a//b"}, "cannot name a repository"),
        ({"name": "a b"}, "cannot name a repository"),
        ({"name": ""}, "cannot name a repository"),
        ({"name": "octo/hook"}, "has a meaning in the API"),
        ({"name": "octo/schedules"}, "has a meaning in the API"),
        ({"forge": "sourceforge"}, "there are git, github"),
        ({"executor": "magic"}, "there are host, sandbox, docker"),
        ({"image": "--privileged"}, "no name of an image"),
        ({"secret": "short"}, "at least 8"),
    ],
)
def test_what_must_not_be_registered_is_refused_with_the_reason(
    web: Web, wanted: dict[str, str], reason: str
) -> None:
    given = {"name": "octo/hello", "url": "https://example.org/hello.git"} | wanted

    answer = web.call("POST", f"{PREFIX}/repos", given)

    assert answer.status_code == 400
    assert reason in answer.json()["message"]
    assert web.api("GET", "/repos") == []


@pytest.mark.parametrize(
    "url", ["git@example.org:octo/hello.git", "ssh://git@example.org/x", "/srv/hello.git"]
)
def test_every_allowed_kind_of_address_can_be_registered(web: Web, url: str) -> None:
    assert web.api("POST", "/repos", {"name": "octo/.github", "url": url})["url"] == url


def test_the_login_of_an_address_is_not_shown(web: Web) -> None:
    new = {"name": "octo/hello", "url": "https://octo:s3cret@example.org/hello.git"}

    made = web.api("POST", "/repos", new)

    assert made["url"] == web.api("GET", "/repos/octo/hello")["url"]
    assert made["url"] == "https://***@example.org/hello.git"
    assert web.site.repositories.get("git", "octo/hello").url == new["url"]


def test_a_repository_may_be_called_as_what_only_is_posted_to(web: Web) -> None:
    web.add("octo/trigger")

    assert web.api("GET", "/repos/octo/trigger")["name"] == "octo/trigger"
    assert web.call("GET", f"{PREFIX}/repos/octo/trigger/hook").text.startswith("#!/bin/sh")
    assert web.call("GET", f"{PREFIX}/repos/octo/nothing/hook").status_code == 404


def test_a_trigger_is_a_push_by_the_admin(web: Web) -> None:
    web.add()

    made = web.api("POST", "/repos/octo/hello/trigger", {"ref": "main"})
    again = web.api("POST", "/repos/octo/hello/trigger", {})

    stored = web.api("GET", f"/deliveries/{made['delivery']}")
    assert (stored["event"], stored["ref"], stored["actor"]) == ("push", "refs/heads/main", "admin")
    assert stored["payload"]["by_hand"] is True
    assert web.api("GET", f"/deliveries/{again['delivery']}")["ref"] == "HEAD"
    web.add("octo/told")
    told = web.api("POST", "/repos/octo/told/trigger", {})
    assert web.api("GET", f"/deliveries/{told['delivery']}")["ref"] == "refs/heads/trunk"
    assert web.call("POST", f"{PREFIX}/repos/octo/nothing/trigger", {}).status_code == 404
    assert web.call("POST", f"{PREFIX}/repos/octo/hello/trigger", {"commit": "abc"}).status_code == 400


def test_runs_are_listed_filtered_and_shown(web: Web) -> None:
    first, second = a_run(web, guid="1"), a_run(web, guid="2")

    assert [run["id"] for run in web.api("GET", "/runs")] == [second.id, first.id]
    assert [run["id"] for run in web.api("GET", f"/runs?limit=1&before={second.id}")] == [first.id]
    assert web.api("GET", "/runs?branch=other") == []
    assert web.call("GET", f"{PREFIX}/runs?status=broken").status_code == 400
    shown = web.api("GET", f"/runs/{first.id}")
    assert (shown["status"], shown["jobs"][0]["status"]) == ("queued", "queued")
    assert web.call("GET", f"{PREFIX}/runs/99").json()["message"].startswith("no run 99;")


def test_a_run_is_cancelled_and_run_again(web: Web) -> None:
    web.add()
    run = a_run(web)

    assert web.call("POST", f"{PREFIX}/runs/{run.id}/rerun").status_code == 409
    assert web.api("POST", f"/runs/{run.id}/cancel")["status"] == "cancelled"
    again = web.api("POST", f"/runs/{run.id}/rerun")

    assert (again["attempt"], again["attempts"], again["status"]) == (2, 2, "queued")
    assert web.api("GET", f"/runs/{run.id}?attempt=1")["status"] == "cancelled"
    assert web.call("POST", f"{PREFIX}/runs/99/cancel").status_code == 404


def test_jobs_of_a_run_are_run_again(web: Web) -> None:
    web.add()
    run = a_run(web)
    web.api("POST", f"/runs/{run.id}/cancel")
    key = web.api("GET", f"/runs/{run.id}")["jobs"][0]["key"]

    def refused(content: object) -> tuple[int, str]:
        answer = web.call("POST", f"{PREFIX}/runs/{run.id}/rerun", json=content)
        return answer.status_code, answer.json()["message"]

    assert refused({"failed": True, "job": key})[0] == 400
    assert refused({"job": "nothing"}) == (404, f"run {run.id} has no job 'nothing'; it has {key}")
    assert refused({"jobs": key})[0] == 400
    assert web.call("POST", f"{PREFIX}/runs/{run.id}/rerun", json={"failed": True}).status_code == 200
    web.api("POST", f"/runs/{run.id}/cancel")
    assert web.call("POST", f"{PREFIX}/runs/{run.id}/rerun", json={"job": key}).json()["attempt"] == 3


def test_what_ran_for_a_repository_that_is_removed_is_nobodys_who_has_its_name(web: Web) -> None:
    web.add()
    run = a_run(web)
    assert [one["id"] for one in web.api("GET", "/runs")] == [run.id]
    (delivery,) = web.api("GET", "/deliveries")

    assert web.call("DELETE", f"{PREFIX}/repos/octo/hello").status_code == 204
    for _ in range(2):
        assert web.api("GET", "/runs") == []
        for path in ("", "/logs", "/artifacts", "/stream"):
            assert web.call("GET", f"{PREFIX}/runs/{run.id}{path}").status_code == 404, path
        for act in ("rerun", "resume", "cancel", "force-cancel", "pause"):
            assert web.call("POST", f"{PREFIX}/runs/{run.id}/{act}").status_code == 404, act
        if web.api("GET", "/repos") == []:
            web.add()
    assert web.api("GET", "/deliveries") == []
    assert web.call("GET", f"{PREFIX}/deliveries/{delivery['id']}").status_code == 404
    assert web.call("POST", f"{PREFIX}/deliveries/{delivery['id']}/replay").status_code == 404
    assert "remove-repository" in [one["act"] for one in web.api("GET", "/audit")]


def test_a_run_is_cancelled_by_force(web: Web) -> None:
    run = a_run(web)

    ended = web.api("POST", f"/runs/{run.id}/force-cancel")

    assert (ended["status"], ended["jobs"][0]["reason"]) == ("cancelled", "it was cancelled by force")
    assert web.call("POST", f"{PREFIX}/runs/99/force-cancel").status_code == 404


def test_a_control_is_answered_while_the_broker_is_away(web: Web) -> None:
    run = a_run(web)
    web.dispatcher.away = True

    assert web.api("POST", f"/runs/{run.id}/cancel")["status"] == "cancelled"


@pytest.mark.parametrize("digits", [str(2**63), str(10**30), "9" * 5000], ids=["64 bits", "31", "5000"])
def test_a_number_that_no_row_can_have_names_nothing(web: Web, digits: str) -> None:
    run = a_run(web)
    signed_in = web.admin | {"cookie": f"{COOKIE}={web.site.guard.begin_session(web.token)}"}
    for method, path in (
        ("GET", f"{PREFIX}/runs/{digits}"),
        ("POST", f"{PREFIX}/runs/{digits}/cancel"),
        ("POST", f"{PREFIX}/runs/{digits}/rerun"),
        ("GET", f"{PREFIX}/runs/{digits}/log"),
        ("GET", f"{PREFIX}/runs/{digits}/stream"),
        ("GET", f"{PREFIX}/runs/{run.id}?attempt={digits}"),
        ("GET", f"{PREFIX}/runs/{run.id}/log?attempt={digits}"),
        ("GET", f"{PREFIX}/runs/{run.id}/stream?attempt={digits}"),
        ("GET", f"{PREFIX}/runs/{run.id}/stream?after={digits}"),
        ("GET", f"{PREFIX}/deliveries/{digits}"),
        ("GET", f"{PREFIX}/runs?limit={digits}"),
        ("GET", f"/runs/{digits}"),
    ):
        answer = web.call(method, path, headers=signed_in)
        assert answer.status_code in (400, 404), path
        if path.startswith(PREFIX):
            assert answer.json()["error"] in ("not_found", "rejected"), path


def test_every_run_is_older_than_one_that_cannot_be(web: Web) -> None:
    run = a_run(web)

    assert [one["id"] for one in web.api("GET", f"/runs?before={2**63}")] == [run.id]
    assert web.api("GET", f"/runs?before={-(2**63) - 1}") == []


def test_a_place_that_no_stream_gave_is_refused(web: Web) -> None:
    run = a_run(web)

    for after in (f"1;{run.jobs[0].id}.0.{2**63}", f"1;{2**63}.0.0", "1;1.0.-1", "1;1.0", "x"):
        answer = web.call("GET", f"{PREFIX}/runs/{run.id}/stream?after={quote(after)}")
        assert answer.status_code == 400, after
        assert "was not given by this server" in answer.json()["message"]


def test_a_nul_in_an_address_is_refused(web: Web) -> None:
    for path in ("/runs?repo=a%00b", "/deliveries/a%00b", "/repos/a%00b"):
        assert web.call("GET", PREFIX + path).json()["message"] == "an address cannot hold a NUL character"


def test_a_log_can_be_read_whole_by_job_and_by_step(web: Web) -> None:
    run = a_run(web, "build", "test")
    for at, job in enumerate(run.jobs):
        lease = take(web, run, at)
        web.logs.append(job.id, lease.attempt, "0", f"{job.key} begins\n".encode())
        web.logs.append(job.id, lease.attempt, "1", f"{job.key} \u2713\n".encode())

    def log(query: str = "") -> str:
        return web.call("GET", f"{PREFIX}/runs/{run.id}/log{query}").text

    assert log() == "build begins\nbuild \u2713\ntest begins\ntest \u2713\n"
    assert log("?job=test") == "test begins\ntest \u2713\n"
    assert log("?job=build&step=1") == "build \u2713\n"
    assert "no job 'lint'; it has build, test" in log("?job=lint")
    assert "no step '9'" in log("?step=9")


def a_failed_run(web: Web) -> Run:
    """Of two steps, of which the second one failed; each has printed a line."""
    web.add()
    steps = (StepName("1", "Say: a"), StepName("2", "Run b"))
    run = a_run(web, new=NewRun("ci.yml", "ci", (replace(a_new_run().jobs[0], steps=steps),)))
    lease = take(web, run)
    failure = Outcome(Result.FAILURE, Result.FAILURE, 1)
    for key, outcome in (("1", None), ("2", failure)):
        web.logs.append(lease.job, lease.attempt, key, f"{key} of the first\n".encode())
        web.site.store.record(lease, a_checkpoint(lease, key, **({"outcome": outcome} if outcome else {})))
    finish(web, run, lease, Result.FAILURE)
    return run


def test_a_run_that_ended_goes_on_where_it_stopped_and_has_the_log_of_what_came_before(web: Web) -> None:
    run = a_failed_run(web)

    again = web.api("POST", f"/runs/{run.id}/resume")

    (job,) = again["jobs"]
    assert (again["attempt"], job["forked"]) == (2, {"job": run.jobs[0].id, "attempt": 1, "step": "2"})
    assert [(step["status"], step["job"]) for step in job["steps"]] == [
        ("success", run.jobs[0].id),
        ("queued", 0),
    ]
    lease = take(web, web.site.store.load(run.id))
    web.logs.append(lease.job, lease.attempt, "2", b"2 of the second\n")

    def log(query: str = "") -> str:
        return web.call("GET", f"{PREFIX}/runs/{run.id}/log{query}").text

    assert log() == "1 of the first\n2 of the second\n"
    assert log("?step=1") == "1 of the first\n"
    assert log("?attempt=1") == "1 of the first\n2 of the first\n"


@pytest.mark.parametrize("named", ["build:1", "build:Say: a", "build:Run b"])
def test_a_job_runs_again_from_a_step_that_is_named(web: Web, named: str) -> None:
    run = a_failed_run(web)

    again = web.api("POST", f"/runs/{run.id}/rerun", {"from_step": named})

    assert (again["attempt"], again["status"]) == (2, "queued")
    assert (again["jobs"][0]["forked"] is None) == (named != "build:Run b")


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        ({"from_step": "build"}, 400, "'build' names no step: write JOB:STEP, such as build:2"),
        ({"from_step": "nothing:1"}, 404, "has no job 'nothing'; it has build"),
        ({"from_step": "build:3"}, 404, "job build of run 1 has no step '3'; it has 1: Say: a; 2: Run b"),
        ({"from_step": "build:1", "job": "build"}, 400, "failed, job or from_step"),
    ],
)
def test_a_step_that_is_not_there_is_named_with_those_that_are(
    web: Web, content: object, status: int, says: str
) -> None:
    run = a_failed_run(web)

    answer = web.call("POST", f"{PREFIX}/runs/{run.id}/rerun", json=content)

    assert (answer.status_code, says in answer.json()["message"]) == (status, True), answer.json()
    assert web.api("GET", f"/runs/{run.id}")["attempts"] == 1


def test_what_becomes_of_a_step_that_may_have_run_is_never_taken_for_granted(web: Web) -> None:
    run = a_run(web)
    lease = take(web, run)
    asked = Wait("1!1", Awaited.RESUMPTION, NOON, message="step 1 (Build) may have run")
    web.site.store.update(run.id, lambda run, now: run.with_job(suspend(run.jobs[0], lease, now, asked)))

    refused = web.call("POST", f"{PREFIX}/runs/{run.id}/resume")

    assert (refused.status_code, "say again, done or failed" in refused.json()["message"]) == (400, True)
    shown = web.api("POST", f"/runs/{run.id}/resume", {"word": "done"})
    assert shown["jobs"][0]["waits"][0]["answer"] == "done"


def test_of_several_steps_that_wait_a_person_says_which(web: Web) -> None:
    run = a_run(web)
    lease = take(web, run)
    asked = [(Wait(key, Awaited.APPROVAL, NOON), None) for key in ("1", "eu#1")]
    lost = (Wait("2!1", Awaited.RESUMPTION, NOON), None)
    web.site.store.update(
        run.id, lambda run, now: run.with_job(begin_waits(run.jobs[0], lease, now, [*asked, lost]))
    )

    refused = web.call("POST", f"{PREFIX}/runs/{run.id}/approve")
    unknown = web.call("POST", f"{PREFIX}/runs/{run.id}/approve", json={"step": "us"})
    web.api("POST", f"/runs/{run.id}/approve", {"step": "eu#1"})
    web.api("POST", f"/runs/{run.id}/resume", {"step": "2", "word": "done"})
    shown = web.api("POST", f"/runs/{run.id}/reject", {"step": "Run true"})

    said = "several steps of job build wait for approval; name one of 1, eu"
    assert (refused.status_code, refused.json()["message"]) == (409, said)
    assert (unknown.status_code, unknown.json()["message"]) == (404, "run 1 has no step 'us'")
    assert [wait["answer"] for wait in shown["jobs"][0]["waits"]] == ["rejected", "approved", "done"]


def test_what_cannot_go_on_is_refused_with_the_reason(web: Web) -> None:
    web.add()
    run = a_run(web)

    def refused(content: object) -> tuple[int, str]:
        answer = web.call("POST", f"{PREFIX}/runs/{run.id}/resume", json=content)
        return answer.status_code, answer.json()["message"]

    assert refused({})[0] == 409
    finish(web, run, take(web, run))
    assert refused({}) == (409, "no job of run 1 has failed; rerun all of it, or one job")
    assert refused({"job": "build"})[1].startswith("none of these jobs of run 1 has failed")
    assert refused({"word": "done"}) == (409, "run 1 has ended: no step of it waits for what becomes of it")
    assert refused({"job": "lint"})[0] == 404


def test_deliveries_are_listed_from_one_of_them_on(web: Web) -> None:
    older, newer = (web.site.store.receive(an_event(), guid, guid)[0].id for guid in "12")

    assert [one["id"] for one in web.api("GET", f"/deliveries?before={max(older, newer)}")] == [
        min(older, newer)
    ]
    for before in ("zz", "", older.upper(), f"{older}0"):
        answer = web.call("GET", f"{PREFIX}/deliveries?before={before}")
        assert answer.status_code == 400, before
        assert "is no id of a delivery" in answer.json()["message"]


def test_a_delivery_that_failed_is_replayed(web: Web) -> None:
    delivery, _ = web.site.store.receive(an_event(), "1", "1")
    web.site.store.settle(delivery.id, Verdict("failed", "no such commit"))

    again = web.api("POST", f"/deliveries/{delivery.id}/replay")

    assert (again["status"], again["reason"]) == ("received", "")
    assert web.dispatcher.rung.wait(PATIENCE)
    assert web.dispatcher.admitted == [delivery.id]


def test_a_delivery_that_started_runs_is_not_replayed(web: Web) -> None:
    run = a_run(web)

    answer = web.call("POST", f"{PREFIX}/deliveries/{run.delivery}/replay")

    assert answer.status_code == 409
    assert f"started run {run.id}" in answer.json()["message"]


def test_readiness_names_what_is_missing(web: Web) -> None:
    assert web.call("GET", "/readyz", headers={}).json() == {"status": "ready"}
    web.dispatcher.away = True

    answer = web.call("GET", "/readyz", headers={})

    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["the broker does not answer: it is away"]
    assert web.call("GET", "/healthz", headers={}).status_code == 200
    assert web.call("GET", "/version", headers={}).json() == {"version": "0.1.0"}


def test_the_document_describes_every_answer(web: Web) -> None:
    document = web.call("GET", f"{PREFIX}/openapi.json", headers={}).json()

    shown = document["paths"]["/runs/{run_id}"]["get"]["responses"]["200"]["content"]["application/json"]
    assert shown["schema"]["$ref"].endswith("RunView")
    assert "/api/v1/runs" in web.call("GET", "/docs", headers={}).text
    assert "http" not in web.call("GET", "/docs", headers={}).text


def test_several_that_ask_for_the_api_first_at_once_get_the_same(web: Web) -> None:
    begin = Barrier(3)

    def ask(_: int) -> object:
        begin.wait()
        return web.app.api

    with ThreadPoolExecutor(3) as threads:
        assert len(set(map(id, threads.map(ask, range(3))))) == 1


def test_a_body_for_the_api_is_bounded(web: Web) -> None:
    answer = web.call("POST", f"{PREFIX}/repos", {"name": "x" * 300_000, "url": "x"})

    assert answer.status_code == 413


def test_finished_steps_of_an_attempt_are_shown_with_it(web: Web) -> None:
    run = a_run(web)
    lease = take(web, run)
    web.site.store.record(lease, a_checkpoint(lease, finished=NOON + timedelta(seconds=2)))
    finish(web, run, lease)

    step = web.api("GET", f"/runs/{run.id}")["jobs"][0]["steps"][0]

    assert (step["status"], step["exit_code"], step["attempt"]) == ("success", 0, 1)
    assert isinstance(run.jobs[0].phase, Queued)


def test_what_steps_say_about_files_is_told_by_run_by_job_and_by_level(web: Web) -> None:
    run = a_run(web, "build", "test")
    for at, level in enumerate(("error", "notice")):
        lease = take(web, run, at)
        said = (Annotation(level, "it broke", "T", "src/a.c", 3, 4, 5, 6),)
        outcome = Outcome(Result.SUCCESS, Result.SUCCESS, 0, annotations=said)
        web.site.store.record(lease, a_checkpoint(lease, outcome=outcome))

    first, second = web.api("GET", f"/runs/{run.id}/annotations")

    assert first == {
        "level": "error",
        "message": "it broke",
        "title": "T",
        "file": "src/a.c",
        "line": 3,
        "end_line": 4,
        "col": 5,
        "end_col": 6,
        "job": run.jobs[0].id,
        "step": "1",
    }
    assert web.api("GET", f"/runs/{run.id}")["jobs"][0]["steps"][0]["annotations"] == [first]
    assert web.api("GET", f"/runs/{run.id}/annotations?job=test") == [second]
    assert web.api("GET", f"/runs/{run.id}/annotations?level=error") == [first]
    assert web.call("GET", f"{PREFIX}/runs/{run.id}/annotations?level=x").status_code == 400
    assert web.call("GET", f"{PREFIX}/runs/{run.id}/annotations?job=x").status_code == 404
