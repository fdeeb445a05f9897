from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.workspaces import GitWorkspaces
from tests.workspaces.origin import Origin


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path / "origin")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def workspaces(home: Path) -> Iterator[GitWorkspaces]:
    with GitWorkspaces(home, protocols="file") as opened:
        yield opened
