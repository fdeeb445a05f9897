"""Snapshots on their way into the store, and what becomes of files where they are kept otherwise."""

import errno
import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from runner.engine.archive import Archive, sweep_store
from runner.engine.leftovers import UNKNOWN
from runner.engine.perform import perform
from runner.engine.ports import Archived, Kept, Layers, Objects
from runner.errors import Damaged, NotFound, SnapshotGone, Unavailable
from runner.model.blob import Blob
from runner.model.run import Lease
from runner.model.snapshot import BASE, NONE, Keep, Layer, StoredLayer
from runner.model.source import Repository
from runner.model.step import Checkpoint
from runner.objects import FolderObjects
from tests.engine.conftest import Bench
from tests.fakes import FakeWorkspace, Troubled

PLACE = "snapshots/0"


class MemoryLayers(Layers):
    """Layers as texts by their names; each stands on the one before it."""

    def __init__(self, **there: str) -> None:
        self.there = {name.replace("_", "."): text for name, text in there.items()}

    def chain(self, name: str, snapshot: str, above: str = BASE) -> Sequence[Layer]:
        names = sorted(self.there)
        if snapshot not in names:
            raise SnapshotGone(f"no {snapshot} here")
        wanted = names[: names.index(snapshot) + 1]
        layers = [Layer(one, under) for one, under in zip(wanted, [BASE, *wanted], strict=False)]
        return layers[wanted.index(above) + 1 if above in wanted else 0 :]

    def content(self, name: str, layer: str) -> str:
        if layer not in self.there:
            raise SnapshotGone(f"no {layer} here")
        return self.there[layer]

    def pack(self, name: str, layer: str, file: BinaryIO) -> None:
        file.write(self.there[layer].encode())

    def unpack(self, name: str, layer: str, content: str, file: BinaryIO, check: Callable[[], None]) -> None:
        self.there[layer] = file.read().decode()


class MemoryArchived(Archived):
    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], tuple[str, StoredLayer | None]] = {}

    def note(self, job: int, place: str, layers: Sequence[Layer]) -> Sequence[str]:
        for layer in layers:
            self.rows.setdefault((job, layer.name), (layer.parent, None))
        return [layer.name for layer in layers if self.rows[job, layer.name][1] is None]

    def share(self, job: int, layer: str, content: str) -> bool:
        same = [one for _, one in self.rows.values() if one and one.content == content]
        return bool(same) and self.stored(job, layer, content, same[0].blob)

    def stored(self, job: int, layer: str, content: str, blob: Blob) -> bool:
        self.rows[job, layer] = (self.rows[job, layer][0], StoredLayer(layer, content, blob))
        return True

    def chain(self, job: int, line: Sequence[int], snapshot: str) -> Sequence[StoredLayer] | None:
        for one in (job, *line):
            found, name = list[StoredLayer](), snapshot
            while name != BASE and (row := self.rows.get((one, name))) and row[1]:
                found, name = [row[1], *found], row[0]
            if name == BASE:
                return found
        return None

    def pending(self) -> Sequence[tuple[int, str, tuple[str, ...]]]:
        jobs = {job for (job, _), (_, stored) in self.rows.items() if stored is None}
        return [
            (
                job,
                PLACE,
                tuple(name for (one, name), (_, stored) in self.rows.items() if one == job and not stored),
            )
            for job in jobs
        ]

    def expired(self, kept: timedelta, most: int) -> Sequence[str]:
        return []

    def known(self, keys: Collection[str]) -> Collection[str]:
        return {one.blob.key for _, one in self.rows.values() if one} & set(keys)


def never() -> bool:
    return False


def nothing() -> None:
    """Nobody wants it to end."""


def an_archive(layers: Layers, objects: Objects, archived: Archived) -> Archive:
    return Archive(layers, objects, archived, str)


@pytest.fixture
def objects(tmp_path: Path) -> FolderObjects:
    return FolderObjects(tmp_path / "objects")


