from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial

import httpx2
import pytest
from markupsafe import escape

from runner.engine.advance import tell
from runner.engine.beginnings import begins
from runner.engine.ports import NewRun
from runner.model.environment import Deployment, Environment, gates
from runner.model.leasing import conclude
from runner.model.run import UNSAVED, Job, StepName, Waiting
from runner.model.step import Annotation, Outcome, Result, named_key
from runner.model.turns import Turn
from tests.builders import NOON, a_checkpoint, a_job, a_new_run
from tests.web.conftest import Web
from tests.web.test_api import a_run, take

HOSTILE = '<img src=x onerror="alert(1)">\u202e\x1b]52;c;aGk=\x07'


@pytest.fixture
def cookie(web: Web) -> dict[str, str]:
    """What a browser sends after signing in."""
    answer = sign_in(web, web.token)
    assert answer.status_code == 303
    return {"cookie": answer.headers["set-cookie"].partition(";")[0]}


def sign_in(web: Web, token: str, to: str = "/", **headers: str) -> httpx2.Response:
    origin = {"origin": web.url} | headers
    return web.call("POST", "/login", headers=origin, params={}, data={"token": token, "to": to})


def test_signing_in_gives_a_session_that_scripts_and_other_sites_cannot_use(web: Web) -> None:
    set_cookie = sign_in(web, web.token).headers["set-cookie"]

    assert "HttpOnly" in set_cookie
    assert "SameSite=strict" in set_cookie
    assert web.token not in set_cookie


def test_a_wrong_token_and_a_form_of_another_site_do_not_sign_in(web: Web) -> None:
    assert sign_in(web, "wrong").status_code == 401
    assert sign_in(web, web.token, origin="https://evil.example").status_code == 403
    assert web.call("POST", "/login", headers={}, data={"token": web.token}).status_code == 403
    assert web.call("POST", "/logout", headers={"origin": "null"}).status_code == 403


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example"]
)
def test_signing_in_never_leads_to_another_site(web: Web, to: str) -> None:
    assert sign_in(web, web.token, to=to).headers["location"] == "/"


def test_a_forged_or_old_session_is_none(web: Web, cookie: dict[str, str]) -> None:
    until, name, signature = cookie["cookie"].removeprefix("runner_session=").split(".")

    for forged in (
        f"{int(until) + 1}.{name}.{signature}",
        f"{until}.{name}.{signature[:-1]}",
        f"{until}.nobody.{signature}",
        f"{until}.{signature}",
        f"{until}.",
        "x.y",
        "x.admin.y",
        "",
    ):
        answer = web.call("GET", "/", headers={"cookie": f"runner_session={forged}"})
        assert answer.status_code == 303


def test_a_session_reads_the_api_and_changes_nothing(web: Web, cookie: dict[str, str]) -> None:
    run = a_run(web)

    assert web.call("GET", f"/api/v1/runs/{run.id}", headers=cookie).status_code == 200
    assert web.call("POST", f"/api/v1/runs/{run.id}/cancel", headers=cookie).status_code == 401


def test_what_strangers_wrote_is_only_ever_text(web: Web, cookie: dict[str, str]) -> None:
    job = Job(UNSAVED, "build", HOSTILE, (), ("linux",), (StepName("1", HOSTILE),))
    path, title = f".runner/workflows/{HOSTILE}.yml", f"Title {HOSTILE}"
    run = a_run(web, new=NewRun(path, HOSTILE, (job,), title=lambda run: title))

    for path in ("/", f"/runs/{run.id}"):
        page = web.call("GET", path, headers=cookie)
        assert page.status_code == 200
        assert "<img" not in page.text
        assert "Title &lt;img src=x onerror=&#34;alert(1)&#34;&gt;&lt;U+202E&gt;" in page.text
        assert "\u202e" not in page.text
        assert "\x1b" not in page.text


