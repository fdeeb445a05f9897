"""One database, SQLite or PostgreSQL: connections, transactions, its clock and its migrations."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from enum import Enum
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar

from sqlalchemy import Connection, Insert, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from runner.errors import DatabaseUnavailable, Rejected, Unavailable
from runner.store.revisions import is_newest
from runner.store.tables import metadata
from runner.store.wal import WriteAheadLog

T = TypeVar("T")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
CONFLICTS = {"40001", "40P01"}
"""PostgreSQL's serialization failure and deadlock (its manual, appendix A): try again."""
ATTEMPTS = 10
_CLOCK = text("SELECT clock_timestamp()")
_TAKE_TURNS = text("SELECT pg_advisory_xact_lock(:key)")
DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")


class Shape(Enum):
    """How a database's tables stand to this version's."""

    CURRENT = "they are this version's"
    OLDER = "the database's tables are of an older version, or not made yet; run `runner migrate` first"
    NEWER = (
        "the database's tables are of a newer version of runner; install that one here too, or restore a "
        "backup of the database from before `runner migrate`"
    )


def one_at_a_time(connection: Connection, about: str) -> None:
    """One transaction at a time for each thing, to the end of it. SQLite has only one at all."""
    if connection.dialect.name == "postgresql":
        key = int.from_bytes(sha256(about.encode()).digest()[:8], signed=True)
        connection.execute(_TAKE_TURNS, {"key": key})


