"""Layers as streams: to another home, and there the same files."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from zstandard import ZstdCompressor

from runner.errors import SnapshotGone, Unavailable
from runner.model.snapshot import BASE, Layer
from runner.model.source import Route
from runner.workspaces import GitWorkspaces
from runner.workspaces.archives import GitLayers
from tests.workspaces.origin import Origin, contents
from tests.workspaces.test_snapshots import edit, edits


def nothing() -> None:
    """Nobody wants it to end."""


def no_problem() -> str | None:
    return None


def a_problem() -> str | None:
    return "a test"


def carry(here: Path, there: Path, snapshot: str, hindrance: Callable[[], str | None] = no_problem) -> None:
    """Have a snapshot of job 17 in another home, where overlays are hindered."""
    source, target = GitLayers(here), GitLayers(there, hindrance)
    for layer in source.chain("17", snapshot):
        stream = BytesIO()
        source.pack("17", layer.name, stream)
        stream.seek(0)
        target.unpack("17", layer.name, source.content("17", layer.name), stream, nothing)


@pytest.mark.parametrize("overlays", [False, True], ids=["scan", "overlay"])
@settings(max_examples=15, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(edits, st.lists(edits, min_size=1, max_size=5))
def test_what_was_carried_to_another_home_is_restored_there_byte_for_byte(
    overlays: bool, committed: list[tuple[str, str, object]], steps: list[list[tuple[str, str, object]]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        here, there = Path(folder, "here"), Path(folder, "there")
        origin = Origin(Path(folder, "origin"))
        for change in committed:
            edit(origin.path, *change)
        route = origin.route(origin.commit_all())
        with (
            GitWorkspaces(here, "file", hindrance=lambda: None if overlays else "none is wanted") as ours,
            GitWorkspaces(there, "file", hindrance=lambda: None if overlays else "none is wanted") as theirs,
        ):
            assert (ours.overlay_problem() is None) is overlays
            for workspaces in (ours, theirs):
                workspaces.fetch(origin.repository, route, "run-1")
            opened = ours.open(route, "17", 1, None)
            for changes in steps:
                for change in changes:
                    edit(opened.path, *change)
                snapshot = opened.save()
            carry(here, there, snapshot)

            assert contents(theirs.open(route, "17", 2, snapshot).path) == contents(opened.path)


kind = st.sampled_from(["overlay", "scan"])


@settings(max_examples=8, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(edits, st.lists(st.tuples(kind, st.lists(edits, min_size=1, max_size=3)), min_size=2, max_size=4))
def test_so_it_is_where_each_machine_keeps_files_in_its_own_way(
    committed: list[tuple[str, str, object]],
    machines: list[tuple[str, list[list[tuple[str, str, object]]]]],
) -> None:
    """A job goes from machine to machine, and at last to each kind of them."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        origin = Origin(Path(folder, "origin"))
        for change in committed:
            edit(origin.path, *change)
        route = origin.route(origin.commit_all())
        before, snapshot, left = None, None, None
        # Each has been handed what the one before it had.
        for number, (way, steps) in enumerate([*machines, ("scan", []), ("overlay", [])], start=1):
            home, hindrance = Path(folder, f"m{number}"), no_problem if way == "overlay" else a_problem
            workspaces = opened.enter_context(GitWorkspaces(home, "file", hindrance=hindrance))
            workspaces.fetch(origin.repository, route, "run-1")
            if before is not None and snapshot is not None:
                carry(before, home, snapshot, hindrance)
            workspace = workspaces.open(route, "17", number, snapshot)
            if left is not None:
                assert contents(workspace.path) == left
            for changes in steps:
                for change in changes:
                    edit(workspace.path, *change)
                snapshot = workspace.save()
            before, left = home, contents(workspace.path)


def a_tree(origin: Origin) -> Route:
    names = ["a/b/c", "a/b/d", "a/e", "f/g", "h/i", "j", "k/l/m", "n/o"]
    return origin.route(origin.commit({name: f"of {name}" for name in names}))


