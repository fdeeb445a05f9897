"""Folders and daemons for the tests of single executors."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executors.jobs import Kind, docker_kind, open_folder


@pytest.fixture(scope="session")
def docker() -> Iterator[Kind]:
    with docker_kind() as kind:
        yield kind


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as made:
        yield made
