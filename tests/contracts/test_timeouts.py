"""Jobs that no worker takes and runs that go on for too long, on every database that we promise."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Connection, update

from runner.engine.ports import Verdict
from runner.engine.sweep import sweep
from runner.model.leasing import claim, suspend, wait
from runner.model.lifecycle import decide
from runner.model.limits import Limits
from runner.model.reruns import rerun
from runner.model.run import Envelope, Finished, Lease, Queued, Run, Running, Suspended
from runner.model.source import Repository
from runner.model.step import Result
from runner.model.waits import Awaited, Wait
from runner.store import Database, SqlRepositories, SqlStore
from runner.store.database import micros, micros_of
from runner.store.tables import jobs, runs
from runner.store.views import Views
from tests.builders import LENGTH, a_new_run, a_route, an_event
from tests.fakes import RecordingDispatcher

HOUR = timedelta(hours=1)
SERVER = Limits(queue_timeout=24 * 3600, run_timeout=35 * 86400)


@dataclass
class Site:
    database: Database
    store: SqlStore
    repositories: SqlRepositories

    def add(self, name: str = "octo/hello", **limits: int) -> None:
        self.repositories.add(Repository("git", name, f"/srv/{name}.git", limits=Limits(**limits)), "secret")

    def run(self, *keys: str, name: str = "octo/hello", **needs: tuple[str, ...]) -> Run:
        guid = str(uuid4())
        delivery, _ = self.store.receive(an_event(repo=name), guid, guid)
        new = a_new_run(*keys, needs=needs)
        (run,) = self.store.settle(delivery.id, Verdict("admitted", route=a_route(repo=name), runs=(new,)))
        return run

    def claim(self, run: Run, place: int = 0) -> Lease:
        def change(run: Run, now: datetime) -> Run:
            return run.with_job(claim(run.jobs[place], "worker-1", now, LENGTH))

        phase = self.store.update(run.id, change).after.jobs[place].phase
        assert isinstance(phase, Running)
        return phase.lease

    def pass_time(self, by: timedelta, clock: bool = True) -> None:
        """All that has happened was so much longer ago, by the database's own clock.

        `clock`: whether one ran meanwhile.
        """

        def work(connection: Connection) -> None:
            for table, names in (
                (
                    jobs,
                    ("queued_at", "due_at", "ring_at", "lease_until", "claimed_at", "started_at", "held_at"),
                ),
                (runs, ("created_at", "attempt_at")),
            ):
                connection.execute(
                    update(table).values({name: table.c[name] - micros_of(by) for name in names})
                )
            if clock:
                now = micros(self.database.now(connection))
                connection.execute(update(jobs).where(jobs.c.ring_at < now).values(ring_at=now))

        self.database.writing(work)

    def tick(self) -> list[Envelope]:
        """What the clock rings for in its round."""
        bell = RecordingDispatcher()
        sweep(store=self.store, dispatcher=bell)
        return bell.rung

    def phases(self, run: Run) -> list[object]:
        return [
            (str(phase.result), phase.reason) if isinstance(phase := job.phase, Finished) else type(phase)
            for job in self.store.load(run.id).jobs
        ]


@pytest.fixture
def site(database: Database) -> Site:
    return Site(database, SqlStore(database, LENGTH, SERVER), SqlRepositories(database))


UNTAKEN = "no worker with the labels linux took it within 1d (queue-timeout)"


def test_a_job_that_no_worker_takes_fails_after_the_limit_and_not_before(site: Site) -> None:
    site.add()
    run = site.run("build", "test", test=("build",))

    site.pass_time(23 * HOUR)
    site.tick()
    assert site.phases(run)[0] is Queued

    site.pass_time(HOUR)
    site.tick()
    assert site.phases(run) == [
        ("failure", UNTAKEN),
        ("skipped", "build ended with failure"),
    ]
    assert site.store.load(run.id).result is Result.FAILURE


def test_the_clock_looks_again_just_when_the_limit_is_over(site: Site) -> None:
    site.add(queue_timeout=10)
    run = site.run()
    site.pass_time(timedelta(seconds=8))
    site.tick()

    site.pass_time(timedelta(seconds=2))
    site.tick()

    assert site.phases(run) == [("failure", UNTAKEN.replace("1d", "10s"))]


def test_the_delay_of_a_retry_is_no_time_in_the_queue(site: Site) -> None:
    site.add()
    run = site.run()
    lease = site.claim(run)
    site.store.update(
        run.id,
        lambda run, now: run.with_job(wait(run.job(lease.job), lease, now, 30 * HOUR, "again")),
    )

    site.pass_time(29 * HOUR)
    site.tick()
    site.pass_time(20 * HOUR)
    site.tick()
    assert site.phases(run) == [Queued]

    site.pass_time(6 * HOUR)
    site.tick()
    assert site.phases(run) == [("failure", UNTAKEN)]


def test_the_time_for_which_no_clock_ran_is_no_time_in_the_queue(site: Site) -> None:
    site.add()
    run = site.run()
    site.pass_time(72 * HOUR, clock=False)
    site.tick()
    assert site.phases(run) == [Queued]

    site.pass_time(23 * HOUR)
    site.tick()
    assert site.phases(run) == [Queued]
    site.pass_time(HOUR)
    site.tick()

    assert site.phases(run) == [("failure", UNTAKEN)]


def test_a_job_whose_sleep_is_over_waits_for_a_worker_as_others_do(site: Site) -> None:
    site.add()
    run = site.run()
    lease = site.claim(run)
    asleep = Wait("1", Awaited.TIME, lease.until)

    def change(run: Run, now: datetime) -> Run:
        return decide(run.with_job(suspend(run.jobs[0], lease, now, asleep, timedelta(milliseconds=1))), now)

    site.store.update(run.id, change)
    time.sleep(0.01)
    # Its ring is lost.
    assert [rung.job for rung in site.tick()] == [lease.job]
    assert site.phases(run) == [Suspended]

    site.pass_time(timedelta(minutes=1))
    assert [rung.job for rung in site.tick()] == [lease.job]
    assert site.phases(run) == [Queued]
    site.pass_time(24 * HOUR)
    site.tick()

    assert site.phases(run) == [("failure", UNTAKEN)]


def test_a_job_that_its_own_repositorys_limit_keeps_waiting_is_not_given_up(site: Site) -> None:
    site.add(max_jobs=1)
    run = site.run("a", "b")
    lease = site.claim(run)

    site.pass_time(23 * HOUR)
    site.store.renew([lease])
    site.tick()
    site.pass_time(23 * HOUR)
    site.store.renew([lease])
    site.tick()

    assert site.phases(run) == [Running, Queued]


@pytest.mark.parametrize(("own", "given_up"), [(0, False), (3600, True)])
def test_a_repository_has_a_limit_of_its_own(site: Site, own: int, given_up: bool) -> None:
    site.add(queue_timeout=own)
    run = site.run()

    site.pass_time(2 * HOUR if own else 100 * HOUR)
    site.tick()

    assert (site.phases(run) == [Queued]) is not given_up


def test_a_run_that_goes_on_for_too_long_is_cancelled_and_says_why(site: Site) -> None:
    site.add(queue_timeout=0)
    run = site.run("build", "test", "deploy", test=("build",), deploy=("test",))
    lease = site.claim(run)
    reason = "it was cancelled: it took longer than 35d (run-timeout)"

    site.pass_time(timedelta(days=34))
    site.store.renew([lease])
    site.tick()
    assert site.phases(run)[0] is Running
    assert not site.store.load(run.id).cancelled

    site.pass_time(timedelta(days=1))
    site.store.renew([lease])
    site.tick()

    found = site.store.load(run.id)
    assert (found.cancelled, found.over) == (True, reason)
    assert site.phases(run) == [Running, ("cancelled", reason), ("cancelled", reason)]
    assert site.store.renew([lease]).cancelled == {lease}
    assert Views(site.database).run(run.id).reason == reason
    assert site.store.stranded().overdue == ()


def test_a_run_that_waits_is_cancelled_as_well(site: Site) -> None:
    site.add(queue_timeout=0, run_timeout=2 * 86400)
    other = "octo/other"
    site.add(other, queue_timeout=0)
    late, patient = site.run(), site.run(name=other)

    site.pass_time(timedelta(days=2))
    site.tick()

    assert site.phases(late) == [("cancelled", "it was cancelled: it took longer than 2d (run-timeout)")]
    assert site.phases(patient) == [Queued]


def test_a_run_without_a_limit_goes_on(site: Site) -> None:
    site.add(queue_timeout=0, run_timeout=0)
    run = site.run()

    site.pass_time(timedelta(days=1000))
    site.tick()

    assert site.phases(run) == [Queued]


def test_a_rerun_has_its_own_time(site: Site) -> None:
    site.add(queue_timeout=0)
    run = site.run()
    site.pass_time(timedelta(days=36))
    site.tick()
    site.store.update(run.id, lambda run, now: decide(rerun(run), now))

    site.pass_time(timedelta(days=34))
    site.tick()
    assert site.phases(run) == [Queued]
    assert site.store.load(run.id).over == ""

    site.pass_time(timedelta(days=1))
    site.tick()
    assert site.store.load(run.id).result is Result.CANCELLED
