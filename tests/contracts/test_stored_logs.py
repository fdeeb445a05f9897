"""Logs of jobs that have ended as objects, on every database that we promise to work on."""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, func, select, update

from runner.engine.leftovers import UNKNOWN
from runner.engine.log_archive import FRAME_BYTES, INLINE_BYTES, StoredLogs
from runner.engine.ports import LivingLogs, Verdict
from runner.errors import Unavailable
from runner.logs import FileLogs
from runner.model.leasing import claim, conclude
from runner.model.lifecycle import decide
from runner.model.run import Run, Running
from runner.model.source import Repository
from runner.model.step import Result
from runner.objects import FolderObjects
from runner.store import Database, SqlArchivedLogs, SqlLogs, SqlRepositories, SqlRetention, SqlStore
from runner.store.database import micros_of
from runner.store.tables import jobs, log_chunks, stored_logs
from tests.builders import LENGTH, a_new_run, a_route, an_event
from tests.contracts.test_retention import SERVER
from tests.fakes import Troubled

LONG = random.Random(1).randbytes(FRAME_BYTES + 100_000).hex().encode()
"""Of more than one frame, and not to be packed into a row."""
PRINTED = {(1, "0"): b"first words\n", (1, "2"): LONG, (1, "1"): b"", (1, "end"): b"last words\n"}
OFFSETS = (0, 1, FRAME_BYTES - 5, FRAME_BYTES, len(LONG) - 3, len(LONG), len(LONG) + 7, 2**63 - 1)