def test_a_snapshot_is_stored_with_all_that_it_stands_on_and_restored_elsewhere(
    objects: FolderObjects,
) -> None:
    archived, there = MemoryArchived(), MemoryLayers()
    archive = an_archive(MemoryLayers(**{"1_1": "one", "1_2": "two"}), objects, archived)

    archive.keep(7, PLACE, "1.2")

    assert archive.settle(7, never) is None
    an_archive(there, objects, archived).restore(7, [], "1.2", nothing)
    assert there.there == {"1.1": "one", "1.2": "two"}


def test_only_what_is_missing_or_damaged_here_is_fetched(objects: FolderObjects) -> None:
    archived = MemoryArchived()
    layers = MemoryLayers(**{"1_1": "one", "1_2": "two", "1_3": "three"})
    archive = an_archive(layers, objects, archived)
    archive.keep(7, PLACE, "1.3")
    archive.settle(7, never)
    layers.there |= {"1.2": "damaged"}
    del layers.there["1.3"]
    first = archived.chain(7, [], "1.1")
    assert first
    objects.remove(first[0].blob.key)

    archive.restore(7, [], "1.3", nothing)

    assert layers.there == {"1.1": "one", "1.2": "two", "1.3": "three"}


def test_the_same_layer_of_another_job_is_stored_once(objects: FolderObjects) -> None:
    archive = an_archive(MemoryLayers(**{"1_1": "one"}), objects, MemoryArchived())

    for job in (7, 8):
        archive.keep(job, PLACE, "1.1")
        archive.settle(job, never)

    assert len(list(objects.kept("snapshots"))) == 1


def test_a_step_does_not_wait_for_the_one_before_it_to_be_stored(objects: FolderObjects) -> None:
    may_go = threading.Event()

    class Slow(FolderObjects):
        def put(self, place: str, write: Callable[[BinaryIO], None]) -> Blob:
            assert may_go.wait(30)
            return super().put(place, write)

    layers, archived = MemoryLayers(**{"1_1": "one"}), MemoryArchived()
    archive = an_archive(layers, Slow(objects._folder), archived)
    archive.keep(7, PLACE, "1.1")
    layers.there["1.2"] = "two"
    archive.keep(7, PLACE, "1.2")
    assert archive.settle(7, never, patience=0) == "it takes too long"
    assert archive.settle(7, lambda: True) == "it takes too long"
    may_go.set()

    assert archive.settle(7, never) is None
    assert [one.name for one in archived.chain(7, [], "1.2") or ()] == ["1.1", "1.2"]


def test_a_store_that_is_away_is_said_at_once_and_tried_again(objects: FolderObjects) -> None:
    away = Troubled(objects, "put", 99, Unavailable("the bucket does not answer"))
    archived = MemoryArchived()
    archive = an_archive(MemoryLayers(**{"1_1": "one"}), away, archived)

    archive.keep(7, PLACE, "1.1")

    assert archive.settle(7, never) == "the bucket does not answer"
    away.recovers()
    assert away.calls.acquire(timeout=30)
    assert away.calls.acquire(timeout=30), "it was tried again"
    while archive.settle(7, never) is not None:
        pass
    assert archived.chain(7, [], "1.1")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.EMFILE, "Too many open files"), r"\[Errno 24\] Too many open files"),
        (ZeroDivisionError("of ours"), "internal error: ZeroDivisionError"),
    ],
)
def test_whatever_keeps_files_from_the_store_is_said_and_they_are_not_taken_for_stored(
    objects: FolderObjects, error: Exception, why: str
) -> None:
    archived, layers = MemoryArchived(), MemoryLayers(**{"1_1": "one", "1_2": "two"})
    troubled = Troubled(layers, "content", 99, error)
    archive = an_archive(cast(Layers, troubled), objects, archived)

    archive.keep(7, PLACE, "1.1")

    assert re.fullmatch(why, archive.settle(7, never) or "")
    troubled.recovers()
    archive.keep(7, PLACE, "1.2")
    while archive.settle(7, never) is not None:
        pass
    assert [one.name for one in archived.chain(7, [], "1.2") or ()] == ["1.1", "1.2"]


