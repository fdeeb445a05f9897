"""Blows at random: a few of them here, and some hundreds in `make test-crash`.

`CRASH_SEED=N` gives an order again, `CRASH_KILLS=N` says how many there are.
"""

import os
import random
from pathlib import Path

import pytest

from tests.crash.loop import shake
from tests.crash.world import LEASE, PATIENCE, World, a_world
from tests.servers import own_postgres, redis_server

KILLS = int(os.environ.get("CRASH_KILLS", "8"))
SEED = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(10**6))

as_long_as_it_takes = pytest.mark.timeout(3 * PATIENCE + 60 * KILLS)


@as_long_as_it_takes
@pytest.mark.parametrize("lease", [LEASE])
def test_an_embedded_server_gets_every_run_right_whatever_dies_and_when(embedded: World) -> None:
    shake(embedded, SEED, KILLS // 2, "embedded")


@as_long_as_it_takes
def test_workers_clocks_and_servers_get_every_run_right_whatever_dies_and_when(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path) as redis,
        own_postgres() as postgres,
        a_world(tmp_path, postgres.url, redis.url) as world,
    ):
        # A server needs a second to start, and few blows never meet it.
        places = ("clock", "worker1", "worker2", *(["serve"] if KILLS > 50 else []))
        shake(world, SEED, KILLS - KILLS // 2, *places, redis=redis, postgres=postgres)
        world.keeps_the_laws()
