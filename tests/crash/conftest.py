from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.world import KEPT, LEASE, PATIENCE, World, a_world
from tests.executors.jobs import Kind, docker_kind, open_folder
from tests.servers import Redis, migrated_postgres, redis_server


def pytest_itemcollected(item: pytest.Item) -> None:
    """What waits for several processes one after the other has several times their patience."""
    item.add_marker(pytest.mark.timeout(3 * PATIENCE))


@pytest.fixture
def lease() -> float | None:
    """As a test says; else one that is soon over where a lost worker's is waited for.

    A server that comes back to its home waits for none.
    """
    return None


@pytest.fixture
def drain() -> float:
    """How long what is told to end lets its steps run."""
    return 0


@pytest.fixture
def embedded(tmp_path: Path, lease: float | None, drain: float) -> Iterator[World]:
    with a_world(tmp_path, lease=lease or KEPT, drain=drain) as world:
        yield world
        world.keeps_the_laws()


@pytest.fixture
def redis_of(tmp_path: Path) -> Iterator[Redis]:
    """The broker of `distributed`."""
    with redis_server(tmp_path) as redis:
        yield redis


@pytest.fixture
def distributed(tmp_path: Path, redis_of: Redis, lease: float | None, drain: float) -> Iterator[World]:
    """PostgreSQL, Redis, and processes on their own."""
    with (
        migrated_postgres() as database,
        a_world(tmp_path, database, redis_of.url, lease or LEASE, drain=drain) as world,
    ):
        yield world
        world.keeps_the_laws()


@pytest.fixture(scope="session")
def docker() -> Iterator[Kind]:
    with docker_kind() as kind:
        yield kind


@pytest.fixture(params=["sandbox", "docker"])
def isolated(request: pytest.FixtureRequest, redis_of: Redis) -> Iterator[World]:
    """As `distributed`, and steps see none of our files."""
    kind = request.getfixturevalue("docker") if request.param == "docker" else Kind(request.param)
    given = {"executor": kind.name, "image": kind.image, "docker": kind.options.get("url", "")}
    # Jobs run as another user, who must be able to pass through.
    with (
        migrated_postgres() as database,
        open_folder() as folder,
        a_world(folder, database, redis_of.url, **given) as world,
    ):
        yield world
        world.keeps_the_laws()
