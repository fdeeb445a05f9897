from xml.etree import ElementTree

import pytest

from runner.model.step import Result
from runner.web.badge_shapes import text_width
from tests.builders import a_new_run
from tests.web.conftest import Web
from tests.web.test_api import a_run, finish, take

SVG = "{http://www.w3.org/2000/svg}"


def passed(web: Web, result: Result = Result.SUCCESS, guid: str = "1", name: str = "ci") -> None:
    new = a_new_run()
    run = a_run(web, guid=guid, new=type(new)(new.workflow, name, new.jobs))
    finish(web, run, take(web, run), result)


def badge(web: Web, path: str = "/badges/octo/hello.svg", **headers: str) -> bytes:
    answer = web.call("GET", path, headers=headers)
    assert answer.status_code == 200
    return answer.content


def test_a_badge_says_how_the_newest_finished_run_ended(web: Web) -> None:
    web.add()
    passed(web, Result.FAILURE, "1")
    assert b"<title>ci: failing</title>" in badge(web)
    passed(web, Result.SUCCESS, "2")
    a_run(web, guid="3")

    picture = badge(web)

    assert b'aria-label="ci: passing"' in picture
    assert picture == badge(web, "/octo/hello/actions/workflows/ci.yml/badge.svg")
    assert ElementTree.fromstring(picture).tag == f"{SVG}svg"


def test_an_unknown_repository_and_one_without_runs_look_the_same(web: Web) -> None:
    web.add()

    for end in (".svg", ".json", ".svg?style=for-the-badge", ".svg?branch=x&event=push"):
        known, unknown = (
            web.call("GET", f"/badges/octo/{name}{end}", headers={}) for name in ("hello", "secret")
        )
        assert known.status_code == unknown.status_code == 200
        assert known.content == unknown.content
        assert known.headers.items() == unknown.headers.items()
        assert b"no runs" in known.content.lower()


def test_a_badge_may_name_branch_and_workflow(web: Web) -> None:
    web.add()
    passed(web)

    assert b"passing" in badge(web, "/badges/octo/hello.svg?branch=main&event=push")
    assert b"no runs" in badge(web, "/badges/octo/hello.svg?branch=other")
    assert b"no runs" in badge(web, "/octo/hello/actions/workflows/other.yml/badge.svg")


def test_an_unchanged_badge_is_not_sent_again(web: Web) -> None:
    first = web.call("GET", "/badges/octo/hello.svg", headers={})
    tag = first.headers["etag"]

    for said in (tag, f"W/{tag}", f'"other", {tag}'):
        again = web.call("GET", "/badges/octo/hello.svg", headers={"if-none-match": said})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)

    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["content-type"] == "image/svg+xml"


def test_shields_io_can_draw_it_too(web: Web) -> None:
    web.add()
    passed(web, Result.TIMED_OUT)

    assert web.call("GET", "/badges/octo/hello.json", headers={}).json() == {
        "schemaVersion": 1,
        "label": "ci",
        "message": "timed out",
        "color": "red",
        "isError": True,
    }


@pytest.mark.parametrize("style", ["flat", "flat-square", "for-the-badge", "unknown"])
def test_a_hostile_name_stays_text_in_every_style(web: Web, style: str) -> None:
    web.add()
    passed(web, name='<script>alert("x")</script>&\x1b[31m\u202e')

    drawn = ElementTree.fromstring(badge(web, f"/badges/octo/hello.svg?style={style}"))

    assert [element.tag for element in drawn.iter() if "script" in element.tag] == []
    assert (drawn.findtext(f"{SVG}title") or "").lower().startswith('<script>alert("x")</script>&<u+202e>')


def test_text_is_as_wide_as_verdana_draws_it() -> None:
    assert text_width("passing") == pytest.approx(41.8, abs=0.5)
    assert text_width("build") == pytest.approx(26.7, abs=0.5)
