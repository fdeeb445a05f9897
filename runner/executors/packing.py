"""The files that an image is made of: those of one folder that steps could write to, and no others."""

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from posixpath import join, normpath
from tempfile import TemporaryFile
from typing import IO

from runner.errors import BrokenDefinition
from runner.expr.hashing import MAX_PATTERN, Pattern
from runner.workflow.words import cut

MOST_BYTES = 512 << 20
MOST_ENTRIES = 20_000
DEEPEST = 100
MOST_TEXT = 256 * 1024
"""Bytes of a Dockerfile, or of a list of what is left out."""
IGNORED = ".dockerignore"
MOST_PATTERNS = 1000
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class BadRecipe(BrokenDefinition):
    """No image can be made of a folder: something in it leads out, is too large, or is no file."""


class CutShort(Exception):
    """What is made is not to be awaited any more."""


@contextmanager
def packed(
    root: Path, folder: str, dockerfile: str, over: Callable[[], bool] = lambda: False
) -> Iterator[tuple[IO[bytes], str]]:
    """A folder below `root` as a tar file, and the digest of it. Raises `BadRecipe`.

    `over` is asked now and then: where it says so, `CutShort` is raised.
    The same files give the same bytes: owners and times are left out. No link is followed: what leads
    out of the folder is refused, and the folder itself may not be reached over one.
    """
    inside = normpath(dockerfile)
    if inside.startswith(("/", "..")):
        raise BadRecipe(f"the Dockerfile {dockerfile} is not in the action's folder {folder or '.'}")
    with ExitStack() as opened, TemporaryFile() as target:
        top = _opened(opened, root, folder)
        with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
            _Packer(tar, folder or ".", inside, _ignored(top, folder), over).add(top, "")
        if not _is_file(top, inside):
            raise BadRecipe(f"the action's folder {folder or '.'} has no file {inside}")
        target.seek(0)
        digest = hashlib.file_digest(target, "sha256").hexdigest()
        target.seek(0)
        yield target, digest


def read(context: IO[bytes], path: str) -> bytes:
    """A file of what was packed. Raises `BadRecipe`."""
    context.seek(0)
    with tarfile.open(fileobj=context) as tar:
        try:
            file = tar.extractfile(path)
        except KeyError:
            file = None
        if file is None:
            raise BadRecipe(f"{path} is no file")
        found = file.read(MOST_TEXT + 1)
    if len(found) > MOST_TEXT:
        raise BadRecipe(f"{path} is larger than {MOST_TEXT} bytes")
    return found


def replace(context: IO[bytes], path: str, content: bytes) -> None:
    """Put a file in the place of one that was packed, and go to the beginning of it all."""
    context.seek(0)
    with tarfile.open(fileobj=context, mode="a", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo(path)
        member.size, member.mode = len(content), 0o644
        # Of two with one name the later one counts.
        tar.addfile(member, BytesIO(content))
    context.seek(0)


def _opened(stack: ExitStack, root: Path, folder: str) -> int:
    found = os.open(root, FOLDER)
    stack.callback(os.close, found)
    for name in filter(None, normpath(folder).split("/")) if folder else ():
        try:
            if name == "..":
                raise OSError
            found = os.open(name, FOLDER, dir_fd=found)
        except OSError:
            raise BadRecipe(f"{folder} is no folder that an image can be made of, or a link to one") from None
        stack.callback(os.close, found)
    return found


def _is_file(top: int, path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path, dir_fd=top, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _ignored(top: int, folder: str) -> Sequence[Pattern]:
    """What is left out, as its list says: of the patterns that match the last one counts."""
    try:
        with os.fdopen(os.open(IGNORED, FILE, dir_fd=top), "rb") as file:
            text = file.read(MOST_TEXT + 1)
    except OSError:
        return ()
    if len(text) > MOST_TEXT:
        raise BadRecipe(f"{join(folder, IGNORED)} is larger than {MOST_TEXT} bytes")
    lines = (line.strip() for line in text.decode(errors="replace").splitlines())
    wanted = [line for line in lines if line and not line.startswith("#")]
    if len(wanted) > MOST_PATTERNS or any(len(line) > MAX_PATTERN for line in wanted):
        raise BadRecipe(
            f"{join(folder, IGNORED)} may have {MOST_PATTERNS} patterns of {MAX_PATTERN} characters each"
        )
    return [_pattern(line, join(folder, IGNORED)) for line in wanted]


def _pattern(line: str, where: str) -> Pattern:
    negative = line.startswith("!")
    names = normpath(line[negative:].strip()).lstrip("/").split("/")
    if any("**" in name and name != "**" for name in names):
        raise BadRecipe(f"{where}: {cut(line)!r}: ** stands for whole folders, as in **/name or name/**")
    return Pattern(negative, tuple(names))


class _Packer:
    def __init__(
        self,
        tar: tarfile.TarFile,
        folder: str,
        dockerfile: str,
        ignored: Sequence[Pattern],
        over: Callable[[], bool],
    ) -> None:
        self._tar = tar
        self._folder = folder
        self._kept = (dockerfile, IGNORED)
        self._ignored = ignored
        self._over = over
        self._entries = self._bytes = 0

    def add(self, folder: int, path: str) -> None:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
        if not path:
            # The history of a workspace is no part of an action, and has other files each time.
            names = [name for name in names if name != ".git"]
        for name in names:
            inner = join(path, name)
            self._entries += 1
            if self._over():
                raise CutShort
            if self._entries > MOST_ENTRIES:
                raise BadRecipe(f"{self._folder} has more than {MOST_ENTRIES} files to make an image of")
            try:
                self._add_one(folder, name, inner)
            except FileNotFoundError:
                # A process that an earlier step left in the background may remove it.
                continue
            except OSError as error:
                raise BadRecipe(f"{join(self._folder, inner)} cannot be read: {error.strerror}") from None

    def _add_one(self, folder: int, name: str, path: str) -> None:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        member = tarfile.TarInfo(path)
        member.mode = stat.S_IMODE(found.st_mode) & 0o755
        left_out = path not in self._kept and self._left_out(path)
        if stat.S_ISDIR(found.st_mode):
            if not left_out:
                member.type = tarfile.DIRTYPE
                self._tar.addfile(member)
            if path.count("/") >= DEEPEST:
                raise BadRecipe(f"{self._folder} has folders more than {DEEPEST} deep")
            inner = os.open(name, FOLDER, dir_fd=folder)
            try:
                self.add(inner, path)
            finally:
                os.close(inner)
        elif left_out:
            return
        elif stat.S_ISLNK(found.st_mode):
            member.type, member.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=folder)
            if normpath(join(path, "..", member.linkname)).startswith(("/", "..")):
                raise BadRecipe(f"{join(self._folder, path)} is a link that leads out of the action's folder")
            self._tar.addfile(member)
        else:
            self._add_file(folder, name, member)

    def _left_out(self, path: str) -> bool:
        parts, found = path.split("/"), False
        for pattern in self._ignored:
            if self._over():
                raise CutShort
            if pattern.takes(parts):
                found = not pattern.negative
        return found

    def _add_file(self, folder: int, name: str, member: tarfile.TarInfo) -> None:
        with os.fdopen(os.open(name, FILE, dir_fd=folder), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BadRecipe(f"{join(self._folder, member.name)} is neither a file, a folder nor a link")
            member.size = found.st_size
            self._bytes += member.size
            if self._bytes > MOST_BYTES:
                raise BadRecipe(f"{self._folder} has more than {MOST_BYTES >> 20} MiB to make an image of")
            self._tar.addfile(member, file)
