"""The caches of one user's checkouts, in a database that is made when one is asked for."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from runner.model.cache import Scope
from runner.model.source import Repository
from runner.store.user_caches import UserCaches

HERE = Repository("git", "checkout", "/home/ada/checkout")


def test_several_that_ask_first_at_once_make_one_database(tmp_path: Path) -> None:
    caches, begin = UserCaches(tmp_path / "caches", 10**6), Barrier(4)
    assert not caches.used

    def ask(_: int) -> object:
        begin.wait()
        return caches.find(HERE, [Scope("refs/heads/main", trusted=True)], ["key"], "1")

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(4))) == [None] * 4
    assert caches.used
    caches.close()
    assert [one.name for one in (tmp_path / "caches").iterdir()] == ["caches.db"]