def change_all_sorts_of_things(root: Path) -> None:
    (root / "j").write_text("other")
    shutil.rmtree(root / "f")
    (root / "f").mkdir(0o750)
    (root / "f/new").write_text("in a folder that is another one")
    shutil.rmtree(root / "h")
    (root / "h").write_text("a file where a folder was")
    (root / "a").rename(root / "moved")
    (root / "moved/b/c").rename(root / "moved/c")
    (root / "moved/b/d").unlink()
    (root / "moved/b").rename(root / "k/b")
    (root / "a").mkdir()
    (root / "a/b").write_text("where one was moved from")
    (root / "n/o").unlink()
    (root / "n/o").mkdir()
    (root / "n/o/link").symlink_to("../../j")
    (root / "one").write_text("two names")
    (root / "two").hardlink_to(root / "one")
    os.setxattr(root / "one", "user.said", b"\xff\x00")
    os.setxattr(root / "k", "user.said", b"of a folder")
    os.utime(root / "one", ns=(5, 7_000_000_001))
    (root / "big").write_bytes(b"x" * 3_000_000)
    (root / "empty").touch(mode=0o600)


def more_of_the_same(root: Path) -> None:
    (root / "k").rename(root / "again")
    (root / "again/b").rename(root / "again/l/b")
    (root / "f/new").unlink()
    shutil.rmtree(root / "a")
    (root / "moved/b").mkdir()
    (root / "moved").rename(root / "a")
    (root / "big").write_bytes(b"y" * 3_000_001)


ALL_SORTS = (change_all_sorts_of_things, more_of_the_same)


@pytest.fixture
def two_kinds(tmp_path: Path) -> Iterator[tuple[GitWorkspaces, GitWorkspaces]]:
    """One with overlays, another one without."""
    with (
        GitWorkspaces(tmp_path / "here", "file") as ours,
        GitWorkspaces(tmp_path / "there", "file", hindrance=a_problem) as theirs,
    ):
        yield ours, theirs


@pytest.mark.skipif(os.geteuid() != 0, reason="overlays are mounted by root alone")
def test_what_an_overlay_kept_is_had_where_there_are_none(
    two_kinds: tuple[GitWorkspaces, GitWorkspaces], origin: Origin, tmp_path: Path
) -> None:
    route = a_tree(origin)
    for workspaces in two_kinds:
        workspaces.fetch(origin.repository, route, "run-1")
    ours, theirs = two_kinds
    opened = ours.open(route, "17", 1, None)
    (opened.path / "known").touch()
    saved = [(opened.save(), contents(opened.path))]
    for change in ALL_SORTS:
        change(opened.path)
        saved.append((opened.save(), contents(opened.path)))
    newest = saved[-1][0]

    carry(tmp_path / "here", tmp_path / "there", newest, a_problem)

    for attempt, (snapshot, then) in enumerate(saved, start=2):
        there = theirs.open(route, "17", attempt, snapshot).path
        assert contents(there) == then
    assert os.getxattr(there / "one", "user.said") == b"\xff\x00"
    assert os.getxattr(there / "again", "user.said") == b"of a folder"
    layers = list((tmp_path / "there/snapshots/17").iterdir())
    assert sorted(path.name for path in layers) == [name for name, _ in saved]
    assert not list((tmp_path / "there/layers").glob("*/files"))


@pytest.mark.skipif(os.geteuid() != 0, reason="overlays are mounted by root alone")
def test_what_an_overlay_kept_here_is_had_once_there_are_none_any_more(
    tmp_path: Path, origin: Origin
) -> None:
    route = a_tree(origin)
    with GitWorkspaces(tmp_path / "here", "file") as before:
        before.fetch(origin.repository, route, "run-1")
        opened = before.open(route, "17", 1, None)
        for change in ALL_SORTS:
            change(opened.path)
            snapshot, then = opened.save(), contents(opened.path)
    with GitWorkspaces(tmp_path / "here", "file", hindrance=a_problem) as after:
        plain = after.open(route, "17", 2, snapshot)
        assert contents(plain.path) == then
        (plain.path / "j").unlink()
        mixed, then = plain.save(), contents(plain.path)
    with GitWorkspaces(tmp_path / "here", "file") as again:
        assert contents(again.open(route, "17", 3, mixed).path) == then
        assert contents(again.open(route, "17", 4, snapshot).path) != then


