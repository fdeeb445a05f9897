"""A folder that was packed and unpacked is the folder that it was, and no archive leads out of one."""

import io
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zstandard import ZstdCompressor

from runner.engine.errands.archive import Member, members, pack, unpack
from runner.engine.ports import Folder
from runner.engine.remove import remove
from runner.errors import BrokenDefinition, Damaged
from runner.workspaces.reach import Reach

LARGE = 10**9
NAMES = [b"a", b"b", b"new\nline", b"-x", b"\xff\xfe", "ü".encode(), b" ", b".hidden", b"*", b"long-" * 30]
names = st.sampled_from(NAMES).map(os.fsdecode)
modes = st.sampled_from([0o644, 0o755, 0o600, 0o500, 0o555, 0o777])
times = st.integers(-(2**31), 2**34).map(lambda seconds: seconds * 10**9) | st.integers(0, 2**61)
content = st.binary(max_size=6) | st.sampled_from([511, 512, 3 * 1024**2 + 1]).map(bytes)
trees = st.recursive(
    st.tuples(st.just("file"), modes, times, content)
    | st.tuples(st.just("link"), st.sampled_from(["a", "/etc/passwd", "../..", "no\nwhere", "l" * 300])),
    lambda inner: st.tuples(st.just("folder"), modes, times, st.dictionaries(names, inner, max_size=4)),
    max_leaves=12,
)
Seen = dict[str, tuple[object, ...]]


def no_check() -> None:
    """Nobody ends it."""


def packed(root: Path, most: int = LARGE, check: Callable[[], None] = no_check) -> bytes:
    file, reach = io.BytesIO(), Reach(root, None)
    with reach.held() as folder:
        pack((Member(f"workspace/{entry.path}", folder, entry) for entry in reach.walk()), file, most, check)
    return file.getvalue()


def unpacked(content: bytes, root: Path, check: Callable[[], None] = no_check, most: int = LARGE) -> int:
    with Reach(root, None).held() as folder:

        def place(path: str) -> tuple[Folder, str]:
            return folder, path.partition("/")[2]

        return unpack(io.BytesIO(content), place, check, most)


def seen(root: Path) -> Seen:
    """What a cache keeps of a folder: no times of links, and nothing but files, folders and links."""
    found: Seen = {}
    for entry in Reach(root, None).walk():
        path, mode = root / entry.path, stat.S_IMODE(entry.mode)
        if stat.S_ISLNK(entry.mode):
            found[entry.path] = ("link", str(path.readlink()))
        elif stat.S_ISDIR(entry.mode):
            found[entry.path] = ("folder", mode, entry.mtime_ns)
        elif stat.S_ISREG(entry.mode):
            found[entry.path] = ("file", mode, entry.mtime_ns, path.read_bytes())
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "folder/deeper").mkdir(parents=True)
    (root / "folder/file").write_bytes(b"content")
    (root / "folder/script").write_bytes(b"#!/bin/sh\n")
    (root / "folder/script").chmod(0o755)
    (root / "link").symlink_to("folder/file")
    return root


@pytest.fixture
def other(tmp_path: Path) -> Path:
    other = tmp_path / "other"
    other.mkdir()
    return other


def grow(path: Path, tree: tuple[Any, ...]) -> None:
    match tree:
        case "file", mode, at, bytes() as written:
            path.write_bytes(written)
        case "link", str() as target:
            path.symlink_to(target)
            return
        case "folder", mode, at, below:
            path.mkdir(exist_ok=True)
            for name, one in below.items():
                grow(path / name, one)
    path.chmod(mode)
    os.utime(path, ns=(at, at))


