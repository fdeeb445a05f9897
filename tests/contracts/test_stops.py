"""Pauses and blocks, tokens and acts, on every database that we promise to work on."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeVar

import psycopg
import pytest
from sqlalchemy import Connection, select, update

from runner.engine import control
from runner.engine.ports import NewRun, Verdict
from runner.errors import LeaseLost, NotFound, Rejected
from runner.model.access import Role, Token
from runner.model.audit import Act
from runner.model.leasing import NotClaimable, claim, conclude, lay_down, release
from runner.model.limits import Limits
from runner.model.pauses import stands_still
from runner.model.run import Finished, Lease, Queued, Run, Running, Waiting
from runner.model.source import Delivery, Repository
from runner.model.step import Result
from runner.store import Database, SqlAudit, SqlRepositories, SqlStops, SqlStore, SqlTokens
from runner.store.tables import jobs
from runner.store.views import Views
from tests.builders import LENGTH, a_job, a_new_run, a_route, an_event
from tests.crash.world import wait_for
from tests.fakes import RecordingDispatcher
from tests.servers import migrated_postgres

T = TypeVar("T")

HELLO = Repository("git", "octo/hello", "/srv/hello.git")
BAD, GOOD = "b" * 40, "a" * 40
CI, DEPLOY = ".runner/workflows/ci.yml", ".runner/workflows/deploy.yml"
ACT = Act("anna", "stop")


class Bench:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.store = SqlStore(database, LENGTH)
        self.stops, self.views, self.audit = SqlStops(database), Views(database), SqlAudit(database)
        self.repositories = SqlRepositories(database)
        self.repositories.add(HELLO, "secret")
        self.bell = RecordingDispatcher()
        self._guids = 0

    def admit(self, commit: str = BAD, *workflows: str) -> tuple[Delivery, tuple[Run, ...]]:
        self._guids += 1
        guid = str(self._guids)
        delivery, _ = self.store.receive(an_event(commit=commit, actor="octo"), guid, guid)
        new = tuple(NewRun(path, "ci", (a_job(id=0),)) for path in workflows or (CI,))
        runs = self.store.settle(delivery.id, Verdict("admitted", route=a_route(commit), runs=new))
        return self.store.delivery(delivery.id), runs

    def a_run(self, commit: str = BAD, workflow: str = CI) -> Run:
        return self.admit(commit, workflow)[1][0]

    def claimed(self, run: Run) -> Lease:
        def change(run: Run, now: datetime) -> Run:
            return run.with_job(claim(run.jobs[0], "w", now, LENGTH))

        phase = self.store.update(run.id, change).after.jobs[0].phase
        assert isinstance(phase, Running)
        return phase.lease

    def pause(self, run: Run, reason: str = "") -> Run:
        return control.pause(run.id, reason, store=self.store, dispatcher=self.bell, act=ACT)

    def unpause(self, run: Run) -> Run:
        return control.unpause(run.id, store=self.store, dispatcher=self.bell, act=ACT)

    def cancel(self, run: Run) -> Run:
        return control.cancel(run.id, store=self.store, dispatcher=self.bell, act=ACT)

    def stopped(self, run: Run) -> str:
        return self.store.load(run.id).stopped

    def due(self, run: Run, at: datetime | None = None) -> None:
        """Have the clock ring for its jobs now."""
        values = {"ring_at": 0} if at is None else {"ring_at": 0, "due_at": int(at.timestamp() * 10**6)}
        changed = update(jobs).where(jobs.c.run == run.id, jobs.c.phase != "finished").values(values)
        self.database.writing(lambda connection: connection.execute(changed))

    def rung(self) -> set[int]:
        return {envelope.run for envelope in self.store.stranded().envelopes}


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


def test_a_pause_says_who_and_why_until_it_is_taken_back(bench: Bench) -> None:
    run, other = bench.a_run(), bench.a_run()

    bench.pause(run, "it floods the registry")
    bench.pause(run, "a second time")

    said = bench.stopped(run)
    assert said.startswith("paused by anna since 20")
    assert said.endswith("UTC: it floods the registry")
    assert bench.stopped(other) == ""
    bench.unpause(run)
    bench.unpause(run)
    assert bench.stopped(run) == ""
    acts = bench.audit.acts(None, run=run.id)
    assert [one.details["changed"] for one in acts] == [False, True, False, True]


@pytest.mark.parametrize(
    ("commit", "workflow", "says"),
    [
        (BAD, None, f"commit {BAD[:12]} is blocked by anna since "),
        (None, DEPLOY, f"{DEPLOY} is blocked by anna since "),
        (None, None, "octo/hello is paused by anna since "),
    ],
)
def test_one_stop_holds_all_runs_it_is_about_and_no_other(
    bench: Bench, commit: str | None, workflow: str | None, says: str
) -> None:
    runs = [bench.a_run(one, path) for one in (BAD, GOOD) for path in (CI, DEPLOY)]

    for _ in range(2):
        bench.stops.put(HELLO, ACT, "bad", commit, workflow)

    for run in runs:
        concerned = commit in (None, run.route.commit) and workflow in (None, run.workflow)
        assert bench.stopped(run).startswith(says) == concerned
        shown = bench.views.run(run.id)
        assert (shown.stopped, shown.reason, shown.jobs[0].reason.startswith(says)) == (
            concerned,
            bench.stopped(run),
            concerned,
        )
    for _ in range(2):
        bench.stops.lift(HELLO, ACT, commit, workflow)
    assert [bench.stopped(run) for run in runs] == [""] * 4
    assert bench.stops.all(HELLO) == []
    assert [one.details["changed"] for one in bench.audit.acts(None)] == [False, True, False, True]


def test_a_run_stands_still_that_uses_a_blocked_commit_from_another(bench: Bench) -> None:
    delivery, _ = bench.store.receive(an_event(commit=GOOD), "uses", "uses")
    new = NewRun(CI, "ci", (a_job(id=0),), pins={"octo/hello@main": BAD})
    (run,) = bench.store.settle(delivery.id, Verdict("admitted", route=a_route(GOOD), runs=(new,)))
    bench.stops.put(HELLO, ACT, "bad", "c" * 40, None)
    assert bench.stopped(run) == ""
    bench.stops.put(HELLO, ACT, "bad", BAD, None)
    assert bench.stopped(run).startswith(f"commit {BAD[:12]} is blocked by anna since ")
    bench.due(run)
    assert bench.rung() == set()
    bench.stops.lift(HELLO, ACT, BAD, None)
    assert bench.rung() == {run.id}


def test_a_run_stands_still_that_calls_what_is_blocked(bench: Bench) -> None:
    delivery, _ = bench.store.receive(an_event(commit=GOOD), "calls", "calls")
    new = NewRun(CI, "ci", (a_job(id=0), a_job("ship", id=0, steps=(), calls=DEPLOY, phase=Waiting())))
    (run,) = bench.store.settle(delivery.id, Verdict("admitted", route=a_route(GOOD), runs=(new,)))
    other = bench.a_run()
    assert bench.stops.workflow(HELLO, "deploy.yml") == DEPLOY

    bench.stops.put(HELLO, ACT, "bad", None, DEPLOY)
    assert bench.stopped(run).startswith(f"{DEPLOY} is blocked by anna since ")
    assert bench.views.run(run.id).stopped
    assert bench.stopped(other) == ""
    bench.due(run)
    assert bench.rung() == {other.id}

    bench.stops.lift(HELLO, ACT, None, DEPLOY)
    assert bench.rung() == {run.id}
    bench.stops.put(HELLO, ACT, "bad", None, DEPLOY)

    def skip(run: Run, now: datetime) -> Run:
        return run.with_job(replace(run.jobs[1], phase=Finished(Result.SKIPPED, now)))

    bench.store.update(run.id, skip)
    assert bench.stopped(run) == ""


def test_a_delivery_of_what_is_blocked_is_refused_and_replayed_once_it_is_not(bench: Bench) -> None:
    bench.a_run()
    bench.stops.put(HELLO, ACT, "it wipes disks", BAD, None)

    refused, none = bench.admit(BAD)
    _, some = bench.admit(GOOD)

    assert (refused.status, none, len(some)) == ("ignored", (), 1)
    assert refused.reason.endswith("UTC: it wipes disks")
    bench.stops.lift(HELLO, ACT, BAD, None)
    assert bench.store.replay(refused.id).status == "received"
    new = (a_new_run(),)
    assert bench.store.settle(refused.id, Verdict("admitted", route=a_route(BAD), runs=new))


def test_a_run_of_what_is_blocked_waits_when_it_is_run_again(bench: Bench) -> None:
    run = bench.a_run()
    bench.pause(run)
    bench.cancel(run)
    bench.stops.put(HELLO, ACT, "", BAD, None)

    again = control.rerun(run.id, store=bench.store, dispatcher=bench.bell, act=ACT)

    found = bench.store.load(run.id)
    assert (again.attempt, found.pause, found.result) == (2, None, None)
    assert found.stopped.startswith(f"commit {BAD[:12]} is blocked")
    bench.stops.lift(HELLO, ACT, BAD, None)
    assert bench.stopped(run) == ""


def test_of_a_push_only_the_workflow_that_is_blocked_is_refused(bench: Bench) -> None:
    bench.stops.put(HELLO, ACT, "", None, DEPLOY)

    delivery, runs = bench.admit(GOOD, CI, DEPLOY)

    assert [run.workflow for run in runs] == [CI]
    assert delivery.status == "admitted"
    assert f"{DEPLOY} is blocked by anna" in delivery.reason


def test_deliveries_of_a_paused_repository_become_runs_that_wait(bench: Bench) -> None:
    bench.stops.put(HELLO, ACT, "", None, None)

    delivery, (run,) = bench.admit()

    assert delivery.status == "admitted"
    assert "octo/hello is paused" in bench.stopped(run)


def test_the_clock_leaves_alone_what_stands_still_and_rings_the_moment_it_does_not(bench: Bench) -> None:
    runs = {"paused": bench.a_run(), "blocked": bench.a_run(GOOD), "free": bench.a_run("c" * 40)}
    bench.pause(runs["paused"])
    bench.stops.put(HELLO, ACT, "", GOOD, None)
    for run in runs.values():
        bench.due(run)

    assert bench.rung() == {runs["free"].id}
    assert bench.rung() == set()
    bench.unpause(runs["paused"])
    assert bench.rung() == {runs["paused"].id}
    bench.stops.lift(HELLO, ACT, GOOD, None)
    assert bench.rung() == {runs["blocked"].id}


@pytest.mark.parametrize(("waited", "put_off"), [(10, 60), (300, 300), (86400, 900)])
def test_what_has_stood_still_for_long_is_left_alone_for_longer_and_rung_for_at_once_in_the_end(
    bench: Bench, waited: int, put_off: int
) -> None:
    run = bench.a_run()
    bench.pause(run)
    before = datetime.now(UTC)
    since = int((before - timedelta(seconds=waited)).timestamp() * 10**6)
    waits = update(jobs).values(queued_at=since, ring_at=0)
    bench.database.writing(lambda connection: connection.execute(waits))
    assert bench.rung() == set()

    with bench.database.reading() as connection:
        (ring_at,) = connection.execute(select(jobs.c.ring_at)).scalars()
    assert put_off - 5 <= ring_at / 10**6 - before.timestamp() <= put_off + 5
    bench.unpause(run)
    assert bench.rung() == {run.id}


@pytest.mark.parametrize("how", ["taken back", "removed with its repository"])
def test_a_stop_goes_with_all_that_it_put_off_rung_for_however_soon_the_server_dies(
    bench: Bench, migrated_url: str, how: str
) -> None:
    run = bench.a_run()
    bench.stops.put(HELLO, ACT, "", None, None)
    bench.due(run)
    assert bench.rung() == set()
    mortal = Mortal(migrated_url)

    with suppress(Killed):
        if how == "taken back":
            SqlStops(mortal).lift(HELLO, ACT, None, None)
        else:
            SqlRepositories(mortal).remove(HELLO)

    mortal.close()
    assert bench.stops.all(HELLO) == []
    # What a repository did goes with it.
    assert bench.rung() == ({run.id} if how == "taken back" else set())


class Killed(BaseException):
    pass


class Mortal(Database):
    """Of a process that dies the moment after its first transaction."""

    def writing(self, work: Callable[[Connection], T], durable: bool = True) -> T:
        super().writing(work, durable)
        raise Killed


@pytest.mark.parametrize("whole", [True, False])
def test_what_goes_on_while_the_clock_reads_what_stands_still_is_not_put_off(whole: bool) -> None:
    """PostgreSQL's statements see the stops as they were when these began, whatever they lock since."""
    with migrated_postgres() as url, psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as admin:
        bench = Bench(Database(url))
        run = bench.a_run()
        if whole:
            bench.stops.put(HELLO, ACT, "", None, None)
        else:
            bench.pause(run)
        bench.due(run)
        before, slow = Before(url), Database(f"{url}?application_name=slow")
        before.at = datetime.now(UTC)
        for statement in SLOW_CLOCK:
            admin.execute(statement)
        with ThreadPoolExecutor() as others:
            clock = others.submit(SqlStore(slow, LENGTH).stranded)
            wait_for(lambda: admin.execute(_WAITS).fetchone(), "the clock to read")

            if whole:
                SqlStops(before).lift(HELLO, ACT, None, None)
            else:
                control.unpause(run.id, store=SqlStore(before, LENGTH), dispatcher=bench.bell, act=ACT)
            admin.execute("SELECT pg_advisory_unlock(7)")

            rung = {envelope.run for envelope in clock.result(30).envelopes}
        assert rung | bench.rung() == {run.id}
        for database in (before, slow, bench.database):
            database.close()


