"""Secrets and variables over the API: what goes in, and what never comes out."""

import logging
from urllib.parse import quote

import httpx2
import pytest

from tests.web.conftest import Web

CANARY = "canary-of-the-api"
SECRETS = "/repos/octo/hello/actions/secrets"
VARIABLES = "/repos/octo/hello/actions/variables"


def test_a_secret_is_set_listed_and_removed_and_its_value_never_comes_out(web: Web) -> None:
    web.add()

    new = web.call("PUT", f"/api/v1{SECRETS}/token", {"value": CANARY})
    again = web.call("PUT", f"/api/v1{SECRETS}/TOKEN", {"value": CANARY})
    listed, shown = web.call("GET", f"/api/v1{SECRETS}"), web.call("GET", f"/api/v1{SECRETS}/Token")

    assert (new.status_code, again.status_code) == (201, 204)
    assert list(shown.json()) == ["name", "created_at", "updated_at"]
    assert listed.json() == {"total_count": 1, "secrets": [shown.json()]}
    assert shown.json()["name"] == "TOKEN"
    for answer in (new, again, listed, shown):
        assert CANARY not in answer.text
        assert answer.headers["cache-control"] == "no-store"
    found = web.site.repositories.named("octo/hello")
    assert web.site.vault.secrets(found) == {"TOKEN": CANARY}
    assert web.call("DELETE", f"/api/v1{SECRETS}/token").status_code == 204
    assert web.api("GET", SECRETS) == {"total_count": 0, "secrets": []}
    assert web.call("DELETE", f"/api/v1{SECRETS}/token").status_code == 404
    assert web.call("GET", f"/api/v1{SECRETS}/token").status_code == 404


def test_a_variable_is_set_shown_and_removed(web: Web) -> None:
    web.add()

    assert web.call("PUT", f"/api/v1{VARIABLES}/region", {"value": "north\n"}).status_code == 201
    shown = web.api("GET", f"{VARIABLES}/REGION")

    assert (shown["name"], shown["value"]) == ("REGION", "north\n")
    assert web.api("GET", VARIABLES) == {"total_count": 1, "variables": [shown]}
    assert web.call("DELETE", f"/api/v1{VARIABLES}/Region").status_code == 204
    assert web.call("GET", f"/api/v1{VARIABLES}/region").status_code == 404


def test_of_repositories_with_one_name_the_forge_says_which(web: Web) -> None:
    web.add()
    web.add(forge="github")

    web.call("PUT", "/api/v1/repos/github:octo/hello/actions/secrets/a", {"value": CANARY})

    assert web.api("GET", "/repos/git:octo/hello/actions/secrets")["total_count"] == 0
    assert web.api("GET", "/repos/github:octo/hello/actions/secrets")["total_count"] == 1
    assert web.call("GET", f"/api/v1{SECRETS}").status_code == 400


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        (f"{SECRETS}/GITHUB_TOKEN", {"value": CANARY}, 400, "cannot begin with GITHUB_"),
        (f"{SECRETS}/{quote('a b')}", {"value": CANARY}, 400, "cannot name a secret"),
        (f"{SECRETS}/a", {"value": CANARY * 4000}, 400, "has 68000 bytes; 49152 are the limit"),
        (f"{SECRETS}/a", {"value": CANARY + "\0"}, 400, "holds a NUL character"),
        (f"{SECRETS}/a", {"value": CANARY + "\ud800"}, 400, "no text"),
        (f"{SECRETS}/a", {"value": [CANARY]}, 400, "value: Input should be a valid string"),
        (f"{SECRETS}/a", {"encrypted_value": CANARY}, 400, "no field 'encrypted_value'"),
        (f"{SECRETS}/a", CANARY, 400, "valid dictionary"),
        (f"{SECRETS}/a", {"value": CANARY * 20000}, 413, "larger than the limit"),
        ("/repos/octo/nope/actions/secrets/a", {"value": CANARY}, 404, "no repository octo/nope"),
        (f"{VARIABLES}/a", {"value": "x" * 49153}, 400, "has 49153 bytes; 49152 are the limit"),
    ],
)
def test_what_cannot_be_kept_is_refused_without_repeating_it(
    web: Web, path: str, body: object, status: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    web.add()

    with caplog.at_level(logging.DEBUG):
        answer = web.call("PUT", f"/api/v1{path}", body)

    assert (answer.status_code, said in answer.json()["message"]) == (status, True), answer.text
    assert CANARY not in answer.text + caplog.text
    assert answer.headers["cache-control"] == "no-store"


def test_what_is_no_json_is_refused_without_repeating_it(served: Web) -> None:
    served.add()

    answer = httpx2.put(
        f"{served.url}/api/v1{SECRETS}/a",
        content=f'{{"value": {CANARY}}}'.encode(),
        headers=served.admin | {"content-type": "application/json"},
    )

    assert answer.status_code == 400
    assert CANARY not in answer.text


def test_a_key_that_does_not_fit_is_told_and_can_be_mended(web: Web) -> None:
    web.add()
    web.call("PUT", f"/api/v1{SECRETS}/a", {"value": CANARY})
    web.site.settings.key_file.rename(web.site.settings.home / "away")

    answer = web.call("PUT", f"/api/v1{SECRETS}/b", {"value": CANARY})
    listed = web.api("GET", SECRETS)
    (web.site.settings.home / "away").rename(web.site.settings.key_file)

    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    assert "there is no" in answer.json()["message"]
    assert [one["name"] for one in listed["secrets"]] == ["A"]
    assert web.call("PUT", f"/api/v1{SECRETS}/b", {"value": CANARY}).status_code == 201


def test_a_bug_while_a_secret_is_stored_is_logged_without_it(
    web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    """The table is gone, which nothing of ours expects."""
    web.add()
    with web.site.database.reading() as connection:
        connection.exec_driver_sql("DROP TABLE secrets")

    with caplog.at_level(logging.DEBUG):
        answer = web.call("PUT", f"/api/v1{SECRETS}/a", {"value": CANARY})

    assert answer.status_code == 503
    assert CANARY not in answer.text + caplog.text


def test_a_body_of_a_secret_says_nothing_of_it_in_the_document_or_when_it_is_shown(web: Web) -> None:
    document = web.app.api.openapi()["components"]["schemas"]["SecretValue"]["properties"]["value"]

    assert (document["format"], document["writeOnly"]) == ("password", True)


def test_no_repository_can_have_a_name_that_means_something_else(web: Web) -> None:
    def status(name: str) -> int:
        return web.call("POST", "/api/v1/repos", {"name": name, "url": "https://a.example/b"}).status_code

    assert status("octo/hello/actions/secrets/a") == status("octo/hello/actions/variables") == 400
    assert status("octo/actions") == status("octo/actions/secrets-of-us") == 201
