"""The port `Objects`: whole or not at all, and what is read is what was written."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engine.ports import Objects
from runner.errors import Damaged, NotFound, Unavailable
from runner.model.blob import Blob
from runner.objects import objects_at
from runner.objects.s3 import S3Objects
from tests.servers import Bucket, s3_server

LARGE = os.urandom(1 << 20) * 20 + b"and a bit"
"""More than goes into one part of an upload."""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["folder", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the files are, whichever way they are kept."""
    if request.param == "folder":
        return tmp_path / "objects"
    server: Bucket = request.getfixturevalue("bucket")
    return server.files / f"of-{uuid4().hex}" / "deep"


@pytest.fixture
def objects(files: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Objects:
    if files.is_relative_to(tmp_path):
        return objects_at("", files, {})
    server: Bucket = request.getfixturevalue("bucket")
    (tmp_path / "spool").mkdir()
    url = f"{server.url}/{files.relative_to(server.files)}"
    return objects_at(url, tmp_path / "spool", server.environment())


def saying(content: bytes) -> Callable[[BinaryIO], None]:
    def write(file: BinaryIO) -> None:
        file.write(content)

    return write


def read(objects: Objects, blob: Blob) -> bytes:
    with objects.open(blob) as file:
        return file.read()


@given(st.binary())
def test_what_is_read_is_what_was_written(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    objects = objects_at("", tmp_path_factory.getbasetemp() / "objects", {})

    blob = objects.put("kind/1", saying(content))

    assert blob.size == len(content)
    assert read(objects, blob) == content


@pytest.mark.parametrize("content", [b"", b"abc", LARGE], ids=["empty", "small", "in parts"])
def test_of_whatever_size_it_comes_back(objects: Objects, content: bytes) -> None:
    blob = objects.put("kind/1", saying(content))

    assert blob.size == len(content)
    assert read(objects, blob) == content


def test_it_can_be_sought_in(objects: Objects) -> None:
    blob = objects.put("kind/1", saying(b"0123456789"))

    with objects.open(blob) as file:
        file.seek(-3, os.SEEK_END)
        assert file.read() == b"789"


def test_a_part_of_it_is_read_alone(objects: Objects) -> None:
    blob = objects.put("kind/1", saying(b"0123456789"))

    assert objects.part(blob.key, 3, 4) == b"3456"
    assert objects.part(blob.key, 8, 4) == b"89"
    assert objects.part(blob.key, 10, 4) == b""

    objects.remove(blob.key)
    with pytest.raises(NotFound):
        objects.part(blob.key, 3, 4)


def test_what_fails_while_it_is_written_leaves_nothing(objects: Objects) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        objects.put("kind/1", write)

    assert not list(objects.kept("kind"))


def test_a_full_disk_is_said(objects: Objects) -> None:
    def write(file: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(Unavailable, match="No space left on device"):
        objects.put("kind/1", write)

    assert not list(objects.kept("kind"))


def test_what_is_there_is_told_by_place_and_gone_once_it_is_removed(objects: Objects) -> None:
    one, two = (objects.put(place, saying(b"abc")) for place in ("kind/1", "kind/2"))
    objects.put("other/1", saying(b""))

    assert {(kept.key, kept.size) for kept in objects.kept("kind")} == {(one.key, 3), (two.key, 3)}
    assert [kept.key for kept in objects.kept("kind/1")] == [one.key]

    objects.remove(one.key)
    objects.remove(one.key)

    assert [kept.key for kept in objects.kept("kind")] == [two.key]
    with pytest.raises(NotFound):
        read(objects, one)


def test_whose_they_are_is_said_once(objects: Objects) -> None:
    assert objects.mark("one") == "one"
    assert objects.mark("two") == "one"
    assert objects.mark("one") == "one"
    assert list(objects.kept("owner")) == []


def test_what_others_keep_at_the_same_place_is_none_of_ours(
    objects: Objects, files: Path, request: pytest.FixtureRequest
) -> None:
    ours = objects.put("kind/1", saying(b"abc"))
    if isinstance(objects, S3Objects):
        server: Bucket = request.getfixturevalue("bucket")
        server.overwrite(files / "kind/1/README", b"of others")
    else:
        (files / "kind/1/README").write_bytes(b"of others")

    assert [one.key for one in objects.kept("kind")] == [ours.key]


def test_a_disk_in_trouble_is_said(tmp_path: Path) -> None:
    objects = objects_at("", tmp_path, {})
    blob = objects.put("kind", saying(b"abc"))
    (tmp_path / blob.key).unlink()
    (tmp_path / blob.key).mkdir()

    with pytest.raises(Unavailable, match=f"the object {blob.key} cannot be read: Is a directory"):
        read(objects, blob)
    with pytest.raises(Unavailable, match=f"the object {blob.key} cannot be removed: Is a directory"):
        objects.remove(blob.key)


@pytest.mark.parametrize("content", [b"abd", b"ab", b"abcd", b""])
def test_what_was_damaged_is_not_read(
    objects: Objects, files: Path, content: bytes, request: pytest.FixtureRequest
) -> None:
    blob = objects.put("kind", saying(b"abc"))
    if isinstance(objects, S3Objects):
        server: Bucket = request.getfixturevalue("bucket")
        server.overwrite(files / blob.key, content)
    else:
        (files / blob.key).write_bytes(content)

    with pytest.raises(Damaged):
        read(objects, blob)


@pytest.mark.parametrize("key", ["../etc/passwd", "/etc/passwd", "kind/1", f"kind/../{'0' * 32}", ""])
def test_no_other_path_is_ever_a_key(objects: Objects, key: str) -> None:
    with pytest.raises(ValueError):
        read(objects, Blob(key, 1, "0" * 64))
    with pytest.raises(ValueError):
        objects.part(key, 0, 1)
    with pytest.raises(ValueError):
        objects.remove(key)


@pytest.mark.parametrize("place", ["", "..", "/kind", "Kind", "a//b", "a/"])
def test_no_other_path_is_ever_a_place(objects: Objects, place: str) -> None:
    with pytest.raises(ValueError):
        objects.put(place, saying(b""))
    with pytest.raises(ValueError):
        list(objects.kept(place))