class Before(Database):
    """Of one whose transactions began before a moment, and go on."""

    at: datetime

    def now(self, connection: Connection, said: datetime | None = None) -> datetime:
        return self.at


SLOW_CLOCK = (
    "SELECT pg_advisory_lock(7)",
    "CREATE SCHEMA slow",
    """CREATE FUNCTION slow.least_of(one bigint, other bigint) RETURNS bigint LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('application_name') = 'slow' THEN
            PERFORM pg_advisory_lock_shared(7);
            PERFORM pg_advisory_unlock_shared(7);
        END IF;
        RETURN least(one, other);
    END $$""",
    "CREATE AGGREGATE slow.min(bigint) (sfunc = slow.least_of, stype = bigint)",
    "DO $$ BEGIN EXECUTE format("
    "'ALTER DATABASE %I SET search_path = slow, public, pg_catalog', current_database()); END $$",
)
"""Who looks whether a run stands still waits, in the midst of it, for whoever has lock 7."""
_WAITS = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted"


def test_the_time_in_the_queue_begins_anew_when_a_stop_is_taken_back(bench: Bench) -> None:
    bench.a_run()
    bench.stops.put(HELLO, ACT, "", None, None)
    seen = int((datetime.now(UTC) - timedelta(minutes=14)).timestamp() * 10**6)
    long_ago = update(jobs).values(queued_at=0, held_at=seen, ring_at=seen + 900 * 10**6)
    bench.database.writing(lambda connection: connection.execute(long_ago))

    bench.stops.lift(HELLO, ACT, None, None)

    limited = SqlStore(bench.database, LENGTH, Limits(queue_timeout=60))
    found = limited.stranded()
    assert (len(found.envelopes), found.overdue) == (1, ())


