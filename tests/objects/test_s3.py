"""What can happen between us and a bucket, on a real one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from runner.errors import NotFound, Rejected, Unavailable
from runner.objects import checked_url, objects_at
from runner.objects.s3 import S3Objects
from tests.crash.proxy import Proxy, Weather, proxy
from tests.servers import Bucket, s3_server

CONTENT = os.urandom(1 << 20) * 20


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    with s3_server(tmp_path) as server:
        yield server


@pytest.fixture
def between(bucket: Bucket) -> Iterator[Proxy]:
    with proxy(bucket.port) as made:
        yield made


def reached(bucket: Bucket, spool: Path, port: int | None = None, seconds: float = 30) -> S3Objects:
    return S3Objects("bucket", "", bucket.environment(port), spool, seconds)


def write(file: BinaryIO) -> None:
    file.write(CONTENT)


def test_a_server_that_dies_while_an_object_goes_there_has_none(
    bucket: Bucket, between: Proxy, tmp_path: Path
) -> None:
    objects = reached(bucket, tmp_path, between.port)
    between.after(10 << 20, bucket.kill)

    with pytest.raises(Unavailable, match="cannot be kept: the bucket bucket does not answer"):
        objects.put("kind", write)
    bucket.start()

    assert not list(objects.kept("kind"))
    assert [one.size for one in [objects.put("kind", write)]] == [len(CONTENT)]


def test_a_server_that_dies_while_an_object_comes_from_there_hands_out_nothing(
    bucket: Bucket, between: Proxy, tmp_path: Path
) -> None:
    objects = reached(bucket, tmp_path, between.port)
    blob = objects.put("kind", write)
    between.after(10 << 20, bucket.kill)

    with (
        pytest.raises(Unavailable, match="cannot be read: the bucket bucket does not answer"),
        objects.open(blob),
    ):
        pytest.fail("half of it was handed out")
    bucket.start()

    with objects.open(blob) as file:
        assert file.read() == CONTENT


def test_connections_that_break_are_made_again(bucket: Bucket, between: Proxy, tmp_path: Path) -> None:
    objects = reached(bucket, tmp_path, between.port)

    def breaks() -> None:
        between.becomes(Weather.CUT)
        between.becomes(Weather.FAIR)

    between.after(10 << 20, breaks)
    blob = objects.put("kind", write)
    between.after(10 << 20, breaks)

    with objects.open(blob) as file:
        assert file.read() == CONTENT


def test_a_server_that_says_nothing_is_given_up(bucket: Bucket, tmp_path: Path) -> None:
    objects = reached(bucket, tmp_path, seconds=1)
    bucket.silence()

    with pytest.raises(Unavailable, match="cannot be kept: the bucket bucket does not answer"):
        objects.put("kind", write)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "guessed"}, "answers SignatureDoesNotMatch: The request signature"),
        ({"AWS_ACCESS_KEY_ID": "stranger"}, "answers InvalidAccessKeyId: The Access Key Id you provided"),
    ],
)
def test_a_bucket_that_refuses_us_is_named_with_its_answer_and_no_secret(
    bucket: Bucket, tmp_path: Path, other: dict[str, str], said: str
) -> None:
    objects = S3Objects("bucket", "", bucket.environment() | other, tmp_path)

    with pytest.raises(Unavailable, match=f"the bucket bucket {said}") as refused:
        objects.put("kind", write)

    assert not any(secret in str(refused.value) for secret in ("guessed", "the-secret", "Debug"))
    assert refused.value.__suppress_context__, "the library's own words hold what was asked"


def test_a_bucket_that_there_is_not_is_no_missing_object(bucket: Bucket, tmp_path: Path) -> None:
    objects = S3Objects("another", "", bucket.environment(), tmp_path)

    with pytest.raises(Unavailable, match=r"there is no bucket another \(RUNNER_OBJECTS\)"):
        objects.put("kind", write)


def test_what_is_on_its_way_is_in_no_file_that_has_a_name(bucket: Bucket, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    objects = reached(bucket, spool)
    seen: list[Path] = []

    def look(file: BinaryIO) -> None:
        write(file)
        seen.extend(spool.iterdir())

    with objects.open(objects.put("kind", look)):
        seen.extend(spool.iterdir())

    assert not seen


def test_a_clock_that_is_off_is_told_from_a_server_that_is_away(bucket: Bucket, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from runner import environment;"
        "from runner.objects import objects_at;"
        "objects_at('s3://bucket', Path(sys.argv[1]), environment.for_s3()).put('kind', lambda file: None)"
    )
    ran = subprocess.run(
        ["faketime", "-f", "+1h", sys.executable, "-c", script, str(tmp_path)],
        env=os.environ | bucket.environment(),
        capture_output=True,
        text=True,
    )

    assert "answers RequestTimeTooSkewed" in ran.stderr
    assert "see the clock of this machine" in ran.stderr


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3://b",
        "s3://Bucket",
        "s3://bucket/../x",
        "s3://key:secret@bucket",
        "http://bucket",
        "folder",
    ],
)
def test_what_is_no_bucket_is_said(url: str) -> None:
    with pytest.raises(Rejected, match="give a bucket such as s3://bucket/prefix"):
        checked_url(url)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL", "nonsense"),
        ("AWS_ENDPOINT_URL_S3", "ftp://host"),
        ("AWS_ENDPOINT_URL", "http://name:the-secret@host"),
        ("AWS_ENDPOINT_URL", "http://host:port"),
        ("AWS_SECRET_ACCESS_KEY", "the-secret\n"),
        ("AWS_SECRET_ACCESS_KEY", ""),
    ],
)
def test_a_variable_that_cannot_be_is_named_at_once_without_its_value(
    tmp_path: Path, name: str, value: str
) -> None:
    given = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "the-secret", name: value}

    with pytest.raises(Rejected, match=f"^{name}: ") as wrong:
        objects_at("s3://bucket", tmp_path, given)

    assert "the-secret" not in str(wrong.value)


def test_many_may_use_it_at_once(bucket: Bucket, tmp_path: Path) -> None:
    objects, made = reached(bucket, tmp_path), []

    def put_and_read(number: int) -> None:
        content = bytes([number]) * 1000

        def say(file: BinaryIO) -> None:
            file.write(content)

        blob = objects.put("kind", say)
        with objects.open(blob) as file:
            made.append((blob.key, file.read() == content))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put_and_read, range(32)))

    assert dict(made) == {one.key: True for one in objects.kept("kind")}
    assert len(made) == 32


def test_what_was_removed_is_not_there(bucket: Bucket, tmp_path: Path) -> None:
    objects = reached(bucket, tmp_path)
    blob = objects.put("kind", write)
    objects.remove(blob.key)

    with pytest.raises(NotFound, match="it is not in the bucket bucket"), objects.open(blob):
        pytest.fail("it was removed")
