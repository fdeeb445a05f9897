"""Which artifacts there are, on every database that we promise to work on."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, BinaryIO, cast
from uuid import uuid4

import pytest
from sqlalchemy import Connection, update

from runner.engine.expire import expire, sweep_objects
from runner.engine.leftovers import UNKNOWN
from runner.engine.ports import Objects, Verdict
from runner.engine.retire import retire
from runner.errors import BrokenDefinition, LeaseLost, NotFound, Unavailable
from runner.logs import FileLogs
from runner.model.artifact import Artifact, Maker, NameTaken, NewArtifact, newest
from runner.model.blob import Blob
from runner.model.leasing import claim, conclude, lay_down, start_over
from runner.model.lifecycle import decide
from runner.model.limits import Limits
from runner.model.run import Lease, Run, Running
from runner.model.source import Repository
from runner.model.step import Result
from runner.objects import FolderObjects
from runner.store import Database, SqlArtifacts, SqlRepositories, SqlRetention, SqlStore
from runner.store import artifacts as sql
from runner.store.database import micros_of
from runner.store.tables import artifacts, jobs, runs
from tests.builders import LENGTH, a_checkpoint, a_new_run, a_route, an_event
from tests.fakes import FakeWorkspaces, Troubled

DAY = timedelta(days=1)
HELLO = Repository("git", "octo/hello", "/srv/hello.git")


@dataclass
class Shelves:
    database: Database
    store: SqlStore
    artifacts: SqlArtifacts
    objects: FolderObjects

    def run(self, *keys: str, repo: str = "octo/hello") -> Run:
        guid = str(uuid4())
        delivery, _ = self.store.receive(an_event(repo=repo), guid, guid)
        (run,) = self.store.settle(
            delivery.id, Verdict("admitted", route=a_route(repo=repo), runs=(a_new_run(*keys),))
        )
        return run

    def claimed(self, run: Run, at: int = 0) -> tuple[Run, Lease]:
        def begin(run: Run, now: datetime) -> Run:
            return run.with_job(claim(run.jobs[at], "worker-1", now, LENGTH))

        after = self.store.update(run.id, begin).after
        phase = after.jobs[at].phase
        assert isinstance(phase, Running)
        return after, phase.lease

    def maker(self, repo: str = "octo/hello", step: str = "1") -> Maker:
        """A step of a job that runs."""
        run, lease = self.claimed(self.run(repo=repo))
        return self.step_of(run, lease, step)

    def step_of(self, run: Run, lease: Lease, step: str = "1") -> Maker:
        return Maker(run.route, run.id, run.attempt, lease.job, lease.attempt, 0, step, trusted=True)

    def new(
        self, maker: Maker, name: str = "built", text: str = "text", days: int | None = None
    ) -> NewArtifact:
        def write(file: BinaryIO) -> None:
            file.write(text.encode())

        blob = self.objects.put("artifacts/1", write)
        return NewArtifact(maker, name, blob, 1, days)

    def add(self, maker: Maker, name: str = "built", days: int | None = None) -> Artifact:
        return self.artifacts.add(self.new(maker, name, days=days))[0]

    def end(self, run: int, lease: Lease) -> None:
        def change(run: Run, now: datetime) -> Run:
            return decide(run.with_job(conclude(run.job(lease.job), lease, Result.SUCCESS, now)), now)

        self.store.update(run, change)

    def pass_time(self, by: timedelta) -> None:
        """All that has happened was so much longer ago, by the database's own clock."""
        columns = {
            artifacts: ("created_at", "expires_at"),
            jobs: ("queued_at", "finished_at", "started_at"),
            runs: ("created_at",),
        }

        def work(connection: Connection) -> None:
            for table, names in columns.items():
                earlier = {name: table.c[name] - micros_of(by) for name in names}
                connection.execute(update(table).values(earlier))

        self.database.writing(work)

    def keys(self) -> set[str]:
        return {one.key for one in self.objects.kept("artifacts")}


@pytest.fixture
def shelves(database: Database, tmp_path: Path) -> Shelves:
    made = SqlArtifacts(database, Limits(keep_artifacts=90 * 86400))
    return Shelves(database, SqlStore(database, LENGTH), made, FolderObjects(tmp_path / "objects"))


