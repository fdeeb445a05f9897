"""Two workers on one database: one sleeps past its lease, the other takes its job, the first wakes up."""

import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runner.model.run import Running
from runner.model.step import Result
from tests.crash.world import LEASE, LONGER, PATIENCE, World, wait_for
from tests.forked import Forked

POINTS = (
    "workspaces.open:1:before",
    "workspace.save:1:before",
    "store.record:1:before",
    "store.record:1:after",
    "store.update:2:before",
    "store.update:2:within",
)


def fall_asleep(world: World, point: str) -> tuple[str, Forked]:
    """Let a worker begin a run and stop at the point; gives the delivery and the worker."""
    commit = world.commit()
    world.start("clock")
    sleeper = world.start("worker", point, "--stop")
    delivery = world.deliver(commit)

    wait_for(lambda: is_stopped(sleeper) or None, "the worker to fall asleep")
    return delivery, sleeper


def is_stopped(process: Forked) -> bool:
    # The state comes after the name, which is in brackets.
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_wakes_up_after_its_job_has_ended_elsewhere_changes_nothing_and_works_on(
    distributed: World, point: str
) -> None:
    delivery, sleeper = fall_asleep(distributed, point)
    thief = distributed.start("worker")
    run = distributed.ended(delivery)
    distributed.is_sound(run, run.route.commit)
    before = distributed.rows(run)

    sleeper.send_signal(signal.SIGCONT)
    thief.terminate()
    assert thief.wait(PATIENCE) == 0
    second = distributed.deliver(run.route.commit, "push-2")
    assert distributed.ended(second).result is Result.SUCCESS
    sleeper.terminate()
    assert sleeper.wait(PATIENCE) == 0

    assert distributed.rows(run) == before
    distributed.leaves_nothing_alive()


@pytest.mark.parametrize("lease", [LONGER])
def test_a_job_that_another_machine_took_starts_over_there_and_the_first_begins_no_step_of_it_any_more(
    distributed: World,
) -> None:
    delivery, sleeper = fall_asleep(distributed, "store.record:1:after")
    distributed.start("worker", home=distributed.folder / "another")
    run = distributed.ended(delivery)
    before = distributed.rows(run)

    sleeper.send_signal(signal.SIGCONT)
    log = distributed.folder / "worker.log"
    wait_for(lambda: "lease lost" in log.read_text() or None, "the worker to see that its job is gone")

    assert run.result is Result.SUCCESS
    assert [(job, step, attempt) for job, step, attempt, *_ in distributed.lines()] == [
        ("a", "1", "1"),
        ("a", "1", "2"),
        ("a", "2", "2"),
        ("b", "1", "1"),
    ]
    assert distributed.rows(run) == before
    distributed.leaves_nothing_alive()


@pytest.mark.parametrize("lease", [LEASE])
@pytest.mark.parametrize("point", ["workspace.save:1:before", "executors.open:1:before"])
def test_a_worker_that_wakes_up_before_anybody_has_taken_its_job_finds_its_files_where_they_were(
    embedded: World, point: str
) -> None:
    commit = embedded.commit()
    sleeper = embedded.start("embedded", point, "--stop")
    delivery = embedded.deliver(commit)
    wait_for(lambda: is_stopped(sleeper) or None, "the worker to fall asleep")

    def over() -> bool | None:
        run = embedded.run_of(delivery)
        phase = run.jobs[0].phase if run is not None else None
        assert isinstance(phase, Running)
        return True if phase.lease.until < datetime.now(UTC) else None

    wait_for(over, "the end of its lease")
    sleeper.send_signal(signal.SIGCONT)

    embedded.is_sound(embedded.ended(delivery), commit)
    embedded.leaves_nothing_alive()
