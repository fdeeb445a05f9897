"""One engine for the scenarios that a test process runs in a row.

Celery keeps one table of tasks to a process, and Kombu one set of queues in memory: no other test that has a
worker in this process may run while this one is up.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executors.jobs import docker_kind
from tests.scenarios.engine import PATIENCE, Engine, an_engine
from tests.scenarios.flows import Flows


def pytest_itemcollected(item: pytest.Item) -> None:
    """What waits for several things one after the other has several times our patience with one."""
    item.add_marker(pytest.mark.timeout(3 * PATIENCE))


@pytest.fixture(scope="package")
def docker_python_image() -> Iterator[str]:
    """The one that has python3 too."""
    with docker_kind(python=True) as kind:
        yield str(kind.image)


@pytest.fixture(scope="package")
def docker_image() -> Iterator[str]:
    """The one image of the daemon that scenarios are given."""
    with docker_kind() as kind:
        yield str(kind.image)


@pytest.fixture(scope="package")
def engine() -> Iterator[Engine]:
    # What a careless executor would hand on; scenarios look for it.
    os.environ["WORKERS_OWN"] = "hunter2"
    try:
        with an_engine() as made:
            yield made
    finally:
        del os.environ["WORKERS_OWN"]


@pytest.fixture
def flows(engine: Engine, tmp_path: Path) -> Flows:
    return Flows(engine, tmp_path)