def test_what_steps_say_is_listed_by_its_level_and_only_ever_text(web: Web, cookie: dict[str, str]) -> None:
    run = a_run(web)
    notice = Annotation("notice", HOSTILE, title=HOSTILE, file=HOSTILE)
    said = (notice, Annotation("error", "two\nlines", "", "src/a.c", 3, None, 7))
    outcome = Outcome(Result.SUCCESS, Result.SUCCESS, 0, annotations=said)
    assert '<section id="annotations" hidden>' in web.call("GET", f"/runs/{run.id}", headers=cookie).text
    lease = take(web, run)
    web.site.store.record(lease, a_checkpoint(lease, outcome=outcome))

    page = web.call("GET", f"/runs/{run.id}", headers=cookie).text

    assert '<section id="annotations">' in page
    assert '<span class="message">two\nlines</span> <code>src/a.c:3:7</code> <small>build / Run' in page
    assert (
        page.index('class="annotations error"') < page.index("two\nlines") < page.index("annotations notice")
    )
    assert 'errors: <span class="count">1</span>' in page
    assert page.count("&lt;img src=x onerror=&#34;alert(1)&#34;&gt;&lt;U+202E&gt;") == 3
    for dangerous in ("<img", "\u202e", "\x1b", "href=x"):
        assert dangerous not in page


def test_summaries_of_steps_are_rendered_and_can_do_nothing(web: Web, cookie: dict[str, str]) -> None:
    run = a_run(web)
    lease = take(web, run)
    text = f"# Sums\n\n|a|b|\n|-:|-|\n|1|{HOSTILE}|\n\n{HOSTILE}\n\n<script>alert(1)</script>\n"
    outcome = Outcome(Result.SUCCESS, Result.SUCCESS, 0, summary=text)
    web.site.store.record(lease, a_checkpoint(lease, outcome=outcome))

    page = web.call("GET", f"/runs/{run.id}", headers=cookie).text

    assert "<h1>Sums</h1>" in page
    assert "<th>a</th>" in page
    assert "&lt;script&gt;alert(1)" in page
    for dangerous in ("<img", "style=", "<script>", "\u202e", "\x1b"):
        assert dangerous not in page
    assert web.api("GET", f"/runs/{run.id}")["jobs"][0]["steps"][0]["summary"] == text


def test_steps_that_a_program_named_are_shown_by_their_names_with_what_they_gave(
    web: Web, cookie: dict[str, str]
) -> None:
    run = a_run(web, new=NewRun("deploy.py", "deploy", (a_job(id=UNSAVED, steps=()),)))
    lease = take(web, run)
    outcome = Outcome(
        Result.SUCCESS, Result.SUCCESS, summary="# Sums", value=f'"{HOSTILE}"', line="deploy.py:12"
    )
    hostile = named_key(HOSTILE, 1)
    web.site.store.record(lease, a_checkpoint(lease, hostile, outcome=outcome))
    begins(lease, named_key(HOSTILE, 2), NOON, web.logs)

    page = web.call("GET", f"/runs/{run.id}", headers=cookie).text

    shown = "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;&lt;U+202E&gt;"
    assert f'<td class="name">{shown}' in page
    assert f'<td class="name">{shown} (2)</td>' in page
    assert '<code class="line">deploy.py:12</code>' in page
    assert f'<code class="value">&#34;{shown}' in page
    for part in ("step", "log", "summary"):
        assert page.count(f'id="{part}-{lease.job}-{escape(hostile)}"') == 1
    for dangerous in ("<img", "\u202e", "\x1b", "\x07"):
        assert dangerous not in page
    (first, second) = web.api("GET", f"/runs/{run.id}")["jobs"][0]["steps"]
    assert (first["name"], first["value"], first["line"]) == (HOSTILE, f'"{HOSTILE}"', "deploy.py:12")
    assert (second["name"], second["status"]) == (f"{HOSTILE} (2)", "running")


def test_problems_of_a_workflow_are_listed(web: Web, cookie: dict[str, str]) -> None:
    run = a_run(web, new=NewRun("ci.yml", "ci.yml", problems=("ci.yml:1:2: <b>wrong</b>",)))

    page = web.call("GET", f"/runs/{run.id}", headers=cookie).text

    assert "ci.yml:1:2: &lt;b&gt;wrong&lt;/b&gt;" in page