def test_nobody_is_rung_for_at_a_start_who_stands_still(bench: Bench) -> None:
    paused, free = bench.a_run(), bench.a_run()
    bench.pause(paused)

    assert {one.run for one in bench.store.stranded(everything=True).envelopes} == {free.id}


def test_what_is_due_later_is_not_begun_earlier_by_the_end_of_a_pause(bench: Bench) -> None:
    run = bench.a_run()
    later = datetime.now(UTC) + timedelta(hours=1)
    bench.pause(run)
    bench.due(run, at=later)
    assert bench.rung() == set()

    bench.unpause(run)

    assert bench.rung() == set()
    with bench.database.reading() as connection:
        (ring_at,) = connection.execute(select(jobs.c.ring_at)).scalars()
    assert ring_at == int(later.timestamp() * 10**6)


def test_a_cancelled_run_is_rung_for_though_it_is_paused(bench: Bench) -> None:
    run = bench.a_run()
    lease = bench.claimed(run)
    bench.store.update(run.id, lambda run, now: run.with_job(release(run.jobs[0], lease, now)))
    bench.pause(run)
    bench.cancel(run)
    bench.due(run)

    assert bench.rung() == {run.id}


def test_a_heartbeat_learns_of_every_kind_of_stop_and_of_its_end(bench: Bench) -> None:
    paused, blocked, free = bench.a_run(), bench.a_run(GOOD), bench.a_run("c" * 40)
    leases = {run.id: bench.claimed(run) for run in (paused, blocked, free)}
    bench.pause(paused)
    bench.stops.put(HELLO, ACT, "", GOOD, None)

    assert bench.store.renew(leases.values()).stopped == {leases[paused.id], leases[blocked.id]}
    bench.cancel(paused)
    bench.stops.lift(HELLO, ACT, GOOD, None)
    renewal = bench.store.renew(leases.values())
    assert renewal.stopped == frozenset()
    assert renewal.cancelled == {leases[paused.id]}