def test_files_that_are_gone_before_they_were_stored_are_said(objects: FolderObjects) -> None:
    gone = Troubled(MemoryLayers(**{"1_1": "one"}), "content", 1, SnapshotGone("1.1 is damaged"))
    archive = an_archive(cast(Layers, gone), objects, MemoryArchived())

    archive.keep(7, PLACE, "1.1")

    assert archive.settle(7, never) == "1.1 is damaged"


def test_what_a_process_did_not_come_to_store_the_next_one_in_its_home_does(objects: FolderObjects) -> None:
    layers, archived = MemoryLayers(**{"1_1": "one", "1_2": "two", "1_10": "ten"}), MemoryArchived()
    archived.note(7, PLACE, [Layer("1.1", BASE), Layer("1.10", "1.1"), Layer("1.2", "1.10")])
    archived.note(8, PLACE, [Layer("9.9", BASE)])
    archive = an_archive(layers, objects, archived)

    archive.make_up()

    assert archive.settle(7, never) is None
    assert archived.chain(7, [], "1.10")
    assert archived.chain(8, [], "9.9") is None, "that is another machine's"


@pytest.mark.parametrize("error", [NotFound("it is not there"), Damaged("it is damaged")])
def test_an_object_that_cannot_be_used_is_a_snapshot_that_is_gone(
    objects: FolderObjects, error: Exception
) -> None:
    archived = MemoryArchived()
    archive = an_archive(MemoryLayers(**{"1_1": "one"}), objects, archived)
    archive.keep(7, PLACE, "1.1")
    archive.settle(7, never)
    broken = Troubled(objects, "open", 1, error)

    with pytest.raises(SnapshotGone, match=f"the snapshot 1.1 cannot be used: {error}"):
        an_archive(MemoryLayers(), broken, archived).restore(7, [], "1.1", nothing)


def test_a_store_that_is_away_is_no_reason_to_start_over(objects: FolderObjects) -> None:
    archived = MemoryArchived()
    archive = an_archive(MemoryLayers(**{"1_1": "one"}), objects, archived)
    archive.keep(7, PLACE, "1.1")
    archive.settle(7, never)
    away = Troubled(objects, "open", 1, Unavailable("the bucket does not answer"))

    with pytest.raises(Unavailable) as raised:
        an_archive(MemoryLayers(), away, archived).restore(7, [], "1.1", nothing)

    assert not isinstance(raised.value, SnapshotGone)


class Aged(FolderObjects):
    """Objects that have been there for a while."""

    def kept(self, place: str) -> Iterator[Kept]:
        for one in super().kept(place):
            yield Kept(one.key, one.size, datetime.now(UTC) - UNKNOWN * 2)


def test_objects_that_no_row_knows_go_once_their_upload_must_have_ended(objects: FolderObjects) -> None:
    archived = MemoryArchived()
    archive = an_archive(MemoryLayers(**{"1_1": "one"}), objects, archived)
    archive.keep(7, PLACE, "1.1")
    archive.settle(7, never)
    lost = objects.put(PLACE, lambda file: None)
    other = objects.put("artifacts/1", lambda file: None)
    sweep_store(archived=archived, objects=objects)
    assert lost.key in {one.key for one in objects.kept(PLACE)}, "it may be on its way"

    sweep_store(archived=archived, objects=Aged(objects._folder))

    left = {one.key for one in objects.kept(PLACE)}
    assert left == {one.blob.key for one in archived.chain(7, [], "1.1") or ()}
    assert [one.key for one in objects.kept("artifacts")] == [other.key]


def test_a_name_that_is_registered_again_has_a_place_of_its_own() -> None:
    before, after = (Repository("git", "octo/hello", "/x", registration=one) for one in ("7.111", "7.222"))

    assert (before.place("snapshots"), after.place("snapshots")) == ("snapshots/7/111", "snapshots/7/222")