def micros(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def moment(at: int) -> datetime:
    return EPOCH + at * MICROSECOND


class Database:
    """`url` is SQLAlchemy's: `sqlite:////folder/runner.db` or `postgresql+psycopg://…`.

    Raises `Rejected` for any other. Errors of the database surface as `DatabaseUnavailable`; integrity
    errors as they are.
    """

    def __init__(self, url: str, patience: float = 10) -> None:
        _check(url)
        self.lite = url.startswith("sqlite")
        self._write = threading.Lock()
        self._log: WriteAheadLog | None = None
        # A transaction always ends before its connection goes back: there is nothing to reset.
        options: dict[str, Any] = {"pool_size": 20, "max_overflow": 20, "pool_reset_on_return": None}
        # What is stored may be secret, and errors go into logs.
        options["hide_parameters"] = True
        if self.lite:
            _make_private(url)
            options["connect_args"] = {"timeout": patience, "check_same_thread": False}
        else:
            limit = int(patience * 1000)
            options["connect_args"] = {
                "connect_timeout": 5,
                # Who is cut off without a word is not waited for until the kernel gives up, in 15 minutes.
                "tcp_user_timeout": limit,
                "keepalives_idle": 5,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                # A process that is stopped in a transaction must not keep its locks from all others.
                "options": f"-c statement_timeout={limit} -c idle_in_transaction_session_timeout={limit}",
            }
        self._writer = create_engine(url, **options)
        # A stale connection makes a write begin again; a read is in its caller's hands and cannot.
        self._reader = create_engine(
            url, isolation_level="AUTOCOMMIT", pool_pre_ping=not self.lite, **options
        )
        self._single = self._writer.execution_options(isolation_level="AUTOCOMMIT")
        if self.lite:
            for engine in (self._writer, self._reader):
                event.listen(engine, "connect", self._configure)
            event.listen(self._writer, "begin", _begin)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection in which every statement sees the newest committed state."""
        with self._named(), self._reader.connect() as connection:
            yield connection

    def writing(self, work: Callable[[Connection], T], durable: bool = True) -> T:
        """Run `work` in one transaction, again from the start after a conflict.

        On return it survives the death of every process; with `durable`, a loss of power too. SQLite
        without it may then forget the newest such transactions, together and never in part.
        """
        for left in range(ATTEMPTS - 1, -1, -1):
            try:
                with self._named():
                    return self._once(work, durable)
            except _Conflict:
                if not left:
                    raise
                _part()
        raise AssertionError("unreachable")

    def insert(self, statement: Insert, row: Mapping[str, Any], there: Callable[[Connection], bool]) -> bool:
        """Write with one statement, as `writing` does but for a loss of power; whether it inserted anything.

        To PostgreSQL that is one way there and back instead of three. Where the connection breaks on the way
        nobody knows whether it was done: it is done again, and `there` says whether what is in its way then
        is the same.
        """
        if self.lite:
            return self.writing(lambda connection: _inserted(connection, statement, row), durable=False)
        broke = False
        for left in range(ATTEMPTS - 1, -1, -1):
            try:
                with self._named(), self._single.connect() as connection:
                    return _inserted(connection, statement, row)
            except IntegrityError:
                with self.reading() as connection:
                    if broke and there(connection):
                        return True
                raise
            except _Conflict:
                broke = True
                if not left:
                    raise
                _part()
        raise AssertionError("unreachable")

    def now(self, connection: Connection, said: datetime | None = None) -> datetime:
        """The database's clock; SQLite's is this machine's. `said`: what a statement just found it to be."""
        if self.lite:
            return datetime.now(UTC)
        clock: datetime = said or connection.execute(_CLOCK).scalar_one()
        return clock.astimezone(UTC)

    def time(self) -> datetime:
        """What its clock says."""
        with self.reading() as connection:
            return self.now(connection)

    def migrate(self) -> None:
        """Bring the tables to this version's shape; safe to call from several processes at once.

        Raises `Rejected` where a newer version was here.
        """
        if self.current():
            return
        with (
            self._named(),
            self._writer.connect() as connection,
            self._unbound(connection),
            connection.begin(),
        ):
            if not self.lite:
                connection.execute(text("SELECT pg_advisory_xact_lock(727166)"))
            resolve_name("runner.store.migrating:upgrade")(connection)
        self._keep()

    @contextmanager
    def _unbound(self, connection: Connection) -> Iterator[None]:
        """SQLite changes a table by making it anew, and dropping the old one takes along what refers to it.

        https://www.sqlite.org/lang_altertable.html, section 7.
        """
        if not self.lite:
            yield
            return
        _pragma(connection, "foreign_keys=OFF")
        try:
            yield
        finally:
            _pragma(connection, "foreign_keys=ON")

    def create(self) -> None:
        """Give a database that is new and nobody else's the tables of this version."""
        with self._named(), self._writer.begin() as connection:
            metadata.create_all(connection, checkfirst=False)

    def current(self) -> bool:
        """Whether the tables have this version's shape."""
        return self.shape() is Shape.CURRENT

    def check(self, running: bool = False) -> None:
        """Raises `Unavailable`, which says what to do, where the tables have not this version's shape.

        What is `running` may see those of a newer one: it works on beside its successor.
        """
        found = self.shape()
        if found is not Shape.CURRENT and not (running and found is Shape.NEWER):
            raise Unavailable(found.value)

    def shape(self) -> Shape:
        with self.reading() as connection:
            if is_newest(connection):
                return Shape.CURRENT
            # Alembic is slow to import, and nearly every process that begins does without.
            found: Shape = resolve_name("runner.store.migrating:shape")(connection)
        return found

    def close(self) -> None:
        self._writer.dispose()
        self._reader.dispose()

    def _once(self, work: Callable[[Connection], T], durable: bool) -> T:
        if not self.lite:
            with self._writer.begin() as connection:
                return work(connection)
        with self._write, self._writer.begin() as connection:
            made = work(connection)
        if durable:
            self._keep()
        return made

    def _keep(self) -> None:
        """Have the disk keep what was committed. PostgreSQL does so by itself."""
        if self._log is None:
            return
        try:
            self._log.keep()
        except OSError as error:
            raise DatabaseUnavailable(f"the database's disk does not answer: {error}") from error

    def _configure(self, connection: Any, _record: object) -> None:
        # Python's driver would begin transactions by itself, and late; `_begin` does it instead.
        connection.isolation_level = None
        for pragma in ("foreign_keys=ON", "cache_size=-16000"):
            connection.execute(f"PRAGMA {pragma}").close()
        # On some disks there is no such log. Then SQLite waits for the disk itself, at each commit.
        if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
            return
        connection.execute("PRAGMA synchronous=NORMAL").close()
        if self._log is None:
            _, _, file = connection.execute("PRAGMA database_list").fetchone()
            self._log = WriteAheadLog(Path(file), self._empty_log)

    def _empty_log(self) -> None:
        with self._named(), self._reader.connect() as connection:
            busy, _, _ = _driver(connection).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise DatabaseUnavailable("the database's disk does not answer, and others are busy with its log")

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in CONFLICTS:
                raise _Conflict(f"the database reports a conflict: {error.orig}") from error
            if error.connection_invalidated and error.statement is not None:
                # The connection broke before the commit, so nothing of the transaction happened.
                raise _Conflict(f"the connection to the database broke: {error.orig}") from error
            if isinstance(error, IntegrityError | DataError | ProgrammingError):
                raise
            # Whatever else it says (a failover's read-only standby too) is its trouble, not ours.
            raise DatabaseUnavailable(f"the database does not answer: {error.orig}") from error
        except sqlite3.OperationalError as error:
            raise DatabaseUnavailable(f"the database does not answer: {error}") from error
        except PoolTimeout as error:
            raise DatabaseUnavailable(f"no connection to the database came free: {error}") from error


def _inserted(connection: Connection, statement: Insert, row: Mapping[str, Any]) -> bool:
    made = connection.execute(statement, row, execution_options={"preserve_rowcount": True})
    return made.rowcount > 0


def _part() -> None:
    """Two transactions that met once meet again unless they part by chance."""
    time.sleep(0.002 * (threading.get_ident() % 7 + 1))


class _Conflict(DatabaseUnavailable):
    """Another transaction was in the way."""


def _check(url: str) -> None:
    """Raises `Rejected`, without repeating what may hold a password."""
    known = False
    with suppress(ArgumentError, ValueError):
        read = make_url(url)
        # SQLite's `:memory:` would be another database for each connection.
        kept = read.database not in (None, "", ":memory:") or not read.drivername.startswith("sqlite")
        known = kept and read.drivername in DRIVERS
    if not known:
        raise Rejected("give sqlite:////FOLDER/runner.db or postgresql+psycopg://USER:PASSWORD@HOST/NAME")
    if not url.startswith("sqlite") and find_spec("psycopg") is None:
        raise Rejected("PostgreSQL needs `pip install 'runner[postgres]'`; give sqlite:////FOLDER/runner.db")


def _make_private(url: str) -> None:
    """Webhook secrets are in it. SQLite gives the files beside it the same mode."""
    file = make_url(url).database
    if file and file != ":memory:" and Path(file).parent.is_dir():
        Path(file).touch(mode=0o600)


def _pragma(connection: Connection, setting: str) -> None:
    """Unlike a statement, this begins no transaction."""
    _driver(connection).execute(f"PRAGMA {setting}").close()


def _begin(connection: Connection) -> None:
    # Taking the write lock at once: a transaction that reads first and writes later can be refused.
    _driver(connection).execute("BEGIN IMMEDIATE").close()


def _driver(connection: Connection) -> Any:
    driver = connection.connection.driver_connection
    assert driver is not None
    return driver


def micros_of(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
