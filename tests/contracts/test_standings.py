"""What the engine needs of a store that keeps schedules, on every database that we promise to work on."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, update

from runner.engine.ports import Verdict
from runner.engine.standings import LEAST, MOMENT, TOLERANCE, following, left_out
from runner.model.ending import cancel
from runner.model.lifecycle import decide
from runner.model.run import Run
from runner.model.source import Event, Repository
from runner.model.standing import Follows, Missed, Scheduled, Standing
from runner.store import Database, SqlRepositories, SqlStandings, SqlStore
from runner.store.database import micros
from runner.store.tables import deliveries, schedules
from runner.workflow.cron import parse_cron
from runner.workflow.times import next_after
from tests.builders import LENGTH, a_new_run, a_route, an_event
from tests.servers import migrated_sqlite

NIGHTLY = Scheduled(".github/workflows/ci.yml", "30 5 * * *", "Europe/Berlin")
HOURLY = Scheduled(".github/workflows/ci.yml", "0 * * * *")
PAST = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Bench:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.store = SqlStandings(database)
        self.repositories = SqlRepositories(database)
        self.repositories.add(Repository("git", "octo/hello", "/srv/hello.git"), "secret")
        self.store.fire(following)
        for delivery in self.delivered():
            SqlStore(database, LENGTH).delivery(delivery)

    @property
    def repository(self) -> Repository:
        return self.repositories.get("git", "octo/hello")

    def stand(self, *wanted: Scheduled, commit: str = "1" * 40) -> bool:
        revision, _ = self.store.standing("git", "octo/hello")
        return self.store.stand(self.repository, revision, Standing(commit, frozenset(wanted)), following)

    def put_back(self, due: datetime = PAST) -> None:
        """As if the clock had been away since then."""
        self.database.writing(
            lambda connection: connection.execute(update(schedules).values(due_at=micros(due)))
        )

    def delivered(self) -> list[str]:
        with self.database.reading() as connection:
            return list(connection.execute(select(deliveries.c.id).order_by(deliveries.c.id)).scalars())

    def fired(self) -> list[Event]:
        store = SqlStore(self.database, LENGTH)
        events = [store.event(delivery) for delivery in self.delivered()]
        return [event for event in events if event.kind == "schedule"]


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


def test_a_new_repository_is_read_once_however_often_the_clock_looks(bench: Bench) -> None:
    bench.store.fire(following)
    (delivery,) = bench.delivered()
    event = SqlStore(bench.database, LENGTH).event(delivery)
    assert (event.kind, event.ref, event.commit) == ("sync", "HEAD", None)

    bench.repositories.remove(bench.repository)
    bench.repositories.add(Repository("git", "octo/hello", "/srv/other.git"), "secret")
    for _ in range(3):
        bench.store.fire(following)

    assert len(bench.delivered()) == 2


def test_a_schedule_is_due_at_its_next_time_and_nothing_before(bench: Bench) -> None:
    assert bench.stand(NIGHTLY, HOURLY)

    due = bench.store.due("git", "octo/hello")
    now = datetime.now(UTC)
    bench.store.fire(following)

    assert set(due) == {NIGHTLY, HOURLY}
    assert all(at is not None and now < at <= now + timedelta(hours=25) for at in due.values())
    assert bench.fired() == []


def test_a_schedule_that_is_due_is_an_event_that_is_rung_for_in_the_same_round(bench: Bench) -> None:
    bench.stand(NIGHTLY)
    bench.put_back()

    bench.store.fire(following)

    (event,) = bench.fired()
    assert (event.kind, event.ref, event.commit, event.actor) == ("schedule", "HEAD", None, "runner")
    assert event.payload["schedule"] == "30 5 * * *"
    assert event.payload["workflow"] == ".github/workflows/ci.yml"
    assert bench.delivered()[-1] in SqlStore(bench.database, LENGTH).stranded().deliveries


def test_a_clock_that_was_away_fires_each_schedule_once_and_goes_on_from_now(bench: Bench) -> None:
    bench.stand(NIGHTLY, HOURLY)
    bench.put_back()

    for _ in range(3):
        bench.store.fire(following)

    assert sorted(event.payload["schedule"] for event in bench.fired()) == ["0 * * * *", "30 5 * * *"]
    assert all(
        at is not None and at > datetime.now(UTC) for at in bench.store.due("git", "octo/hello").values()
    )


def test_what_was_missed_is_left_out_where_the_repository_says_so_and_the_next_is_awaited(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.repositories.change(bench.repository, {"missed": "skip"})
    bench.stand(NIGHTLY, HOURLY)
    bench.put_back()

    for _ in range(2):
        bench.store.fire(following)

    due = bench.store.due("git", "octo/hello")
    assert bench.fired() == []
    assert all(at is not None and at > datetime.now(UTC) for at in due.values())
    assert bench.store.skipped("git", "octo/hello") == {NIGHTLY: PAST, HOURLY: PAST}
    assert [record.message for record in caplog.records] == ["a due time was missed and is left out"] * 2


def test_a_clock_that_is_a_little_late_has_missed_nothing(bench: Bench) -> None:
    bench.repositories.change(bench.repository, {"missed": "skip"})
    bench.stand(HOURLY)
    bench.put_back(datetime.now(UTC) - TOLERANCE + timedelta(minutes=1))

    bench.store.fire(following)

    assert len(bench.fired()) == 1
    assert bench.store.skipped("git", "octo/hello") == {HOURLY: None}


def test_what_was_missed_is_made_good_again_when_the_repository_asks_for_it(bench: Bench) -> None:
    for missed in ("skip", "once"):
        bench.repositories.change(bench.repository, {"missed": missed})
    bench.stand(HOURLY)
    bench.put_back()

    bench.store.fire(following)

    assert len(bench.fired()) == 1


class Moved(Database):
    """A database whose clock says what a test says."""

    at = PAST

    def now(self, connection: Connection, said: datetime | None = None) -> datetime:
        return self.at


JUMPS = st.lists(
    st.tuples(
        # Seconds that pass between two looks, the clock's being away among them, and what it is off by then.
        st.sampled_from([1, 30, 60, 299, 301, 1800, 3600, 3 * 3600]),
        st.sampled_from([-3600, 0, 0, 0, 3600]),
    ),
    min_size=1,
    max_size=40,
)
# Clocks are put forward in Berlin on 29 March 2026 and back on 25 October, at 1:00; in Lord Howe by half an
# hour, on 4 October and 5 April, at 15:30 and 15:00 of the day before.
CHANGES = ["2026-03-28T22:00", "2026-10-24T22:00", "2026-10-03T13:00", "2026-04-04T13:00", "2026-06-01T00:00"]


@settings(max_examples=25)
@given(
    st.sampled_from(CHANGES),
    st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "UTC"]),
    st.sampled_from(["15 * * * *", "*/10 * * * *", "30 2 * * *", "0,45 1-3 * * *"]),
    st.sampled_from(["once", "skip"]),
    JUMPS,
)
def test_however_the_clock_jumps_each_due_time_has_one_event_or_is_made_good_by_a_later_one(
    begin: str, zone: str, cron: str, missed: Missed, steps: list[tuple[int, int]]
) -> None:
    one = Scheduled("ci.yml", cron, zone)
    real = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    with TemporaryDirectory() as folder:
        database = Moved(migrated_sqlite(Path(folder) / "runner.db"))
        try:
            database.at = real
            bench = Bench(database)
            bench.repositories.change(bench.repository, {"missed": missed})
            bench.stand(one)
            looks: list[tuple[datetime, datetime | None, int]] = []
            for passed, off in steps:
                real += timedelta(seconds=passed)
                database.at = real + timedelta(seconds=off)
                before, fired = bench.store.due("git", "octo/hello")[one], len(bench.fired())
                bench.store.fire(following)
                bench.store.fire(following)
                looks.append((database.at, before, len(bench.fired()) - fired))
        finally:
            database.close()
    dues = [due for _, due, _ in looks if due is not None]
    assert dues == sorted(dues), "what was due once never is again"
    for at, due, made in looks:
        assert due is not None
        assert made == (due <= at and not left_out(missed, due, at)), "one event for what is due, or none"
    for (at, due, _), (_, later, _) in pairwise(looks):
        assert due is not None
        if due <= at:
            expected = next_after(parse_cron(cron), zone, max(at, due + LEAST - MOMENT))
            assert later == expected, "nothing is left out but what has passed, and what comes too soon"
        else:
            assert later == due


def test_many_clocks_at_once_fire_each_due_time_once(bench: Bench) -> None:
    bench.stand(NIGHTLY, HOURLY)
    bench.put_back()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: bench.store.fire(following), range(16)))

    assert len(bench.fired()) == 2


def test_a_clock_that_dies_in_the_middle_has_done_nothing_and_the_next_does_it(bench: Bench) -> None:
    bench.stand(HOURLY)
    bench.put_back()

    def dies(one: Scheduled, since: datetime | None, now: datetime) -> datetime | None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bench.store.fire(dies)
    assert bench.fired() == []
    bench.store.fire(following)

    assert len(bench.fired()) == 1


def test_the_same_due_time_makes_no_second_event(bench: Bench) -> None:
    bench.stand(HOURLY)

    for _ in range(2):
        bench.put_back()
        bench.store.fire(following)

    assert len(bench.fired()) == 1


def test_what_stays_is_due_when_it_was_and_what_is_gone_is_not(bench: Bench) -> None:
    bench.stand(NIGHTLY, HOURLY)
    bench.put_back()

    assert bench.stand(replace(HOURLY, timezone="Asia/Kolkata"), NIGHTLY, commit="2" * 40)

    due = bench.store.due("git", "octo/hello")
    assert set(due) == {replace(HOURLY, timezone="Asia/Kolkata"), NIGHTLY}
    assert due[NIGHTLY] == PAST
    assert bench.store.standing("git", "octo/hello")[1].commit == "2" * 40


def test_who_read_before_another_wrote_writes_nothing(bench: Bench) -> None:
    revision, _ = bench.store.standing("git", "octo/hello")
    assert bench.stand(NIGHTLY)

    stale = Standing("2" * 40, frozenset({HOURLY}))

    assert not bench.store.stand(bench.repository, revision, stale, following)
    assert set(bench.store.due("git", "octo/hello")) == {NIGHTLY}


@pytest.mark.parametrize("again", [False, True])
def test_a_repository_that_is_removed_has_no_schedules_also_where_it_was_just_read(
    bench: Bench, again: bool
) -> None:
    bench.stand(NIGHTLY)
    revision, _ = bench.store.standing("git", "octo/hello")
    former = bench.repository
    bench.repositories.remove(former)
    if again:
        bench.repositories.add(Repository("git", "octo/hello", "/srv/other.git"), "secret")

    assert bench.store.stand(former, revision, Standing("2" * 40, frozenset({HOURLY})), following)

    assert bench.store.due("git", "octo/hello") == {}


@pytest.mark.parametrize(
    ("cron", "zone"), [("0 0 30 2 *", "UTC"), ("0 0 * * *", "Nowhere/Land"), ("never", "UTC")]
)
def test_what_has_no_next_time_disturbs_no_other(
    bench: Bench, cron: str, zone: str, caplog: pytest.LogCaptureFixture
) -> None:
    odd = Scheduled("ci.yml", cron, zone)

    bench.stand(odd, HOURLY)

    due = bench.store.due("git", "octo/hello")
    assert due[odd] is None
    assert due[HOURLY] is not None


def often(since: str, now: str, cron: str = "* * * * *") -> str:
    at = [datetime.fromisoformat(f"2026-01-01T{one}+00:00") for one in (since, now)]
    found: Callable[..., datetime | None] = following
    coming = found(Scheduled("ci.yml", cron), at[0], at[1])
    assert coming is not None
    return f"{coming:%H:%M}"


def test_what_would_come_within_five_minutes_is_left_out() -> None:
    assert often("10:00", "10:00:01") == "10:05"
    assert often("10:00", "10:07:30") == "10:08"
    assert often("10:59", "10:59", "3,59 * * * *") == "11:59"
    assert often("10:00", "10:00", "*/5 * * * *") == "10:05"


def test_the_end_of_a_run_and_its_event_are_one(bench: Bench) -> None:
    followed = Standing("1" * 40, follows=frozenset({Follows("requested"), Follows("completed", ("c*",))}))
    assert bench.store.stand(bench.repository, 0, followed, following)
    assert bench.store.standing("git", "octo/hello") == (1, followed)
    store = SqlStore(bench.database, LENGTH)
    delivery, _ = store.receive(an_event(), "guid", "digest")
    (run,) = store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(a_new_run(),)))

    def end(run: Run, now: datetime) -> Run:
        return decide(cancel(run, now), now)

    def dies(run: Run, now: datetime) -> Run:
        end(run, now)
        raise ZeroDivisionError

    def told() -> list[str]:
        events = [store.event(one) for one in bench.delivered()]
        return [event.payload["action"] for event in events if event.kind == "workflow_run"]

    with pytest.raises(ZeroDivisionError):
        store.update(run.id, dies)
    assert told() == ["requested"]

    for _ in range(2):
        store.update(run.id, end)

    assert told() == ["requested", "completed"]
