"""Tokens with roles: who may do what, who sees what, and what is written down of it."""

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from runner.engine.ports import Verdict
from runner.model.access import Role, Scope, Token
from runner.model.audit import Act
from runner.model.leasing import suspend
from runner.model.run import Run
from runner.model.waits import Awaited, Wait
from runner.web.access import NEEDS
from runner.web.api import PREFIX
from runner.web.auth import digest_of
from tests.builders import COMMIT, NOON, a_new_run, a_route, an_event
from tests.web.conftest import Web
from tests.web.test_api import take
from tests.web.test_pages import sign_in

HERE, OTHER = ("git", "octo/hello"), ("git", "octo/other")
ALL_ROUTES = sorted(NEEDS)


def a_token(web: Web, role: Role, scope: Scope = None, name: str = "anna", **given: Any) -> dict[str, str]:
    """What a request with a new token sends."""
    said = f"{name} of {role} with {given}"
    web.site.tokens.add(Token(name, role, scope, digest_of(said), **given), Act("admin", "create-token"))
    return {"authorization": f"Bearer {said}"}


def a_run(web: Web, repo: str = "octo/hello", actor: str = "octo", guid: str = "guid") -> Run:
    delivery, _ = web.site.store.receive(an_event(repo=repo, actor=actor), guid, guid)
    route = a_route(COMMIT, repo=repo)
    return web.site.store.settle(delivery.id, Verdict("admitted", route=route, runs=(a_new_run(),)))[0]


def ask(web: Web, who: dict[str, str], method: str, path: str, content: Any = None) -> httpx2.Response:
    return web.call(method, f"{PREFIX}{path}", content, headers=who)


def filled(path: str, run: int, delivery: str, repo: str) -> str:
    given = {"run_id": str(run), "delivery_id": delivery, "name:path": repo}
    return re.sub(r"\{([^}]+)\}", lambda found: given.get(found[1], "CI"), path)


def api_routes(router: Any) -> Iterator[tuple[str, str]]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield from ((method, route.path) for method in route.methods or ())
        else:
            # What the router of one subject has become.
            (within,) = (one for one in vars(route).values() if isinstance(one, APIRouter))
            yield from api_routes(within)


def test_every_route_of_the_api_says_which_role_it_needs(web: Web) -> None:
    found = sorted(api_routes(web.app.api))

    assert found == ALL_ROUTES
    documented = web.app.api.openapi()["paths"]
    assert len(found) == sum(len(methods) for methods in documented.values())


def test_a_route_that_says_nothing_is_open_to_nobody(web: Web) -> None:
    web.app.api.get("/forgotten")(lambda: "something")

    answer = ask(web, web.admin, "GET", "/forgotten")

    assert answer.status_code == 403
    assert "open to nobody" in answer.json()["message"]


@pytest.mark.parametrize("role", list(Role))
def test_each_role_gets_past_the_door_of_what_is_its_own_and_nothing_else(web: Web, role: Role) -> None:
    web.add()
    run, who = a_run(web, actor="anna"), a_token(web, role)
    for method, path in ALL_ROUTES:
        need = NEEDS[method, path]
        answer = ask(web, who, method, filled(path, run.id, run.delivery, "octo/hello"))
        allowed = role.covers(need.own or need.role)
        assert (answer.status_code != 403) == allowed, (method, path, answer.text)
        if not allowed:
            assert f"a {role}'s, and this needs a" in answer.json()["message"]
        if method == "DELETE" and path == "/repos/{name:path}" and allowed:
            web.add()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.WRITER, Role.MAINTAINER])
def test_what_is_of_another_repository_is_answered_as_what_is_not_there(web: Web, role: Role) -> None:
    for _, name in (HERE, OTHER):
        web.add(name)
    run, who = a_run(web, "octo/other", actor="anna"), a_token(web, role, frozenset({HERE}))
    theirs = (run.id, run.delivery, "octo/other")
    nobodys = (run.id + 1, run.delivery.replace("-7", "-8"), "octo/nobody")
    about_one = [one for one in ALL_ROUTES if "{" in one[1] and "tokens" not in one[1]]
    for method, path in about_one:
        there, missing = (ask(web, who, method, filled(path, *one)) for one in (theirs, nobodys))
        assert there.status_code == missing.status_code in (403, 404), (method, path, there.text)
        said = there.text.replace("octo/other", "octo/nobody").replace(theirs[1], nobodys[1])
        assert said.replace(f"no run {run.id};", f"no run {run.id + 1};") == missing.text
    answer = web.call("GET", f"{PREFIX}/runs/{run.id}/stream", headers=who)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


