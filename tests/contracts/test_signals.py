"""Waits and signals on every database that we promise to work on."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, select, update

from runner.errors import Rejected
from runner.model.answers import check_listening
from runner.model.ending import cancel
from runner.model.leasing import NotClaimable, begin_waits, claim, conclude, suspend, suspend_for_any
from runner.model.lifecycle import decide
from runner.model.reruns import rerun
from runner.model.run import Job, Lease, Queued, Run, Running, Suspended
from runner.model.source import Repository
from runner.model.step import Result
from runner.model.waits import Awaited, Signal, Wait, Word
from runner.store import Database, SqlRepositories, SqlStore
from runner.store.tables import jobs, signals
from runner.store.views import Views
from tests.builders import LENGTH, NOON
from tests.contracts.test_store import a_stored_run, claimed

HOUR = timedelta(hours=1)


@pytest.fixture
def store(database: Database) -> SqlStore:
    SqlRepositories(database).add(Repository("git", "octo/hello", "/srv/hello.git"), "secret")
    return SqlStore(database, LENGTH)


def a_wait(name: str = "go", key: str = "2", awaited: Awaited = Awaited.SIGNAL) -> Wait:
    return Wait(key, awaited, NOON, name=name, message="why", approvers=("anna",))


def waiting(store: SqlStore, run: Run, wait: Wait, length: timedelta | None = HOUR, place: int = 0) -> Job:
    lease = claimed(store, run, place=place)

    def change(run: Run, now: datetime) -> Run:
        return decide(run.with_job(suspend(run.jobs[place], lease, now, wait, length)), now)

    return store.update(run.id, change).after.jobs[place]


def send(store: SqlStore, run: Run, name: str = "go", key: str = "1", payload: object = None) -> bool:
    signal = Signal(name, key, "anna", payload)
    return store.update(run.id, lambda run, now: check_listening(run), signal=signal).fresh


def branching(store: SqlStore, run: Run, *waits: tuple[Wait, timedelta | None]) -> Lease:
    """A worker whose job goes on while it waits."""
    lease = claimed(store, run)

    def change(run: Run, now: datetime) -> Run:
        return decide(run.with_job(begin_waits(run.jobs[0], lease, now, waits)), now)

    store.update(run.id, change)
    return lease


def suspended_for_any(store: SqlStore, run: Run, lease: Lease, *keys: str) -> Job:
    def change(run: Run, now: datetime) -> Run:
        return decide(run.with_job(suspend_for_any(run.jobs[0], lease, now, keys)), now)

    return store.update(run.id, change).after.jobs[0]


def answers(run: Run) -> list[object]:
    return [wait.answer.payload for job in run.jobs for wait in job.waits if wait.answer is not None]


def test_a_job_that_waits_comes_back_as_it_was_stored(store: SqlStore, database: Database) -> None:
    run = a_stored_run(store)
    job = waiting(store, run, a_wait())

    assert isinstance(job.phase, Suspended)
    assert store.load(run.id).jobs[0] == job
    (shown,) = Views(database).run(run.id).jobs
    assert (shown.status, shown.reason.split(",")[0]) == ("waiting", 'waits for the signal "go": why')
    assert (shown.waits[0].approvers, shown.waits[0].answer) == (("anna",), None)
    assert Views(database).run(run.id).status == "waiting"


def test_a_signal_is_taken_once_by_who_waits_longest(store: SqlStore, database: Database) -> None:
    run = a_stored_run(store, "a", "b")
    first, second = waiting(store, run, a_wait()), waiting(store, run, a_wait(), place=1)

    send(store, run, payload={"n": 1})

    found = store.load(run.id)
    assert isinstance(found.job(first.id).phase, Queued)
    assert isinstance(found.job(second.id).phase, Suspended)
    assert answers(found) == [{"n": 1}]
    with database.reading() as connection:
        row = connection.execute(select(signals)).one()
    assert (row.job, row.wait, row.sender) == (first.id, "2", "anna")


def test_signals_are_kept_in_their_order_until_somebody_waits(store: SqlStore) -> None:
    run = a_stored_run(store)
    for number in (1, 2):
        assert send(store, run, key=str(number), payload=number)
    assert send(store, run, name="other", payload="not this")

    job = waiting(store, run, a_wait())

    assert isinstance(job.phase, Queued)
    assert answers(store.load(run.id)) == [1]
    waiting(store, run, a_wait(key="3"))
    assert answers(store.load(run.id)) == [1, 2]
    assert isinstance(waiting(store, run, a_wait(key="4")).phase, Suspended)


def test_a_copy_of_a_signal_is_none(store: SqlStore) -> None:
    run = a_stored_run(store)
    assert send(store, run, key="same", payload=1)
    assert not send(store, run, key="same", payload=2)
    assert send(store, run, name="other", key="same")

    waiting(store, run, a_wait())

    assert answers(store.load(run.id)) == [1]


def test_twenty_copies_of_a_signal_at_once_are_one(store: SqlStore) -> None:
    run = a_stored_run(store, "a", "b", "c")
    for place in range(3):
        waiting(store, run, a_wait(), place=place)
    together = threading.Barrier(20)

    def one(number: int) -> bool:
        together.wait()
        return send(store, run, key=f"{number % 2}", payload=number % 2)

    with ThreadPoolExecutor(20) as pool:
        fresh = list(pool.map(one, range(20)))

    assert sum(fresh) == 2
    assert sorted(map(str, answers(store.load(run.id)))) == ["0", "1"]


def test_a_wait_is_over_in_time_and_a_signal_after_that_is_for_the_next(
    store: SqlStore, database: Database
) -> None:
    run = a_stored_run(store)
    job = waiting(store, run, a_wait())
    assert job.wakes is not None
    with pytest.raises(NotClaimable):
        claimed(store, run)
    passing(database, job)
    assert [envelope.job for envelope in store.stranded().envelopes] == [job.id]

    send(store, run, payload="late")

    found = store.load(run.id).jobs[0]
    assert [wait.answer for wait in found.waits] == [None]
    claimed(store, run)
    found = store.load(run.id).jobs[0]
    assert isinstance(found.phase, Running)
    assert [wait.answer.word for wait in found.waits if wait.answer] == [Word.DUE]


def passing(database: Database, job: Job) -> None:
    """Let the hour pass for which the job waits, and no more."""
    hour = HOUR // timedelta(microseconds=1)

    def change(connection: object) -> None:
        row = connection.execute(select(jobs).where(jobs.c.id == job.id)).one()  # type: ignore[attr-defined]
        waits = [wait | {"due": wait["due"] and wait["due"] - hour} for wait in row.waits]
        columns = {"waits": waits, "due_at": row.due_at - hour, "ring_at": row.ring_at - hour}
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(columns))  # type: ignore[attr-defined]

    database.writing(change)


def test_who_waits_for_nobody_in_particular_is_not_rung_for(store: SqlStore) -> None:
    run = a_stored_run(store)
    job = waiting(store, run, a_wait(awaited=Awaited.APPROVAL), length=None)
    assert job.wakes is None
    found = store.stranded(everything=True)
    assert (found.envelopes, found.rest) == ((), None)


def test_a_signal_to_a_former_attempt_is_not_one_to_the_next(store: SqlStore) -> None:
    run = a_stored_run(store)
    send(store, run, payload="old")
    lease = claimed(store, run)
    store.update(run.id, lambda run, now: run.with_job(conclude(run.jobs[0], lease, Result.FAILURE, now)))
    with pytest.raises(Rejected, match="has ended"):
        send(store, run, key="2")
    store.update(run.id, lambda run, now: decide(rerun(run), now))

    assert isinstance(waiting(store, run, a_wait()).phase, Suspended)


def test_a_cancelled_job_waits_for_no_signal_any_more(store: SqlStore) -> None:
    run = a_stored_run(store)
    waiting(store, run, a_wait())
    store.update(run.id, lambda run, now: decide(cancel(run, now), now))

    send(store, run)

    assert answers(store.load(run.id)) == []
    assert isinstance(store.load(run.id).jobs[0].phase, Queued)
    store.update(run.id, lambda run, now: run.with_job(claim(run.jobs[0], "w", now, LENGTH)))


def test_an_inbox_has_an_end(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.store.signals.MOST_WAITING", 2)
    run = a_stored_run(store)
    send(store, run, key="1")
    send(store, run, key="2")
    with pytest.raises(Rejected, match=f"2 signals to run {run.id} wait to be taken, which are the most"):
        send(store, run, key="3")
    assert not send(store, run, key="2")

    waiting(store, run, a_wait())
    assert send(store, run, key="3")
    with pytest.raises(Rejected):
        send(store, run, key="4")


def test_one_that_cannot_be_repeated_is_a_copy_to_the_next_attempt_too(store: SqlStore) -> None:
    run = a_stored_run(store)
    once = Signal("go", "1", "webhook", repeatable=False)
    assert store.update(run.id, lambda run, now: run, signal=once).fresh
    store.update(run.id, lambda run, now: rerun(decide(cancel(run, now), now)))
    assert not store.update(run.id, lambda run, now: run, signal=once).fresh
    assert send(store, run)


def test_a_payload_that_is_nested_deep_is_stored_with_what_it_answers(store: SqlStore) -> None:
    payload: object = 1
    for _ in range(400):
        payload = [payload]
    run = a_stored_run(store)
    send(store, run, payload=payload)
    waiting(store, run, a_wait())
    assert answers(store.load(run.id)) == [payload]


def test_a_signal_reaches_a_branch_that_waits_whether_its_job_runs_or_not(store: SqlStore) -> None:
    run = a_stored_run(store)
    assert send(store, run, payload=1)
    lease = branching(store, run, (a_wait(), None), (a_wait(key="3"), None), (a_wait("other", "4"), None))
    assert answers(store.load(run.id)) == [1]

    assert send(store, run, key="2", payload=2)
    found = store.load(run.id)
    assert (answers(found), found.jobs[0].phase) == ([1, 2], Running(lease))
    assert isinstance(suspended_for_any(store, run, lease, "4").phase, Suspended)
    assert send(store, run, "other", payload=3)

    assert answers(store.load(run.id)) == [1, 2, 3]
    assert isinstance(store.load(run.id).jobs[0].phase, Queued)
    assert send(store, run, payload=4, key="3")
    assert answers(store.load(run.id)) == [1, 2, 3]


def test_a_job_with_several_waits_is_rung_for_when_the_first_is_over(
    store: SqlStore, database: Database
) -> None:
    run = a_stored_run(store)
    nap, long = Wait("nap", Awaited.TIME, NOON), Wait("long", Awaited.TIME, NOON)
    lease = branching(store, run, (long, 2 * HOUR), (nap, HOUR), (a_wait(), None))
    job = suspended_for_any(store, run, lease, "long", "nap", "2")
    assert store.stranded(everything=True).envelopes == ()
    (shown,) = Views(database).run(run.id).jobs
    assert shown.reason.count("sleeps, until") == 2
    assert 'waits for the signal "go": why' in shown.reason

    passing(database, job)

    assert [envelope.job for envelope in store.stranded().envelopes] == [job.id]
    claimed(store, run)
    said = {wait.key: wait.answer and wait.answer.word for wait in store.load(run.id).jobs[0].waits}
    assert said == {"long": None, "nap": Word.DUE, "2": None}


def test_what_a_job_has_left_is_shown_so_and_takes_no_signal(store: SqlStore, database: Database) -> None:
    run = a_stored_run(store)
    lease = branching(store, run, (a_wait(), None), (a_wait(key="3", awaited=Awaited.APPROVAL), None))
    job = suspended_for_any(store, run, lease, "3")

    assert send(store, run, payload=1)

    assert store.load(run.id).jobs[0] == job
    assert [wait.answer for wait in Views(database).run(run.id).jobs[0].waits] == ["left", None]
    assert Views(database).run(run.id).jobs[0].reason == "waits for approval by anna: why"


def test_what_was_stored_before_there_were_joint_waits_is_read(store: SqlStore, database: Database) -> None:
    run = a_stored_run(store)
    job = waiting(store, run, a_wait())

    def older(connection: Connection) -> None:
        (stored,) = connection.execute(select(jobs.c.waits).where(jobs.c.id == job.id)).scalar_one()
        del stored["joint"]
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(waits=[stored]))

    database.writing(older)

    assert store.load(run.id).jobs[0] == job
