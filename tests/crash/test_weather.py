"""What else can happen on a run's way: a broker that forgets, a branch that goes, a worker that sleeps."""

import signal
from collections.abc import Callable

import pytest

from runner.model.run import Finished, Running
from runner.model.step import Result
from tests.crash.world import KEPT, LONGER, PATIENCE, World, wait_for
from tests.servers import Redis

nobody_loses_it = pytest.mark.parametrize("lease", [KEPT])
BOTH = pytest.mark.parametrize("kind", ["embedded", "distributed"])


@pytest.fixture
def world(kind: str, request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(kind)
    return found


def start(world: World, *rest: str) -> None:
    for role in ("embedded",) if world.broker == "memory://" else ("clock", "worker"):
        world.start(role, *rest)


@BOTH
@nobody_loses_it
def test_messages_that_come_three_times_change_nothing(world: World, lease: float) -> None:
    commit = world.commit()
    start(world, "--thrice")

    run = world.ended(world.deliver(commit))

    world.is_sound(run, commit)
    assert len(world.lines()) == 3
    world.leaves_nothing_alive()


@BOTH
def test_every_attempt_sees_the_same_commit_although_the_branch_is_rewritten_and_deleted(
    world: World,
) -> None:
    start(world)
    with world.in_the_first_step() as delivery:
        commit = world.git("rev-parse", "HEAD")
        for process in world.processes:
            process.kill()
            process.wait()
        world.git("checkout", "--quiet", "--orphan", "other")
        world.commit("2")
        world.git("branch", "--delete", "--force", "main")
        world.git("reflog", "expire", "--expire=now", "--all")
        world.git("gc", "--quiet", "--prune=now")
        start(world)

    world.is_sound(world.ended(delivery), commit)
    world.leaves_nothing_alive()


def test_a_broker_that_is_flushed_loses_no_work(distributed: World, redis_of: Redis) -> None:
    commit = distributed.commit()
    delivery = distributed.deliver(commit)
    redis_of.flush()
    start(distributed)

    distributed.is_sound(distributed.ended(delivery), commit)


def test_a_broker_that_dies_and_comes_back_empty_delays_a_run_and_no_more(
    distributed: World, redis_of: Redis
) -> None:
    start(distributed)
    with distributed.in_the_first_step() as delivery:
        commit = distributed.git("rev-parse", "HEAD")
        redis_of.kill()
    second = distributed.deliver(commit, "push-2")
    redis_of.start()

    distributed.is_sound(distributed.ended(delivery), commit)
    assert distributed.ended(second).route.commit == commit


@pytest.mark.parametrize("lease", [LONGER])
def test_a_worker_that_was_stopped_past_its_lease_writes_nothing_when_it_goes_on(distributed: World) -> None:
    distributed.start("clock")
    sleeper = distributed.start("worker")
    with distributed.in_the_first_step() as delivery:
        commit = distributed.git("rev-parse", "HEAD")
        sleeper.send_signal(signal.SIGSTOP)
        distributed.start("worker")
        distributed.begins_again(delivery)
        sleeper.send_signal(signal.SIGCONT)

    run = distributed.ended(delivery)
    distributed.is_sound(run, commit)
    distributed.leaves_nothing_alive()
    assert next(job.attempt for job in run.jobs) >= 2


def test_two_clocks_and_one_that_is_killed_are_as_good_as_one(distributed: World, redis_of: Redis) -> None:
    commit = distributed.commit()
    first, _ = distributed.start("clock"), distributed.start("clock")
    delivery = distributed.deliver(commit)
    redis_of.flush()
    first.kill()
    distributed.start("worker")

    distributed.is_sound(distributed.ended(delivery), commit)


@BOTH
@nobody_loses_it
def test_a_worker_that_is_asked_to_end_hands_its_job_back_at_once(world: World, lease: float) -> None:
    start(world)
    with world.in_the_first_step() as delivery:
        commit = world.git("rev-parse", "HEAD")
        leaving = world.processes[-1]
        leaving.terminate()
        assert leaving.wait(PATIENCE) == 0
        run = world.run_of(delivery)
        assert run is not None
        assert not any(isinstance(job.phase, Running) for job in run.jobs)
        world.leaves_nothing_alive()
        world.start("embedded" if world.broker == "memory://" else "worker")

    world.is_sound(world.ended(delivery), commit)


@BOTH
@nobody_loses_it
@pytest.mark.parametrize("drain", [PATIENCE])
def test_a_worker_that_drains_lets_its_step_end_and_another_goes_on_with_the_next(
    world: World, drain: float, lease: float
) -> None:
    start(world)
    leaving = world.processes[-1]
    with world.in_the_first_step() as delivery:
        commit = world.git("rev-parse", "HEAD")
        leaving.terminate()
        assert "draining\n" in iter(leaving.stdout.readline, "")
        second = world.deliver(commit, "push-2")
    assert leaving.wait(PATIENCE) == 0
    run = world.run_of(delivery)
    assert run is not None
    assert [type(job.phase).__name__ for job in run.jobs] == ["Queued", "Waiting"]
    world.leaves_nothing_alive()
    world.start("embedded" if world.broker == "memory://" else "worker")

    world.is_sound(world.ended(delivery), commit)
    assert world.ended(second).result is Result.SUCCESS
    assert sum(line[:3] == ["a", "1", "1"] for line in world.lines()) == 2, "one for each run"


@nobody_loses_it
# A consumer that does not stop is waited for 20 seconds, and there are two.
@pytest.mark.parametrize(("trouble", "soon"), [(Redis.kill, 18.0), (Redis.silence, 35.0)])
def test_a_worker_and_a_clock_without_their_broker_end_in_order_and_soon(
    distributed: World, redis_of: Redis, trouble: Callable[[Redis], None], soon: float
) -> None:
    start(distributed)
    clock, worker = distributed.processes
    with distributed.in_the_first_step() as delivery:
        commit = distributed.git("rev-parse", "HEAD")
        trouble(redis_of)
        worker.terminate()
        assert worker.wait(soon) == 0
        run = distributed.run_of(delivery)
        assert run is not None
        assert not any(isinstance(job.phase, Running) for job in run.jobs)
        distributed.leaves_nothing_alive()
        clock.terminate()
        assert clock.wait(soon) == 0
        redis_of.kill()
        redis_of.start()
        start(distributed)

    distributed.is_sound(distributed.ended(delivery), commit)
    distributed.leaves_nothing_alive()


def test_a_broker_that_is_out_of_memory_delays_runs_and_no_more(distributed: World, redis_of: Redis) -> None:
    start(distributed)
    with distributed.in_the_first_step() as delivery:
        commit = distributed.git("rev-parse", "HEAD")
        redis_of.limit(1)
    second = distributed.deliver(commit, "push-2")

    def first_ended() -> bool | None:
        run = distributed.run_of(delivery)
        assert run is not None
        return True if isinstance(run.jobs[0].phase, Finished) else None

    wait_for(first_ended, "the end of the job that the worker has")
    redis_of.limit(0)

    distributed.is_sound(distributed.ended(delivery), commit)
    assert distributed.ended(second).route.commit == commit
