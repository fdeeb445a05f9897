"""Repositories take turns and keep to their limits, on every database that we promise to work on."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Connection, func, insert, select, update

from runner.engine.ports import Verdict
from runner.errors import Rejected
from runner.model.leasing import claim, conclude, release
from runner.model.lifecycle import decide
from runner.model.limits import Limits
from runner.model.pauses import pause
from runner.model.reruns import rerun
from runner.model.run import Envelope, Lease, Run, Running
from runner.model.source import Repository, Route
from runner.model.step import Result
from runner.model.stops import Stop
from runner.store import Database, SqlRepositories, SqlStore
from runner.store.database import micros_of
from runner.store.sharing import MOST_PASSED
from runner.store.tables import jobs, workers
from runner.store.views import Views
from tests.builders import LENGTH, a_new_run, a_route, an_event


@dataclass
class Shop:
    """A store with repositories, and workers that ring and claim."""

    database: Database
    store: SqlStore
    repositories: SqlRepositories

    def add(self, name: str, **limits: int) -> None:
        self.repositories.add(Repository("git", name, f"/srv/{name}.git", limits=Limits(**limits)), "secret")

    def runs(self, name: str, *keys: str, labels: tuple[str, ...] = ("linux",)) -> Run:
        guid = str(uuid4())
        delivery, _ = self.store.receive(an_event(repo=name), guid, guid)
        new = a_new_run(*keys)
        new = replace(new, jobs=tuple(replace(job, labels=labels) for job in new.jobs))
        (run,) = self.store.settle(delivery.id, Verdict("admitted", route=a_route(repo=name), runs=(new,)))
        return run

    def ring(self, run: Run, place: int = 0, worker: str = "worker") -> tuple[Run, Lease] | None:
        job = run.jobs[place]
        return self.answer(Envelope(run.route, run.id, job.id, job.labels), worker)

    def answer(self, envelope: Envelope, worker: str = "worker") -> tuple[Run, Lease] | None:
        def take(run: Run, job: int, now: datetime) -> Run:
            return decide(run.with_job(claim(run.job(job), worker, now, LENGTH)), now)

        claimed = self.store.claim(envelope, take)
        if claimed is None:
            return None
        phase = claimed.change.after.job(claimed.job).phase
        assert isinstance(phase, Running)
        return claimed.change.after, phase.lease

    def end(self, run: Run, lease: Lease) -> None:
        def change(run: Run, now: datetime) -> Run:
            return decide(run.with_job(conclude(run.job(lease.job), lease, Result.SUCCESS, now)), now)

        self.store.update(run.id, change)

    def pause(self, run: Run) -> None:
        """Have a run stand still whose jobs have waited for longer than those of any other."""
        self.age(run, timedelta(minutes=5))
        self.store.update(run.id, lambda run, now: pause(run, Stop("anna", now, "", run.route.repo, run.id)))

    def running(self, name: str) -> int:
        mine = (jobs.c.repository == f"git:{name}") & (jobs.c.phase == "running")
        with self.database.reading() as connection:
            return connection.execute(select(func.count()).where(mine)).scalar_one()

    def age(self, run: Run, by: timedelta) -> None:
        """Have a run's jobs wait for longer than they did."""
        self.database.writing(
            lambda connection: connection.execute(
                update(jobs).where(jobs.c.run == run.id).values(queued_at=jobs.c.queued_at - micros_of(by))
            )
        )


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database, SqlStore(database, LENGTH), SqlRepositories(database))


def name_of(claimed: tuple[Run, Lease] | None) -> str | None:
    return claimed[0].route.repo if claimed else None


def test_a_thousand_jobs_of_one_repository_do_not_keep_anothers_one_waiting(shop: Shop) -> None:
    shop.add("octo/many")
    shop.add("octo/one")
    many = shop.runs("octo/many", *(f"job-{n}" for n in range(1000)))
    first = [shop.ring(many, place) for place in range(3)]
    one = shop.runs("octo/one")

    fourth, fifth = shop.ring(many, 3), shop.ring(many, 4)

    assert [name_of(claimed) for claimed in first] == ["octo/many"] * 3
    assert (name_of(fourth), name_of(fifth)) == ("octo/one", "octo/many")
    assert name_of(shop.ring(one)) == "octo/many"
    assert shop.running("octo/many") == 5


def test_the_rung_job_is_claimed_where_no_other_repository_waits(shop: Shop) -> None:
    shop.add("octo/hello")
    run = shop.runs("octo/hello", "a", "b", "c")

    claimed = shop.ring(run, 2)

    assert claimed is not None
    assert claimed[1].job == run.jobs[2].id


