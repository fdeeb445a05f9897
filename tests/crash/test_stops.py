"""Workers that die while their run is paused: nobody goes on with it, and then exactly one does."""

import pytest

from runner.engine import control
from runner.model.audit import Act
from runner.model.run import Queued, Run
from runner.model.source import Repository
from tests.crash.world import LONGER, World, wait_for

ACT = Act("anna", "pause")


def a_run(world: World, delivery: str) -> Run:
    return wait_for(lambda: world.run_of(delivery), "the run")


def begun(world: World) -> tuple[str, str]:
    """A commit and the delivery of it; its first step runs until the gate opens, in its first attempt."""
    gate = f"test $RUNNER_ATTEMPT != 1 || until test -e {world.gate}; do sleep 0.05; done"
    commit = world.commit(pause=gate)
    delivery = world.deliver(commit)
    world.start("embedded" if world.broker == "memory://" else "worker")
    wait_for(lambda: world.lines() or None, "the first step to begin")
    return commit, delivery


def pause(world: World, run: Run) -> None:
    control.pause(run.id, "", store=world.services.store, dispatcher=world.services.dispatcher, act=ACT)


def unpause(world: World, run: Run) -> None:
    control.unpause(run.id, store=world.services.store, dispatcher=world.services.dispatcher, act=ACT)


def is_laid_down(world: World, run: Run) -> bool | None:
    """Whether the job of a worker that died was queued, and stays so."""
    job = world.services.store.load(run.id).jobs[0]
    return True if isinstance(job.phase, Queued) and job.lost == (1,) else None


def test_a_server_killed_in_a_step_of_a_paused_run_begins_nothing_until_that_goes_on(embedded: World) -> None:
    commit, delivery = begun(embedded)
    run = a_run(embedded, delivery)
    pause(embedded, run)
    embedded.processes[0].kill()
    embedded.processes[0].wait()

    embedded.start("embedded")

    wait_for(lambda: is_laid_down(embedded, run), "the job of the dead to be queued")
    assert len(embedded.lines()) == 1
    unpause(embedded, run)
    embedded.is_sound(embedded.ended(delivery), commit)
    embedded.leaves_nothing_alive()


@pytest.mark.parametrize("lease", [LONGER])
def test_a_worker_killed_in_a_step_of_a_blocked_commit_leaves_it_to_another_afterwards(
    distributed: World,
) -> None:
    distributed.start("clock")
    commit, delivery = begun(distributed)
    run, stops = a_run(distributed, delivery), distributed.services.stops
    repository = Repository("git", "octo/hello", str(distributed.repository))
    stops.put(repository, ACT, "it is bad", commit, None)
    worker = distributed.processes[-1]
    worker.kill()
    worker.wait()

    distributed.start("worker")

    wait_for(lambda: is_laid_down(distributed, run), "the job of the dead to be queued")
    assert len(distributed.lines()) == 1
    stops.lift(repository, ACT, commit, None)
    distributed.is_sound(distributed.ended(delivery), commit)
    distributed.leaves_nothing_alive()


@pytest.mark.parametrize("point", ["store.update:2:before", "store.update:2:within", "store.update:2:after"])
def test_a_server_killed_as_it_hands_a_paused_job_back_repeats_no_step(embedded: World, point: str) -> None:
    gate = f"until test -e {embedded.gate}; do sleep 0.05; done"
    commit = embedded.commit(pause=gate)
    delivery = embedded.deliver(commit)
    embedded.start("embedded", point)
    wait_for(lambda: embedded.lines() or None, "the first step to begin")
    run = a_run(embedded, delivery)
    pause(embedded, run)
    embedded.gate.touch()
    embedded.killed(embedded.processes[0])
    embedded.start("embedded")

    unpause(embedded, run)

    ended = embedded.ended(delivery)
    embedded.is_sound(ended, commit)
    assert [line[:2] for line in embedded.lines()] == [["a", "1"], ["a", "2"], ["b", "1"]]
