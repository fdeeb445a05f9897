"""Caches over the API, at GitHub's addresses."""

from collections.abc import Callable
from typing import Any, BinaryIO
from urllib.parse import quote

import pytest

from runner.engine.caches import CacheStore
from runner.model.cache import Scope
from runner.objects import FolderObjects
from tests.web.conftest import Web

CACHES = "/repos/octo/hello/actions/caches"
MAIN, PULL = Scope("refs/heads/main", True), Scope("refs/pull/7/merge", True)


def saying(content: bytes) -> Callable[[BinaryIO], None]:
    def write(file: BinaryIO) -> None:
        file.write(content)

    return write


class Kept:
    def __init__(self, web: Web) -> None:
        self.objects = FolderObjects(web.site.settings.home / "objects")
        self._web, self._store = web, CacheStore(web.site.caches, self.objects)

    def keep(self, key: str, scope: Scope = MAIN, size: int = 1, repo: str = "octo/hello") -> None:
        repository = self._web.site.repositories.named(repo)
        assert self._store.keep(repository, scope, key, "1" * 64, saying(bytes(size)))

    @property
    def blobs(self) -> int:
        return len(list(self.objects.kept("caches")))


@pytest.fixture
def kept(web: Web) -> Kept:
    web.add()
    return Kept(web)


def keys(answer: Any) -> list[tuple[str, str]]:
    return [(one["key"], one["ref"]) for one in answer["actions_caches"]]


def test_caches_are_listed_as_github_lists_them(web: Web, kept: Kept) -> None:
    for key, scope, size in (("npm-1", MAIN, 30), ("npm-2", PULL, 10), ("yarn", MAIN, 20)):
        kept.keep(key, scope, size)

    answer = web.api("GET", f"{CACHES}?sort=size_in_bytes&direction=asc")

    assert answer["total_count"] == 3
    assert keys(answer) == [("npm-2", PULL.ref), ("yarn", MAIN.ref), ("npm-1", MAIN.ref)]
    assert set(answer["actions_caches"][0]) == {
        *("id", "ref", "key", "version", "last_accessed_at", "created_at", "size_in_bytes"),
    }
    newest = web.api("GET", f"{CACHES}?key=npm&per_page=1&sort=created_at")
    assert (newest["total_count"], keys(newest)) == (2, [("npm-2", PULL.ref)])
    second = web.api("GET", f"{CACHES}?key=npm&per_page=1&page=2&sort=created_at")
    assert keys(second) == [("npm-1", MAIN.ref)]
    assert keys(web.api("GET", f"{CACHES}?ref={quote(PULL.ref)}")) == [("npm-2", PULL.ref)]
    assert web.api("GET", "/repos/octo/hello/actions/cache/usage") == {
        "full_name": "octo/hello",
        "active_caches_size_in_bytes": 60,
        "active_caches_count": 3,
    }


def test_caches_are_removed_by_key_and_by_id_with_their_content(web: Web, kept: Kept) -> None:
    for key, scope in (("a", MAIN), ("a", PULL), ("b", MAIN), ("c", MAIN)):
        kept.keep(key, scope)

    assert keys(web.api("DELETE", f"{CACHES}?key=a&ref={quote(PULL.ref)}")) == [("a", PULL.ref)]
    assert keys(web.api("DELETE", f"{CACHES}?key=a")) == [("a", MAIN.ref)]
    (one,) = web.api("GET", f"{CACHES}?key=b")["actions_caches"]
    assert web.call("DELETE", f"/api/v1{CACHES}/{one['id']}").status_code == 204

    assert keys(web.api("GET", CACHES)) == [("c", MAIN.ref)]
    assert kept.blobs == 1
    said = [(act.act, act.details) for act in web.site.audit.acts(None, None, None, None, None, 10, None)]
    assert said[:2] == [
        ("remove-caches", {"cache": one["id"], "count": 1}),
        ("remove-caches", {"key": "a", "ref": None, "count": 1}),
    ]


@pytest.mark.parametrize("asked", ["?key=none", "?key=a&ref=refs/heads/x", "/999", f"/{'9' * 30}"])
def test_what_is_not_there_is_404_and_says_how_to_see_what_is(web: Web, kept: Kept, asked: str) -> None:
    kept.keep("a")

    answer = web.call("DELETE", f"/api/v1{CACHES}{asked}")

    assert answer.status_code == 404
    assert "`runner cache list -R octo/hello` shows those that it has" in answer.json()["message"]
    assert kept.blobs == 1


@pytest.mark.parametrize("asked", ["?per_page=0", "?per_page=101", "?page=0", "?sort=x", "?direction=up"])
def test_what_cannot_be_asked_is_named(web: Web, kept: Kept, asked: str) -> None:
    answer = web.call("GET", f"/api/v1{CACHES}{asked}")

    assert answer.status_code == 400
    assert asked[1:].partition("=")[0] in answer.json()["message"]


def test_the_id_of_another_repositorys_cache_is_nobodys(web: Web, kept: Kept) -> None:
    web.add("octo/other")
    kept.keep("a", repo="octo/other")
    (one,) = web.api("GET", "/repos/octo/other/actions/caches")["actions_caches"]

    assert web.call("DELETE", f"/api/v1{CACHES}/{one['id']}").status_code == 404
    assert web.call("DELETE", f"/api/v1{CACHES}?key=a").status_code == 404
    assert web.api("GET", CACHES)["total_count"] == 0
    assert kept.blobs == 1


def test_a_repository_cannot_be_called_as_its_caches_are(web: Web) -> None:
    for name in ("octo/actions/caches", "octo/actions/cache/usage"):
        answer = web.call("POST", "/api/v1/repos", {"name": name, "url": "https://example.org/x.git"})
        assert (answer.status_code, "has a meaning in the API" in answer.json()["message"]) == (400, True)
