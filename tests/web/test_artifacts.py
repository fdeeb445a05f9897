"""Artifacts over the API and on the pages."""

from io import BytesIO
from typing import BinaryIO
from zipfile import ZipFile

import pytest

from runner.engine.ports import Verdict
from runner.model.access import Role
from runner.model.artifact import Artifact, Maker, NewArtifact
from runner.model.leasing import claim
from runner.model.run import Run
from tests.builders import LENGTH, a_new_run, a_route, an_event
from tests.web.conftest import Web

HTML = b"<script>alert(1)</script>"


def a_run(web: Web, repo: str = "octo/hello") -> Run:
    store = web.site.store
    delivery, _ = store.receive(an_event(repo=repo), f"g-{repo}", f"d-{repo}")
    (run,) = store.settle(
        delivery.id, Verdict("admitted", route=a_route(repo=repo), runs=(a_new_run("build"),))
    )
    return store.update(
        run.id, lambda run, now: run.with_job(claim(run.jobs[0], "worker-1", now, LENGTH))
    ).after


def kept(web: Web, run: Run, name: str = "built", trusted: bool = True) -> Artifact:
    def write(file: BinaryIO) -> None:
        with ZipFile(file, "w") as archive:
            archive.writestr("index.html", HTML)

    blob = web.site.objects.put(f"artifacts/{run.id}", write)
    maker = Maker(run.route, run.id, run.attempt, run.jobs[0].id, 1, 0, "1", trusted)
    return web.site.artifacts.add(NewArtifact(maker, name, blob, 1))[0]


def test_artifacts_are_listed_and_shown(web: Web) -> None:
    web.add()
    run = a_run(web)
    first, second = kept(web, run), kept(web, run, "logs")

    listed = web.api("GET", "/repos/octo/hello/actions/artifacts")

    assert listed["total_count"] == 2
    assert [one["id"] for one in listed["artifacts"]] == [second.id, first.id]
    shown = web.api("GET", f"/repos/octo/hello/actions/artifacts/{first.id}")
    assert shown == listed["artifacts"][1]
    assert (shown["name"], shown["size_in_bytes"], shown["files"]) == ("built", first.blob.size, 1)
    assert (shown["digest"], shown["run"]) == (f"sha256:{first.blob.digest}", run.id)
    for path in (f"/runs/{run.id}/artifacts", f"/repos/octo/hello/actions/runs/{run.id}/artifacts"):
        assert web.api("GET", path) == listed
        assert [one["id"] for one in web.api("GET", f"{path}?name=logs")["artifacts"]] == [second.id]


@pytest.mark.parametrize(
    "path", ["/repos/octo/hello/actions/artifacts/{id}/zip", "/runs/{run}/artifacts/{id}/zip"]
)
def test_an_artifact_is_handed_out_as_a_file_to_be_saved(web: Web, path: str) -> None:
    web.add()
    run = a_run(web)
    made = kept(web, run, "bäuilt")

    answer = web.call("GET", "/api/v1" + path.format(id=made.id, run=run.id))

    with ZipFile(BytesIO(answer.content)) as archive:
        assert archive.read("index.html") == HTML
    said = answer.headers
    assert said["content-type"] == "application/zip"
    assert said["content-length"] == str(made.blob.size)
    assert said["content-disposition"] == (
        f"attachment; filename=\"artifact-{made.id}.zip\"; filename*=UTF-8''b%C3%A4uilt.zip"
    )
    assert said["content-security-policy"] == "sandbox; default-src 'none'"
    assert said["x-content-type-options"] == "nosniff"
    assert said["cache-control"] == "no-store"


def test_one_that_is_deleted_is_gone_with_its_object_and_written_down(web: Web) -> None:
    web.add()
    made = kept(web, a_run(web))
    path = f"/api/v1/repos/octo/hello/actions/artifacts/{made.id}"

    assert web.call("DELETE", path).status_code == 204

    assert web.call("DELETE", path).status_code == 404
    assert list(web.site.objects.kept("artifacts")) == []
    (act,) = web.api("GET", "/audit")
    assert (act["act"], act["repo"]) == ("remove-artifact", "octo/hello")
    assert act["details"]["name"] == "built"