def test_of_repositories_with_as_many_running_the_one_is_served_that_waits_longest(shop: Shop) -> None:
    for name in ("octo/new", "octo/old"):
        shop.add(name)
    new = shop.runs("octo/new")
    shop.age(shop.runs("octo/old"), timedelta(minutes=1))

    assert name_of(shop.ring(new)) == "octo/old"


def test_a_job_that_was_passed_over_does_not_wait_until_the_end_of_its_queue(shop: Shop) -> None:
    shop.add("octo/hello")
    passed = shop.runs("octo/hello")
    shop.age(passed, timedelta(minutes=1))
    newer = shop.runs("octo/hello")

    claimed = shop.ring(newer)

    assert claimed is not None
    assert claimed[0].id == passed.id


def test_only_jobs_with_the_same_labels_are_claimed_in_place_of_each_other(shop: Shop) -> None:
    shop.add("octo/many")
    shop.add("octo/one")
    many = shop.runs("octo/many", "a", "b", labels=("linux", "x64"))
    other = shop.runs("octo/one", labels=("gpu", "linux"))
    same = shop.runs("octo/one", labels=("x64", "linux"))
    shop.ring(many, 0)

    claimed = shop.ring(many, 1)

    assert claimed is not None
    assert claimed[0].id == same.id
    assert shop.ring(other) is not None


def test_a_ring_whose_job_is_gone_claims_another_one(shop: Shop) -> None:
    shop.add("octo/hello")
    run = shop.runs("octo/hello", "a", "b")
    shop.ring(run, 0)

    again = shop.ring(run, 0)

    assert again is not None
    assert again[1].job == run.jobs[1].id
    assert shop.ring(run, 0) is None


def test_a_message_with_another_route_claims_nothing_of_anybody(shop: Shop) -> None:
    shop.add("octo/hello")
    run = shop.runs("octo/hello")
    forged = Route("git", "octo/hello", "2" * 40)

    with pytest.raises(Rejected, match=r"message for run .* says .*2222.*, but the run is at .*1111"):
        shop.answer(Envelope(forged, run.id, run.jobs[0].id, ()))

    assert shop.running("octo/hello") == 0


def test_what_cannot_be_claimed_keeps_no_other_repository_from_its_turn(shop: Shop) -> None:
    for name in ("octo/broken", "octo/fine"):
        shop.add(name)
    broken, fine = shop.runs("octo/broken"), shop.runs("octo/fine")
    shop.age(broken, timedelta(minutes=1))

    def take(run: Run, job: int, now: datetime) -> Run:
        if run.id == broken.id:
            raise ZeroDivisionError
        return run.with_job(claim(run.job(job), "worker", now, LENGTH))

    claimed = shop.store.claim(Envelope(fine.route, fine.id, fine.jobs[0].id, ()), take)

    assert claimed is not None
    assert claimed.job == fine.jobs[0].id
    with pytest.raises(ZeroDivisionError):
        shop.store.claim(Envelope(broken.route, broken.id, broken.jobs[0].id, ()), take)


@pytest.mark.parametrize("stopped", [1, MOST_PASSED + 1])
def test_what_stands_still_does_not_keep_the_rest_of_its_repository_from_its_turn(
    shop: Shop, stopped: int
) -> None:
    for name in ("octo/paused", "octo/busy"):
        shop.add(name)
    shop.pause(shop.runs("octo/paused", *(f"job-{n}" for n in range(stopped))))
    busy = shop.runs("octo/busy", "a", "b", "c", "d")
    goes_on = shop.runs("octo/paused")

    served = [name_of(shop.ring(run, place)) for run, place in ((busy, 0), (goes_on, 0), (busy, 1))]

    assert sorted(map(str, served)) == ["octo/busy", "octo/busy", "octo/paused"]


def test_the_ring_of_a_job_that_stands_still_is_another_ones(shop: Shop) -> None:
    shop.add("octo/hello")
    paused, goes_on = shop.runs("octo/hello"), shop.runs("octo/hello")
    shop.pause(paused)

    claimed = shop.ring(paused)

    assert claimed is not None
    assert claimed[0].id == goes_on.id
    assert shop.ring(paused) is None


def test_a_place_that_came_free_is_not_offered_to_what_stands_still(shop: Shop) -> None:
    shop.add("octo/hello", max_jobs=1)
    shop.pause(shop.runs("octo/hello"))
    runs = [shop.runs("octo/hello"), shop.runs("octo/hello")]
    claimed = shop.ring(runs[0])
    assert claimed is not None
    shop.end(*claimed)

    (rung,) = shop.store.freed(runs[0].route)

    assert rung.run == runs[1].id