@pytest.fixture
def saved(tmp_path: Path, origin: Origin) -> Iterator[tuple[GitWorkspaces, Route, list[str]]]:
    """Two snapshots of job 17."""
    route = origin.route(origin.commit({"a": "1"}))
    with GitWorkspaces(tmp_path / "here", "file") as workspaces:
        workspaces.fetch(origin.repository, route, "run-1")
        opened = workspaces.open(route, "17", 1, None)
        names = []
        for number in range(2):
            (opened.path / f"of-{number}").write_bytes(os.urandom(3_000_000))
            names.append(opened.save())
        yield workspaces, route, names


def test_a_snapshot_is_a_chain_from_the_commit_or_from_what_is_known_of_it(
    saved: tuple[GitWorkspaces, Route, list[str]], tmp_path: Path
) -> None:
    _, _, (first, second) = saved
    layers = GitLayers(tmp_path / "here")

    assert layers.chain("17", second) == [Layer(first, BASE), Layer(second, first)]
    assert layers.chain("17", second, above=first) == [Layer(second, first)]
    assert layers.chain("17", second, above=second) == []
    assert layers.chain("17", BASE) == []


@pytest.mark.parametrize("snapshot", ["../17/1.1", "", "1.9", "off"])
def test_a_snapshot_that_is_not_here_is_gone(
    saved: tuple[GitWorkspaces, Route, list[str]], tmp_path: Path, snapshot: str
) -> None:
    layers = GitLayers(tmp_path / "here")

    with pytest.raises(SnapshotGone):
        layers.chain("17", snapshot)
    with pytest.raises(SnapshotGone):
        layers.content("17", snapshot)
    with pytest.raises(SnapshotGone):
        layers.unpack("17", "../18/1.1", "", BytesIO(), nothing)


@pytest.mark.parametrize("damage", ["cut", "changed", "exchanged", "empty"])
def test_a_stream_that_is_not_what_was_packed_becomes_no_layer(
    saved: tuple[GitWorkspaces, Route, list[str]], tmp_path: Path, damage: str
) -> None:
    _, _, (first, second) = saved
    layers, target = GitLayers(tmp_path / "here"), GitLayers(tmp_path / "there")
    stream, other = BytesIO(), BytesIO()
    layers.pack("17", first, stream)
    layers.pack("17", second, other)
    packed = stream.getvalue()
    middle = len(packed) // 2
    given = {
        "cut": packed[:-5],
        "changed": packed[:middle] + bytes([packed[middle] ^ 1]) + packed[middle + 1 :],
        "exchanged": other.getvalue(),
        "empty": b"",
    }[damage]

    with pytest.raises(SnapshotGone):
        target.unpack("17", first, layers.content("17", first), BytesIO(given), nothing)

    assert not list((tmp_path / "there/snapshots").rglob("*.*"))


def test_whoever_is_hurried_has_no_half_of_a_layer(
    saved: tuple[GitWorkspaces, Route, list[str]], tmp_path: Path
) -> None:
    _, _, (first, _) = saved
    layers, target = GitLayers(tmp_path / "here"), GitLayers(tmp_path / "there")
    stream, left = BytesIO(), [2]
    layers.pack("17", first, stream)
    stream.seek(0)

    def check() -> None:
        left[0] -= 1
        if not left[0]:
            raise Unavailable("it goes down")

    with pytest.raises(Unavailable, match="it goes down"):
        target.unpack("17", first, layers.content("17", first), stream, check)

    assert not list((tmp_path / "there/snapshots").rglob("*.*"))


def test_a_hole_is_a_hole_again(tmp_path: Path, origin: Origin) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    here, there = tmp_path / "here", tmp_path / "there"
    with GitWorkspaces(here, "file", hindrance=lambda: "none is wanted") as workspaces:
        workspaces.fetch(origin.repository, route, "run-1")
        opened = workspaces.open(route, "17", 1, None)
        with (opened.path / "sparse").open("wb") as file:
            file.truncate(200 << 20)
            file.write(b"data")
        snapshot = opened.save()
    carry(here, there, snapshot)

    (layer,) = (there / "snapshots").rglob(snapshot)
    assert layer.stat().st_size > 200 << 20
    assert layer.stat().st_blocks * 512 < 4 << 20


