"""What waiting costs and how punctual it ends, how fast steps are kept, how soon a lost job goes on."""

import multiprocessing
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, create_engine, func, insert, select, text, update

from runner.model.leasing import claim
from runner.model.run import Job, Lease, Run, Running
from runner.model.step import Checkpoint, Outcome, Result
from runner.store import Database, SqlStore
from runner.store.tables import checkpoints, deliveries, jobs, runs
from tests.bench.report import Figure
from tests.bench.server import STEP, Server, a_server
from tests.servers import FOLDER, end_servers, postgres_database, redis_server

ASLEEP = 50_000
AT_ONCE = 1_000
TIMERS = 100
EACH = 400
"""Checkpoints that each of the workers keeps."""
WORKERS = 8
SLEEPER = STEP + "      - uses: runner/sleep@v1\n        with: {for: 300 days}\n      - run: 'true'\n"


def waits() -> Iterator[Figure]:
    yield from asleep("runs", SLEEPER, target=10)


def asleep(
    what: str, workflow: str, file: str = "ci.yml", at_once: int = AT_ONCE, target: float | None = None
) -> Iterator[Figure]:
    """An embedded server, clock and all, on whose database 50,000 runs sleep; then some of them awake.

    `target`: the seconds in which all that are due at one instant should have begun.
    """
    with a_server() as server:
        server.start()
        server.push(server.commit(workflow, file=file))
        _until(server, select(func.count()).where(jobs.c.phase == "suspended"), 1)
        server.services.database.writing(_multiply)
        assert server.process is not None
        time.sleep(2)
        before, begun = cpu_of(server.process.pid), time.perf_counter()
        time.sleep(20)
        share = 100 * (cpu_of(server.process.pid) - before) / (time.perf_counter() - begun)
        yield Figure(f"cpu while {ASLEEP} {what} sleep", share, "%", target="1 %", met=share < 1)
        memory = memory_of(server.process.pid)
        yield Figure("memory then", memory, "MiB", target="200 MiB", met=memory < 200)
        late = _awake(server, at_once, spread=timedelta())
        figure = Figure(f"{at_once} due at one instant, last start", late[-1], "s")
        if target is not None:
            figure.target, figure.met = f"{target:g} s", late[-1] <= target
        yield figure
        late = _awake(server, TIMERS, spread=timedelta(seconds=0.3))
        p99 = late[int(len(late) * 0.99) - 1]
        note = f"median {statistics.median(late):.3f} s"
        yield Figure("lateness of single timers, p99", p99, "s", target="1 s", met=p99 < 1, note=note)


def _multiply(connection: Connection) -> None:
    """Have the one run that sleeps be many."""
    delivery = dict(connection.execute(select(deliveries).where(deliveries.c.kind == "push")).one()._mapping)
    run = dict(connection.execute(select(runs)).one()._mapping)
    job = dict(connection.execute(select(jobs)).one()._mapping)
    for first in range(2, ASLEEP + 1, 1000):
        numbers = range(first, min(first + 1000, ASLEEP + 1))
        connection.execute(
            insert(deliveries),
            [
                delivery | {"id": f"{number:036}", "guid": f"{number}", "digest": f"{number}"}
                for number in numbers
            ],
        )
        connection.execute(
            insert(runs),
            [run | {"id": number, "number": number, "delivery": f"{number:036}"} for number in numbers],
        )
        connection.execute(insert(jobs), [job | {"id": number, "run": number} for number in numbers])


def _awake(server: Server, count: int, spread: timedelta) -> list[float]:
    """Let some sleepers be due soon, one `spread` after another; the seconds that each began late."""
    due: dict[int, int] = {}

    def change(connection: Connection) -> None:
        found = connection.execute(
            select(jobs.c.id, jobs.c.waits).where(jobs.c.phase == "suspended").limit(count)
        )
        begin = datetime.now(UTC) + timedelta(seconds=3)
        for place, row in enumerate(found.all()):
            at = int((begin + place * spread).timestamp() * 1_000_000)
            due[row.id] = at
            # Of several waits the first is the one that ends.
            sleep = [row.waits[0] | {"due": at}, *row.waits[1:]]
            columns = {"due_at": at, "ring_at": at, "waits": sleep}
            connection.execute(update(jobs).where(jobs.c.id == row.id).values(columns))

    server.services.database.writing(change)
    ids = list(due)
    while True:
        with server.services.database.reading() as connection:
            begun = dict(
                connection.execute(
                    select(jobs.c.id, jobs.c.claimed_at).where(jobs.c.id.in_(ids), jobs.c.attempt > 1)
                ).all()
            )
        if len(begun) == count:
            return sorted((begun[one] - due[one]) / 1_000_000 for one in ids)
        time.sleep(0.2)


def _until(server: Server, query: object, count: int) -> None:
    while True:
        with server.services.database.reading() as connection:
            if connection.execute(query).scalar_one() >= count:  # type: ignore[call-overload]
                return
        time.sleep(0.02)


# --- checkpoints -----------------------------------------------------------------------------


def records() -> Iterator[Figure]:
    """Eight workers, each a process, that keep the outcomes of the steps of a job of their own."""
    with a_server() as server:
        rate = _recorded(server)
        yield Figure("checkpoints, sqlite, 8 workers", rate, "1/s", target="500/s", met=rate >= 500)
    with servers_folder(), a_postgres() as url, a_server(url) as server:
        rate = _recorded(server)
        yield Figure("checkpoints, postgresql, 8 workers", rate, "1/s", target="1000/s", met=rate >= 1000)


@contextmanager
def servers_folder() -> Iterator[Path]:
    """Where the servers of a figure are; they end with it."""
    folder = Path(tempfile.mkdtemp(prefix="runner-bench-", dir="/tmp"))
    folder.chmod(0o711)
    os.environ[FOLDER] = str(folder)
    try:
        yield folder
    finally:
        end_servers(folder)


