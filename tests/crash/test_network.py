"""A worker is cut off from its database, its broker or both, in every way in which networks fail."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import make_url

from runner.model.run import Finished
from runner.model.step import Result
from tests.crash.proxy import Proxy, Weather, proxy
from tests.crash.world import KEPT, LONGER, PATIENCE, World, wait_for
from tests.servers import Redis


class Way:
    """A worker's ways to its database and its broker."""

    def __init__(self, world: World, redis: Redis, opened: ExitStack) -> None:
        url = make_url(world.database)
        assert url.port is not None
        self.database: Proxy = opened.enter_context(proxy(url.port))
        self.broker: Proxy = opened.enter_context(proxy(redis.port))
        self.settings = {
            "database": url.set(port=self.database.port).render_as_string(hide_password=False),
            "broker": f"redis://127.0.0.1:{self.broker.port}/0",
            # Each slot of a worker that is cut off takes a ring in vain, and the next comes ever later.
            "concurrency": "1",
        }

    def becomes(self, weather: Weather, which: str) -> None:
        for name in which.split():
            getattr(self, name).becomes(weather)


@pytest.fixture
def way(distributed: World, redis_of: Redis) -> Iterator[Way]:
    with ExitStack() as opened:
        yield Way(distributed, redis_of, opened)


@pytest.mark.parametrize("lease", [LONGER])
@pytest.mark.parametrize(
    ("which", "weather"),
    [
        ("database", Weather.HALF_OPEN),
        ("database broker", Weather.CUT),
    ],
)
def test_a_worker_without_its_database_ends_its_step_before_another_begins_it_and_works_on_afterwards(
    distributed: World, way: Way, which: str, weather: Weather
) -> None:
    distributed.start("clock")
    distributed.start("worker", settings=way.settings)
    with distributed.in_the_first_step() as delivery:
        commit = distributed.git("rev-parse", "HEAD")
        way.becomes(weather, which)
        other = distributed.start("worker")
        distributed.begins_again(delivery)
        assert distributed.attempts_alive() == {"2"}

    run = distributed.ended(delivery)
    distributed.is_sound(run, commit)
    before = distributed.rows(run)
    way.becomes(Weather.FAIR, which)
    other.terminate()
    assert other.wait(PATIENCE) == 0
    assert distributed.ended(distributed.deliver(commit, "push-2")).result is Result.SUCCESS
    assert distributed.rows(run) == before


@pytest.mark.parametrize("lease", [KEPT])
def test_a_worker_whose_broker_hears_and_never_answers_ends_what_it_has_and_takes_more_once_it_does(
    distributed: World, way: Way
) -> None:
    distributed.start("clock")
    distributed.start("worker", settings=way.settings)
    with distributed.in_the_first_step() as delivery:
        commit = distributed.git("rev-parse", "HEAD")
        way.becomes(Weather.HALF_OPEN, "broker")

    def first_ended() -> bool | None:
        run = distributed.run_of(delivery)
        assert run is not None
        return True if isinstance(run.jobs[0].phase, Finished) else None

    wait_for(first_ended, "the end of the job that the worker has")
    way.becomes(Weather.FAIR, "broker")

    run = distributed.ended(delivery)
    distributed.is_sound(run, commit)
    assert [job.attempt for job in run.jobs] == [1, 1]