def test_an_overlays_layer_is_the_same_elsewhere_with_all_that_a_file_system_keeps(
    tmp_path: Path, origin: Origin
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    route = origin.route(origin.commit({"a": "1", "b/c": "1", "b/d": "1", "e/f": "1", "g": "1"}))
    with GitWorkspaces(here, "file") as ours, GitWorkspaces(there, "file") as theirs:
        for workspaces in (ours, theirs):
            workspaces.fetch(origin.repository, route, "run-1")
        opened = ours.open(route, "17", 1, None)
        (opened.path / "a").unlink()
        shutil.rmtree(opened.path / "b")
        (opened.path / "b").mkdir(mode=0o710)
        (opened.path / "b/new").write_text("2")
        (opened.path / "e").rename(opened.path / "moved")
        os.link(opened.path / "g", opened.path / "another name of g")
        os.setxattr(opened.path / "g", "user.word", b"kept")
        os.chown(opened.path / "g", 61000, 61000)
        with (opened.path / "sparse").open("wb") as file:
            file.truncate(64 << 20)
        first = opened.save()
        (opened.path / "b/new").write_text("3")
        second = opened.save()
        assert first != second
        carry(here, there, second)

        found = theirs.open(route, "17", 2, second).path

        assert contents(found) == contents(opened.path)
        assert {path.name for path in found.iterdir()} == {"b", "g", "another name of g", "moved", "sparse"}
        assert (found / "g").stat().st_ino == (found / "another name of g").stat().st_ino
        assert os.getxattr(found / "g", "user.word") == b"kept"
        assert ((found / "g").stat().st_uid, (found / "b").stat().st_mode & 0o777) == (61000, 0o710)
        assert (found / "sparse").stat().st_blocks * 512 < 1 << 20
        source, target = GitLayers(here), GitLayers(there)
        for name in (first, second):
            assert source.content("17", name) == target.content("17", name)


@pytest.mark.parametrize("kind", ["overlay", "no overlay"])
def test_a_name_in_a_stream_is_one_more_of_nothing_but_what_came_before(tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").write_text("of somebody else")
    lines = [
        {"path": "", "mode": 0o40755, "owner": [0, 0], "mtime": 0, "attributes": {}},
        {"path": "stolen", "like": "../../../secret"},
        {"end": True},
    ]
    stream = b"layer 1: folder\n" + json.dumps({"commit": "1" * 40, "parent": BASE}).encode() + b"\n"
    stream += b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    packed = BytesIO(ZstdCompressor().compress(stream))
    layers = GitLayers(tmp_path / "there", lambda: None if kind == "overlay" else "the test")

    with pytest.raises(SnapshotGone, match="leads elsewhere"):
        layers.unpack("17", "1.1", sha256(stream).hexdigest(), packed, nothing)

    assert (tmp_path / "secret").stat().st_nlink == 1


@pytest.mark.parametrize("path", ["../out", "/out", "a/b", "link/out", ".", "..", ""])
def test_nothing_in_a_stream_leads_out_of_its_layer(tmp_path: Path, path: str) -> None:
    lines = [
        {"path": "", "mode": 0o40755, "owner": [0, 0], "mtime": 0, "attributes": {}},
        {
            "path": "link",
            "mode": 0o120777,
            "owner": [0, 0],
            "mtime": 0,
            "attributes": {},
            "target": str(tmp_path),
        },
        {"path": path, "mode": 0o100644, "owner": [0, 0], "mtime": 0, "attributes": {}, "size": 0},
    ]
    stream = b"layer 1: folder\n" + json.dumps({"commit": "1" * 40, "parent": BASE}).encode() + b"\n"
    stream += b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    packed = BytesIO(ZstdCompressor().compress(stream))

    with pytest.raises((SnapshotGone, Unavailable)):
        GitLayers(tmp_path / "there").unpack("17", "1.1", sha256(stream).hexdigest(), packed, nothing)

    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "there/snapshots").rglob("*.*"))
