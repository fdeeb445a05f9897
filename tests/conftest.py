"""Servers shared by all parallel test processes, and databases of a test's own."""

import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Connection, Engine, event

from runner.store import Database
from runner.workspaces.mounts import clear
from tests.servers import (
    FOLDER,
    Redis,
    end_servers,
    migrated_postgres,
    migrated_sqlite,
    postgres_database,
    redis_server,
)

# How long one example takes says more about the machine than about us.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few examples", settings.get_profile("any machine"), max_examples=15)
settings.load_profile("any machine")


class Statements(dict[Any, Any]):
    """What SQLAlchemy compiled, for all databases of one kind.

    It keeps that for each engine, and nearly every test has an engine of its own: half of what a test of the
    engine takes is to compile the same statements again.
    """

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(self._of_kind(key), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(self._of_kind(key), compiled)

    def _of_kind(self, key: Any) -> Any:
        dialect, *statement = key
        return type(dialect), *statement


_statements = Statements()


@event.listens_for(Engine, "engine_connect")
def compile_once(connection: Connection) -> None:
    connection.execution_options(compiled_cache=_statements)


def pytest_configure(config: pytest.Config) -> None:
    # A shell has what it starts in the background ignore these, and all that we start would inherit it.
    for ignored in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(ignored) is signal.SIG_IGN:
            signal.signal(ignored, signal.default_int_handler if ignored == signal.SIGINT else signal.SIG_DFL)
    if not hasattr(config, "workerinput"):
        # PostgreSQL runs as a user of its own and must be able to pass through.
        folder = Path(tempfile.mkdtemp(prefix="runner-tests-", dir="/tmp"))
        folder.chmod(0o711)
        os.environ[FOLDER] = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        end_servers(Path(os.environ[FOLDER]))


@pytest.fixture(scope="session", autouse=True)
def nothing_stays_mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers that were killed for good leave their jobs' folders mounted, as nobody sweeps up after them."""
    yield
    clear(tmp_path_factory.getbasetemp())


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Every kind of database that we promise to work on."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'runner.db'}"
        return
    with postgres_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """As `database_url`, with our tables."""
    if request.param == "sqlite":
        yield migrated_sqlite(tmp_path / "runner.db")
        return
    with migrated_postgres() as url:
        yield url


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    opened = Database(migrated_url)
    yield opened
    opened.close()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    with redis_server(tmp_path) as server:
        yield server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what ran, by suite: a suite that is missing must be seen."""
    ran: Counter[str] = Counter()
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if getattr(report, "when", "call") == "call" or outcome != "passed":
                ran[report.nodeid.split("/")[1] if "/" in report.nodeid else "tests"] += 1
    if ran:
        terminalreporter.write_sep("-", "what ran")
        terminalreporter.write_line(", ".join(f"{suite} {count}" for suite, count in sorted(ran.items())))
