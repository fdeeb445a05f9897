"""What is kept for a while only, on every database that we promise to work on."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import BinaryIO
from uuid import uuid4

import pytest
from sqlalchemy import Connection, func, select, update

from runner.engine.ports import KeptLogs, Verdict
from runner.engine.retire import retire
from runner.errors import LeaseLost, NotFound
from runner.logs import FileLogs
from runner.model.leasing import claim, conclude
from runner.model.lifecycle import decide
from runner.model.limits import Limits
from runner.model.reruns import rerun
from runner.model.run import Lease, Run, Running
from runner.model.source import Repository
from runner.model.step import Outcome, Result
from runner.objects import FolderObjects
from runner.store import Database, SqlLogs, SqlRepositories, SqlRetention, SqlStore
from runner.store.database import micros_of
from runner.store.read_models import RunFilter
from runner.store.tables import checkpoints, jobs, log_chunks, runs
from runner.store.views import Views
from tests.builders import LENGTH, a_checkpoint, a_new_run, a_route, an_event
from tests.fakes import FakeWorkspaces

SERVER = Limits(keep_logs=90 * 86400, keep_runs=400 * 86400)
DAY = timedelta(days=1)


class Folders(FakeWorkspaces):
    """Remembers what it was told to remove."""

    def forget(self, name: str) -> None:
        self.forgotten.append(name)

    def let_go(self, keep: str) -> None:
        self.released.append(keep)

    forgotten: list[str]
    released: list[str]


@dataclass
class Archive:
    database: Database
    store: SqlStore
    logs: KeptLogs
    folders: Folders
    objects: FolderObjects

    def add(self, name: str = "octo/hello", **limits: int) -> None:
        repository = Repository("git", name, f"/srv/{name}.git", limits=Limits(**limits))
        SqlRepositories(self.database).add(repository, "secret")

    def run(self, ref: str = "refs/heads/main", workflow: str = "ci.yml", repo: str = "octo/hello") -> Run:
        guid = str(uuid4())
        delivery, _ = self.store.receive(an_event(repo=repo, ref=ref, payload={"a": 1}), guid, guid)
        new = replace(a_new_run(), workflow=workflow)
        (run,) = self.store.settle(delivery.id, Verdict("admitted", route=a_route(repo=repo), runs=(new,)))
        return run

    def ended(self, result: Result = Result.SUCCESS, **given: str) -> Run:
        """A run that did a step, printed something, and ended."""
        run = self.run(**given)

        def begin(run: Run, now: datetime) -> Run:
            return run.with_job(claim(run.jobs[0], "worker-1", now, LENGTH))

        phase = self.store.update(run.id, begin).after.jobs[0].phase
        assert isinstance(phase, Running)
        lease = phase.lease
        self.logs.append(lease.job, 1, "1", b"hello\n")
        self.logs.flush(lease.job)
        self.store.record(lease, a_checkpoint(lease))

        def end(run: Run, now: datetime) -> Run:
            return decide(run.with_job(conclude(run.jobs[0], lease, result, now)), now)

        return self.store.update(run.id, end).after

    def pass_time(self, by: timedelta) -> None:
        """All that has happened was so much longer ago, by the database's own clock."""

        def work(connection: Connection) -> None:
            for table, names in ((jobs, ("queued_at", "finished_at", "started_at")), (runs, ("created_at",))):
                earlier = {name: table.c[name] - micros_of(by) for name in names}
                connection.execute(update(table).values(earlier))

        self.database.writing(work)

    def tidy(self) -> None:
        retire(
            retention=SqlRetention(self.database, SERVER),
            logs=self.logs,
            workspaces=self.folders,
            objects=self.objects,
        )

    def printed(self, run: Run) -> bytes:
        job = run.jobs[0].id
        return b"".join(
            self.logs.read(job, attempt, step, 0, 1000)  # type: ignore[attr-defined]
            for attempt, step in self.logs.printed(job)
        )

    def there(self, run: Run) -> bool:
        try:
            return self.store.load(run.id).id == run.id
        except NotFound:
            return False


@pytest.fixture
def archive(database: Database, tmp_path: Path) -> Archive:
    logs = FileLogs(tmp_path / "logs") if database.lite else SqlLogs(database)
    folders = Folders({}, tmp_path)
    folders.forgotten, folders.released = [], []
    return Archive(database, SqlStore(database, LENGTH), logs, folders, FolderObjects(tmp_path / "objects"))


def test_a_log_is_removed_after_its_time_and_says_so(archive: Archive) -> None:
    archive.add()
    run = archive.ended()

    archive.pass_time(89 * DAY)
    archive.tidy()
    assert archive.printed(run) == b"hello\n"

    archive.pass_time(DAY)
    archive.tidy()
    archive.tidy()
    said = b"##[notice]its log was removed 90d after the end of its run (keep-logs)\n"
    assert archive.printed(run) == said
    assert Views(archive.database).run(run.id).status == "success"


