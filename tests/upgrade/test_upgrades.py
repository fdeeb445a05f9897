"""What a former version left under way, and this one goes on with."""

import ast
import json
import os
import re
import signal
import sqlite3
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, select, text

from runner.errors import Rejected, Unavailable
from runner.model.run import Run
from runner.model.step import Result
from runner.settings import Settings
from runner.store import Database
from runner.store.database import Shape
from runner.store.tables import deliveries
from runner.wiring import Services, services
from tests.crash.world import PATIENCE, wait_for
from tests.forked import COMMAND, Forked, command, forked
from tests.servers import postgres_database, redis_server

HERE = Path(__file__).parent
MIGRATIONS = HERE.parents[1] / "runner/store/migrations/versions"
PAUSE = 3600 * 10**6
"""How long ago the former version seems to have left, in microseconds."""
MOMENT = re.compile(r"\b1[0-9]{15}\b")
REGISTRATION = re.compile(r'INSERT INTO (public\.|")repositories')
PUSHES = ("ended", "running", "waits-for-its-turn", "retried", "second", "queued", "received")


@dataclass
class Heir:
    """This version over a database and a home that a former one has left."""

    folder: Path
    database: str
    broker: str
    processes: list[Forked] = field(default_factory=list)

    @property
    def given(self) -> dict[str, str]:
        return {
            "home": str(self.folder / "home"),
            "database": self.database,
            "broker": self.broker,
            "git_protocols": "file",
            "executor": "host",
            "labels": "linux",
            "concurrency": "2",
            "lease": "60",
            "drain": "0",
            "secret_key_file": str(self.folder / "home/secret-key"),
            "port": "0",
        }

    @property
    def env(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        ours = {f"RUNNER_{name.upper()}": value for name, value in self.given.items()}
        return kept | ours | {"HOME": str(self.folder)}

    def start(self, *args: str) -> None:
        """Start a process of ours and wait until it works."""
        with (self.folder / "log").open("a") as log:
            self.processes.append(forked(COMMAND, args, self.env, stderr=log.fileno()))
        assert self.processes[-1].stdout.readline(), (self.folder / "log").read_text()

    def close(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(PATIENCE)
            process.close()


@pytest.fixture(params=["sqlite", "postgres"])
def heir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Heir]:
    kept = HERE / "0014"
    home, repository = tmp_path / "home", tmp_path / "repository"
    home.mkdir(mode=0o711)
    with tarfile.open(kept / f"{request.param}.home.tar.gz") as tar:
        tar.extractall(home, filter="data")
    bundle = kept / "repository.bundle"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(bundle), str(repository)], check=True)
    left_at = json.loads((kept / f"{request.param}.json").read_text())["left_at"]
    later = time.time_ns() // 1000 - PAUSE - left_at
    dump = (kept / f"{request.param}.sql").read_text().replace("@REPOSITORY@", str(repository))
    # Secrets are sealed for a registration, of which its moment is a part.
    dump = "\n".join(
        line if REGISTRATION.match(line) else MOMENT.sub(lambda found: str(int(found[0]) + later), line)
        for line in dump.splitlines()
    )
    with ExitStack() as stack:
        if request.param == "sqlite":
            with closing(sqlite3.connect(home / "runner.db")) as database:
                database.executescript(dump)
            made = Heir(tmp_path, "", "memory://")
        else:
            url = stack.enter_context(postgres_database())
            with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
                connection.execute(dump.encode())
            made = Heir(tmp_path, url, stack.enter_context(redis_server(tmp_path)).url)
        stack.callback(made.close)
        yield made


def ended(real: Services, push: str) -> Run:
    query = select(deliveries.c.id).where(deliveries.c.guid == f"push-{push}")
    with real.database.reading() as connection:
        delivery: str = connection.execute(query).scalar_one()

    def look() -> Run | None:
        runs = real.store.delivery(delivery).runs
        run = real.store.load(runs[0]) if runs else None
        return run if run is not None and run.result is not None else None

    return wait_for(look, f"the end of the run of {push}")