def test_whoever_does_not_see_a_repository_sees_none_of_its_artifacts(web: Web) -> None:
    web.add()
    web.add("octo/other")
    theirs, mine = a_run(web, "octo/other"), a_run(web)
    made, own = kept(web, theirs), kept(web, mine)
    token = web.api(
        "POST", "/tokens", {"name": "ada", "role": Role.MAINTAINER, "repositories": ["octo/hello"]}
    )
    headers = {"authorization": f"Bearer {token['token']}"}

    paths = (
        f"/repos/octo/other/actions/artifacts/{made.id}/zip",
        "/repos/octo/other/actions/artifacts",
        f"/repos/octo/other/actions/runs/{theirs.id}/artifacts",
        f"/repos/octo/hello/actions/artifacts/{made.id}",
        f"/repos/octo/hello/actions/artifacts/{made.id}/zip",
        f"/repos/octo/hello/actions/runs/{theirs.id}/artifacts",
        f"/repos/octo/other/actions/runs/{mine.id}/artifacts",
        f"/runs/{theirs.id}/artifacts",
        f"/runs/{theirs.id}/artifacts/{made.id}/zip",
        f"/runs/{mine.id}/artifacts/{made.id}/zip",
        f"/runs/{mine.id}/artifacts/{own.id + 100}/zip",
    )
    for path in paths:
        assert web.call("GET", f"/api/v1{path}", headers=headers).status_code == 404, path
    deleted = web.call("DELETE", f"/api/v1/repos/octo/hello/actions/artifacts/{made.id}", headers=headers)
    assert deleted.status_code == 404
    seen = web.call("GET", f"/api/v1/runs/{mine.id}/artifacts/{own.id}/zip", headers=headers)
    assert seen.status_code == 200


def test_one_whose_object_is_damaged_or_gone_is_answered_so(web: Web) -> None:
    web.add()
    run = a_run(web)
    made = kept(web, run)
    stored = web.site.settings.home / "objects" / made.blob.key
    path = f"/api/v1/runs/{run.id}/artifacts/{made.id}/zip"

    stored.write_bytes(stored.read_bytes()[:-1])
    damaged = web.call("GET", path)
    stored.unlink()
    gone = web.call("GET", path)

    assert (damaged.status_code, "is damaged" in damaged.json()["message"]) == (503, True)
    assert gone.status_code == 404


def test_no_repository_can_be_named_like_an_address_of_artifacts(web: Web) -> None:
    answer = web.call(
        "POST", "/api/v1/repos", {"name": "octo/actions/artifacts", "url": "https://example.org/a"}
    )

    assert (answer.status_code, "has a meaning in the API" in answer.text) == (400, True)


def test_the_page_of_a_run_lists_its_artifacts(web: Web) -> None:
    web.add()
    run = a_run(web)
    made = kept(web, run, "built & told", trusted=False)
    session = web.site.guard.begin_session(web.token)

    page = web.call("GET", f"/runs/{run.id}", headers={"cookie": f"runner_session={session}"})

    assert page.status_code == 200
    assert f'href="/api/v1/runs/{run.id}/artifacts/{made.id}/zip"' in page.text
    assert "made by the code of a fork" in page.text
    assert f"{made.blob.size} B" in page.text


def test_a_repository_says_for_how_long_it_keeps_artifacts(web: Web) -> None:
    web.api("POST", "/repos", {"name": "octo/hello", "url": "https://example.org/a"})

    changed = web.api("PATCH", "/repos/octo/hello", {"limits": {"keep_artifacts": "7d"}})

    assert changed["limits"]["keep_artifacts"] == 7 * 86400
    made = kept(web, a_run(web))
    assert made.expires_at is not None
    assert (made.expires_at - made.created_at).days == 7
