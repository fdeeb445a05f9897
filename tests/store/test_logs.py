"""The thread that writes what steps print."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from runner.engine.ports import Verdict
from runner.errors import DatabaseUnavailable
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


def test_what_a_database_did_not_take_is_written_later_and_in_its_order(database: Database, job: int) -> None:
    class Away:
        """Fails once, while the step prints on."""

        reading = database.reading
        failed = False

        def writing(self, work: Callable[[Connection], object]) -> object:
            if not self.failed:
                self.failed = True
                logs.append(job, 1, "1", b"second")
                raise DatabaseUnavailable("away")
            return database.writing(work)

    logs = SqlLogs(Away())  # type: ignore[arg-type]
    logs.append(job, 1, "1", b"first ")

    assert stored(logs, job, b"second") == b"first second"
