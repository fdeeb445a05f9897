"""The port `Archived`, on every database that we promise to work on."""

from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from uuid import uuid4

import pytest
from sqlalchemy import Connection, update

from runner.engine.ports import Archived, Verdict
from runner.model.blob import Blob
from runner.model.leasing import claim, conclude
from runner.model.lifecycle import decide
from runner.model.limits import Limits
from runner.model.run import Run, Running
from runner.model.snapshot import BASE, Layer, StoredLayer
from runner.model.source import Repository
from runner.model.step import Result
from runner.store import Database, SqlArchived, SqlRepositories, SqlRetention, SqlStore
from runner.store.database import micros
from runner.store.tables import jobs, runs
from tests.builders import LENGTH, a_new_run, a_route, an_event

HERE, ELSEWHERE = "snapshots/1/7", "snapshots/2/7"
CHAIN = [Layer("1.1", BASE), Layer("1.2", "1.1"), Layer("2.1", "1.2")]
NEVER = timedelta(days=3)


@pytest.fixture
def archived(database: Database) -> Archived:
    return SqlArchived(database)


@pytest.fixture
def store(database: Database) -> SqlStore:
    return SqlStore(database, LENGTH)


def a_run(store: SqlStore) -> Run:
    guid = str(uuid4())
    delivery, _ = store.receive(an_event(payload={"a": guid}), guid, guid)
    (run,) = store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(a_new_run(),)))
    return run


def a_job(store: SqlStore) -> int:
    return a_run(store).jobs[0].id


def end(store: SqlStore, run: Run) -> None:
    def work(run: Run, now: datetime) -> Run:
        for job in run.jobs:
            run = run.with_job(claim(job, "worker-1", now, LENGTH))
            phase = run.job(job.id).phase
            assert isinstance(phase, Running)
            run = decide(run.with_job(conclude(run.job(job.id), phase.lease, Result.FAILURE, now)), now)
        return run

    store.update(run.id, work)


def let_pass(database: Database, run: Run, age: timedelta) -> None:
    at = micros(datetime.now(UTC) - age)

    def work(connection: Connection) -> None:
        connection.execute(update(runs).where(runs.c.id == run.id).values(created_at=at))
        connection.execute(update(jobs).where(jobs.c.run == run.id).values(finished_at=at))

    database.writing(work)


def blob(name: str) -> Blob:
    return Blob(f"{HERE}/{name:0>32}", 10, name * 8)


def fill(archived: Archived, job: int, place: str = HERE, names: str = "abc") -> None:
    for layer, name in zip(archived.note(job, place, CHAIN), names, strict=False):
        assert archived.stored(job, layer, name * 64, blob(name))


def test_a_snapshot_is_stored_once_all_that_it_stands_on_is(archived: Archived, store: SqlStore) -> None:
    job = a_job(store)
    assert archived.note(job, HERE, CHAIN[:2]) == ["1.1", "1.2"]
    archived.stored(job, "1.2", "b" * 64, blob("b"))
    assert archived.chain(job, [], "1.2") is None
    assert archived.note(job, HERE, CHAIN) == ["1.1", "2.1"]
    archived.stored(job, "1.1", "a" * 64, blob("a"))

    assert archived.chain(job, [], "1.2") == [
        StoredLayer("1.1", "a" * 64, blob("a")),
        StoredLayer("1.2", "b" * 64, blob("b")),
    ]
    assert archived.chain(job, [], "2.1") is None
    assert archived.chain(job, [], BASE) == []
    assert archived.pending() == [(job, HERE, ("2.1",))]


def test_a_layer_that_is_an_object_stays_that_object(archived: Archived, store: SqlStore) -> None:
    job = a_job(store)
    fill(archived, job)

    assert not archived.stored(job, "1.1", "z" * 64, blob("z"))
    assert archived.note(job, HERE, CHAIN) == []

    chain = archived.chain(job, [], "1.1")
    assert chain is not None
    assert chain[0].blob == blob("a")


def test_of_a_job_that_there_is_not_nothing_is_noted(archived: Archived) -> None:
    assert archived.note(4711, HERE, CHAIN) == []
    assert not archived.stored(4711, "1.1", "a" * 64, blob("a"))


