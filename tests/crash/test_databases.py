"""A database restarts, is locked, has no space left, or comes back as it was when the power went."""

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from runner.model.run import Running
from runner.model.step import Result
from runner.store import Database
from runner.workspaces.mounts import clear
from tests.crash import invariants
from tests.crash.world import LEASE, LONGER, World, a_world, wait_for
from tests.servers import own_postgres, redis_server


def test_a_database_that_restarts_at_once_and_again_while_it_recovers_delays_runs_and_no_more(
    tmp_path: Path,
) -> None:
    with (
        redis_server(tmp_path) as redis,
        own_postgres() as postgres,
        # On a slow machine it takes its time to recover.
        a_world(tmp_path, postgres.url, redis.url, lease=LONGER) as world,
    ):
        for role in ("clock", "worker"):
            world.start(role)
        with world.in_the_first_step() as delivery:
            commit = world.git("rev-parse", "HEAD")
            postgres.crash()
            postgres.start(wait=False)
            postgres.crash()
            postgres.start()

        world.is_sound(world.ended(delivery), commit)
        assert [process.poll() for process in world.processes] == [None, None]
        world.keeps_the_laws()


@pytest.mark.parametrize("lease", [LEASE])
def test_a_database_that_another_process_locks_past_the_lease_costs_an_attempt_and_no_more(
    embedded: World,
) -> None:
    server = embedded.start("embedded")
    with embedded.in_the_first_step() as delivery:
        commit = embedded.git("rev-parse", "HEAD")
        other = sqlite3.connect(embedded.settings.home / "runner.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        wait_for(lambda: None if embedded.attempts_alive() else True, "the worker to give up its step")
        other.execute("COMMIT")
        other.close()

    run = embedded.ended(delivery)
    embedded.is_sound(run, commit)
    assert run.jobs[0].attempt > 1
    assert server.poll() is None


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A home on a disk of 24 MB of its own."""
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=711", "runner-test", home], check=True)
    try:
        yield home
    finally:
        # With its world what was mounted in it went, and maybe it too.
        clear(home)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_full_delays_runs_and_no_more(small: Path, tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        server = world.start("embedded")
        with world.in_the_first_step() as delivery:
            commit = world.git("rev-parse", "HEAD")
            _fill(small / "filler")
        log = tmp_path / "embedded.log"

        def found_full() -> bool | None:
            # What the server removes meanwhile makes room.
            _fill(small / "filler")
            return _has_seen_trouble(log) or None

        wait_for(found_full, "the server to find its disk full")
        (small / "filler").unlink()

        world.is_sound(world.ended(delivery), commit)
        assert server.poll() is None
        world.keeps_the_laws()


def _fill(file: Path) -> None:
    with file.open("ab", buffering=0) as filler:
        for size in (1 << 16, 1):
            try:
                while True:
                    filler.write(bytes(size))
            except OSError:
                continue


def _has_seen_trouble(log: Path) -> bool:
    said = log.read_text()
    return "leases not renewed" in said or "the job cannot" in said


def test_what_the_power_left_of_a_database_is_sound_wherever_it_was_cut_and_runs_go_on_from_it(
    embedded: World, tmp_path: Path
) -> None:
    commit = embedded.commit()
    delivery = embedded.deliver(commit)
    with embedded.services.database.reading() as connection:
        # What is in the log from here on is what is written while steps run.
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    server = embedded.start("embedded")
    wait_for(lambda: len(embedded.lines()) > 1 or None, "the second step to begin")

    server.send_signal(signal.SIGSTOP)
    home, copy = embedded.settings.home, tmp_path / "copy"
    copy.mkdir()
    for name in ("runner.db", "runner.db-wal"):
        if (home / name).exists():
            shutil.copy(home / name, copy / name)
    server.kill()
    server.wait()

    # A log is written in order, and how much of it reached the disk is chance.
    written = (copy / "runner.db-wal").stat().st_size
    for part in range(1, 9):
        cut = tmp_path / f"cut-{part}"
        shutil.copytree(copy, cut)
        os.truncate(cut / "runner.db-wal", written * part // 8 - part * 7)
        database = Database(f"sqlite:///{cut}/runner.db")
        try:
            invariants.check(database)
        finally:
            database.close()
    embedded.services.database.close()
    for left in home.glob("runner.db*"):
        left.unlink()
    for kept in copy.iterdir():
        shutil.copy(kept, home / kept.name)
    embedded.start("embedded")

    run = embedded.ended(delivery)
    embedded.is_sound(run, commit)
    assert run.result is Result.SUCCESS
    assert not any(isinstance(job.phase, Running) for job in run.jobs)
