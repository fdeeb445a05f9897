"""Which snapshots of jobs that have ended are removed, and which first."""

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from runner.workspaces.keeping import Ended, Kept, measured, too_much
from tests.builders import NOON

DAYS = timedelta(days=3)
MOMENT = timedelta(microseconds=1)


def some(*names: str, size: float = 10) -> list[Kept]:
    return [Kept(name, size, NOON) for name in names]


def ago(hours: int, succeeded: bool = False) -> Ended:
    return Ended(NOON - timedelta(hours=hours), succeeded)


def test_what_has_been_kept_long_enough_goes_and_what_goes_on_does_not() -> None:
    ended = {"old": ago(72), "older": ago(100, succeeded=True), "young": ago(71)}

    assert too_much(some("old", "older", "young", "alive"), ended, NOON, DAYS, 1000) == ["older", "old"]


def test_a_repositorys_own_time_counts_for_its_jobs_and_space_all_the_same() -> None:
    hours = {"briefly": 1, "longer": 96, "without end": 9999}
    ended = {name: replace(ago(at), keep=timedelta(hours=at) + MOMENT) for name, at in hours.items()}
    ended |= {"over": replace(ago(1), keep=timedelta(hours=1)), "as all": ago(72)}
    ended["without end"] = replace(ended["without end"], keep=timedelta.max)
    kept = some(*ended)

    assert set(too_much(kept, ended, NOON, DAYS, 1000)) == {"over", "as all"}
    assert "without end" in too_much(kept, ended, NOON, DAYS, 20)


def test_of_what_is_too_much_that_of_jobs_that_succeeded_goes_first_and_of_that_the_oldest() -> None:
    ended = {
        "failed": ago(30),
        "failed earlier": ago(50),
        "fine": ago(1, succeeded=True),
        "fine earlier": ago(2, succeeded=True),
    }
    kept = some(*ended, "alive")

    def gone(limit: int) -> list[str]:
        return too_much(kept, ended, NOON, DAYS, limit)

    assert gone(50) == []
    assert gone(45) == ["fine earlier"]
    assert gone(30) == ["fine earlier", "fine"]
    assert gone(20) == ["fine earlier", "fine", "failed earlier"]
    assert gone(0) == ["fine earlier", "fine", "failed earlier", "failed"]


def test_what_several_jobs_share_takes_its_space_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/1.1").write_bytes(b"x" * 8192)
    os.link(tmp_path / "one/1.1", tmp_path / "two/1.1")

    sizes = [found.size for name in ("one", "two") if (found := measured(tmp_path / name, {}))]

    assert sizes == [4096, 4096]
    assert measured(tmp_path / "three", {}) is None