def test_a_run_is_removed_after_its_time_with_all_that_is_its_own(archive: Archive) -> None:
    archive.add()
    run, newest = archive.ended(), archive.ended()

    archive.pass_time(399 * DAY)
    archive.tidy()
    assert archive.there(run)

    archive.pass_time(DAY)
    archive.tidy()

    assert (archive.there(run), archive.there(newest)) == (False, True)
    assert archive.printed(run) == b""
    assert archive.folders.forgotten == [f"job-{run.jobs[0].id}"]
    assert archive.folders.released == [run.delivery]
    assert archive.store.event(run.delivery).payload == {}
    assert archive.store.event(newest.delivery).payload == {"a": 1}
    its = {jobs: jobs.c.run == run.id}
    its |= {table: table.c.job == run.jobs[0].id for table in (checkpoints, log_chunks)}
    with archive.database.reading() as connection:
        for table, mine in its.items():
            assert connection.execute(select(func.count()).select_from(table).where(mine)).scalar() == 0
    with pytest.raises(NotFound, match=f"no run {run.id}"):
        archive.store.update(run.id, lambda run, now: decide(rerun(run), now))


@pytest.mark.parametrize("again", [False, True])
def test_what_ran_for_a_repository_that_is_removed_goes_with_it_whatever_it_does(
    archive: Archive, again: bool
) -> None:
    archive.add()
    archive.add("octo/other")
    ended, waiting, working = archive.ended(), archive.run(), archive.run()
    other = archive.ended(repo="octo/other")

    def begin(run: Run, now: datetime) -> Run:
        return run.with_job(claim(run.jobs[0], "worker-1", now, LENGTH))

    phase = archive.store.update(working.id, begin).after.jobs[0].phase
    assert isinstance(phase, Running)
    repositories = SqlRepositories(archive.database)
    repositories.remove(repositories.get("git", "octo/hello"))
    if again:
        archive.add()
        own = archive.run()
    former = (ended, waiting, working)
    assert not any(archive.there(run) for run in former)
    due = archive.store.stranded(everything=True)
    assert [one.run for one in (*due.envelopes, *due.plans)] == ([own.id] if again else [])
    assert not due.stirred
    assert not due.overdue
    shown = [one.id for one in Views(archive.database).runs(RunFilter("octo/hello"))]
    assert shown == ([own.id] if again else [])
    archive.tidy()

    with archive.database.reading() as connection:
        left = set(connection.execute(select(runs.c.id)).scalars())
    assert left == {other.id, *([own.id] if again else [])}
    assert archive.printed(ended) == b""
    assert archive.store.renew([phase.lease]).lost == {phase.lease}
    with pytest.raises(LeaseLost):
        archive.store.record(phase.lease, a_checkpoint(phase.lease))


def test_more_runs_of_a_removed_repository_than_are_dealt_with_at_once(archive: Archive) -> None:
    archive.add()
    for _ in range(102):
        archive.run()
    repositories = SqlRepositories(archive.database)
    repositories.remove(repositories.get("git", "octo/hello"))

    archive.tidy()

    with archive.database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(runs)).scalar() == 0


def test_the_newest_run_of_each_workflow_and_branch_stays(archive: Archive) -> None:
    archive.add()
    old = [archive.ended() for _ in range(2)]
    kept = [
        archive.ended(),
        archive.ended(ref="refs/heads/other"),
        archive.ended(workflow="other.yml"),
    ]

    archive.pass_time(1000 * DAY)
    archive.tidy()

    assert [archive.there(run) for run in old] == [False, False]
    assert [archive.there(run) for run in kept] == [True] * 3


def test_what_a_badge_shows_stays_where_newer_runs_say_nothing(archive: Archive) -> None:
    archive.add()
    shown, skipped = archive.ended(Result.FAILURE), archive.ended(Result.SKIPPED)
    going_on = archive.run()

    archive.pass_time(1000 * DAY)
    archive.tidy()

    assert [archive.there(run) for run in (shown, skipped, going_on)] == [True] * 3


def test_nothing_of_a_run_that_has_not_ended_is_removed(archive: Archive) -> None:
    archive.add()
    waiting = archive.run()
    archive.ended()
    archive.logs.append(waiting.jobs[0].id, 1, "1", b"hello\n")
    archive.logs.flush(waiting.jobs[0].id)

    archive.pass_time(1000 * DAY)
    archive.tidy()

    assert archive.there(waiting)
    assert archive.printed(waiting) == b"hello\n"


def test_the_end_of_a_job_is_told_with_how_long_its_repository_keeps_its_files(archive: Archive) -> None:
    archive.add(keep_snapshots=7 * 86400)
    archive.add("octo/other")
    ids = [archive.ended(repo=repo).jobs[0].id for repo in ("octo/hello", "octo/other", "octo/removed")]

    found = Views(archive.database).ends(ids)

    assert [end and end.keep_snapshots for end in map(found.get, ids)] == [7 * 86400, None, None]


