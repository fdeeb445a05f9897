"""What is unpacked once for all jobs is read again now and then, and dropped where it has changed."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.model.source import Route
from runner.workspaces import GitWorkspaces, overlays
from tests.workspaces.origin import Origin, contents, mirror_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="bases are of overlays, which root alone mounts")
FILES = {"a": "1", "b/c": "23", "b/d": "4" * 5000, "e": "5"}
PLENTY = 10**12


@pytest.fixture
def route(workspaces: GitWorkspaces, origin: Origin) -> Route:
    (origin.path / "link").symlink_to("a")
    found = origin.route(origin.commit(FILES))
    workspaces.fetch(origin.repository, found, "run-1")
    workspaces.open(found, "17", 1, None).close()
    return found


def base_of(home: Path, origin: Origin, route: Route) -> Path:
    return home / "bases" / origin.tree_of(route.commit)


def make_due(*bases: Path) -> None:
    for base in bases:
        os.utime(base / "about.json", (0, 0))


def quietly(change: Callable[[Path], object]) -> Callable[[Path], None]:
    """A change after which sizes, times and modes are what they were."""

    def act(path: Path) -> None:
        before = path.lstat()
        change(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)

    return act


def point_elsewhere(link: Path) -> None:
    link.unlink()
    link.symlink_to("e")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("a", quietly(lambda path: path.write_text("2"))),
        ("b/d", quietly(lambda path: path.write_text("4" * 4999 + "5"))),
        ("link", quietly(point_elsewhere)),
        ("e", lambda path: path.unlink()),
    ],
)
def test_a_base_whose_contents_changed_is_dropped_and_made_again(
    workspaces: GitWorkspaces,
    origin: Origin,
    home: Path,
    route: Route,
    name: str,
    change: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    base = base_of(home, origin, route)
    then = contents(workspaces.open(route, "18", 1, None).path)
    change(base / "files" / name)
    make_due(base)

    with caplog.at_level(logging.WARNING):
        workspaces.tidy(PLENTY)

    assert "a damaged base is dropped" in caplog.messages
    assert not base.exists()
    assert contents(workspaces.open(route, "19", 1, None).path) == then


def test_one_that_is_as_it_was_stays_and_is_not_read_again_for_a_day(
    workspaces: GitWorkspaces, origin: Origin, home: Path, route: Route
) -> None:
    base = base_of(home, origin, route)
    # That it is on the disk is noted in its folder by then.
    workspaces.close()
    used = base.stat().st_mtime_ns
    make_due(base)
    workspaces.tidy(PLENTY)
    assert (base / "about.json").stat().st_mtime > 0
    quietly(lambda path: path.write_text("2"))(base / "files/a")
    workspaces.tidy(PLENTY)

    assert base.exists()
    assert base.stat().st_mtime_ns == used, "to be read is not to be used"


def test_it_is_read_a_little_at_a_time(
    workspaces: GitWorkspaces, origin: Origin, home: Path, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlays, "REREAD_BYTES", 1)
    base = base_of(home, origin, route)
    quietly(lambda path: path.write_text("6"))(base / "files/e")
    make_due(base)
    turns = 0
    while base.exists():
        workspaces.tidy(PLENTY)
        turns += 1

    assert turns == len(["a", "b", "b/c", "b/d", "e"])


def test_what_shares_a_damaged_file_is_read_too(
    workspaces: GitWorkspaces, origin: Origin, home: Path, route: Route
) -> None:
    second = origin.route(origin.commit({**FILES, "a": "2"}))
    workspaces.fetch(origin.repository, second, "run-1")
    then = contents(workspaces.open(second, "18", 1, None).path)
    first, thin = base_of(home, origin, route), base_of(home, origin, second)
    assert {path.name for path in (thin / "files").iterdir()} == {"a", "link"}, "the rest is in the first"
    quietly(lambda path: path.write_text("6"))(first / "files/e")
    make_due(first)

    workspaces.tidy(PLENTY)
    assert not first.exists()
    workspaces.tidy(PLENTY)

    assert thin.exists()
    assert contents(workspaces.open(second, "19", 1, None).path) == then


def test_what_has_no_mirror_any_more_is_left_alone(
    workspaces: GitWorkspaces, origin: Origin, home: Path, route: Route
) -> None:
    base = base_of(home, origin, route)
    shutil.rmtree(mirror_of(home))
    make_due(base)

    workspaces.tidy(PLENTY)

    assert base.exists()
