"""Objects in a bucket of S3, or of whatever speaks its language."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from io import BufferedRandom
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from runner.engine.ports import Kept, Objects
from runner.errors import Damaged, NotFound, Rejected, Unavailable
from runner.model.blob import Blob
from runner.objects.keys import OWNER, OWNER_BYTES, checked_key, checked_place, is_key, new_key

PART_BYTES = 8 << 20
"""What one request carries: of more, one that failed would be too much to do again."""
_MOST_PARTS = 5000
"""S3 takes ten thousand."""
_AT_ONCE = 4
_PIECE_BYTES = 1 << 20
_LONGEST = timedelta(hours=6)
_RETRIES = 4
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_PASSED = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_KMS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
)
_SAID = 300


class S3Objects(Objects):
    """Each object is one in a bucket, which shows none before it is whole.

    `spool` is a folder for what is on its way, in files that have no name. `seconds` is how long
    the server may say nothing. What was begun by a process that died is no object, and the bucket's own to
    remove: by a rule of its lifecycle for incomplete multipart uploads.
    """

    def __init__(
        self, bucket: str, prefix: str, environment: Mapping[str, str], spool: Path, seconds: float = 60
    ) -> None:
        self._bucket = bucket
        self._spool = spool
        _check(environment)
        config: dict[str, Any] = {name.lower(): environment[name] for name in _PASSED if name in environment}
        endpoint = _endpoint(environment)
        if endpoint:
            config["aws_endpoint_url"] = endpoint
        # Not every server can remove several at once, and we never do.
        config["aws_disable_bulk_delete"] = "true"
        options: dict[str, Any] = {
            **_trusted(environment),
            "allow_http": endpoint.startswith("http:"),
            "connect_timeout": timedelta(seconds=min(5, seconds)),
            # Until an answer begins, and then for each read: a large object may take its time.
            "read_timeout": timedelta(seconds=seconds),
            "timeout": _LONGEST,
        }
        retries: Any = {
            "max_retries": _RETRIES,
            "retry_timeout": timedelta(seconds=seconds),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        }
        try:
            self._store = S3Store(
                bucket,
                prefix=prefix or None,
                config=config,  # type: ignore[arg-type]
                client_options=options,  # type: ignore[arg-type]
                retry_config=retries,
            )
        except (BaseError, ValueError) as error:
            raise Rejected(f"the AWS_ variables cannot be used: {_first(error)}") from None

    def put(self, place: str, write: Callable[[BinaryIO], None]) -> Blob:
        key = new_key(place)
        what = f"the object {key} cannot be kept"
        with self._spooled(what) as file:
            try:
                write(file)
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = file.tell()
                file.seek(0)
            except OSError as error:
                raise Unavailable(f"{what}: {error.strerror}") from error
            with self._asking(what):
                obstore.put(
                    self._store,
                    key,
                    file,
                    chunk_size=max(PART_BYTES, -(-size // _MOST_PARTS)),
                    max_concurrency=_AT_ONCE,
                )
        return Blob(key, size, digest)

    @contextmanager
    def open(self, blob: Blob) -> Iterator[BinaryIO]:
        key = checked_key(blob.key)
        what = f"the object {key} cannot be read"
        with self._spooled(what) as file:
            with self._asking(what):
                found = self._fetch(key, blob.size, file)
            if found != blob.digest:
                raise Damaged(f"the object {key} is damaged")
            file.seek(0)
            yield file

    def _fetch(self, key: str, size: int, file: BinaryIO) -> str:
        """Its SHA-256, where it has that size."""
        found = obstore.get(self._store, key)
        if found.meta["size"] != size:
            return ""
        whole = hashlib.sha256()
        for piece in found.stream(min_chunk_size=_PIECE_BYTES):
            whole.update(piece)
            file.write(piece)
        return whole.hexdigest()

    def part(self, key: str, begin: int, size: int) -> bytes:
        checked_key(key)
        with self._asking(f"the object {key} cannot be read"):
            try:
                return bytes(obstore.get_range(self._store, key, start=begin, length=size))
            except BaseError as error:
                # Servers that know of no parts send all of it, and none has a part after its end.
                if "non-partial" not in str(error) and _code(error)[0] != "InvalidRange":
                    raise
            return self._part_of_all(key, begin, size)

    def _part_of_all(self, key: str, begin: int, size: int) -> bytes:
        found, passed = bytearray(), 0
        for piece in obstore.get(self._store, key).stream(min_chunk_size=_PIECE_BYTES):
            found += bytes(piece)[max(begin - passed, 0) : max(begin + size - passed, 0)]
            passed += len(piece)
            if passed >= begin + size:
                break
        return bytes(found)

    def remove(self, key: str) -> None:
        checked_key(key)
        try:
            with self._asking(f"the object {key} cannot be removed"):
                obstore.delete(self._store, key)
        except NotFound:
            return

    def kept(self, place: str) -> Iterator[Kept]:
        checked_place(place)
        with self._asking(f"what is kept at {place} cannot be told"):
            for page in obstore.list(self._store, place):
                for one in filter(lambda one: is_key(one["path"]), page):
                    yield Kept(one["path"], one["size"], one["last_modified"])

    def mark(self, whose: str) -> str:
        found = self._owner()
        if found is None:
            with self._asking(f"the object {OWNER} cannot be kept"):
                obstore.put(self._store, OWNER, whose.encode())
            # Not every server keeps two from doing that at once: the later one counts.
            found = self._owner()
        return found or ""

    def _owner(self) -> str | None:
        try:
            with self._asking(f"the object {OWNER} cannot be read"):
                said = bytes(obstore.get(self._store, OWNER).bytes())
        except NotFound:
            return None
        return said[:OWNER_BYTES].decode(errors="replace")

    @contextmanager
    def _spooled(self, what: str) -> Iterator[BufferedRandom]:
        try:
            file = TemporaryFile(dir=self._spool)  # noqa: SIM115 - the block below closes it
        except OSError as error:
            raise Unavailable(f"{what}: {error.strerror}") from error
        with file:
            yield file

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """What the bucket says where it refuses, without anything that we said to it."""
        try:
            yield
        except FileNotFoundError as error:
            if _code(error)[0] != "NoSuchBucket":
                raise NotFound(f"{what}: it is not in the bucket {self._bucket}") from None
            raise Unavailable(f"{what}: there is no bucket {self._bucket} (RUNNER_OBJECTS)") from None
        except BaseError as error:
            raise Unavailable(f"{what}: the bucket {self._bucket} {_refusal(error)}") from None
        except OSError as error:
            raise Unavailable(f"{what}: {error.strerror or _first(error)}") from error


def _endpoint(environment: Mapping[str, str]) -> str:
    """Where the server is; empty for Amazon's own. Raises `Rejected` naming the variable."""
    for name in _ENDPOINTS:
        if said := environment.get(name, ""):
            try:
                parts = urlsplit(said)
                right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            except ValueError:
                right = False
            if not right or re.search(r"[\s\x00-\x1f]", said):
                raise Rejected(f"{name}: give the address of a server such as https://s3.example.org")
            if "@" in parts.netloc:
                raise Rejected(f"{name}: credentials go into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
            return said.rstrip("/")
    return ""


def _trusted(environment: Mapping[str, str]) -> dict[str, bytes]:
    """Who vouches for the server, besides those whom this machine trusts."""
    bundle = environment.get("AWS_CA_BUNDLE")
    if not bundle:
        return {}
    try:
        return {"root_certificate": Path(bundle).read_bytes()}
    except OSError as error:
        raise Rejected(f"AWS_CA_BUNDLE: cannot read {bundle}: {error.strerror}") from None


def _check(environment: Mapping[str, str]) -> None:
    """Raises `Rejected` naming the variable, and not what it says: it may be a secret."""
    for name, value in environment.items():
        if not (value.isascii() and value.isprintable()):
            raise Rejected(f"{name}: it has a character in it that no request can carry")
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    said = [name for name in names if environment.get(name)]
    if len(said) == 1:
        missing = next(name for name in names if name not in said)
        raise Rejected(
            f"{missing}: it is not set, though {said[0]} is; give both, or neither on a machine of AWS"
        )


def _code(error: Exception) -> tuple[str, str]:
    """The code and the message of S3's own answer, if there is one."""
    found = [re.search(rf"<{name}>([^<]{{1,{_SAID}}})", str(error)) for name in ("Code", "Message")]
    code, message = (one[1].strip() if one else "" for one in found)
    return code, message


def _refusal(error: Exception) -> str:
    code, message = _code(error)
    if not code:
        return f"does not answer: {_first(error)}"
    hint = "; see the clock of this machine" if code == "RequestTimeTooSkewed" else ""
    return f"answers {code}{f': {message}' if message else ''}{hint}"


def _first(error: Exception) -> str:
    """The words before all that is there for who mends the library."""
    text = " ".join(str(error).partition("\n\nDebug source")[0].split())
    asked = re.search(r"Error performing \w+ (https?://[^/ ]+).* - (.*)", text)
    return (f"{asked[1]}: {asked[2]}" if asked else text)[:_SAID]
