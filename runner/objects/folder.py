"""Objects as files of a folder on this machine."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from runner.engine.ports import Kept, Objects
from runner.errors import Damaged, NotFound, Unavailable
from runner.model.blob import Blob
from runner.objects.keys import OWNER, OWNER_BYTES, checked_key, checked_place, is_key, new_key

_ASIDE = "."
"""How the names of files begin that are not whole yet."""
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_GIVEN_UP = timedelta(days=1)


class FolderObjects(Objects):
    """Each object is a file below `folder`, written under another name and renamed when it is on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, place: str, write: Callable[[BinaryIO], None]) -> Blob:
        key = new_key(place)
        path = self._path(key)
        aside = path.with_name(f"{_ASIDE}{path.name}-{token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                with os.fdopen(os.open(aside, _NEW, 0o600), "w+b") as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                    file.seek(0)
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                    size = file.tell()
                aside.rename(path)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
            _sync(path.parent)
        except OSError as error:
            raise Unavailable(f"the object {key} cannot be kept: {error.strerror}") from error
        return Blob(key, size, digest)

    @contextmanager
    def open(self, blob: Blob) -> Iterator[BinaryIO]:
        with ExitStack() as opened:
            with _told(f"the object {blob.key} cannot be read"):
                file = opened.enter_context(self._path(blob.key).open("rb"))
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if file.tell() != blob.size or found != blob.digest:
                raise Damaged(f"the object {blob.key} is damaged")
            file.seek(0)
            yield file

    def part(self, key: str, begin: int, size: int) -> bytes:
        with _told(f"the object {key} cannot be read"), self._path(key).open("rb") as file:
            file.seek(begin)
            return file.read(size)

    def remove(self, key: str) -> None:
        with suppress(NotFound), _told(f"the object {key} cannot be removed"):
            self._path(key).unlink()

    def kept(self, place: str) -> Iterator[Kept]:
        """What was begun a day ago and has not become whole is removed."""
        for path in (self._folder / checked_place(place)).rglob("*"):
            with suppress(FileNotFoundError):
                status = path.lstat()
                at = datetime.fromtimestamp(status.st_mtime, UTC)
                if not stat.S_ISREG(status.st_mode):
                    continue
                key = str(path.relative_to(self._folder))
                if is_key(key):
                    yield Kept(key, status.st_size, at)
                elif path.name.startswith(_ASIDE) and datetime.now(UTC) - at > _GIVEN_UP:
                    path.unlink()

    def mark(self, whose: str) -> str:
        path, aside = self._folder / OWNER, self._folder / f"{_ASIDE}{OWNER}-{token_hex(4)}"
        try:
            if not path.exists():
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                try:
                    with os.fdopen(os.open(aside, _NEW, 0o600), "wb") as file:
                        file.write(whose.encode())
                        file.flush()
                        os.fsync(file.fileno())
                    with suppress(FileExistsError):
                        os.link(aside, path)
                finally:
                    aside.unlink(missing_ok=True)
                _sync(self._folder)
            with path.open("rb") as file:
                return file.read(OWNER_BYTES).decode(errors="replace")
        except OSError as error:
            raise Unavailable(f"{path} cannot be read or made: {error.strerror}") from error

    def _path(self, key: str) -> Path:
        return self._folder / checked_key(key)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"{what}: there is none") from None
    except OSError as error:
        raise Unavailable(f"{what}: {error.strerror}") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