@contextmanager
def a_postgres() -> Iterator[str]:
    """A database with fsync on, as servers have it; in a `servers_folder`."""
    with postgres_database() as url:
        with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text("ALTER SYSTEM SET fsync = on"))
            connection.execute(text("SELECT pg_reload_conf()"))
        yield url


def _recorded(server: Server) -> float:
    server.start()
    server.push(server.commit(SLEEPER))
    _until(server, select(func.count()).where(jobs.c.phase == "suspended"), 1)
    server.stop_process()
    url = server.settings.database_url
    server.services.database.writing(_several)
    context = multiprocessing.get_context("spawn")
    ready, go = context.Barrier(WORKERS + 1), context.Event()
    working = [context.Process(target=_record, args=(url, job, ready, go)) for job in range(2, WORKERS + 2)]
    for one in working:
        one.start()
    ready.wait()
    begun = time.perf_counter()
    go.set()
    for one in working:
        one.join()
    took = time.perf_counter() - begun
    with server.services.database.reading() as connection:
        kept = connection.execute(select(func.count()).where(checkpoints.c.job > 1)).scalar_one()
    if kept != WORKERS * EACH:
        raise RuntimeError(f"{kept} of {WORKERS * EACH} checkpoints were kept")
    return kept / took


def _several(connection: Connection) -> None:
    job = dict(connection.execute(select(jobs)).one()._mapping)
    changed = {"phase": "queued", "waits": None, "due_at": None, "ring_at": None}
    connection.execute(insert(jobs), [job | changed | {"id": number} for number in range(2, WORKERS + 2)])


def _record(url: str, job_id: int, ready: object, go: object) -> None:
    database = Database(url)
    store = SqlStore(database, timedelta(minutes=5))
    lease = _claimed(store, 1, job_id)
    ready.wait()  # type: ignore[attr-defined]
    go.wait()  # type: ignore[attr-defined]
    _keep(store, lease)
    database.close()


def _claimed(store: SqlStore, run_id: int, job_id: int) -> Lease:
    def mine(run: Run, now: datetime) -> Run:
        return run.with_job(claim(run.job(job_id), f"worker-{job_id}", now, timedelta(minutes=5)))

    job: Job = store.update(run_id, mine).after.job(job_id)
    assert isinstance(job.phase, Running)
    return job.phase.lease


def _keep(store: SqlStore, lease: Lease) -> None:
    outcome = Outcome(Result.SUCCESS, Result.SUCCESS, 0, {"word": "said"})
    for number in range(EACH):
        at = datetime.now(UTC)
        made = Checkpoint(lease.job, str(number), lease.attempt, "f" * 64, outcome, at, at, "base")
        store.record(lease, made)


def one_record(server: Server) -> float:
    """The seconds that keeping the outcome of a step takes, by itself. The server's process is not there."""

    def another(connection: Connection) -> tuple[int, int]:
        job = dict(connection.execute(select(jobs).order_by(jobs.c.id)).first()._mapping)  # type: ignore[union-attr]
        number = connection.execute(select(func.max(jobs.c.id))).scalar_one() + 1
        fresh = {"phase": "queued", "result": None, "finished_at": None, "waits": None}
        connection.execute(insert(jobs), [job | fresh | {"id": number}])
        return job["run"], number

    store = SqlStore(server.services.database, timedelta(minutes=5))
    lease = _claimed(store, *server.services.database.writing(another))
    begun = time.perf_counter()
    _keep(store, lease)
    return (time.perf_counter() - begun) / EACH


# --- dead workers ----------------------------------------------------------------------------


def takeovers() -> Iterator[Figure]:
    """kill -9 of the worker that runs a step: how soon the step runs again."""
    with a_server() as server:
        server.start()
        mark, commit = _long_step(server)
        taken = []
        for _ in range(3):
            mark.unlink(missing_ok=True)
            server.push(commit)
            _appears(mark)
            mark.unlink()
            begun = time.perf_counter()
            server.kill()
            server.start()
            _appears(mark)
            taken.append(time.perf_counter() - begun)
            server.end_runs()
        value = statistics.median(taken)
        yield Figure("step again after kill -9, restarted at once", value, "s", target="2 s", met=value <= 2)
    with (
        servers_folder() as folder,
        a_postgres() as url,
        redis_server(folder) as broker,
        a_server(url, broker=broker.url) as server,
    ):
        server.start()
        ticking = server.also("clock")
        mark, commit = _long_step(server)
        taken = []
        for _ in range(3):
            mark.unlink(missing_ok=True)
            working = server.also("worker")
            server.push(commit)
            _appears(mark)
            other = server.also("worker")
            time.sleep(1)
            mark.unlink()
            begun = time.perf_counter()
            os.kill(working.pid, signal.SIGKILL)
            working.wait()
            _appears(mark)
            taken.append(time.perf_counter() - begun)
            server.end_runs()
            other.kill()
            other.wait()
        ticking.terminate()
        ticking.wait()
        lease = server.settings.lease_length.total_seconds()
        value = statistics.median(taken)
        yield Figure(
            "step again after kill -9, on another worker",
            value,
            "s",
            lease,
            "the lease",
            "5 s above the bound",
            value <= lease + 5,
        )


def _long_step(server: Server) -> tuple[Path, str]:
    mark = server.home / "mark"
    return mark, server.commit(STEP + f"      - run: touch {mark}; sleep 600\n")


def _appears(mark: Path) -> None:
    while not mark.exists():
        time.sleep(0.002)


def cpu_of(pid: int) -> float:
    """Seconds that a process has had so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int) -> float:
    """MiB that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no VmRSS of {pid}")