def test_a_repository_that_is_removed_leaves_no_stop_to_the_next_of_its_name(bench: Bench) -> None:
    bench.stops.put(HELLO, ACT, "", BAD, None)
    bench.stops.put(HELLO, ACT, "", None, None)

    bench.repositories.remove(HELLO)
    bench.repositories.add(HELLO, "secret")

    assert bench.stops.all(HELLO) == []
    assert bench.stopped(bench.a_run()) == ""


def test_a_block_takes_hold_of_every_run_however_it_meets_its_admission(bench: Bench) -> None:
    begin = threading.Barrier(9)

    def admit(number: int) -> tuple[Delivery, tuple[Run, ...]]:
        delivery, _ = bench.store.receive(an_event(commit=BAD), f"x{number}", f"x{number}")
        begin.wait()
        runs = bench.store.settle(delivery.id, Verdict("admitted", route=a_route(BAD), runs=(a_new_run(),)))
        return bench.store.delivery(delivery.id), runs

    def block() -> None:
        begin.wait()
        bench.stops.put(HELLO, ACT, "", BAD, None)

    with ThreadPoolExecutor(9) as threads:
        admitted = [threads.submit(admit, number) for number in range(8)]
        threads.submit(block).result()
        for delivery, runs in (one.result() for one in admitted):
            assert (delivery.status, len(runs)) in {("admitted", 1), ("ignored", 0)}
            assert all(bench.stopped(run) for run in runs)