def test_a_job_of_a_process_that_knows_no_sharing_is_claimed_by_its_own_ring(shop: Shop) -> None:
    shop.add("octo/hello")
    run = shop.runs("octo/hello")
    shop.database.writing(
        lambda connection: connection.execute(update(jobs).values(repository=None, queue=None))
    )

    assert name_of(shop.ring(run)) == "octo/hello"
    assert shop.running("octo/hello") == 1


def test_a_repository_at_its_limit_has_nothing_claimed_and_leaves_its_rings_to_others(shop: Shop) -> None:
    shop.add("octo/small", max_jobs=2)
    shop.add("octo/other")
    small = shop.runs("octo/small", *"abcd")
    other = shop.runs("octo/other")
    shop.ring(small, 0)
    shop.ring(small, 1)
    shop.ring(other)
    late = shop.runs("octo/other")

    assert name_of(shop.ring(small, 2)) == "octo/other"
    assert shop.ring(small, 2) is None
    assert shop.ring(late) is None
    assert shop.running("octo/small") == 2


@pytest.mark.parametrize("own", [True, False])
def test_eight_workers_at_once_never_exceed_a_limit(database: Database, own: bool) -> None:
    """With runs of one job and with jobs of one run; all is done in the end by the rings there are."""
    server = Limits() if own else Limits(max_jobs=3)
    shop = Shop(database, SqlStore(database, LENGTH, server), SqlRepositories(database))
    shop.add("octo/small", **({"max_jobs": 3} if own else {}))
    runs = [shop.runs("octo/small") for _ in range(20)] + [shop.runs("octo/small", *"abcdefghij")]
    rung = [Envelope(run.route, run.id, job.id, job.labels) for run in runs for job in run.jobs]
    lock = threading.Lock()
    began, done = list[int](), list[int]()
    begin, all_began = threading.Barrier(8), threading.Barrier(8)

    def work(number: int) -> None:
        begin.wait()
        claimed = take()
        all_began.wait()
        began.append(shop.running("octo/small"))
        all_began.wait()
        while claimed or rung:
            if claimed:
                began.append(shop.running("octo/small"))
                shop.end(*claimed)
                freed = shop.store.freed(claimed[0].route)
                with lock:
                    done.append(claimed[1].job)
                    rung.extend(freed)
            claimed = take()

    def take() -> tuple[Run, Lease] | None:
        with lock:
            envelope = rung.pop(0) if rung else None
        return shop.answer(envelope) if envelope else None

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert began[:8] == [3] * 8
    assert max(began) == 3
    assert sorted(done) == sorted(job.id for run in runs for job in run.jobs)


def test_eight_workers_claim_each_job_once_where_nothing_is_limited(shop: Shop) -> None:
    for name in ("octo/a", "octo/b", "octo/c"):
        shop.add(name)
    runs = [shop.runs(f"octo/{letter}") for letter in "aaaaaaaaaabbbbc"]
    begin = threading.Barrier(8)

    def work(number: int) -> list[int]:
        begin.wait()
        found = [shop.ring(run, worker=f"worker-{number}") for run in runs[number::8]]
        return [claimed[1].job for claimed in found if claimed]

    with ThreadPoolExecutor(8) as pool:
        claimed = [job for found in pool.map(work, range(8)) for job in found]

    assert sorted(claimed) == sorted(run.jobs[0].id for run in runs)


def test_when_a_limit_frees_what_waits_longest_is_rung_for_with_each_set_of_labels(shop: Shop) -> None:
    shop.add("octo/small", max_jobs=1)
    first = shop.runs("octo/small", "a")
    waiting = shop.runs("octo/small", "b", "c")
    gpu = shop.runs("octo/small", "d", labels=("gpu",))
    claimed = shop.ring(first)
    assert claimed is not None
    assert shop.ring(waiting) is None
    assert shop.ring(gpu) is None

    shop.end(*claimed)

    assert shop.store.update(first.id, lambda run, now: run).limited
    freed = shop.store.freed(first.route)
    assert {(one.job, one.labels) for one in freed} == {
        (waiting.jobs[0].id, ("linux",)),
        (gpu.jobs[0].id, ("gpu",)),
    }
    assert [one.route for one in freed] == [first.route] * 2
    assert [shop.answer(one) is not None for one in freed] == [True, False]


def test_nothing_is_rung_for_again_where_no_limit_held_it_up(shop: Shop) -> None:
    shop.add("octo/hello")
    run = shop.runs("octo/hello", "a", "b")

    assert list(shop.store.freed(run.route)) == []
    assert not shop.store.update(run.id, lambda run, now: run).limited