def test_an_artifact_comes_back_as_it_was_added(shelves: Shelves) -> None:
    maker = shelves.maker()
    new = shelves.new(replace(maker, trusted=False))

    made, gone = shelves.artifacts.add(new)

    assert shelves.artifacts.of_run(maker.route, maker.run) == [made]
    assert (made.name, made.blob, made.files, made.trusted) == ("built", new.blob, 1, False)
    assert (made.run, made.run_attempt, made.job, made.step) == (maker.run, 1, maker.job, "1")
    assert made.expires_at == made.created_at + 90 * DAY
    assert gone == []


def test_a_name_is_taken_once_in_an_attempt_of_a_run(shelves: Shelves) -> None:
    run, lease = shelves.claimed(shelves.run("a", "b"))
    _, other = shelves.claimed(run, 1)
    first = shelves.add(shelves.step_of(run, lease))

    for late in (shelves.step_of(run, lease, "2"), shelves.step_of(run, other)):
        with pytest.raises(
            NameTaken, match=r"an artifact with this name already exists .* built; `overwrite:"
        ):
            shelves.add(late)
    shelves.add(shelves.step_of(run, other), "other")
    shelves.add(replace(shelves.step_of(run, lease), run_attempt=2))

    found = shelves.artifacts.of_run(run.route, run.id)
    assert [(one.name, one.run_attempt) for one in found] == [("built", 1), ("other", 1), ("built", 2)]
    assert found[0] == first
    assert [(one.name, one.run_attempt) for one in newest(found)] == [("built", 2), ("other", 1)]


def test_a_step_replaces_what_it_made_and_what_its_job_made_before_it_started_over(shelves: Shelves) -> None:
    maker = shelves.maker()
    first = shelves.add(maker)

    second, gone = shelves.artifacts.add(shelves.new(maker))
    assert gone == [first.blob.key]
    moved = replace(maker, step="2")
    with pytest.raises(NameTaken):
        shelves.add(moved)
    third, gone = shelves.artifacts.add(shelves.new(replace(moved, base=2)))

    assert gone == [second.blob.key]
    assert shelves.artifacts.of_run(maker.route, maker.run) == [third]
    assert len({first.id, second.id, third.id}) == 3


def test_what_a_step_made_that_still_counts_is_not_replaced_by_a_job_that_went_back(shelves: Shelves) -> None:
    run, lease = shelves.claimed(shelves.run("a"))
    for key in ("1", "2"):
        shelves.add(shelves.step_of(run, lease, key), f"of {key}")
        shelves.store.record(lease, a_checkpoint(lease, key))

    def lost(run: Run, now: datetime) -> Run:
        job = claim(lay_down(run.jobs[0], now + 2 * LENGTH, LENGTH), "worker-2", now, LENGTH)
        assert isinstance(job.phase, Running)
        return run.with_job(start_over(job, job.phase.lease, carried=1))

    after = shelves.store.update(run.id, lost).after
    phase = after.jobs[0].phase
    assert isinstance(phase, Running)
    third = replace(shelves.step_of(after, phase.lease, "3"), base=2)

    with pytest.raises(NameTaken):
        shelves.add(third, "of 1")
    shelves.add(third, "of 2")


def test_what_is_named_is_replaced_and_only_where_it_is_still_there(shelves: Shelves) -> None:
    run, lease = shelves.claimed(shelves.run("a", "b"))
    _, other = shelves.claimed(run, 1)
    mine, theirs = shelves.step_of(run, lease), shelves.step_of(run, other)
    first, more = shelves.add(mine), shelves.add(mine, "more")

    second, gone = shelves.artifacts.add(shelves.new(theirs), [first.id, more.id])
    assert set(gone) == {first.blob.key, more.blob.key}
    with pytest.raises(NameTaken):
        shelves.artifacts.add(shelves.new(mine), [first.id])
    third, gone = shelves.artifacts.add(shelves.new(mine), None)

    assert gone == [second.blob.key]
    assert shelves.artifacts.of_run(run.route, run.id) == [third]


def test_of_two_who_add_a_name_at_once_one_is_refused(shelves: Shelves) -> None:
    run = shelves.run("a", "b")
    leases = [shelves.claimed(run, at)[1] for at in (0, 1)]
    news = [shelves.new(shelves.step_of(run, lease)) for lease in leases]
    begin, ends = Barrier(2), list[str]()

    def add(new: NewArtifact) -> None:
        begin.wait()
        try:
            shelves.artifacts.add(new)
            ends.append("added")
        except NameTaken:
            ends.append("taken")

    threads = [Thread(target=add, args=(new,)) for new in news]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ends) == ["added", "taken"]