@pytest.mark.parametrize(("keep", "stays"), [(0, True), (30 * 86400, False)])
def test_a_repository_keeps_its_runs_for_as_long_as_it_says(archive: Archive, keep: int, stays: bool) -> None:
    archive.add(keep_runs=keep, keep_logs=keep)
    archive.add("octo/other")
    run, other = archive.ended(), archive.ended(repo="octo/other")
    archive.ended()
    archive.ended(repo="octo/other")

    archive.pass_time((1000 if stays else 31) * DAY)
    archive.tidy()

    assert archive.there(run) is stays
    assert archive.there(other) is not stays
    assert (archive.printed(run) == b"hello\n") is stays


def test_a_run_that_was_rerun_meanwhile_stays_whole(archive: Archive) -> None:
    archive.add()
    run = archive.ended()
    archive.ended()
    archive.pass_time(1000 * DAY)
    retention = SqlRetention(archive.database, SERVER)
    (silenced, _) = retention.silenced(10)

    archive.store.update(run.id, lambda run, now: decide(rerun(run), now))
    retention.silence(silenced)

    assert retention.forget(10) == []
    assert retention.silenced(10)[0].run != run.id
    assert archive.there(run)


def test_a_rerun_that_meets_the_removal_finds_the_run_gone_or_keeps_it_whole(archive: Archive) -> None:
    archive.add()
    run = archive.ended()
    archive.ended()
    archive.pass_time(1000 * DAY)
    held, outcome = Event(), list[str]()

    def again(run: Run, now: datetime) -> Run:
        held.set()
        return decide(rerun(run), now)

    def rerun_it() -> None:
        try:
            archive.store.update(run.id, again)
            outcome.append("rerun")
        except NotFound as error:
            outcome.append(str(error))

    rerunning = Thread(target=rerun_it)
    rerunning.start()
    gone = SqlRetention(archive.database, SERVER).forget(10)
    rerunning.join()

    if outcome == ["rerun"]:
        assert gone == []
        assert len(archive.store.load(run.id).jobs) == 1
    else:
        assert outcome == [f"no run {run.id}; `runner runs list` shows the newest"]
        assert [one.run for one in gone] == [run.id]


def test_a_delivery_that_started_another_run_keeps_its_payload(archive: Archive) -> None:
    archive.add()
    delivery, _ = archive.store.receive(an_event(payload={"a": 1}), "both", "both")
    new = (replace(a_new_run(), workflow="ci.yml"), replace(a_new_run(), workflow="slow.yml"))
    first, second = archive.store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=new))
    archive.database.writing(
        lambda connection: connection.execute(
            update(jobs)
            .where(jobs.c.run == first.id)
            .values(phase="finished", result="success", finished_at=0)
        )
    )
    archive.ended()

    archive.pass_time(1000 * DAY)
    archive.tidy()

    assert (archive.there(first), archive.there(second)) == (False, True)
    assert archive.folders.released == []
    assert archive.store.event(delivery.id).payload == {"a": 1}


def test_what_steps_gave_goes_with_their_run(archive: Archive) -> None:
    archive.add()
    run, newest = archive.run(), archive.run()
    blobs = []
    for one in (run, newest):
        lease = claimed_of(archive, one)
        blobs.append(archive.objects.put(f"values/{lease.job}", a_byte))
        outcome = Outcome(Result.SUCCESS, Result.SUCCESS, blob=blobs[-1], shown="1")
        archive.store.record(lease, a_checkpoint(lease, "long#1", outcome=outcome))
        assert archive.store.recall(archive.store.load(one.id).jobs[0])["long#1"].outcome == outcome
        conclude_of(archive, one, lease)
    archive.pass_time(400 * DAY)

    archive.tidy()

    assert [one.key for one in archive.objects.kept("values")] == [blobs[1].key]
    known = SqlRetention(archive.database, SERVER).known([blob.key for blob in blobs])
    assert known == {blobs[1].key}


def a_byte(file: BinaryIO) -> None:
    file.write(b"1")


def claimed_of(archive: Archive, run: Run) -> Lease:
    def begin(run: Run, now: datetime) -> Run:
        return run.with_job(claim(run.jobs[0], "worker-1", now, LENGTH))

    phase = archive.store.update(run.id, begin).after.jobs[0].phase
    assert isinstance(phase, Running)
    return phase.lease


def conclude_of(archive: Archive, run: Run, lease: Lease) -> None:
    def end(run: Run, now: datetime) -> Run:
        return decide(run.with_job(conclude(run.jobs[0], lease, Result.SUCCESS, now)), now)

    archive.store.update(run.id, end)
