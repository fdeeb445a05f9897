from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.world import LEASE, World, a_world
from tests.servers import Redis, postgres_database, redis_server


@pytest.fixture
def lease() -> float:
    """Short, as tests wait for it to run out; one that must not lose a lease on a slow machine says so."""
    return LEASE


@pytest.fixture
def embedded(tmp_path: Path, lease: float) -> Iterator[World]:
    with a_world(tmp_path, lease=lease) as world:
        yield world


@pytest.fixture
def redis_of(tmp_path: Path) -> Iterator[Redis]:
    """The broker of `distributed`."""
    with redis_server(tmp_path) as redis:
        yield redis


@pytest.fixture
def distributed(tmp_path: Path, redis_of: Redis, lease: float) -> Iterator[World]:
    """PostgreSQL, Redis, and processes on their own."""
    with postgres_database() as database, a_world(tmp_path, database, redis_of.url, lease) as world:
        yield world
