"""One engine for all scenarios of a test process."""

import os
from collections.abc import Iterator

import pytest

from tests.scenarios.engine import Engine, an_engine


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    # What a careless executor would hand on; scenarios look for it.
    os.environ["WORKERS_OWN"] = "hunter2"
    try:
        with an_engine() as made:
            yield made
    finally:
        del os.environ["WORKERS_OWN"]