# --- what a job says -------------------------------------------------------------------------

TWO = """\
on: push
jobs:
  build:
    runs-on: linux
    SNAPSHOT
    steps:
      - run: one
      - EXTRA
      - run: three
"""


def lost_after_a_step(bench: Bench, text: str) -> None:
    """A worker that dies when its job has done a step."""
    bench.a_run(text)
    record = bench.store.record

    def die(lease: Lease, checkpoint: Checkpoint) -> None:
        record(lease, checkpoint)
        raise KeyboardInterrupt

    bench.store.record = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        perform(bench.bell.rung.pop(), bench.station)
    bench.store.record = record  # type: ignore[method-assign]


def go_on(bench: Bench) -> list[str]:
    """What the next worker runs."""
    before = len(bench.executor.scripts)
    for envelope in bench.store.stranded(everything=True).envelopes:
        perform(envelope, bench.station)
    return [script.strip() for script in bench.executor.scripts[before:]]


@pytest.mark.parametrize(
    ("said", "extra", "runs"),
    [
        ("", "run: two", ["two", "three"]),
        ("snapshot: local", "run: two", ["two", "three"]),
        ("snapshot: durable", "run: two", ["two", "three"]),
        ("snapshot: off", "run: two", ["one", "two", "three"]),
        ("snapshot: off", "{run: two, retry: {max-attempts: 2}}", ["two", "three"]),
        ("snapshot: off", "{uses: runner/sleep@v1, with: {for: 1ms}}", []),
    ],
)
def test_a_job_whose_files_are_not_kept_starts_over_unless_it_comes_back_to_them(
    bench: Bench, said: str, extra: str, runs: list[str]
) -> None:
    lost_after_a_step(bench, TWO.replace("SNAPSHOT", said).replace("EXTRA", extra))

    assert go_on(bench) == runs


def test_a_job_that_starts_over_for_want_of_its_files_says_why(bench: Bench) -> None:
    lost_after_a_step(bench, TWO.replace("SNAPSHOT", "snapshot: off").replace("EXTRA", "run: two"))
    go_on(bench)

    assert b"the job starts over: its files were not kept (snapshot: off)" in b"".join(
        bench.logs.printed.values()
    )


def test_a_job_whose_files_are_nowhere_says_why_neither_has_them(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeWorkspace, "save", lambda self, check: setattr(self, "snapshot", "1.1"))
    lost_after_a_step(bench, TWO.replace("SNAPSHOT", "").replace("EXTRA", "run: two"))
    bench.workspaces.gone = True
    store = an_archive(MemoryLayers(), FolderObjects(tmp_path), MemoryArchived())
    bench.station = replace(bench.station, archive=store)
    go_on(bench)

    said = b"".join(bench.logs.printed.values()).decode()
    assert "the job starts over: no snapshot on this machine; the snapshot 1.1 is not in the store" in said


@pytest.mark.parametrize(
    ("server", "repository", "job", "snapshot"),
    [
        (Keep.LOCAL, None, "", BASE),
        (Keep.OFF, None, "", NONE),
        (Keep.OFF, Keep.LOCAL, "", BASE),
        (Keep.LOCAL, Keep.OFF, "", NONE),
        (Keep.LOCAL, Keep.OFF, "snapshot: durable", BASE),
        (Keep.DURABLE, Keep.DURABLE, "snapshot: off", NONE),
    ],
)
def test_the_jobs_own_word_wins_and_then_its_repositorys(
    bench: Bench, server: Keep, repository: Keep | None, job: str, snapshot: str
) -> None:
    registered = bench.repositories.get("git", "octo/hello")
    bench.repositories.change(registered, {"snapshot": repository})
    object.__setattr__(bench.station, "snapshot", server)
    run = bench.a_run(TWO.replace("SNAPSHOT", job).replace("EXTRA", "run: two"))
    bench.work()

    (built,) = bench.store.load(run.id).jobs
    assert {done.snapshot for done in bench.store.recall(built).values()} == {snapshot}