def test_whoever_lost_its_job_adds_nothing(shelves: Shelves) -> None:
    run, lease = shelves.claimed(shelves.run())
    shelves.end(run.id, lease)

    for maker in (shelves.step_of(run, lease), replace(shelves.step_of(run, lease), attempt=0)):
        with pytest.raises(LeaseLost):
            shelves.add(maker)
    assert shelves.artifacts.of_run(run.route, run.id) == []


def test_a_run_of_another_repository_has_none(shelves: Shelves) -> None:
    maker = shelves.maker()
    shelves.add(maker)

    for route, run in ((replace(maker.route, repo="octo/other"), maker.run), (maker.route, maker.run + 1)):
        with pytest.raises(NotFound, match=f"{route.repo} has no run {run}"):
            shelves.artifacts.of_run(route, run)


@pytest.mark.parametrize(
    ("own", "asked", "days"),
    [
        (None, None, 90),
        (None, 5, 5),
        (None, 100, 90),
        (30, None, 30),
        (30, 60, 30),
        (0, None, None),
        (0, 7, 7),
    ],
)
def test_an_artifact_is_kept_as_long_as_its_repository_lets_it_be(
    shelves: Shelves, own: int | None, asked: int | None, days: int | None
) -> None:
    limits = Limits(keep_artifacts=own if own is None else own * 86400)
    SqlRepositories(shelves.database).add(replace(HELLO, limits=limits), "secret")

    made = shelves.add(shelves.maker(), days=asked)

    assert made.expires_at == (None if days is None else made.created_at + days * DAY)


def test_what_has_expired_is_gone_and_then_its_object(shelves: Shelves) -> None:
    maker = shelves.maker()
    kept, gone = shelves.add(maker), shelves.add(maker, "short", days=1)

    shelves.pass_time(DAY)
    assert shelves.artifacts.of_run(maker.route, maker.run) == [
        replace(kept, created_at=kept.created_at - DAY, expires_at=kept.expires_at and kept.expires_at - DAY)
    ]
    assert [one.name for one in shelves.artifacts.shown(HELLO)] == ["built"]
    with pytest.raises(NotFound, match=f"no artifact {gone.id}; "):
        shelves.artifacts.one(gone.id, None)
    assert shelves.keys() == {kept.blob.key, gone.blob.key}

    expire(artifacts=shelves.artifacts, objects=shelves.objects)
    expire(artifacts=shelves.artifacts, objects=shelves.objects)
    assert shelves.keys() == {kept.blob.key}