def test_layers_of_one_content_share_an_object_but_never_with_another_tenant(
    archived: Archived, store: SqlStore
) -> None:
    first, second, stranger = a_job(store), a_job(store), a_job(store)
    fill(archived, first)
    archived.note(second, HERE, CHAIN)
    archived.note(stranger, ELSEWHERE, CHAIN)

    assert archived.share(second, "1.1", "a" * 64)
    assert not archived.share(second, "1.2", "z" * 64)
    assert not archived.share(stranger, "1.1", "a" * 64)

    assert archived.chain(second, [], "1.1") == archived.chain(first, [], "1.1")
    assert archived.chain(stranger, [], "1.1") is None


def test_who_goes_on_from_a_job_has_its_layers_whatever_becomes_of_that_one(
    archived: Archived, store: SqlStore, database: Database
) -> None:
    run = a_run(store)
    first, fork = run.jobs[0].id, a_job(store)
    fill(archived, first)

    assert archived.chain(fork, [a_job(store), first], "1.2") == archived.chain(first, [], "1.2")

    end(store, run)
    let_pass(database, run, timedelta(days=4))
    assert archived.expired(NEVER, 10) == [blob("c").key]
    chain = archived.chain(fork, [], "1.2")
    assert chain is not None
    assert [one.blob for one in chain] == [blob("a"), blob("b")]
    assert archived.chain(first, [], "1.1") is None


def test_what_it_had_only_noted_is_what_the_other_one_stored(archived: Archived, store: SqlStore) -> None:
    first, fork = a_job(store), a_job(store)
    fill(archived, first)
    archived.note(fork, HERE, CHAIN[:1])

    assert archived.chain(fork, [first], "1.2") == archived.chain(first, [], "1.2")
    assert archived.pending() == []


def test_snapshots_are_forgotten_some_time_after_their_run_has_ended_and_not_before(
    archived: Archived, store: SqlStore, database: Database
) -> None:
    going_on, fresh, old = a_run(store), a_run(store), a_run(store)
    for run, names in ((going_on, "abc"), (fresh, "def"), (old, "ghi")):
        fill(archived, run.jobs[0].id, names=names)
    end(store, fresh)
    end(store, old)
    let_pass(database, old, timedelta(days=4))

    gone = archived.expired(NEVER, 10)

    assert gone == [blob(name).key for name in "ghi"]
    assert archived.expired(NEVER, 10) == []
    assert set(archived.known([blob(name).key for name in "abcdefghi"])) == {
        blob(name).key for name in "abcdef"
    }


@pytest.mark.parametrize(("own", "days", "goes"), [(86400, 2, True), (86400 * 9, 4, False), (0, 400, False)])
def test_what_a_repository_says_of_that_counts_more(
    archived: Archived, store: SqlStore, database: Database, own: int, days: int, goes: bool
) -> None:
    repository = Repository("git", "octo/hello", "/x", limits=Limits(keep_snapshots=own))
    SqlRepositories(database).add(repository, "secret")
    run = a_run(store)
    fill(archived, run.jobs[0].id)
    end(store, run)
    let_pass(database, run, timedelta(days=days))

    assert bool(archived.expired(NEVER, 10)) is goes


def test_a_run_that_is_removed_takes_its_rows_along(
    archived: Archived, store: SqlStore, database: Database
) -> None:
    run, newer = a_run(store), a_run(store)
    fill(archived, run.jobs[0].id)
    end(store, run)
    end(store, newer)
    let_pass(database, run, timedelta(days=500))

    (gone,) = SqlRetention(database, Limits(keep_logs=1, keep_runs=400 * 86400)).forget(10)

    assert gone.run == run.id
    assert not archived.known([blob("a").key])


def test_an_object_is_not_given_up_while_another_job_comes_to_share_it(
    archived: Archived, store: SqlStore, database: Database
) -> None:
    for _ in range(10):
        run, sharer = a_run(store), a_job(store)
        name = uuid4().hex[:8]
        archived.note(run.jobs[0].id, HERE, CHAIN[:1])
        key = Blob(f"{HERE}/{uuid4().hex}", 1, name)
        archived.stored(run.jobs[0].id, "1.1", name * 8, key)
        archived.note(sharer, HERE, CHAIN[:1])
        end(store, run)
        let_pass(database, run, timedelta(days=4))
        both, shared, gone = Barrier(2), list[bool](), list[str]()

        def share(
            both: Barrier = both, shared: list[bool] = shared, sharer: int = sharer, name: str = name
        ) -> None:
            both.wait()
            shared.append(archived.share(sharer, "1.1", name * 8))

        thread = Thread(target=share)
        thread.start()
        both.wait()
        gone += archived.expired(NEVER, 10)
        thread.join()

        assert (key.key in gone) is not shared[0]