def test_a_runs_page_says_which_commits_of_others_it_uses(web: Web, cookie: dict[str, str]) -> None:
    run = a_run(web, new=NewRun("ci.yml", "ci", a_new_run().jobs, pins={"o/a@<b>v1": "a" * 40}))

    page = web.call("GET", f"/runs/{run.id}", headers=cookie).text

    assert f"o/a@&lt;b&gt;v1 at <code>{'a' * 40}</code>" in page


def test_a_run_that_waits_for_its_group_says_what_has_it(web: Web, cookie: dict[str, str]) -> None:
    named = NewRun("ci.yml", "ci", (a_job(id=UNSAVED, phase=Waiting()),), turn=lambda run: Turn("<b>", "<B>"))
    first, second = (a_run(web, guid=guid, new=named) for guid in ("first", "second"))
    tell([first.id, second.id], store=web.site.store, dispatcher=web.dispatcher)

    page = web.call("GET", f"/runs/{second.id}", headers=cookie).text

    said = f'concurrency group "<b>" is held by run {first.id}'
    shown = web.api("GET", f"/runs/{second.id}")
    assert (shown["reason"], shown["jobs"][0]["reason"]) == (said, said)
    assert page.count(str(escape(said))) == 2


def test_a_job_that_waits_says_for_whom_and_then_who_has_said_what(web: Web, cookie: dict[str, str]) -> None:
    at = datetime.now(UTC)
    rules = Environment("production", ("anna",), wait_timer=30)
    job = replace(a_job(id=UNSAVED, phase=Waiting()), waits=gates(rules, at, ""))
    run = a_run(web, new=NewRun("ci.yml", "ci", (job,)))

    before = web.call("GET", f"/runs/{run.id}", headers=cookie).text
    listed = web.call("GET", "/", headers=cookie).text
    web.api("POST", f"/runs/{run.id}/approve", {"environment": "production", "comment": HOSTILE})
    after = web.call("GET", f"/runs/{run.id}", headers=cookie).text

    timer = "waits for the timer of environment production, until 20"
    assert "waits for approval by anna: environment production, until 20" in before
    assert timer in before
    assert 'title="waits for approval by anna: environment production' in listed
    assert web.api("GET", "/runs")[0]["awaits"].startswith(timer)
    assert timer in after
    assert "· approval of environment production: approved by admin: &lt;img src=x" in after
    assert "<img" not in after
    assert 'class="status waiting"' in after


def test_a_job_says_where_it_has_deployed_to_and_leads_there(web: Web, cookie: dict[str, str]) -> None:
    run = a_run(web)
    lease = take(web, run)
    place = Deployment(HOSTILE, 'https://eu.test/"><img src=x>')
    end = partial(conclude, lease=lease, result=Result.SUCCESS, deployed=place)
    web.site.store.update(run.id, lambda run, now: run.with_job(end(run.job(lease.job), at=now)))

    page = web.call("GET", f"/runs/{run.id}", headers=cookie).text

    link = "https://eu.test/&#34;&gt;&lt;img src=x&gt;"
    assert f'<a href="{link}" rel="nofollow noopener noreferrer">{link}</a> (&lt;img src=x' in page
    assert "<img" not in page
    assert web.api("GET", f"/runs/{run.id}")["jobs"][0]["environment"] == asdict(place)


def test_no_page_may_run_what_is_not_ours(web: Web, cookie: dict[str, str]) -> None:
    run = a_run(web)

    for path in ("/", f"/runs/{run.id}", "/login", "/docs", "/runs/99"):
        page = web.call("GET", path, headers=cookie)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert "<script>" not in page.text
        assert "style=" not in page.text
        assert "onclick" not in page.text


def test_a_run_that_does_not_exist_is_a_page_that_says_so(web: Web, cookie: dict[str, str]) -> None:
    page = web.call("GET", "/runs/99", headers=cookie)

    assert page.status_code == 404
    assert "no run 99" in page.text
    assert "there are queued" in web.call("GET", "/?status=broken", headers=cookie).text


def test_script_and_style_are_served(web: Web) -> None:
    assert "EventSource" in web.call("GET", "/static/run.js", headers={}).text
    assert web.call("GET", "/static/runner.css", headers={}).status_code == 200
    assert web.call("GET", "/static/../pages.py", headers={}).status_code == 404
