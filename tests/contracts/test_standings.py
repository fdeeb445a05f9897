"""What the engine needs of a store that keeps schedules, on every database that we promise to work on."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from runner.engine.ports import Verdict
from runner.engine.standings import following
from runner.model.lifecycle import cancel, decide
from runner.model.run import Run
from runner.model.source import Event, Repository
from runner.model.standing import Follows, Scheduled, Standing
from runner.store import Database, SqlRepositories, SqlStandings, SqlStore
from runner.store.database import micros
from runner.store.tables import deliveries, schedules
from tests.builders import LENGTH, a_new_run, a_route, an_event

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
