"""A clock is killed before and after each thing it does about due work; another one does it."""

import pytest
from sqlalchemy import update

from runner.engine.admit import admit
from runner.store.tables import deliveries, jobs
from runner.wiring import station
from tests.builders import TITLES
from tests.crash.world import World
from tests.servers import Redis


def points(*passages: str) -> list[str]:
    return [f"{passage}:1:{side}" for passage in passages for side in ("before", "after")]


def forget_messages(world: World, redis: Redis) -> None:
    """Nothing is left to bring the work about but the clock, for which all of it is due at once."""
    redis.flush()
    for table in (deliveries, jobs):
        due = update(table).where(table.c.ring_at.is_not(None)).values(ring_at=0)
        world.services.database.writing(lambda connection, due=due: connection.execute(due))  # type: ignore[misc]


def goes_on_after(world: World, point: str, delivery: str, commit: str) -> None:
    world.killed(world.start("clock", point))
    world.start("clock")
    world.start("worker")

    world.is_sound(world.ended(delivery), commit)
    world.leaves_nothing_alive()


@pytest.mark.parametrize("point", points("store.stranded", "dispatcher.admit"))
def test_a_delivery_that_a_killed_clock_saw_is_admitted(
    distributed: World, redis_of: Redis, point: str
) -> None:
    commit = distributed.commit()
    delivery = distributed.deliver(commit)
    forget_messages(distributed, redis_of)

    goes_on_after(distributed, point, delivery, commit)


@pytest.mark.parametrize("point", points("dispatcher.perform"))
def test_a_job_that_a_killed_clock_saw_is_performed(distributed: World, redis_of: Redis, point: str) -> None:
    commit = distributed.commit()
    delivery = distributed.deliver(commit)
    real = distributed.services
    admit(
        delivery,
        store=real.store,
        sources=station(real, "nobody").sources,
        standings=real.standings,
        dispatcher=real.dispatcher,
        titles=TITLES,
    )
    forget_messages(distributed, redis_of)

    goes_on_after(distributed, point, delivery, commit)


@pytest.mark.parametrize("point", points("dispatcher.perform"))
def test_a_job_whose_worker_and_then_the_clock_were_killed_goes_on_where_it_was(
    distributed: World, point: str
) -> None:
    commit = distributed.commit()
    # A message may be lost on any way: without a clock, nobody would ring again.
    clock = distributed.start("clock")
    worker = distributed.start("worker", "store.record:1:after")
    delivery = distributed.deliver(commit)
    distributed.killed(worker)
    clock.kill()

    goes_on_after(distributed, point, delivery, commit)


@pytest.mark.parametrize("point", points("store.stranded", "dispatcher.perform"))
def test_an_embedded_server_that_is_killed_as_it_comes_back_comes_back_again(
    embedded: World, point: str
) -> None:
    commit = embedded.commit()
    delivery = embedded.deliver(commit)
    embedded.killed(embedded.start("embedded", "store.record:1:after"))

    embedded.killed(embedded.start("embedded", point))
    embedded.start("embedded")

    embedded.is_sound(embedded.ended(delivery), commit)
    embedded.leaves_nothing_alive()
