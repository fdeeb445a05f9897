"""What a database in trouble is called, and that nothing of it is believed."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any

import pytest
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Integer, column, insert, inspect, make_url, table, text
from sqlalchemy.exc import IntegrityError

from runner.errors import DatabaseUnavailable
from runner.store import Database
from runner.store.database import Shape
from runner.store.revisions import newest
from runner.store.wal import WriteAheadLog
from tests.crash.proxy import Weather, proxy
from tests.crash.world import wait_for
from tests.servers import postgres_database


@pytest.fixture
def address() -> Iterator[URL]:
    with postgres_database() as url:
        yield make_url(url)


@pytest.fixture
def postgres(address: URL) -> Iterator[Database]:
    database = Database(address.render_as_string(hide_password=False))
    database.migrate()
    yield database
    database.close()


def test_a_standby_that_takes_no_writes_is_a_database_that_does_not_answer(postgres: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        postgres.writing(
            lambda connection: (
                connection.execute(text("SET TRANSACTION READ ONLY")),
                connection.execute(text("DELETE FROM jobs")),
            )
        )

    postgres.writing(lambda connection: connection.execute(text("DELETE FROM jobs")))


def test_connections_that_the_server_ended_are_made_again(postgres: Database) -> None:
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    postgres.writing(lambda connection: connection.execute(text("SELECT 1")))
    with postgres.reading() as connection:
        connection.execute(text(end))

    found = postgres.writing(lambda connection: connection.execute(text("SELECT 7")).scalar_one())

    assert found == 7


@pytest.mark.parametrize("mine", [True, False])
def test_a_row_whose_answer_was_lost_is_inserted_once_and_is_not_taken_for_another_ones(
    mine: bool, address: URL, postgres: Database
) -> None:
    postgres.writing(lambda connection: connection.execute(text("CREATE TABLE marks (id int PRIMARY KEY)")))
    mark = insert(table("marks", column("id", Integer)))
    with proxy(address.port or 0) as network, ThreadPoolExecutor() as others:
        database = Database(address.set(port=network.port).render_as_string(hide_password=False))
        assert database.insert(mark, {"id": 1}, lambda connection: False)
        network.becomes(Weather.HALF_OPEN)

        inserted = others.submit(database.insert, mark, {"id": 7}, lambda connection: mine)
        wait_for(lambda: 7 in marks(postgres) or None, "the row to be there")
        network.cut()
        network.becomes(Weather.FAIR)

        if mine:
            assert inserted.result()
        else:
            with pytest.raises(IntegrityError):
                inserted.result()
        database.close()
    assert marks(postgres) == {1, 7}


def marks(database: Database) -> set[int]:
    with database.reading() as connection:
        return set(connection.execute(text("SELECT id FROM marks")).scalars())


def test_a_row_that_is_there_already_is_no_trouble_of_the_databases(database: Database) -> None:
    row = (
        "INSERT INTO repositories (id, forge, name, url, secret, created_at) "
        "VALUES (1, 'git', 'a', 'u', 's', 0)"
    )
    database.writing(lambda connection: connection.execute(text(row)))

    with pytest.raises(IntegrityError):
        database.writing(lambda connection: connection.execute(text(row)))


def test_migrating_twice_and_at_once_changes_nothing_more(database: Database) -> None:
    assert database.current()

    database.migrate()

    assert database.current()


def test_the_newest_revision_is_the_one_that_migrations_lead_to(database: Database) -> None:
    with database.reading() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == newest()


def test_tables_without_the_last_migration_are_known_to_be_older(database: Database) -> None:
    older = text("UPDATE alembic_version SET version_num = '0001'")
    database.writing(lambda connection: connection.execute(older))

    assert database.shape() is Shape.OLDER


def test_tables_that_are_made_at_once_are_those_of_all_migrations(tmp_path: Path) -> None:
    made, migrated = (Database(f"sqlite:///{tmp_path}/{name}.db") for name in ("made", "migrated"))
    made.create()
    migrated.migrate()
    found, wanted = shape(made), shape(migrated)

    assert {name: rest for name, (_, *rest) in found.items()} == {
        name: rest for name, (_, *rest) in wanted.items()
    }
    # A migration may be ahead of the code with a column that has a default.
    assert all(columns <= wanted[name][0] for name, (columns, *_) in found.items())


def shape(database: Database) -> dict[str, Any]:
    """Tables with their columns, keys and indexes."""
    with database.reading() as connection:
        found = inspect(connection)
        return {
            name: (
                {(one["name"], str(one["type"]), one["nullable"]) for one in found.get_columns(name)},
                found.get_pk_constraint(name)["constrained_columns"],
                sorted(str(one["constrained_columns"]) for one in found.get_foreign_keys(name)),
                sorted((str(one["name"]), one["column_names"]) for one in found.get_indexes(name)),
                sorted(one["column_names"] for one in found.get_unique_constraints(name)),
            )
            for name in found.get_table_names()
            if name != "alembic_version"
        }


def test_a_database_that_another_process_holds_locked_is_named_and_works_on_after_it(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/runner.db", patience=0.05)
    database.migrate()
    other = sqlite3.connect(tmp_path / "runner.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(DatabaseUnavailable, match="locked"):
        database.writing(lambda connection: None)

    other.execute("ROLLBACK")
    other.close()
    database.writing(lambda connection: None)
    database.close()


def test_a_write_that_the_disk_does_not_keep_is_none_and_what_need_not_be_kept_does_not_wait_for_it(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path}/runner.db")
    database.migrate()
    log = tmp_path / "runner.db-wal"
    log.rename(tmp_path / "aside")
    log.symlink_to(log)

    with pytest.raises(DatabaseUnavailable, match="disk"):
        database.writing(lambda connection: None)
    database.writing(lambda connection: None, durable=False)

    log.unlink()
    (tmp_path / "aside").rename(log)
    database.writing(lambda connection: None)
    database.close()


class Disk:
    """Takes each sync in hand, and is done with it when a test says so."""

    def __init__(self) -> None:
        self.begun: Queue[Event] = Queue()

    def sync(self, file: int) -> None:
        done = Event()
        self.begun.put(done)
        assert done.wait(10)


def test_one_sync_is_for_all_who_asked_before_it_began_and_for_nobody_later(tmp_path: Path) -> None:
    (tmp_path / "runner.db-wal").touch()
    disk = Disk()
    log = WriteAheadLog(tmp_path / "runner.db", lambda: None, disk.sync)
    with ThreadPoolExecutor() as asking:
        first = asking.submit(log.keep)
        syncing = disk.begun.get(timeout=10)
        later = [asking.submit(log.keep) for _ in range(3)]
        wait_for(lambda: log.asked == 4 or None, "all to ask")
        syncing.set()
        first.result(10)
        assert not any(one.done() for one in later)

        disk.begun.get(timeout=10).set()

        for one in later:
            one.result(10)
    assert disk.begun.empty()


class Failing:
    """A disk that fails so often, and a database that is then put in order so often not."""

    def __init__(self, syncs: int, empties: int) -> None:
        self.syncs, self.empties = syncs, empties

    def sync(self, file: int) -> None:
        self.syncs -= 1
        if self.syncs >= 0:
            raise OSError("the disk fails")

    def empty(self) -> None:
        self.empties -= 1
        if self.empties >= 0:
            raise DatabaseUnavailable("it is busy")


def test_what_the_disk_failed_to_keep_is_kept_in_the_database_itself_or_by_nobody(tmp_path: Path) -> None:
    (tmp_path / "runner.db-wal").touch()
    disk = Failing(syncs=1, empties=2)
    log = WriteAheadLog(tmp_path / "runner.db", disk.empty, disk.sync)

    for _ in range(2):
        # Though the disk would do well if it were asked once more.
        with pytest.raises(DatabaseUnavailable, match="busy"):
            log.keep()

    log.keep()
    assert disk.empties == -1
    disk.syncs = 2
    with pytest.raises(OSError, match="not keep"):
        log.keep()


def test_a_commit_that_the_disk_took_by_another_way_has_happened(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/runner.db")
    database.migrate()
    disk = Failing(syncs=1, empties=0)
    database.writing(lambda connection: connection.execute(text("CREATE TABLE marks (id int)")))
    database._log = WriteAheadLog(tmp_path / "runner.db", database._empty_log, disk.sync)
    assert (tmp_path / "runner.db-wal").stat().st_size

    database.writing(lambda connection: connection.execute(text("INSERT INTO marks VALUES (7)")))

    assert (tmp_path / "runner.db-wal").stat().st_size == 0
    assert marks(database) == {7}
    database.close()
