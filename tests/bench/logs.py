"""What logs take on a disk before their jobs have ended and after, and what a page of a long one costs."""

import random
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

from sqlalchemy import create_engine, delete, func, select, text, update

from runner.engine.log_archive import StoredLogs
from runner.engine.ports import LivingLogs, Verdict
from runner.logs import FileLogs
from runner.model.leasing import claim, conclude
from runner.model.lifecycle import decide
from runner.model.run import Run, Running
from runner.model.step import Result
from runner.objects import FolderObjects
from runner.store import Database, SqlArchivedLogs, SqlLogs, SqlStore
from runner.store.tables import jobs, stored_logs
from tests.bench.durability import a_postgres, servers_folder
from tests.bench.report import Figure
from tests.bench.server import clock, median_of
from tests.builders import LENGTH, a_new_run, a_route, an_event

RUNS = 1000
STEPS = 6
CHATTY, QUIET = 300, 4
"""Lines of each step."""
LONG_BYTES = 64 << 20
PAGE_BYTES = 64 * 1024
ROUNDS = 9
_WORDS = ("fetch", "build", "test", "cache", "ok", "GET", "200", "registry", "layer", "compiling", "passed")


def logs() -> Iterator[Figure]:
    """A thousand runs of six steps each that say much, and as many that say little; one of 64 MiB."""
    yield from _on_disk("files", "")
    with servers_folder(), a_postgres() as url:
        yield from _on_disk("rows", url)


def _on_disk(kind: str, url: str) -> Iterator[Figure]:
    for name, lines in (("chatty", CHATTY), ("quiet", QUIET)):
        with tempfile.TemporaryDirectory(prefix="runner-bench-") as folder:
            home = Path(folder)
            database = Database(url or f"sqlite:///{home / 'runner.db'}")
            database.migrate()
            living = SqlLogs(database) if url else FileLogs(home / "logs")
            stored = StoredLogs(living, SqlArchivedLogs(database), FolderObjects(home / "objects"))
            store = SqlStore(database, LENGTH)
            said = sum(_print(living, _ended(store), lines, seed) for seed in range(RUNS))
            _settle(database)
            before = _space(database, url, home)
            seconds = clock(partial(_archive, stored, database))
            after = _space(database, url, home)
            about = f"logs of {RUNS} {name} runs as {kind}"
            yield Figure(
                f"{about}, once they ended",
                after / 2**20,
                "MiB",
                bound=before / 2**20,
                bound_is="before",
                note=f"{said / 2**20:.1f} MiB printed; {_objects(database)} objects; {seconds:.1f} s",
            )
            if lines == CHATTY:
                yield _page(kind, stored, living, store, database)
            database.writing(lambda connection: connection.execute(delete(stored_logs)))
            database.close()


def _page(kind: str, stored: StoredLogs, living: LivingLogs, store: SqlStore, database: Database) -> Figure:
    job = _ended(store)
    written = 0
    while written < LONG_BYTES:
        written += _print(living, job, 10_000, written, steps=1)
    rng = random.Random(1)

    def page(of: LivingLogs | StoredLogs) -> float:
        offset = rng.randrange(written - PAGE_BYTES)
        return 1000 * clock(partial(of.read, job, 1, "1", offset, PAGE_BYTES))

    before = median_of(ROUNDS, lambda: page(living))
    _settle(database)
    _archive(stored, database)
    after = median_of(ROUNDS, lambda: page(stored))
    name = f"a page of a log of 64 MiB that was {kind}"
    return Figure(name, after, "ms", before, "before its job ended", target="20 ms", met=after <= 20)


def _ended(store: SqlStore) -> int:
    guid = str(uuid4())
    delivery, _ = store.receive(an_event(payload={"a": guid}), guid, guid)
    (run,) = store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(a_new_run(),)))

    def end(run: Run, now: datetime) -> Run:
        run = run.with_job(claim(run.jobs[0], "worker-1", now, LENGTH))
        phase = run.jobs[0].phase
        assert isinstance(phase, Running)
        return decide(run.with_job(conclude(run.jobs[0], phase.lease, Result.SUCCESS, now)), now)

    return store.update(run.id, end).after.jobs[0].id


def _print(living: LivingLogs, job: int, lines: int, seed: int, steps: int = STEPS) -> int:
    """What a build says, more or less: the same words in another order, times and digests."""
    rng, total = random.Random(seed), 0
    for step in range(1, steps + 1):
        said = "".join(
            f"2026-01-01T12:{rng.randrange(60):02}:{rng.uniform(0, 60):09.6f}Z "
            f"{' '.join(rng.choices(_WORDS, k=8))} {rng.getrandbits(32):08x} {rng.randrange(1000)}ms\n"
            for _ in range(lines)
        ).encode()
        living.append(job, 1, str(step), said)
        total += len(said)
    living.flush(job)
    return total


def _settle(database: Database) -> None:
    hour = timedelta(hours=1) // timedelta(microseconds=1)
    earlier = update(jobs).values(finished_at=jobs.c.finished_at - hour)
    database.writing(lambda connection: connection.execute(earlier))


def _archive(stored: StoredLogs, database: Database) -> None:
    while SqlArchivedLogs(database).due(timedelta(), 1):
        stored.archive()


def _space(database: Database, url: str, home: Path) -> int:
    """Bytes of the disk that the logs take, folders and indexes included."""
    parts = [path for name in ("logs", "objects") for path in (home / name).rglob("*")]
    taken = sum(path.lstat().st_blocks * 512 for path in parts)
    if not url:
        with database.reading() as connection:
            pages = text("SELECT sum(pgsize) FROM dbstat WHERE name LIKE '%stored_logs%'")
            return taken + int(connection.execute(pages).scalar_one() or 0)
    with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        # What is free in a table is used again before it grows.
        connection.execute(text("VACUUM FULL log_chunks, stored_logs"))
        size = "pg_total_relation_size('log_chunks') + pg_total_relation_size('stored_logs')"
        return taken + int(connection.execute(text(f"SELECT {size}")).scalar_one())


def _objects(database: Database) -> int:
    with database.reading() as connection:
        kept = select(func.count()).where(stored_logs.c.key.is_not(None))
        return int(connection.execute(kept).scalar_one())