@pytest.mark.timeout(3 * PATIENCE)
def test_what_a_former_version_left_under_way_goes_on_to_its_end(heir: Heir) -> None:
    if heir.database:
        refused = command("worker", env=heir.env)
        assert refused.returncode == 1
        assert "of an older version, or not made yet; run `runner migrate` first" in refused.stderr
        assert command("migrate", env=heir.env).returncode == 0
        heir.start("worker")
        heir.start("clock")
    else:
        heir.start("serve")
    with closing(services(Settings.from_env(**heir.given))) as real:
        runs = {push: ended(real, push) for push in PUSHES}
        assert {push: run.result for push, run in runs.items()} == dict.fromkeys(PUSHES, Result.SUCCESS)

        kept = {job.key: real.logs.read(job.id, 1, "1", 0, 1000) for job in runs["ended"].jobs}
        assert kept == {key: f"{key} was done by the former version\n".encode() for key in ("a", "b")}
        assert [job.attempt for job in runs["ended"].jobs] == [1, 1]

        first, second = runs["running"].jobs
        assert (first.attempt, first.outputs) == (2, {"said": "of attempt 1"})
        assert [done.attempt for done in real.store.recall(first).values()] == [1, 2]
        assert real.logs.read(second.id, 1, "1", 0, 1000) == b"a said: of attempt 1\n"
        assert runs["waits-for-its-turn"].id > runs["running"].id

        assert list(real.store.recall(runs["retried"].jobs[0])) == ["1~1", "1"]
        assert [str(one.cron) for one in real.standings.due("git", "octo/hello")] == ["30 5 * * *"]


@pytest.mark.timeout(3 * PATIENCE)
def test_tables_are_changed_under_a_worker_that_works_on(heir: Heir) -> None:
    """As far as one can see without the code of the next version, which has migrations that this lacks."""
    command("migrate", env=heir.env)
    for args in (("worker",), ("clock",)) if heir.database else (("serve",),):
        heir.start(*args)
    database = Database(heir.database or f"sqlite:///{heir.folder}/home/runner.db")

    def change(connection: Connection) -> None:
        for table in ("runs", "jobs", "checkpoints", "deliveries", "repositories"):
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN of_the_next_version TEXT"))
        connection.execute(text("UPDATE alembic_version SET version_num = 'next'"))

    with closing(database), closing(services(Settings.from_env(**heir.given))) as real:
        database.migrate()
        database.writing(change)

        assert ended(real, "running").result is Result.SUCCESS
        assert ended(real, "received").result is Result.SUCCESS
        with pytest.raises(Unavailable, match="a newer version"):
            database.check()
        assert all(process.poll() is None for process in heir.processes)


@pytest.mark.parametrize("revision", ["next", "0001"])
def test_tables_of_another_version_are_named(database: Database, revision: str) -> None:
    shape = Shape.NEWER if revision == "next" else Shape.OLDER
    database.writing(
        lambda connection: connection.execute(
            text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision}
        )
    )

    assert database.shape() is shape
    with pytest.raises(Unavailable, match="a newer version" if shape is Shape.NEWER else "`runner migrate`"):
        database.check()
    if shape is Shape.NEWER:
        database.check(running=True)
        with pytest.raises(Rejected, match="install that one here too"):
            database.migrate()
    else:
        with pytest.raises(Unavailable):
            database.check(running=True)


def later_migrations() -> list[Path]:
    return [path for path in sorted(MIGRATIONS.glob("[0-9]*.py")) if path.name > "0015"]


@pytest.mark.parametrize("path", later_migrations(), ids=lambda path: path.stem)
def test_a_migration_only_adds_or_widens_so_that_the_version_before_works_on(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    for call in calls:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        widens = name == "alter_column" and [ast.unparse(one) for one in call.keywords] == ["type_=sa.Text()"]
        forbidden = name.startswith(("drop_", "alter_", "rename_", "batch_alter_"))
        assert widens or not forbidden, f"{path}: {name}"
        if name == "add_column":
            column = call.args[-1]
            assert isinstance(column, ast.Call), "a column is written where it is added"
            given = {one.arg: ast.unparse(one.value) for one in column.keywords}
            assert given.get("nullable") != "False" or "server_default" in given, f"{path}: {given}"