@pytest.mark.parametrize("written", ["{}.0", "%20{}", "+{}", "0{}", "{}_", "%D9%A1"])
def test_another_way_to_write_an_id_shows_no_more(web: Web, written: str) -> None:
    web.add("octo/other")
    run, who = a_run(web, "octo/other"), a_token(web, Role.VIEWER, frozenset({HERE}))

    answer = ask(web, who, "GET", f"/runs/{written.format(run.id)}")

    assert answer.status_code in (400, 404)


def test_lists_hold_only_what_a_token_is_for(web: Web) -> None:
    for at, (_, name) in enumerate((HERE, OTHER)):
        web.add(name)
        a_run(web, name, guid=str(at))
    who = a_token(web, Role.MAINTAINER, frozenset({OTHER}))
    ask(web, web.admin, "POST", "/runs/1/cancel")
    ask(web, web.admin, "POST", "/runs/2/cancel")

    for path in ("/runs", "/deliveries", "/audit"):
        assert {one["repo"] for one in ask(web, who, "GET", path).json()} == {"octo/other"}
        assert len(ask(web, web.admin, "GET", path).json()) >= 2
    assert [one["name"] for one in ask(web, who, "GET", "/repos").json()] == ["octo/other"]


def test_of_two_repositories_of_one_name_a_token_is_told_of_its_own_only(web: Web) -> None:
    web.add("octo/hello")
    web.add("octo/hello", forge="github")
    who = a_token(web, Role.VIEWER, frozenset({HERE}))

    assert ask(web, who, "GET", "/repos/git:octo/hello").status_code == 200
    assert ask(web, who, "GET", "/repos/octo/hello").status_code == 404
    assert ask(web, who, "GET", "/repos/github:octo/hello").status_code == 404


def test_a_writer_cancels_what_it_started_and_nothing_else(web: Web) -> None:
    web.add()
    mine, theirs = a_run(web, actor="anna", guid="1"), a_run(web, actor="bert", guid="2")
    who = a_token(web, Role.WRITER)

    refused = ask(web, who, "POST", f"/runs/{theirs.id}/cancel")
    done = ask(web, who, "POST", f"/runs/{mine.id}/cancel")

    assert (refused.status_code, done.status_code) == (403, 200)
    assert "this one was started by bert, and needs a maintainer's" in refused.json()["message"]


def test_what_a_person_started_at_the_forge_is_their_tokens_own(web: Web) -> None:
    web.add()
    run = a_run(web, actor="Anna")
    made = web.api("POST", "/tokens", {"name": "phone", "role": "writer", "person": "anna"})
    phone, other = {"authorization": f"Bearer {made['token']}"}, a_token(web, Role.WRITER, name="bert")

    assert ask(web, other, "POST", f"/runs/{run.id}/cancel").status_code == 403
    assert ask(web, phone, "POST", f"/runs/{run.id}/cancel").status_code == 200

    assert (made["person"], web.api("GET", "/tokens")[1]["person"]) == ("anna", "anna")
    refused = web.call("POST", f"{PREFIX}/tokens", {"name": "x", "role": "viewer", "person": " "})
    assert (refused.status_code, "' ' is nobody's login" in refused.text) == (400, True)


def test_what_a_token_starts_is_started_by_its_name(web: Web) -> None:
    web.add()
    who = a_token(web, Role.WRITER)

    push = ask(web, who, "POST", "/repos/octo/hello/trigger", {}).json()["delivery"]
    ci = "/repos/octo/hello/actions/workflows/ci.yml/dispatches?wait=0"
    by_hand = ask(web, who, "POST", ci, {}).json()["delivery"]

    for delivery in (push, by_hand):
        event = web.site.store.event(delivery)
        assert event.actor == "anna"
        assert event.payload.get("pusher", {"name": "anna"}) == {"name": "anna"}
    acts = web.api("GET", "/audit?actor=anna")
    assert [(one["act"], one["details"]["delivery"]) for one in acts] == [
        ("trigger", by_hand),
        ("trigger", push),
    ]


def test_a_new_token_is_shown_once_and_only_its_digest_is_kept(web: Web) -> None:
    web.add()
    wanted = {"name": "ci", "role": "writer", "repositories": ["octo/hello"], "expires_in": 3600}

    made = web.api("POST", "/tokens", wanted)
    (listed,) = web.api("GET", "/tokens")

    assert len(made["token"]) >= 43
    assert "token" not in listed
    assert (listed["name"], listed["role"], listed["repositories"]) == ("ci", "writer", ["git:octo/hello"])
    assert (listed["created_by"], listed["last_used_at"]) == ("admin", None)
    with sqlite3.connect(web.site.settings.home / "runner.db") as database:
        dump = "\n".join(database.iterdump())
    assert made["token"] not in dump
    assert hashlib.sha256(made["token"].encode()).hexdigest() in dump
    who = {"authorization": f"Bearer {made['token']}"}
    assert ask(web, who, "GET", "/repos/octo/hello").status_code == 200
    assert web.api("GET", "/tokens")[0]["last_used_at"] is not None


