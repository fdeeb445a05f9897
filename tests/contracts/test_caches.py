"""The port `Caches`, on every database that we promise to work on, and its store over real objects."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import BinaryIO

import pytest
from sqlalchemy import Connection, update

from runner.engine.caches import CacheStore
from runner.engine.leftovers import UNKNOWN
from runner.engine.ports import Kept, Objects
from runner.errors import BrokenDefinition, Damaged, NotFound, Unavailable
from runner.model.blob import Blob
from runner.model.cache import Scope
from runner.model.limits import Limits
from runner.model.source import Repository
from runner.objects import FolderObjects
from runner.store import Database, SqlCaches, SqlRepositories
from runner.store.database import micros_of
from runner.store.read_models import CacheFilter, CacheUsage
from runner.store.tables import caches
from tests.fakes import Troubled

MAIN, FEATURE, PULL = (
    Scope(ref, True) for ref in ("refs/heads/main", "refs/heads/feature", "refs/pull/7/merge")
)
FORK = Scope("refs/pull/7/merge", False)
VERSION, OTHER = "1" * 64, "2" * 64
MOST = 1000


def registered(database: Database, name: str = "octo/hello", **limits: int) -> Repository:
    repositories = SqlRepositories(database)
    repositories.add(Repository("git", name, "/srv/hello.git", limits=Limits(**limits)), "secret")
    return repositories.get("git", name)


def saying(content: bytes) -> Callable[[BinaryIO], None]:
    def write(file: BinaryIO) -> None:
        file.write(content)

    return write


@pytest.fixture
def rows(database: Database) -> SqlCaches:
    return SqlCaches(database, Limits(cache_bytes=MOST))


@pytest.fixture
def objects(tmp_path: Path) -> FolderObjects:
    return FolderObjects(tmp_path / "objects")


@pytest.fixture
def store(rows: SqlCaches, objects: Objects) -> CacheStore:
    return CacheStore(rows, objects)


@pytest.fixture
def mine(database: Database) -> Repository:
    return registered(database)


def keep(store: CacheStore, mine: Repository, key: str, scope: Scope = MAIN, size: int = 1) -> bool:
    return store.keep(mine, scope, key, VERSION, saying(key.encode().ljust(size)[:size]))


def key_of(store: CacheStore, mine: Repository, scopes: tuple[Scope, ...], *keys: str) -> str | None:
    found = store.find(mine, scopes, keys, VERSION)
    return found.key if found else None


def in_objects(objects: Objects) -> int:
    return len(list(objects.kept("caches")))


def age(database: Database, by: timedelta, key: str) -> None:
    """A cache was made and used so much longer ago."""

    def work(connection: Connection) -> None:
        earlier = {name: caches.c[name] - micros_of(by) for name in ("created_at", "used_at")}
        connection.execute(update(caches).where(caches.c.key == key).values(earlier))

    database.writing(work)


# --- finding ---------------------------------------------------------------------------------


def test_what_was_kept_is_found_by_its_key_with_its_content(store: CacheStore, mine: Repository) -> None:
    assert store.keep(mine, MAIN, "npm-1", VERSION, saying(b"content"))

    found = store.find(mine, (MAIN,), ("npm-1",), VERSION)

    assert found is not None
    assert (found.key, found.version, found.scope) == ("npm-1", VERSION, MAIN)
    with store.reading(found) as file:
        assert file.read() == b"content"


def test_a_key_that_is_not_there_is_the_newest_that_begins_so_and_then_the_next_key(
    store: CacheStore, mine: Repository, database: Database
) -> None:
    for number, key in enumerate(("npm-3", "npm-1", "npm-2", "yarn-1")):
        keep(store, mine, key)
        age(database, timedelta(minutes=10 - number), key)

    def asked(*keys: str) -> str | None:
        return key_of(store, mine, (MAIN,), *keys)

    assert asked("npm-1") == "npm-1"
    assert asked("npm-") == "npm-2"
    assert asked("pnpm-1", "npm-3", "npm-") == "npm-3"
    assert asked("pnpm-1", "yarn-", "npm-") == "yarn-1"
    assert asked("NPM-1", "%", "_pm", "1") is None


def test_caches_of_other_paths_are_not_found(store: CacheStore, mine: Repository) -> None:
    keep(store, mine, "key")

    assert store.find(mine, (MAIN,), ("key",), OTHER) is None


def test_the_first_scope_that_has_any_counts_before_a_better_key_in_another(
    store: CacheStore, mine: Repository
) -> None:
    keep(store, mine, "npm-1", MAIN)
    keep(store, mine, "npm-0", FEATURE)

    assert key_of(store, mine, (FEATURE, MAIN), "npm-1", "npm-") == "npm-0"
    assert key_of(store, mine, (PULL, MAIN), "npm-1", "npm-") == "npm-1"


def test_after_its_scopes_comes_the_default_branch_that_is_known(
    store: CacheStore, mine: Repository, database: Database
) -> None:
    keep(store, mine, "key", Scope("refs/heads/trunk", True))
    assert key_of(store, mine, (FEATURE,), "key") is None

    SqlRepositories(database).change(mine, {"default_branch": "trunk"})

    assert key_of(store, mine, (FEATURE,), "key") == "key"
    assert key_of(store, mine, (FORK,), "key") == "key"


def test_what_a_pull_request_or_a_fork_wrote_is_nobody_elses(store: CacheStore, mine: Repository) -> None:
    keep(store, mine, "of-fork", FORK)
    keep(store, mine, "of-pull", PULL)

    assert key_of(store, mine, (MAIN,), "of-") is None
    assert key_of(store, mine, (PULL, MAIN), "of-") == "of-pull"
    assert key_of(store, mine, (FORK, MAIN), "of-") == "of-fork"


def test_repositories_see_nothing_of_each_other_nor_of_whoever_had_their_name(
    store: CacheStore, mine: Repository, database: Database
) -> None:
    keep(store, mine, "key")
    other = registered(database, "octo/other")

    SqlRepositories(database).remove(mine)
    again = registered(database)

    for repository in (other, again, mine):
        assert key_of(store, repository, (MAIN,), "key") is None
    with pytest.raises(NotFound, match="no repository octo/hello any more"):
        keep(store, mine, "key")


# --- keeping ---------------------------------------------------------------------------------


def test_what_is_kept_never_changes(store: CacheStore, mine: Repository, objects: Objects) -> None:
    assert store.keep(mine, MAIN, "key", VERSION, saying(b"first"))
    assert not store.keep(mine, MAIN, "key", VERSION, saying(b"second"))
    asked = [(MAIN, "key", VERSION), (MAIN, "ke", VERSION), (MAIN, "key", OTHER), (FEATURE, "key", VERSION)]
    assert [store.there(mine, *one) for one in asked] == [True, False, False, False]
    assert store.keep(mine, MAIN, "key", OTHER, saying(b"of other paths"))
    assert store.keep(mine, FEATURE, "key", VERSION, saying(b"of another branch"))

    found = store.find(mine, (MAIN,), ("key",), VERSION)
    assert found is not None
    with store.reading(found) as file:
        assert file.read() == b"first"
    assert in_objects(objects) == 3


def test_of_several_that_keep_one_key_at_once_one_does(
    store: CacheStore, mine: Repository, objects: Objects
) -> None:
    together = Barrier(4)

    def write(file: BinaryIO) -> None:
        file.write(b"content")
        together.wait(30)

    with ThreadPoolExecutor(4) as threads:
        said = [threads.submit(store.keep, mine, MAIN, "key", VERSION, write) for _ in range(4)]
        kept = [one.result() for one in said]

    assert sorted(kept) == [False, False, False, True]
    assert in_objects(objects) == 1


def test_those_that_were_not_used_for_the_longest_make_room(
    store: CacheStore, mine: Repository, database: Database, objects: Objects
) -> None:
    for number, key in enumerate(("a", "b", "c")):
        keep(store, mine, key, size=300)
        age(database, timedelta(hours=10 - number), key)
    assert key_of(store, mine, (MAIN,), "a") == "a"

    assert keep(store, mine, "d", size=500)

    assert [key_of(store, mine, (MAIN,), key) for key in "abcd"] == ["a", None, None, "d"]
    assert in_objects(objects) == 2


def test_what_is_more_than_all_may_have_together_takes_the_place_of_none(
    store: CacheStore, mine: Repository, objects: Objects
) -> None:
    keep(store, mine, "a", size=300)

    with pytest.raises(BrokenDefinition, match=f"it is 1001 bytes, and all caches .* have {MOST}"):
        keep(store, mine, "b", FORK, size=MOST + 1)

    assert key_of(store, mine, (MAIN,), "a") == "a"
    assert in_objects(objects) == 1


def test_what_a_fork_keeps_makes_only_what_forks_kept_go(
    store: CacheStore, mine: Repository, objects: Objects
) -> None:
    keep(store, mine, "a", size=300)
    for key in ("b", "c", "d"):
        keep(store, mine, key, FORK, size=300)

    with pytest.raises(BrokenDefinition, match=f"have {MOST} with the 300 of those that no fork made"):
        keep(store, mine, "e", FORK, size=800)

    assert key_of(store, mine, (MAIN,), "a") == "a"
    assert [key_of(store, mine, (FORK,), key) for key in "bcde"] == [None, "c", "d", None]
    assert keep(store, mine, "f", size=800)
    assert in_objects(objects) == 1


def test_a_repository_may_have_its_own_limit_and_0_is_none(store: CacheStore, database: Database) -> None:
    little, all_of_it = (
        registered(database, "octo/little", cache_bytes=10),
        registered(database, "octo/all", cache_bytes=0),
    )
    for repository in (little, all_of_it):
        for key in "abc":
            keep(store, repository, key, size=600 if repository is all_of_it else 5)

    assert [key_of(store, little, (MAIN,), key) for key in "abc"] == [None, "b", "c"]
    assert [key_of(store, all_of_it, (MAIN,), key) for key in "abc"] == ["a", "b", "c"]


def test_what_fails_while_it_is_written_leaves_nothing(
    store: CacheStore, mine: Repository, objects: Objects
) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.keep(mine, MAIN, "key", VERSION, write)

    assert (key_of(store, mine, (MAIN,), "key"), in_objects(objects)) == (None, 0)


@pytest.mark.parametrize("error", [Unavailable("away"), NotFound("no repository any more")])
def test_an_object_whose_row_could_not_be_written_is_removed(
    rows: SqlCaches, mine: Repository, objects: Objects, error: Exception
) -> None:
    with pytest.raises(type(error)):
        keep(CacheStore(Troubled(rows, "keep", error=error), objects), mine, "key")

    assert in_objects(objects) == 0


def test_an_object_stays_while_nobody_knows_whether_its_row_is_there(
    rows: SqlCaches, mine: Repository, objects: Objects
) -> None:
    class Lost(Troubled):
        def keep(self, *given: object) -> None:
            rows.keep(*given)  # type: ignore[arg-type]
            raise Unavailable("the connection is gone, and the transaction committed")

    with pytest.raises(Unavailable, match="committed"):
        keep(CacheStore(Lost(rows, "known", error=Unavailable("away")), objects), mine, "key")

    found = rows.find(mine, (MAIN,), ("key",), VERSION)
    assert found is not None
    with CacheStore(rows, objects).reading(found) as file:
        assert file.read() == b"k"


# --- what goes -------------------------------------------------------------------------------


def test_what_was_not_used_for_a_week_is_removed(
    store: CacheStore, mine: Repository, database: Database, objects: Objects
) -> None:
    for key in ("old", "used", "new"):
        keep(store, mine, key)
        age(database, timedelta(days=8 if key != "new" else 6), key)
    assert key_of(store, mine, (MAIN,), "used") == "used"

    store.tidy()
    store.tidy()

    assert [key_of(store, mine, (MAIN,), key) for key in ("old", "used", "new")] == [None, "used", "new"]
    assert in_objects(objects) == 2


def test_an_object_that_no_row_names_is_swept_after_a_day(
    rows: SqlCaches, mine: Repository, database: Database, objects: FolderObjects
) -> None:
    class Aged(FolderObjects):
        def kept(self, place: str):  # type: ignore[no-untyped-def]
            for one in objects.kept(place):
                yield Kept(one.key, one.size, one.at - self.by)

        by = timedelta(0)

    aged = Aged(objects._folder)
    store = CacheStore(rows, aged)
    keep(store, mine, "key")
    left = objects.put("caches/1/2", saying(b"of a worker that died"))
    elsewhere = objects.put("artifacts/1", saying(b"no cache"))

    aged.by = UNKNOWN - timedelta(minutes=1)
    store.tidy()
    assert in_objects(objects) == 2

    aged.by = UNKNOWN + timedelta(minutes=1)
    store.tidy()
    assert in_objects(objects) == 1
    assert key_of(store, mine, (MAIN,), "key") == "key"
    with pytest.raises(NotFound), objects.open(left):
        pass
    with objects.open(elsewhere) as file:
        assert file.read() == b"no cache"


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_one_that_cannot_be_read_makes_room_for_another(
    store: CacheStore, mine: Repository, objects: FolderObjects, tmp_path: Path, damage: str
) -> None:
    keep(store, mine, "key", size=100)
    found = store.find(mine, (MAIN,), ("key",), VERSION)
    assert found is not None
    file = tmp_path / "objects" / found.blob.key
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"x" * (100 if damage == "changed" else 50))

    with pytest.raises((Damaged, NotFound)), store.reading(found):
        pass

    assert in_objects(objects) == 0
    assert keep(store, mine, "key")


def test_what_is_missing_where_it_goes_is_no_fault_of_the_cache(store: CacheStore, mine: Repository) -> None:
    keep(store, mine, "key")
    found = store.find(mine, (MAIN,), ("key",), VERSION)
    assert found is not None

    with pytest.raises(NotFound, match="a folder"), store.reading(found):
        raise NotFound("a folder is gone in which its files were to be")

    assert key_of(store, mine, (MAIN,), "key") == "key"
    with store.reading(found) as file:
        assert file.read() == b"k"


# --- for people ------------------------------------------------------------------------------


def test_caches_are_listed_counted_and_removed_by_key_or_id(
    rows: SqlCaches, store: CacheStore, mine: Repository, objects: Objects, database: Database
) -> None:
    for key, scope, size in (("npm-1", MAIN, 30), ("npm-1", FEATURE, 10), ("yarn-1", MAIN, 20)):
        keep(store, mine, key, scope, size)
    other = registered(database, "octo/other")
    keep(store, other, "npm-1")

    def listed(**wanted: object) -> list[tuple[str, str]]:
        _, found = rows.all(mine, CacheFilter(**wanted))  # type: ignore[arg-type]
        return [(one.key, one.ref) for one in found]

    by_size = [("npm-1", MAIN.ref), ("yarn-1", MAIN.ref), ("npm-1", FEATURE.ref)]
    assert listed(sort="size_in_bytes") == by_size
    assert listed(sort="size_in_bytes", ascending=True, limit=1, offset=1) == [by_size[1]]
    assert listed(key="npm", ref=FEATURE.ref) == [("npm-1", FEATURE.ref)]
    assert rows.all(mine, CacheFilter(limit=1))[0] == 3
    assert rows.usage(mine) == CacheUsage("octo/hello", 60, 3)

    gone, blobs = rows.remove(mine, key="npm-1", ref=MAIN.ref)
    store.remove(blobs)
    assert [(one.key, one.ref, one.size_in_bytes) for one in gone] == [("npm-1", MAIN.ref, 30)]
    _, (left,) = rows.all(mine, CacheFilter(key="yarn"))
    assert rows.remove(mine, id=left.id)[0] == [left]
    for asked in ({"id": left.id}, {"key": "yarn-1"}, {"key": "npm-1", "ref": MAIN.ref}):
        with pytest.raises(NotFound, match="octo/hello has no cache with"):
            rows.remove(mine, **asked)
    assert rows.usage(other).active_caches_count == 1
    assert in_objects(objects) == 3


def test_the_time_of_the_last_use_is_told(rows: SqlCaches, store: CacheStore, mine: Repository) -> None:
    keep(store, mine, "key")
    _, (before,) = rows.all(mine, CacheFilter())

    key_of(store, mine, (MAIN,), "key")

    _, (after,) = rows.all(mine, CacheFilter())
    assert before.created_at == before.last_accessed_at == after.created_at < after.last_accessed_at
    assert abs(after.last_accessed_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_no_blob_of_another_tenant_is_named_by_a_key(
    rows: SqlCaches, mine: Repository, database: Database
) -> None:
    other = registered(database, "octo/other")
    rows.keep(mine, MAIN, "key", VERSION, Blob("caches/1/a", 1, "0" * 64))

    assert rows.find(other, (MAIN,), ("key", ""), VERSION) is None
    assert rows.known(["caches/1/a", "caches/1/b"]) == {"caches/1/a"}
