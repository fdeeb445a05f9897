"""A machine's clock jumps by an hour and back under a real server: nothing is lost, nothing done twice."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from runner.model.run import Queued, Running
from runner.model.step import Result
from runner.store.tables import deliveries
from tests.crash.world import PATIENCE, World, wait_for

HOUR = 3600
TEXT = """\
name: ci
on: {{push: {{}}, schedule: [{{cron: "0 * * * *"}}]}}
jobs:
  a:
    if: github.event_name == 'push'
    runs-on: linux
    steps:
      - run: |
          echo "a $RUNNER_ATTEMPT" {record}
          {pause}
  again:
    if: github.run_number == 1
    runs-on: linux
    steps:
      - run: echo "again $RUNNER_ATTEMPT" {record}; test $RUNNER_ATTEMPT != 1
        retry: {{max-attempts: 2, delay: 1800}}
  hourly:
    if: github.event_name == 'schedule'
    runs-on: linux
    steps:
      - run: echo "hourly $RUNNER_ATTEMPT" {record}
"""


# Python sleeps until a time of the monotonic clock; libfaketime takes that for a time of the clock it fakes.
VICTIM = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds)
import runpy
runpy.run_module("tests.crash.victim", run_name="__main__")
"""


def libfaketime() -> Path:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise FileNotFoundError("no libfaketime here: install Debian's package faketime")
    return found[0]


@contextmanager
def on_a_clock(world: World) -> Iterator[Callable[[int], None]]:
    """A server on a machine with a clock of its own; gives what moves it, by seconds from where it was."""
    # Ten minutes before the hour: an hour more, and one due time has passed.
    first, file = (50 * 60 - int(time.time())) % HOUR, world.folder / "clock"

    def move(seconds: int) -> None:
        new = file.with_suffix(".new")
        new.write_text(f"+{first + seconds}\n")
        new.rename(file)

    move(0)
    given = world.settings
    names = ("home", "broker", "git_protocols", "executor", "labels", "concurrency", "lease", "drain")
    env = dict(os.environ) | {f"RUNNER_{name.upper()}": str(getattr(given, name)) for name in names}
    env |= {
        "LD_PRELOAD": str(libfaketime()),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    command = [sys.executable, "-c", VICTIM, "embedded"]
    with (
        (world.folder / "jumps.log").open("w") as log,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield move
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def hourly(world: World) -> list[str]:
    query = select(deliveries.c.id).where(deliveries.c.kind == "schedule")
    with world.services.database.reading() as connection:
        return list(connection.execute(query).scalars())


def said(world: World, *line: str) -> bool | None:
    return True if list(line) in world.lines() else None


@pytest.mark.parametrize("lease", [6.0])
def test_an_hour_ahead_and_back_neither_loses_nor_doubles_anything(embedded: World, lease: float) -> None:
    pause = f"until test -e {embedded.gate}; do sleep 0.02; done"
    commit = embedded.commit(text=TEXT, pause=pause)
    with on_a_clock(embedded) as move:
        delivery = embedded.deliver(commit)
        wait_for(lambda: said(embedded, "a", "1"), "the job that goes on throughout")

        def retrying() -> bool | None:
            run = embedded.run_of(delivery)
            job = next(job for job in run.jobs if job.key == "again") if run else None
            return True if job and isinstance(job.phase, Queued) and job.phase.due else None

        wait_for(retrying, "the retry to wait")

        move(HOUR)
        wait_for(lambda: said(embedded, "again", "2"), "the retry, which is due now")
        (due,) = wait_for(lambda: hourly(embedded) or None, "the schedule, which is due now")
        assert embedded.ended(due).result is Result.SUCCESS
        run = embedded.run_of(delivery)
        assert run is not None
        (job,) = (job for job in run.jobs if job.key == "a")
        assert isinstance(job.phase, Running)

        move(0)
        second = embedded.deliver(commit, "push-2")
        wait_for(lambda: True if embedded.lines().count(["a", "1"]) == 2 else None, "a job that begins now")
        embedded.gate.touch()
        assert embedded.ended(second).result is Result.SUCCESS
        ended = embedded.ended(delivery)

    assert ended.result is Result.SUCCESS
    assert [(job.attempt, job.lost) for job in ended.jobs if job.key == "a"] == [(1, ())]
    assert sorted(embedded.lines()) == sorted(
        [["a", "1"], ["a", "1"], ["again", "1"], ["again", "2"], ["hourly", "1"]]
    )
    assert hourly(embedded) == [due]
    embedded.leaves_nothing_alive()