def test_an_object_that_is_no_artifacts_is_removed_after_a_day(
    shelves: Shelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shelves.add(shelves.maker())
    nobodys = {shelves.objects.put("artifacts/2", lambda file: None).key for _ in range(3)}
    monkeypatch.setattr(sql, "AT_ONCE", 2)

    def sweep(later: timedelta) -> set[str]:
        now = datetime.now(UTC) + later
        sweep_objects(artifacts=shelves.artifacts, objects=shelves.objects, now=now)
        return shelves.keys()

    assert sweep(UNKNOWN - timedelta(hours=1)) == nobodys | {made.blob.key}
    assert sweep(UNKNOWN + timedelta(hours=1)) == {made.blob.key}


def test_a_run_that_is_forgotten_takes_its_artifacts_along(shelves: Shelves, tmp_path: Path) -> None:
    run, lease = shelves.claimed(shelves.run())
    shelves.add(shelves.step_of(run, lease))
    shelves.end(run.id, lease)
    newer, held = shelves.claimed(shelves.run())
    kept = shelves.add(shelves.step_of(newer, held))
    shelves.end(newer.id, held)
    shelves.pass_time(10 * DAY)

    retire(
        retention=SqlRetention(shelves.database, Limits(keep_runs=86400)),
        logs=FileLogs(tmp_path / "logs"),
        workspaces=FakeWorkspaces({}, tmp_path),
        objects=shelves.objects,
    )

    assert shelves.keys() == {kept.blob.key}
    with pytest.raises(NotFound):
        shelves.store.load(run.id)


def test_a_store_that_is_away_keeps_nothing_else_of_a_run(shelves: Shelves, tmp_path: Path) -> None:
    logs, old = FileLogs(tmp_path / "logs"), list[int]()
    for _ in range(2):
        run, lease = shelves.claimed(shelves.run())
        shelves.add(shelves.step_of(run, lease))
        logs.append(lease.job, lease.attempt, "1", b"printed")
        logs.flush(lease.job)
        shelves.end(run.id, lease)
        old.append(lease.job)
    newer, held = shelves.claimed(shelves.run())
    shelves.end(newer.id, held)
    shelves.pass_time(10 * DAY)
    away = Troubled(shelves.objects, "remove", 99, Unavailable("away"))

    retire(
        retention=SqlRetention(shelves.database, Limits(keep_runs=86400)),
        logs=logs,
        workspaces=FakeWorkspaces({}, tmp_path),
        objects=cast(Objects, away),
    )

    assert [list(logs.printed(job)) for job in old] == [[], []]
    assert len(shelves.keys()) == 2, "they are swept later"


def test_what_takes_the_place_of_others_is_on_the_disk_before_those_are_gone(shelves: Shelves) -> None:
    class Watched:
        now = shelves.database.now

        def __init__(self) -> None:
            self.durable = list[bool]()

        def writing(self, work: Any, durable: bool = True) -> Any:
            self.durable.append(durable)
            return shelves.database.writing(work, durable)

    watched, maker = Watched(), shelves.maker()
    kept = SqlArtifacts(cast(Database, watched))
    one, _ = kept.add(shelves.new(maker, "one"))

    kept.add(shelves.new(maker, "all"), [one.id])

    assert watched.durable == [False, True]


def test_a_repository_holds_no_more_than_its_share(shelves: Shelves) -> None:
    limited = SqlArtifacts(shelves.database, most=10)
    maker = shelves.maker()
    limited.add(shelves.new(maker, text="12345678"))

    with pytest.raises(
        BrokenDefinition, match=r"octo/hello have 8 bytes together, and with 3 more .* than 10"
    ):
        limited.add(shelves.new(maker, "more", text="123"))
    # What it takes the place of counts no more.
    limited.add(shelves.new(maker, text="1234567890"))
    limited.add(shelves.new(shelves.maker("octo/other"), text="1234567890"))


def test_of_several_runs_that_add_at_once_no_more_than_its_share_is_held(shelves: Shelves) -> None:
    limited = SqlArtifacts(shelves.database, most=10)
    news = [shelves.new(shelves.maker(), text="1234") for _ in range(6)]
    begin = Barrier(len(news))

    def add(new: NewArtifact) -> bool:
        begin.wait()
        try:
            limited.add(new)
        except BrokenDefinition:
            return False
        return True

    with ThreadPoolExecutor(len(news)) as pool:
        assert sum(pool.map(add, news)) == 2


def test_a_job_has_a_limit_of_artifacts(shelves: Shelves, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "MOST_OF_A_JOB", 2)
    maker = shelves.maker()
    for name in ("one", "two"):
        shelves.add(maker, name)

    with pytest.raises(BrokenDefinition, match="a job has at most 2 artifacts"):
        shelves.add(maker, "three")


def test_people_see_what_is_theirs_newest_first(shelves: Shelves) -> None:
    first, second, third = shelves.add(shelves.maker()), shelves.add(shelves.maker(), "logs"), shelves.maker()
    other = shelves.add(shelves.maker("octo/other"))
    newest_one = shelves.add(third)
    shown = shelves.artifacts.shown

    assert [one.id for one in shown(HELLO)] == [newest_one.id, second.id, first.id]
    assert [one.id for one in shown(HELLO, "built", limit=1)] == [newest_one.id]
    assert [one.id for one in shown(HELLO, "built", before=newest_one.id)] == [first.id]
    assert (shelves.artifacts.count(HELLO), shelves.artifacts.count(HELLO, "logs")) == (3, 1)
    assert [one.id for one in shelves.artifacts.shown_of(third.run)] == [newest_one.id]
    assert shelves.artifacts.one(first.id, frozenset({("git", "octo/hello")}))[1] == first.blob
    with pytest.raises(NotFound):
        shelves.artifacts.one(other.id, frozenset({("git", "octo/hello")}))


def test_what_is_removed_is_gone_and_its_id_is_never_anothers(shelves: Shelves) -> None:
    maker = shelves.maker()
    made = shelves.add(maker)

    assert shelves.artifacts.remove(HELLO, made.id) == made.blob.key
    with pytest.raises(NotFound, match=f"no artifact {made.id}; "):
        shelves.artifacts.remove(HELLO, made.id)
    again = shelves.add(maker)
    with pytest.raises(NotFound):
        shelves.artifacts.remove(replace(HELLO, name="octo/other"), again.id)

    assert again.id > made.id
    assert isinstance(again.blob, Blob)