def test_many_runs_are_acted_on_in_batches_oldest_first(bench: Bench) -> None:
    bad = [bench.a_run(BAD, DEPLOY) for _ in range(5)]
    other = bench.a_run(GOOD)
    ended = bench.a_run(BAD, DEPLOY)
    bench.cancel(ended)
    verbs: dict[str, Callable[[Run], Run]] = {
        "pause": bench.pause,
        "unpause": bench.unpause,
        "cancel": bench.cancel,
    }

    for verb, act in verbs.items():
        seen: list[int] = []
        while True:
            found, left = bench.stops.matching(HELLO, BAD, DEPLOY, verb, 2)
            assert left == 5 - len(seen)
            if not found:
                break
            for one in found:
                act(bench.store.load(one))
            seen += found
        assert seen == [run.id for run in bad]
    assert bench.store.load(other.id).result is None


@pytest.mark.parametrize("said", ["bbbb", BAD[:12], BAD, BAD.upper()])
def test_a_commit_is_named_by_its_first_digits(bench: Bench, said: str) -> None:
    bench.a_run()

    assert bench.stops.commit(HELLO, said) == BAD


def test_a_commit_or_workflow_that_is_not_there_is_named(bench: Bench) -> None:
    bench.a_run()
    bench.a_run("bbbb" + "0" * 36, ".github/workflows/ci.yml")

    with pytest.raises(NotFound, match="no run or delivery of octo/hello is at a commit cccc;"):
        bench.stops.commit(HELLO, "cccc")
    assert bench.stops.commit(HELLO, "C" * 40) == "c" * 40
    with pytest.raises(Rejected, match="several commits of octo/hello begin with bbbb: "):
        bench.stops.commit(HELLO, "bbbb")
    with pytest.raises(Rejected, match="give its id, or its first digits"):
        bench.stops.commit(HELLO, "main")
    with pytest.raises(NotFound, match=r"no workflow 'x.yml' of octo/hello ever ran; there are \.github/"):
        bench.stops.workflow(HELLO, "x.yml")
    with pytest.raises(Rejected, match=r"ci.yml may be .* or .*; give one with its folder"):
        bench.stops.workflow(HELLO, "ci.yml")
    assert bench.stops.workflow(HELLO, CI) == CI


