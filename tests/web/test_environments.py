"""Environments over the API."""

from urllib.parse import quote

import pytest

from runner.model.environment import Environment
from tests.web.conftest import Web

ENVIRONMENTS = "/repos/octo/hello/environments"
RULES = {
    "reviewers": ["anna", "bert"],
    "wait_timer": 30,
    "branches": ["main", "release/*", "refs/tags/v*"],
    "prevent_self_review": True,
}


def test_an_environment_is_set_shown_listed_and_removed(web: Web) -> None:
    web.add()

    assert web.call("PUT", f"/api/v1{ENVIRONMENTS}/Production", RULES).status_code == 201
    shown = web.api("GET", f"{ENVIRONMENTS}/production")

    assert shown | RULES | {"name": "Production"} == shown
    assert web.api("GET", ENVIRONMENTS) == {"total_count": 1, "environments": [shown]}
    found = web.site.environments.rules(web.site.repositories.named("octo/hello"), "production")
    assert found == Environment(
        "Production", ("anna", "bert"), 30, ("main", "release/*", "refs/tags/v*"), prevent_self_review=True
    )
    assert web.call("PUT", f"/api/v1{ENVIRONMENTS}/production").status_code == 204
    assert web.api("GET", f"{ENVIRONMENTS}/production")["reviewers"] == []
    assert web.call("DELETE", f"/api/v1{ENVIRONMENTS}/PRODUCTION").status_code == 204
    assert web.call("GET", f"/api/v1{ENVIRONMENTS}/production").status_code == 404


def test_the_name_of_an_environment_may_hold_a_slash(web: Web) -> None:
    web.add()

    assert web.call("PUT", f"/api/v1{ENVIRONMENTS}/{quote('review/a b', safe='')}", RULES).status_code == 201

    assert web.api("GET", ENVIRONMENTS)["environments"][0]["name"] == "review/a b"


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("production", {"wait_timer": 43201}, "a wait timer is 0 to 43200 minutes, not 43201"),
        ("production", {"branches": ["a b"]}, "'a b' is no pattern of branches: no branch or tag has ' '"),
        ("production", {"branches": ["["]}, "'[' is no pattern of branches"),
        ("production", {"reviewers": [" "]}, "' ' is nobody's name"),
        ("production", {"reviewers": []}, "nobody their own run; name a reviewer"),
        ("production", {"wait": 1}, "no field 'wait'; there are reviewers, wait_timer, branches"),
        ("%20", {}, "' ' cannot name an environment"),
        ("%C3%9F" * 200, {}, "cannot name an environment; use 1 to 255 letters"),
    ],
)
def test_rules_that_cannot_be_are_refused_with_what_would_do(
    web: Web, name: str, change: dict[str, object], said: str
) -> None:
    web.add()

    answer = web.call("PUT", f"/api/v1{ENVIRONMENTS}/{name}", RULES | change)

    assert (answer.status_code, said in answer.json()["message"]) == (400, True), answer.text
    assert web.api("GET", ENVIRONMENTS)["total_count"] == 0