def test_a_lost_worker_leaves_its_place_to_the_same_job(shop: Shop) -> None:
    shop.add("octo/small", max_jobs=1)
    run = shop.runs("octo/small", "a", "b")
    claimed = shop.ring(run, 0)
    assert claimed is not None
    shop.database.writing(
        lambda connection: connection.execute(
            update(jobs).where(jobs.c.phase == "running").values(lease_until=0)
        )
    )

    assert shop.ring(run, 1) is None
    again = shop.ring(run, 0)
    assert again is not None
    assert (again[1].job, again[1].attempt) == (claimed[1].job, 2)


def test_a_job_that_is_handed_back_leaves_its_place(shop: Shop) -> None:
    shop.add("octo/small", max_jobs=1)
    run = shop.runs("octo/small", "a", "b")
    claimed = shop.ring(run, 0)
    assert claimed is not None
    lease = claimed[1]

    shop.store.update(run.id, lambda run, now: run.with_job(release(run.job(lease.job), lease, now)))

    assert shop.ring(run, 1) is not None


def test_a_limit_that_is_changed_counts_from_the_next_claim_on_and_is_rung_for(shop: Shop) -> None:
    shop.add("octo/small", max_jobs=1)
    run = shop.runs("octo/small", *"abc")
    shop.ring(run, 0)
    assert shop.ring(run, 1) is None

    shop.repositories.change(shop.repositories.get("git", "octo/small"), {"max_jobs": 2})

    assert {one.job for one in shop.store.stranded().envelopes} == {job.id for job in run.jobs[1:]}
    assert shop.ring(run, 1) is not None
    assert shop.ring(run, 2) is None
    shop.repositories.change(shop.repositories.get("git", "octo/small"), {"max_jobs": 0})
    assert shop.ring(run, 2) is not None


def test_a_run_says_that_its_repository_is_at_its_limit(shop: Shop) -> None:
    shop.add("octo/small", max_jobs=2)
    run = shop.runs("octo/small", *"abc")
    shop.database.writing(_announced)
    shop.ring(run, 0)
    shop.ring(run, 1)

    shown = Views(shop.database).run(run.id).jobs

    assert [job.reason for job in shown] == ["", "", "its repository runs 2 of 2 jobs at once"]


def _announced(connection: Connection) -> None:
    row = {"name": "worker", "labels": ["linux"], "until": 2**60}
    connection.execute(insert(workers).values(row))


def test_a_delivery_beyond_the_limit_of_runs_is_ignored_and_can_be_replayed(shop: Shop) -> None:
    shop.add("octo/small", max_queued=2)
    first = shop.runs("octo/small")
    shop.runs("octo/small", "a", "b")
    delivery, _ = shop.store.receive(an_event(repo="octo/small"), "late", "late")
    verdict = Verdict("admitted", route=a_route(repo="octo/small"), runs=(a_new_run(),))

    assert shop.store.settle(delivery.id, verdict) == ()

    settled = shop.store.delivery(delivery.id)
    assert (settled.status, settled.reason) == (
        "ignored",
        "unfinished runs of octo/small: 2, and with 1 more over its limit of 2 (max-queued); "
        "replay this delivery once some have ended",
    )
    claimed = shop.ring(first)
    assert claimed is not None
    shop.end(*claimed)
    assert shop.store.replay(delivery.id).status == "received"
    assert len(shop.store.settle(delivery.id, verdict)) == 1


def test_many_deliveries_at_once_never_exceed_the_limit_of_runs(shop: Shop) -> None:
    shop.add("octo/small", max_queued=3)

    def deliver(number: int) -> int:
        delivery, _ = shop.store.receive(an_event(repo="octo/small"), f"{number}", f"{number}")
        verdict = Verdict("admitted", route=a_route(repo="octo/small"), runs=(a_new_run(),))
        return len(shop.store.settle(delivery.id, verdict))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(deliver, range(8))) == 3


def test_no_run_is_begun_again_beyond_the_limit_of_runs(shop: Shop) -> None:
    shop.add("octo/small", max_queued=1)
    first = shop.runs("octo/small")
    claimed = shop.ring(first)
    assert claimed is not None
    shop.end(*claimed)
    shop.runs("octo/small", "a")
    run = claimed[0].id

    with pytest.raises(Rejected, match=r"over its limit of 1 \(max-queued\); run it again"):
        shop.store.update(run, lambda run, now: rerun(run))
    assert shop.store.load(run).attempt == 1
