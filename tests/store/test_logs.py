"""What steps print, as it is written and as it is read again."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, text

from runner import store
from runner.engine.ports import Verdict
from runner.errors import DatabaseUnavailable
from runner.logs import FileLogs
from runner.store import Database, SqlLogs, SqlStore
from tests.builders import LENGTH, a_new_run, a_route, an_event
from tests.crash.world import wait_for
from tests.fakes import Troubled

PATIENCE = 30.0


@pytest.fixture
def job(database: Database) -> int:
    store = SqlStore(database, LENGTH)
    delivery, _ = store.receive(an_event(), "guid", "digest")
    (run,) = store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(a_new_run(),)))
    return run.jobs[0].id


def stored(logs: SqlLogs, job: int, last: bytes) -> bytes:
    """All that was written, once `last` was."""

    def read() -> bytes | None:
        found = logs.read(job, 1, "1", 0, 100)
        return found if found.endswith(last) else None

    return wait_for(read, f"{last!r} to be stored")


def test_it_goes_on_after_an_error_that_nobody_expected(database: Database, job: int) -> None:
    troubled = Troubled(database, "writing")
    logs = SqlLogs(troubled)  # type: ignore[arg-type]

    logs.append(job, 1, "1", b"lost")
    assert troubled.calls.acquire(timeout=PATIENCE)
    logs.append(job, 1, "1", b"kept")

    assert stored(logs, job, b"kept") == b"kept"


def test_a_job_that_is_gone_takes_no_others_output_along(database: Database, job: int) -> None:
    logs = SqlLogs(database)

    logs.append(job + 1, 1, "1", b"of one whose repository was removed")
    logs.append(job, 1, "1", b"kept")

    assert stored(logs, job, b"kept") == b"kept"
    logs.append(job + 1, 1, "1", b"more of it")
    logs.flush(job + 1)
    assert logs.read(job + 1, 1, "1", 0, 100) == b""


def test_what_a_database_did_not_take_is_written_later_and_in_its_order(database: Database, job: int) -> None:
    class Away:
        """Fails once, while the step prints on."""

        reading = database.reading
        failed = False

        def writing(self, work: Callable[[Connection], object]) -> object:
            if not self.failed:
                self.failed = True
                logs.append(job, 1, "2", b"the next step")
                logs.append(job, 1, "1", b"second")
                raise DatabaseUnavailable("away")
            return database.writing(work)

    logs = SqlLogs(Away())  # type: ignore[arg-type]
    logs.append(job, 1, "1", b"first ")

    assert stored(logs, job, b"second") == b"first second"
    logs.flush(job)
    assert logs.printed(job) == [(1, "1"), (1, "2")]


@pytest.mark.parametrize("kind", ["files", "rows"])
def test_a_log_is_read_from_any_place_in_it(database: Database, job: int, tmp_path: Path, kind: str) -> None:
    logs = FileLogs(tmp_path) if kind == "files" else SqlLogs(database)
    said = b""
    for number in range(20):
        chunk = b"%d" % number * (number + 1)
        said += chunk
        logs.append(job, 1, "1", chunk)
        logs.append(job, 1, "2", b"of another step")
        logs.flush(job)

    for offset in (0, 1, 17, len(said) - 1, len(said), len(said) + 5, 2**63 - 1):
        for limit in (1, 10, 1000, 2**20):
            assert logs.read(job, 1, "1", offset, limit) == said[offset : offset + limit]
    assert logs.read(job, 2, "1", 0, 100) == b""


def test_logs_of_other_attempts_come_and_go_while_a_job_prints_and_is_listed(tmp_path: Path) -> None:
    logs, over = FileLogs(tmp_path), threading.Event()

    def comes_and_goes(attempt: int) -> None:
        while not over.is_set():
            logs.append(1, attempt, "0", b"text")
            logs.let_go(1, attempt)

    with ThreadPoolExecutor(2) as threads:
        attempts = [threads.submit(comes_and_goes, attempt) for attempt in (1, 2)]
        try:
            for _ in range(1000):
                assert set(logs.printed(1)) <= {(1, "0"), (2, "0")}
        finally:
            over.set()
    for one in attempts:
        one.result()


@pytest.mark.parametrize("kind", ["files", "rows"])
def test_logs_are_listed_in_the_order_in_which_they_began(
    database: Database, job: int, tmp_path: Path, kind: str
) -> None:
    logs = FileLogs(tmp_path) if kind == "files" else SqlLogs(database)
    assert logs.printed(job) == []
    printed = [(1, "0"), (1, "2.pre"), (1, "10"), (1, "a/b"), (1, "1.post"), (2, "0"), (2, "1"), (10, "0")]
    for attempt, step in printed:
        for _ in range(3):
            logs.append(job, attempt, step, b"text")
        logs.append(job, 1, "0", b"more of the first")
    logs.flush(job)

    assert logs.printed(job) == printed


def test_files_of_an_older_version_are_listed_by_their_time(tmp_path: Path) -> None:
    logs = FileLogs(tmp_path)
    for at, step in enumerate(("0", "2", "1.post"), start=1):
        logs.append(1, 1, step, b"text")
        os.utime(tmp_path / "0" / "1" / "1" / f"{step}.log", (at, at))
    (tmp_path / "0" / "1" / "1" / "order").unlink()

    assert logs.printed(1) == [(1, "0"), (1, "2"), (1, "1.post")]


def test_reading_a_piece_of_a_long_log_fetches_that_piece_alone(database: Database, job: int) -> None:
    fetched: list[bytes] = []

    class Counting:
        """Keeps what the database was made to send."""

        writing = database.writing

        @contextmanager
        def reading(self) -> Iterator["Counting"]:
            with database.reading() as self.connection:
                yield self

        def execute(self, query: object) -> list[object]:
            rows = self.connection.execute(query).all()  # type: ignore[call-overload]
            fetched.extend(row.data for row in rows)
            return list(rows)

    logs = SqlLogs(Counting())  # type: ignore[arg-type]
    for _ in range(100):
        logs.append(job, 1, "1", b"x" * 1000)
        logs.flush(job)

    assert len(logs.read(job, 1, "1", 50_500, 2000)) == 2000
    assert len(fetched) == 3


def test_much_that_was_gathered_is_stored_in_pieces(database: Database, job: int) -> None:
    logs = SqlLogs(database)

    logs.append(job, 1, "1", b"x" * 300_000)

    with database.reading() as connection:
        sizes = connection.execute(text("SELECT length(data) FROM log_chunks")).scalars().all()
    assert (sum(sizes), max(sizes)) == (300_000, 65_536)
    assert logs.read(job, 1, "1", 65_530, 10) == b"x" * 10


def test_logs_of_an_older_version_can_be_read_and_added_to(database_url: str) -> None:
    database = Database(database_url)
    config = Config()
    config.set_main_option("script_location", str(Path(store.__file__).parent / "migrations"))

    def older(connection: Connection) -> int:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        former = MetaData()
        former.reflect(connection)
        about = {
            "forge": "git",
            "repo": "octo/hello",
            "ref": "refs/heads/main",
            "actor": "",
            "commit": "1" * 40,
        }
        at = {"created_at": 1, "received_at": 1, "status": "admitted", "reason": "", "attempt": 1}
        said = {"payload": {}, "problems": [], "needs": [], "labels": [], "steps": [], "worked": 0, "base": 0}
        named = {
            "key": "build",
            "name": "ci",
            "workflow": "ci.yml",
            "number": 1,
            "run_attempt": 1,
            "position": 0,
        }
        more = {
            "kind": "push",
            "event": "push",
            "guid": "1",
            "digest": "1",
            "cancelled": False,
            "phase": "waiting",
        }
        known = {**about, **at, **said, **named, **more}
        made: dict[str, object] = {}
        for name, id in (("deliveries", "d" * 36), ("runs", 1), ("jobs", 1)):
            table = former.tables[name]
            row = {column.name: known[column.name] for column in table.c if column.name in known}
            connection.execute(table.insert(), {**row, **made, "id": id})
            made = {"delivery": id} if name == "deliveries" else {"run": id}
        return 1

    job = database.writing(older)
    row = text("INSERT INTO log_chunks (job, attempt, step, data) VALUES (:job, 1, :step, :data)")
    chunks = [(step, data) for data in (b"one ", b"two ") for step in "12"]
    rows = [{"job": job, "step": step, "data": data} for step, data in chunks]
    database.writing(lambda connection: connection.execute(row, rows))

    database.migrate()
    logs = SqlLogs(database)
    logs.append(job, 1, "1", b"three")
    logs.flush(job)

    assert logs.read(job, 1, "1", 2, 100) == b"e two three"
    assert logs.read(job, 1, "2", 0, 100) == b"one two "
    database.close()