def test_a_revoked_or_expired_token_opens_nothing_and_a_wrong_one_neither(web: Web) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired = a_token(web, Role.ADMIN, name="old", expires_at=past)
    revoked = a_token(web, Role.ADMIN)
    assert ask(web, revoked, "GET", "/runs").status_code == 200
    web.call("DELETE", f"{PREFIX}/tokens/anna")

    for who in (expired, revoked, {"authorization": "Bearer wrong"}, {}):
        assert ask(web, who, "GET", "/runs").status_code == 401
    assert web.call("DELETE", f"{PREFIX}/tokens/anna").status_code == 404


@pytest.mark.parametrize(
    ("given", "status", "says"),
    [
        ({"name": "admin", "role": "viewer"}, 400, "the server itself acts under that name"),
        ({"name": "Admin", "role": "viewer"}, 400, "the server itself acts under that name"),
        ({"name": "a b", "role": "viewer"}, 400, "cannot name a token"),
        ({"name": "a", "role": "owner"}, 400, "there are viewer, writer, maintainer, admin"),
        ({"name": "a", "role": "admin", "repositories": ["octo/hello"]}, 400, "make it a maintainer"),
        ({"name": "a", "role": "viewer", "repositories": ["octo/gone"]}, 404, "no repository octo/gone"),
        ({"name": "a", "role": "viewer", "repositories": []}, 400, "repositories"),
        ({"name": "a", "role": "viewer", "expires_in": 0}, 400, "expires_in"),
        ({"name": "anna", "role": "viewer"}, 409, "there is a token anna already"),
    ],
)
def test_a_token_that_cannot_be_is_refused_by_name(
    web: Web, given: dict[str, Any], status: int, says: str
) -> None:
    web.add()
    a_token(web, Role.VIEWER)

    answer = web.call("POST", f"{PREFIX}/tokens", given)

    assert (answer.status_code, says in answer.json()["message"]) == (status, True), answer.text


def test_a_session_sees_what_its_token_does_and_ends_with_it(web: Web) -> None:
    for at, (_, name) in enumerate((HERE, OTHER)):
        web.add(name)
        a_run(web, name, guid=str(at))
    token = a_token(web, Role.MAINTAINER, frozenset({HERE}))["authorization"].removeprefix("Bearer ")
    session = {"cookie": sign_in(web, token).headers["set-cookie"].partition(";")[0]}

    page = web.call("GET", "/", headers=session)
    assert "octo/hello" in page.text
    assert "octo/other" not in page.text
    assert web.call("GET", "/runs/1", headers=session).status_code == 200
    assert web.call("GET", "/runs/2", headers=session).status_code == 404
    assert ask(web, session, "POST", "/runs/1/cancel").status_code == 401
    web.call("DELETE", f"{PREFIX}/tokens/anna")
    assert web.call("GET", "/", headers=session).status_code == 303
    a_token(web, Role.ADMIN, name="anna", expires_at=datetime.now(UTC) + timedelta(days=1))
    assert web.call("GET", "/", headers=session).status_code == 303


def test_every_act_is_written_down_with_who_started_the_run_and_its_commit(web: Web) -> None:
    web.add()
    run = a_run(web)
    who = a_token(web, Role.MAINTAINER)
    for _ in range(2):
        ask(web, who, "POST", f"/runs/{run.id}/cancel")
    ask(web, who, "POST", f"/runs/{run.id}/rerun", {"job": "build"})
    ask(web, who, "POST", f"/runs/{run.id}/force-cancel")

    acts = web.api("GET", f"/audit?run={run.id}")[::-1]

    assert [one["act"] for one in acts] == ["cancel", "cancel", "rerun", "force-cancel"]
    assert [one["details"]["changed"] for one in acts] == [True, False, True, True]
    assert {(one["actor"], one["repo"], one["run"]) for one in acts} == {("anna", "octo/hello", run.id)}
    assert {(one["details"]["started_by"], one["details"]["commit"]) for one in acts} == {("octo", COMMIT)}
    assert acts[2]["details"]["job"] == "build"