@settings(max_examples=min(60, settings().max_examples))
@given(st.dictionaries(names, trees, max_size=5))
def test_what_is_unpacked_is_what_was_packed(tree: dict[str, tuple[Any, ...]]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        root, other = folder / "root", folder / "other"
        other.mkdir()
        grow(root, ("folder", 0o755, 0, tree))
        before = seen(root)

        count = unpacked(packed(root), other)

        assert seen(other) == before
        assert count == len(before)
    finally:
        remove(folder)


def test_tar_itself_reads_it_and_what_tar_wrote_is_read(root: Path, other: Path, tmp_path: Path) -> None:
    long = "long-" * 30
    (root / long).mkdir()
    (root / long / "ü").write_bytes(b"umlaut")
    os.utime(root / long, ns=(1, 1_700_000_000_123_456_789))
    (tmp_path / "a.tar.zst").write_bytes(packed(root))

    subprocess.run(["tar", "--zstd", "-xf", tmp_path / "a.tar.zst", "-C", other], check=True)

    assert seen(other / "workspace") == seen(root)
    tar = ("tar", "--zstd", "--format=pax", "-cf", tmp_path / "b.tar.zst", "-C", other)
    subprocess.run((*tar, "workspace"), check=True)
    found = [one.entry.path for one in members(io.BytesIO((tmp_path / "b.tar.zst").read_bytes()), no_check)]
    assert f"workspace/{long}/ü" in found


def test_what_is_there_and_not_in_the_archive_stays(root: Path, other: Path) -> None:
    (other / "folder").mkdir()
    (other / "folder/own").write_bytes(b"mine")
    (other / "link").write_bytes(b"in the place of a link")

    unpacked(packed(root), other)

    assert (other / "folder/own").read_bytes() == b"mine"
    assert (other / "folder/file").read_bytes() == b"content"
    assert (other / "link").readlink() == Path("folder/file")


# --- while somebody writes there -------------------------------------------------------------


def test_a_file_that_becomes_a_folder_or_goes_away_is_left_out(root: Path, other: Path) -> None:
    reach, file = Reach(root, None), io.BytesIO()

    def walked() -> Iterator[Member]:
        for entry in list(reach.walk()):
            if entry.path == "folder/file":
                (root / "folder/file").unlink()
                (root / "folder/file").mkdir()
            if entry.path == "folder/script":
                (root / "folder/script").unlink()
            yield Member(f"workspace/{entry.path}", reach, entry)

    result = pack(walked(), file, LARGE, no_check)

    assert result.left_out == ["folder/file", "folder/script"]
    unpacked(file.getvalue(), other)
    assert sorted(seen(other)) == ["folder", "folder/deeper", "link"]


@pytest.mark.parametrize(
    ("now", "kept"), [(b"", b"\0" * 7), (b"abc", b"abc\0\0\0\0"), (b"longer than", b"longer ")]
)
def test_a_file_that_grows_or_shrinks_has_the_size_that_it_had(
    root: Path, other: Path, now: bytes, kept: bytes
) -> None:
    reach, file = Reach(root, None), io.BytesIO()
    found = [Member(f"workspace/{entry.path}", reach, entry) for entry in reach.walk()]
    (root / "folder/file").write_bytes(now)

    pack(found, file, LARGE, no_check)
    unpacked(file.getvalue(), other)

    assert (other / "folder/file").read_bytes() == kept


def test_a_folder_that_becomes_a_link_leads_nowhere_else(root: Path, other: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_bytes(b"outside")
    reach, file = Reach(root, None), io.BytesIO()
    found = [Member(f"workspace/{entry.path}", reach, entry) for entry in reach.walk("folder")]
    shutil.rmtree(root / "folder")
    (root / "folder").symlink_to(tmp_path / "secret")

    with pytest.raises(BrokenDefinition, match="leads out"):
        pack(found, file, LARGE, no_check)
    assert b"outside" not in file.getvalue()


def test_what_is_no_file_is_left_out_and_keeps_nobody_waiting(root: Path, other: Path) -> None:
    os.mkfifo(root / "pipe")

    unpacked(packed(root), other)

    assert "pipe" not in seen(other)


# --- hostile archives ------------------------------------------------------------------------


def made(*entries: tuple[str, bytes, str], content: bytes = b"evil") -> bytes:
    """An archive by Python's own tarfile: names, kinds, and where links lead."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, target in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(content))
    return ZstdCompressor().compress(file.getvalue())


@pytest.mark.parametrize(
    "entries",
    [
        (("w/../../evil", tarfile.REGTYPE, ""),),
        (("w//tmp/evil", tarfile.REGTYPE, ""),),
        (("w/way", tarfile.SYMTYPE, ".."), ("w/way/evil", tarfile.REGTYPE, "")),
        (("w/way", tarfile.SYMTYPE, "/tmp"), ("w/way/evil", tarfile.REGTYPE, "")),
        (
            ("w/way", tarfile.SYMTYPE, "../evil"),
            ("w/way", tarfile.DIRTYPE, ""),
            ("w/way/evil", tarfile.REGTYPE, ""),
        ),
        (("w/hard", tarfile.LNKTYPE, "w/../../secret"),),
        (("w/pipe", tarfile.FIFOTYPE, ""),),
        (("w/device", tarfile.CHRTYPE, ""),),
    ],
)
def test_no_archive_leads_out(
    other: Path, tmp_path: Path, entries: tuple[tuple[str, bytes, str], ...]
) -> None:
    (tmp_path / "secret").write_bytes(b"outside")
    before = sorted(tmp_path.iterdir())

    with pytest.raises((BrokenDefinition, Damaged)):
        unpacked(made(*entries), other)

    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "secret").read_bytes() == b"outside"
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize("at", [0, 3, 40, 0.5, 0.9, -1])
def test_a_truncated_archive_is_damaged(root: Path, other: Path, at: float) -> None:
    whole = packed(root)
    cut = whole[: int(len(whole) * at) if isinstance(at, float) else at]

    with pytest.raises(Damaged):
        unpacked(cut, other)


@pytest.mark.parametrize(
    "change",
    [
        lambda tar: tar.replace(b"folder", b"f0lder"),
        lambda tar: tar[:124] + b"x" * 11 + tar[135:],
        lambda tar: b"\1" * 512 + tar[512:],
    ],
)
def test_a_header_that_was_changed_is_damaged(other: Path, change: Callable[[bytes], bytes]) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("w/folder"))

    with pytest.raises(Damaged):
        unpacked(ZstdCompressor().compress(change(plain.getvalue())), other)


@pytest.mark.parametrize(
    "records",
    [{"mtime": "9" * 18}, {"mtime": "soon"}, {"linkpath": "a\0b"}, {"path": "w/a\0b"}, {"size": "-1"}],
)
def test_a_header_says_nothing_that_cannot_be(other: Path, records: dict[str, str]) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("w/link")
        info.type = tarfile.REGTYPE if "size" in records else tarfile.SYMTYPE
        info.linkname, info.pax_headers = "a", records
        tar.addfile(info)

    with pytest.raises(Damaged):
        unpacked(ZstdCompressor().compress(file.getvalue()), other)
    assert list(other.iterdir()) == []


def test_a_header_of_any_size_is_not_read(other: Path) -> None:
    with pytest.raises(Damaged, match="too long"):
        unpacked(made(("w/" + "a" * 70_000, tarfile.REGTYPE, "")), other)


def test_more_than_may_be_unpacked_is_refused_before_it_is(other: Path) -> None:
    content = made(("w/one", tarfile.REGTYPE, ""), ("w/two", tarfile.REGTYPE, ""))

    with pytest.raises(Damaged, match="more in the archive than"):
        unpacked(content, other, most=5)
    assert [path.name for path in other.iterdir()] == ["one"]


def test_more_than_may_be_kept_is_refused_with_the_limit(root: Path) -> None:
    (root / "large").write_bytes(os.urandom(200_000))

    with pytest.raises(BrokenDefinition, match="larger than 100000 bytes, compressed"):
        packed(root, most=100_000)


def test_both_ways_end_within_a_large_file(root: Path, other: Path) -> None:
    (root / "large").write_bytes(bytes(50 * 1024**2))
    content, left = packed(root), [20]

    def check() -> None:
        left[0] -= 1
        if not left[0]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        packed(root, check=check)
    left[0] = 20
    with pytest.raises(ZeroDivisionError):
        unpacked(content, other, check)
    assert not (other / "large").exists()