@dataclass
class World:
    database: Database
    store: SqlStore
    living: LivingLogs
    objects: FolderObjects
    logs: StoredLogs
    folder: Path

    def ended(self, printed: dict[tuple[int, str], bytes]) -> int:
        """A job that printed all this in its attempts, and has ended a while ago."""
        guid = str(uuid4())
        delivery, _ = self.store.receive(an_event(payload={"a": guid}), guid, guid)
        (run,) = self.store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(a_new_run(),)))
        job = run.jobs[0].id
        for (attempt, step), text in printed.items():
            for start in range(0, len(text), 100_000):
                self.logs.append(job, attempt, step, text[start : start + 100_000])
                self.logs.flush(job)
        attempts = max(attempt for attempt, _ in printed)

        def end(run: Run, now: datetime) -> Run:
            for _ in range(attempts):
                run = run.with_job(claim(run.jobs[0], "worker-1", now, LENGTH))
                now += LENGTH
            phase = run.jobs[0].phase
            assert isinstance(phase, Running)
            return decide(run.with_job(conclude(run.jobs[0], phase.lease, Result.SUCCESS, now)), now)

        self.store.update(run.id, end)
        self.pass_time(timedelta(hours=1))
        return job

    def pass_time(self, by: timedelta) -> None:
        earlier = update(jobs).values(finished_at=jobs.c.finished_at - micros_of(by))
        self.database.writing(lambda connection: connection.execute(earlier))

    def kept(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def living_logs(self) -> Sequence[object]:
        if self.database.lite:
            return list((self.folder.parent / "logs").rglob("*.log"))
        with self.database.reading() as connection:
            return connection.execute(select(log_chunks.c.id)).all()

    def rows(self) -> int:
        with self.database.reading() as connection:
            return connection.execute(select(func.count()).select_from(stored_logs)).scalar_one()


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    living = FileLogs(tmp_path / "logs") if database.lite else SqlLogs(database)
    objects = FolderObjects(tmp_path / "objects")
    logs = StoredLogs(living, SqlArchivedLogs(database), objects)
    SqlRepositories(database).add(Repository("git", "octo/hello", "/srv/hello.git"), "secret")
    return World(database, SqlStore(database, LENGTH), living, objects, logs, tmp_path / "objects")


def read(logs: StoredLogs, job: int, attempt: int, step: str) -> bytes:
    """As readers do: piece by piece, to the end."""
    found = b""
    while piece := logs.read(job, attempt, step, len(found), 64 * 1024):
        found += piece
    return found


def test_readers_see_no_difference(world: World) -> None:
    job = world.ended({**PRINTED, (2, "0"): b"again\n"})
    before = world.logs.printed(job)

    world.logs.archive()

    assert not world.living_logs()
    assert world.logs.printed(job) == before == [(1, "0"), (1, "2"), (1, "end"), (2, "0")]
    for offset in OFFSETS:
        for limit in (1, 1000, 2**20):
            assert world.logs.read(job, 1, "2", offset, limit) == LONG[offset : offset + limit]
    assert read(world.logs, job, 1, "0") == b"first words\n"
    assert read(world.logs, job, 1, "end") == b"last words\n"
    assert read(world.logs, job, 2, "0") == b"again\n"
    assert read(world.logs, job, 1, "no such") == read(world.logs, job, 3, "0") == b""
    (path,) = world.kept()
    # Hexadecimal digits say half of what they could.
    assert path.stat().st_size < len(LONG) * 0.6
    # Apart from another tenant's.
    assert path.relative_to(world.folder).parts[:2] == ("logs", "1")


def test_a_page_of_a_long_log_unpacks_that_page_alone(world: World) -> None:
    job = world.ended({(1, "1"): LONG * 4})
    world.logs.archive()
    (path,) = world.kept()
    asked: list[int] = []

    class Counting:
        def part(self, key: str, begin: int, size: int) -> bytes:
            asked.append(size)
            return world.objects.part(key, begin, size)

    logs = StoredLogs(world.living, SqlArchivedLogs(world.database), Counting())  # type: ignore[arg-type]

    assert logs.read(job, 1, "1", FRAME_BYTES * 3 + 10, 100) == (LONG * 4)[FRAME_BYTES * 3 + 10 :][:100]
    assert len(asked) == 1
    assert asked[0] < FRAME_BYTES < path.stat().st_size


def test_a_short_log_is_no_object(world: World) -> None:
    job = world.ended({(1, "0"): b"line\n" * 1000, (1, "1"): b"word\n"})

    world.logs.archive()

    assert not world.kept()
    assert not world.living_logs()
    assert world.rows() == 1
    assert read(world.logs, job, 1, "0") == b"line\n" * 1000
    assert read(world.logs, job, 1, "1") == b"word\n"


def test_a_log_that_not_all_would_reach_stays_where_it_is(world: World) -> None:
    long, short = world.ended(PRINTED), world.ended({(1, "0"): b"text"})
    rows = SqlArchivedLogs(world.database)

    StoredLogs(world.living, rows, world.objects, reached=False).archive()

    assert not world.kept()
    assert rows.of(long, 1) is None
    assert rows.of(short, 1) is not None
    assert rows.due(timedelta(), 10) == []
    assert read(world.logs, long, 1, "2") == LONG


def test_what_has_only_just_ended_or_goes_on_stays(world: World) -> None:
    ended = world.ended({(1, "0"): b"text"})
    world.pass_time(timedelta(hours=-1))
    world.logs.append(ended, 1, "end", b" and more")
    world.logs.flush(ended)

    world.logs.archive()
    assert world.rows() == 0

    world.pass_time(timedelta(hours=1))
    world.logs.archive()
    assert world.rows() == 1
    assert world.logs.printed(ended) == [(1, "0"), (1, "end")]


def test_more_than_one_round_takes_is_archived_too(world: World) -> None:
    for _ in range(101):
        world.ended({(1, "0"): b"text"})

    world.logs.archive()

    assert world.rows() == 101
    assert SqlArchivedLogs(world.database).due(timedelta(), 10) == []


def test_jobs_that_printed_nothing_are_dealt_with_once(world: World) -> None:
    world.ended({(1, "0"): b""})

    world.logs.archive()

    assert world.rows() == 0
    assert SqlArchivedLogs(world.database).due(timedelta(), 10) == []


def test_a_reader_beside_it_sees_every_byte_once(world: World) -> None:
    rounds = [world.ended(PRINTED) for _ in range(5)]
    seen: list[bytes] = []
    done = False

    listed: list[Sequence[tuple[int, str]]] = []

    def look() -> None:
        while not done:
            for job in rounds:
                listed.append(world.logs.printed(job))
                seen.append(read(world.logs, job, 1, "2"))

    reader = Thread(target=look)
    reader.start()
    while reader.is_alive() and not seen:
        reader.join(0.01)
    world.logs.archive()
    so_far = len(seen)
    while reader.is_alive() and len(seen) <= so_far + 5:
        reader.join(0.01)
    done = True
    reader.join()

    assert len(seen) > so_far + 5
    assert set(map(len, seen)) == {len(LONG)}
    assert set(seen) == {LONG}
    assert all(one == [(1, "0"), (1, "2"), (1, "end")] for one in listed)


@pytest.mark.parametrize("died_at", ["put", "add", "let_go", "settle"])
def test_whoever_dies_half_way_leaves_it_to_the_next(world: World, died_at: str) -> None:
    job = world.ended(PRINTED)
    rows = SqlArchivedLogs(world.database)
    parts = {"put": world.objects, "add": rows, "settle": rows, "let_go": world.living}
    broken = Troubled(parts[died_at], died_at)
    dying = StoredLogs(
        broken if died_at == "let_go" else world.living,
        broken if died_at in ("add", "settle") else rows,
        broken if died_at == "put" else world.objects,
    )

    with pytest.raises(ZeroDivisionError):
        dying.archive()
    assert world.logs.printed(job) == [(1, "0"), (1, "2"), (1, "end")]
    assert read(world.logs, job, 1, "2") == LONG
    world.logs.archive()

    assert read(world.logs, job, 1, "2") == LONG
    assert not world.living_logs()
    left = world.kept()
    old = (datetime.now() - UNKNOWN - timedelta(hours=1)).timestamp()
    for path in left:
        os.utime(path, (old, old))
    world.logs.sweep()
    assert len(world.kept()) == 1
    assert len(left) == (2 if died_at == "add" else 1)
    assert read(world.logs, job, 1, "2") == LONG


def test_two_clocks_at_once_keep_one(world: World) -> None:
    ids = [world.ended(PRINTED) for _ in range(3)]
    others = [Thread(target=world.logs.archive) for _ in range(2)]

    for other in others:
        other.start()
    for other in others:
        other.join()

    assert len(world.kept()) == world.rows() == 3
    assert {read(world.logs, job, 1, "2") for job in ids} == {LONG}
    assert not world.living_logs()


def test_an_object_that_is_missing_is_a_line_of_the_log(world: World) -> None:
    job = world.ended(PRINTED)
    world.logs.archive()
    (path,) = world.kept()
    key = path.relative_to(world.folder)
    path.unlink()

    said = f"##[error]the rest of this log cannot be shown: the object {key} cannot be read: there is none\n"
    assert read(world.logs, job, 1, "0").decode() == said
    assert read(world.logs, job, 1, "2").decode() == said


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_what_is_before_the_damage_is_still_shown(world: World, damage: str) -> None:
    job = world.ended(PRINTED)
    world.logs.archive()
    (path,) = world.kept()
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[-5:]
    else:
        content[-5] ^= 1
    path.write_bytes(content)

    found = read(world.logs, job, 1, "2")

    note = f"\n##[error]the rest of this log cannot be shown: the object {path.relative_to(world.folder)} "
    text, _, rest = found.partition(note.encode())
    assert rest == b"is damaged\n"
    assert len(text) > FRAME_BYTES
    assert LONG.startswith(text)
    assert read(world.logs, job, 1, "0") == b"first words\n"


def test_a_store_that_is_away_is_said_as_such_and_leaves_the_log_as_it_is(world: World) -> None:
    job = world.ended(PRINTED)
    away = Troubled(world.objects, "put", error=Unavailable("away"))
    logs = StoredLogs(world.living, SqlArchivedLogs(world.database), away)

    with pytest.raises(Unavailable, match="away"):
        logs.archive()
    assert read(world.logs, job, 1, "2") == LONG

    logs.archive()
    cut = Troubled(world.objects, "part", error=Unavailable("away"))
    logs = StoredLogs(world.living, SqlArchivedLogs(world.database), cut)
    with pytest.raises(Unavailable, match="away"):
        logs.read(job, 1, "2", 0, 10)


def test_a_log_that_is_removed_takes_its_object_along_and_never_comes_back(world: World) -> None:
    job = world.ended(PRINTED)
    world.logs.archive()

    world.logs.remove(job)
    world.logs.append(job, 1, "end", b"removed\n")
    world.logs.flush(job)
    world.logs.archive()

    assert not world.kept()
    assert world.rows() == 0
    assert world.logs.printed(job) == [(1, "end")]
    assert read(world.logs, job, 1, "end") == b"removed\n"


def test_a_log_that_is_removed_while_it_is_archived_stays_away(world: World) -> None:
    job = world.ended(PRINTED)

    class Overtaken:
        """Removes the log as soon as its object is whole."""

        def put(self, place: str, write: object) -> object:
            blob = world.objects.put(place, write)  # type: ignore[arg-type]
            world.logs.remove(job)
            return blob

        remove = world.objects.remove

    StoredLogs(world.living, SqlArchivedLogs(world.database), Overtaken()).archive()  # type: ignore[arg-type]

    assert not world.kept()
    assert world.logs.printed(job) == []


def test_a_run_that_is_forgotten_gives_the_keys_of_its_logs(world: World) -> None:
    world.ended(PRINTED)
    world.ended(PRINTED)
    world.logs.archive()
    world.pass_time(timedelta(days=500))
    earlier = "UPDATE runs SET created_at = created_at - 43200000000000"
    world.database.writing(lambda connection: connection.exec_driver_sql(earlier))

    (gone,) = SqlRetention(world.database, SERVER).forget(10)

    assert len(gone.objects) == 1
    assert world.rows() == 1


@given(texts=st.lists(st.binary(max_size=3000), max_size=6), seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_any_logs_come_back(tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], seed: int) -> None:
    tmp_path = tmp_path_factory.mktemp("logs")
    database = Database(f"sqlite:///{tmp_path / 'runner.db'}")
    database.create()
    objects = FolderObjects(tmp_path / "objects")
    logs = StoredLogs(FileLogs(tmp_path / "logs"), SqlArchivedLogs(database), objects)
    world = World(database, SqlStore(database, LENGTH), FileLogs(tmp_path), objects, logs, tmp_path)
    noise = random.Random(seed)
    printed = {(1, str(at)): text + noise.randbytes(len(text) * 5) for at, text in enumerate(texts)}
    job = world.ended({(1, "0"): b"", **printed})

    logs.archive()

    for (attempt, step), text in printed.items():
        begin = noise.randrange(len(text) + 1)
        assert logs.read(job, attempt, step, begin, 999) == text[begin : begin + 999]
        assert read(logs, job, attempt, step) == text
    database.close()


def test_a_row_that_was_damaged_says_so(world: World) -> None:
    job = world.ended({(1, "0"): b"text"})
    world.logs.archive()

    def change(connection: Connection) -> None:
        connection.execute(update(stored_logs).values(content=b"x" * (INLINE_BYTES // 2)))

    world.database.writing(change)

    assert b"##[error]the rest of this log cannot be shown: its row is damaged" in read(
        world.logs, job, 1, "0"
    )
    world.database.writing(lambda connection: connection.execute(delete(stored_logs)))
    assert read(world.logs, job, 1, "0") == b""