def test_an_act_that_was_refused_did_not_happen(web: Web) -> None:
    web.add()
    run = a_run(web)

    assert web.call("POST", f"{PREFIX}/runs/{run.id}/rerun").status_code == 409
    assert web.api("GET", f"/audit?run={run.id}") == []


def test_acts_on_repositories_and_tokens_are_written_down_without_any_secret(web: Web) -> None:
    url = "https://me:hunter2@git.example/app.git"
    made = web.api("POST", "/repos", {"name": "octo/app", "url": url, "secret": "hunter2 hunter2"})
    at = f"{PREFIX}/repos/octo/app"
    for kind in ("secret", "variable"):
        for _ in range(2):
            web.call("PUT", f"{at}/actions/{kind}s/a_key", {"value": "hunter2"})
        web.call("DELETE", f"{at}/actions/{kind}s/A_KEY")
    web.call("GET", f"{at}/hook")
    token = web.api("POST", "/tokens", {"name": "ci", "role": "viewer"})["token"]
    web.call("DELETE", f"{PREFIX}/tokens/ci")
    web.call("DELETE", at)

    acts = web.api("GET", "/audit")[::-1]

    assert [one["act"] for one in acts] == [
        "add-repository",
        *("set-secret", "set-secret", "remove-secret"),
        *("set-variable", "set-variable", "remove-variable"),
        "print-hook",
        *("create-token", "revoke-token"),
        "remove-repository",
    ]
    assert [one["details"].get("secret") for one in acts[1:4]] == ["A_KEY"] * 3
    assert [one["details"].get("new") for one in acts[1:3]] == [True, False]
    for secret in ("hunter2", token, made["secret"]):
        assert secret not in str(acts)


def test_what_is_judged_again_or_approved_is_written_down(web: Web) -> None:
    web.add()
    delivery, _ = web.site.store.receive(an_event(commit=COMMIT), "1", "1")
    web.site.store.settle(delivery.id, Verdict("failed", "the repository does not answer"))

    web.api("POST", f"/deliveries/{delivery.id}/replay")
    web.api("POST", f"/deliveries/{delivery.id}/replay")

    (second, first) = web.api("GET", "/audit")
    assert (first["act"], first["details"]["delivery"]) == ("replay", delivery.id)
    assert (first["details"]["changed"], second["details"]["changed"]) == (True, False)


def test_a_signal_and_its_copy_are_written_down_with_who_sent_them(web: Web) -> None:
    web.add()
    run, who = a_run(web), a_token(web, Role.WRITER)

    for _ in range(2):
        ask(web, who, "POST", f"/runs/{run.id}/signal", {"name": "go", "key": "k", "payload": "hunter2"})

    acts = web.api("GET", f"/audit?run={run.id}")
    assert [(one["actor"], one["act"], one["details"]["changed"]) for one in acts] == [
        ("anna", "signal", False),
        ("anna", "signal", True),
    ]
    assert "hunter2" not in str(acts)


def test_an_approval_is_given_by_those_who_are_asked_or_an_admin(web: Web) -> None:
    web.add()
    run = a_run(web)
    lease = take(web, run)
    wait = Wait("1", Awaited.APPROVAL, NOON, approvers=("bert",))
    web.site.store.update(run.id, lambda run, now: run.with_job(suspend(run.jobs[0], lease, now, wait)))
    anna, bert = a_token(web, Role.MAINTAINER), a_token(web, Role.MAINTAINER, name="bert")

    for verb in ("approve", "reject", "resume"):
        early = ask(web, bert, "POST", f"/runs/{run.id}/{verb}", {"attempt": 2})
        assert (early.status_code, f"run {run.id} has no attempt 2" in early.text) == (409, True)
    refused = ask(web, anna, "POST", f"/runs/{run.id}/approve")
    given = ask(web, bert, "POST", f"/runs/{run.id}/approve", {"comment": "ship it", "attempt": 1})

    assert (refused.status_code, given.status_code) == (403, 200)
    assert "anna is not among those who may approve" in refused.json()["message"]
    act, tried = web.api("GET", f"/audit?run={run.id}")
    assert (act["actor"], act["act"], act["details"]["comment"]) == ("bert", "approve", "ship it")
    assert (tried["actor"], tried["act"], tried["repo"]) == ("anna", "approve", "octo/hello")
    assert tried["details"]["refused"] == refused.json()["message"]
    assert tried["details"]["changed"] is False
    for comment in ("x" * 1001, "a\0b"):
        wrong = ask(web, bert, "POST", f"/runs/{run.id}/approve", {"comment": comment})
        assert wrong.status_code == 400