def test_storms_of_pause_cancel_and_completion_leave_every_run_sound(bench: Bench) -> None:
    runs = [bench.a_run() for _ in range(6)]
    seed = Random().randrange(10**6)
    begin = threading.Barrier(6)

    def work(number: int) -> None:
        """A worker that takes what it may, and hands back what stands still."""
        random = Random(seed + number)
        begin.wait()
        for _ in range(25):
            run = random.choice(runs)

            def take(run: Run, now: datetime) -> Run:
                job = run.jobs[0]
                if stands_still(run, job):
                    return run.with_job(lay_down(job, now, LENGTH))
                return run.with_job(claim(job, f"w{number}", now, LENGTH))

            try:
                made = bench.store.update(run.id, take)
            except NotClaimable:
                continue
            phase = made.after.jobs[0].phase
            if made.before == made.after or not isinstance(phase, Running):
                continue
            assert not made.before.stopped or made.before.cancelled, "what stands still was claimed"
            lease = phase.lease

            def end(run: Run, now: datetime, lease: Lease = lease) -> Run:
                job = run.jobs[0]
                if stands_still(run, job):
                    return run.with_job(release(job, lease, now))
                return run.with_job(conclude(job, lease, Result.SUCCESS, now))

            bench.store.update(run.id, end)

    def disturb(number: int) -> None:
        random = Random(seed - number)
        begin.wait()
        for _ in range(15):
            act = random.choice((bench.pause, bench.unpause, bench.pause, bench.unpause, bench.cancel))
            # One that has ended meanwhile is not paused any more.
            with suppress(Rejected):
                act(random.choice(runs))
            if random.random() < 0.3:
                random.choice((bench.stops.put, _lift(bench)))(HELLO, ACT, "", BAD, None)

    with ThreadPoolExecutor(6) as threads:
        jobs_of_all = [threads.submit(work, number) for number in range(4)]
        jobs_of_all += [threads.submit(disturb, number) for number in range(2)]
        for one in jobs_of_all:
            try:
                one.result()
            except LeaseLost as error:
                raise AssertionError(f"seed {seed}: a lease was lost that nobody took") from error

    bench.stops.lift(HELLO, ACT, BAD, None)
    for run in runs:
        bench.unpause(run)
        found = bench.store.load(run.id)
        assert found.stopped == ""
        (job,) = found.jobs
        match job.phase:
            case Finished():
                assert found.result in (Result.SUCCESS, Result.CANCELLED)
            case Queued():
                bench.claimed(run)
            case phase:
                raise AssertionError(f"seed {seed}: {phase}")


def _lift(bench: Bench) -> Callable[..., None]:
    def lift(repository: Repository, act: Act, reason: str, commit: str | None, workflow: str | None) -> None:
        bench.stops.lift(repository, act, commit, workflow)

    return lift


# --- tokens and acts -------------------------------------------------------------------------------


def test_a_token_is_known_by_its_digest_until_it_expires_or_is_revoked(database: Database) -> None:
    tokens, now = SqlTokens(database), datetime.now(UTC).replace(microsecond=0)
    scope = frozenset({("git", "octo/hello"), ("github", "octo/hello")})
    good = Token("anna", Role.WRITER, scope, "d1", now + timedelta(hours=1), "anna-of-octo")
    old = Token("bert", Role.ADMIN, None, "d2", now - timedelta(hours=1))
    for one in (good, old):
        tokens.add(one, ACT)

    assert (tokens.by_digest("d1"), tokens.by_name("anna")) == (good, good)
    assert (tokens.by_digest("d2"), tokens.by_name("bert"), tokens.by_digest("d3")) == (None, None, None)
    with pytest.raises(Rejected, match="there is a token anna already"):
        tokens.add(Token("anna", Role.VIEWER, None, "d4"), ACT)
    tokens.revoke("anna", ACT)
    assert tokens.by_digest("d1") is None
    with pytest.raises(NotFound, match="no token anna"):
        tokens.revoke("anna", ACT)
    assert [(one.name, one.repositories, one.created_by) for one in tokens.all()] == [("bert", None, "anna")]


def test_an_act_is_written_with_what_it_changes_or_not_at_all(bench: Bench) -> None:
    run = bench.a_run()

    def refuse(run: Run, now: datetime) -> Run:
        raise Rejected("not now")

    with pytest.raises(Rejected):
        bench.store.update(run.id, refuse, act=ACT)
    assert bench.audit.acts(None) == []
    bench.store.update(run.id, lambda run, now: run, act=Act("anna", "look", details={"why": "ä"}))
    (written,) = bench.audit.acts(frozenset({("git", "octo/hello")}))
    assert (written.actor, written.act, written.repo, written.run) == ("anna", "look", "octo/hello", run.id)
    assert written.details == {
        "why": "ä",
        "started_by": "octo",
        "commit": BAD,
        "workflow": CI,
        "attempt": 1,
        "changed": False,
    }
    assert bench.audit.acts(frozenset()) == []
