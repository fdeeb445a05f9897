"""Zip files that somebody made on purpose: nothing is written but what they may hold, and where it may be."""

import random
import stat
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pytest

from runner.engine.errands import zips
from runner.engine.errands.zips import packing, repack, unpack
from runner.errors import BrokenDefinition
from runner.workspaces.reach import Reach

AT = datetime(2026, 1, 1, 12, 30, 2, tzinfo=UTC)


def idle() -> None:
    """Nobody waits for it to end."""


def made(write: Callable[[ZipFile], None]) -> BytesIO:
    file = BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        write(archive)
    file.seek(0)
    return file


def holding(name: str, mode: int = stat.S_IFREG | 0o644) -> BytesIO:
    def write(archive: ZipFile) -> None:
        archive.writestr("first", "harmless")
        info = ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")

    return made(write)


def there(folder: Path) -> set[str]:
    return {str(one.relative_to(folder)) for one in folder.rglob("*")}


@pytest.mark.parametrize(
    "name", ["../out", "a/../../out", "/out", "a//b", "./a", "a/./b", "new\nline", "a:b", "a\\..\\<b"]
)
def test_a_path_that_leads_elsewhere_is_named_and_nothing_is_unpacked(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()

    with pytest.raises(BrokenDefinition, match=r"cannot|is not valid|can be unpacked"):
        unpack(holding(name), Reach(inside, None), "", idle)

    assert there(tmp_path) == {"inside"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_what_is_no_file_is_named(tmp_path: Path, kind: int) -> None:
    with pytest.raises(BrokenDefinition, match="'odd' is no file that can be unpacked"):
        unpack(holding("odd", kind | 0o777), Reach(tmp_path, None), "", idle)

    assert there(tmp_path) == set()


def test_a_file_is_given_no_more_rights_than_to_be_run(tmp_path: Path) -> None:
    unpack(holding("set", stat.S_IFREG | 0o6777), Reach(tmp_path, None), "", idle)

    assert stat.S_IMODE((tmp_path / "set").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "first").stat().st_mode) == 0o644


def test_an_archive_that_claims_too_much_is_refused_before_anything_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zips, "MOST_BYTES", 18)
    with pytest.raises(BrokenDefinition, match="its files are more than 18 bytes together"):
        unpack(holding("second"), Reach(tmp_path, None), "", idle)
    monkeypatch.setattr(zips, "MOST_BYTES", 1000)
    monkeypatch.setattr(zips, "MOST_FILES", 1)
    with pytest.raises(BrokenDefinition, match="it has more than 1 files"):
        unpack(holding("second"), Reach(tmp_path, None), "", idle)

    assert there(tmp_path) == set()


def test_an_archive_whose_files_are_larger_than_it_says_is_refused(tmp_path: Path) -> None:
    whole = holding("second").getvalue()
    # The size of a file is said before it and at the end of the archive.
    small = whole.replace((11).to_bytes(4, "little"), (3).to_bytes(4, "little"))

    with pytest.raises(BrokenDefinition, match="no zip file that can be unpacked"):
        unpack(BytesIO(small), Reach(tmp_path, None), "", idle)

    assert "second" not in there(tmp_path)


def test_a_file_that_says_it_is_small_fills_no_memory(tmp_path: Path) -> None:
    whole = made(lambda archive: archive.writestr("bomb", bytes(64 * 1024**2))).getvalue()
    small = whole.replace((64 * 1024**2).to_bytes(4, "little"), (3).to_bytes(4, "little"))

    tracemalloc.start()
    with pytest.raises(BrokenDefinition, match="no zip file that can be unpacked"):
        unpack(BytesIO(small), Reach(tmp_path, None), "", idle)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 8 * 1024**2
    assert there(tmp_path) == set()


def test_any_damage_is_named_and_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    whole = made(lambda archive: archive.writestr("a", random.Random(1).randbytes(5000))).getvalue()

    for number in range(200):
        some = random.Random(number)
        folder = tmp_path / str(number)
        folder.mkdir()
        at = some.randrange(len(whole))
        damaged = whole[:at] if number % 2 else whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        try:
            unpack(BytesIO(damaged), Reach(folder, None), "", idle)
        except BrokenDefinition:
            assert there(folder) == set()


def test_encrypted_files_are_named(tmp_path: Path) -> None:
    whole = bytearray(holding("second").getvalue())
    at = whole.rindex(b"PK\x01\x02")
    whole[at + 8] |= 1

    with pytest.raises(BrokenDefinition, match="'second' is no file that can be unpacked"):
        unpack(BytesIO(whole), Reach(tmp_path, None), "", idle)


def test_a_file_that_is_a_folder_too_is_named(tmp_path: Path) -> None:
    def write(archive: ZipFile) -> None:
        archive.writestr("a", "file")
        archive.writestr("a/b", "file in it")

    with pytest.raises(BrokenDefinition):
        unpack(made(write), Reach(tmp_path, None), "", idle)

    assert there(tmp_path) == {"a"}


def test_long_work_ends_between_two_pieces(tmp_path: Path) -> None:
    class Ended(Exception):
        pass

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Ended

    target = BytesIO()
    with pytest.raises(Ended), packing(target, 0, check) as into:
        into.add("large", BytesIO(bytes(10 * 1024**2)), 0o644, AT)
    assert len(target.getvalue()) < 4 * 1024**2

    calls = 0
    large = made(lambda archive: archive.writestr("large", bytes(10 * 1024**2)))
    with pytest.raises(Ended):
        unpack(large, Reach(tmp_path, None), "", check)
    assert there(tmp_path) == set()


def test_more_than_an_artifact_may_have_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "MOST_BYTES", 10)

    with packing(BytesIO(), 6, idle) as into:
        into.add("one", BytesIO(b"12345"), 0o644, AT)
        with pytest.raises(BrokenDefinition, match="more than 10 bytes together"):
            into.add("two", BytesIO(b"123456"), 0o644, AT)


def test_what_is_packed_again_keeps_its_mode_and_time() -> None:
    first, second = BytesIO(), BytesIO()
    with packing(first, 6, idle) as into:
        into.add("a", BytesIO(b"a"), 0o755, AT)
        into.add("b", BytesIO(b"b"), 0o600, datetime(1969, 1, 1, tzinfo=UTC))
        into.add("c", BytesIO(b"c"), 0o600, AT)

    with packing(second, 6, idle) as into:
        assert repack(first, into, "below", {"below/c"}) == ["below/a", "below/b"]

    with ZipFile(second) as archive:
        told = {one.filename: (one.external_attr >> 16, one.date_time) for one in archive.infolist()}
    assert told == {
        "below/a": (stat.S_IFREG | 0o755, (2026, 1, 1, 12, 30, 2)),
        "below/b": (stat.S_IFREG | 0o600, (1980, 1, 1, 0, 0, 0)),
    }
