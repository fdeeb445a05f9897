"""What lies in the home is closed to other users of the machine."""

import stat
from pathlib import Path

import pytest

from runner.settings import Settings
from runner.wiring import services


@pytest.mark.parametrize("name", ["runner.db", "logs", "mirrors", "snapshots"])
def test_other_users_cannot_read_what_is_private(tmp_path: Path, name: str) -> None:
    made = services(Settings.from_env(home=tmp_path / "home"))
    made.database.migrate()
    made.close()

    mode = stat.S_IMODE((tmp_path / "home" / name).stat().st_mode)
    assert mode & 0o077 == 0


def test_the_files_that_sqlite_adds_are_as_private_as_the_database(tmp_path: Path) -> None:
    made = services(Settings.from_env(home=tmp_path / "home"))
    made.database.migrate()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "home").glob("runner.db*")]
    made.close()

    assert modes
    assert all(mode & 0o077 == 0 for mode in modes)


def test_sandboxes_can_pass_through_the_home(tmp_path: Path) -> None:
    services(Settings.from_env(home=tmp_path / "home")).close()

    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o711
