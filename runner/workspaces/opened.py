"""What is asked of a job's files, however they came to be in their folder."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.engine.ports import Folder, Sandbox
from runner.errors import BrokenDefinition, NotFound
from runner.workspaces.layers import nothing
from runner.workspaces.scanning import Beneath, Vanished
from runner.workspaces.trees import FOLDER_DEPTH

PIECE_BYTES = 1024 * 1024


class Opened:
    """A job's folder, in which steps may change everything at any moment."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def shown(self, sandbox: Sandbox, shared: bool) -> None:
        """A folder like any other is seen everywhere."""

    def lay(
        self, content: str, fill: Callable[[Folder], int], check: Callable[[], None] = nothing
    ) -> int | None:
        """Into a folder like any other each file is written."""
        return None

    def paths(self, spend: Callable[[int, int], None]) -> Iterator[str]:
        return self._below("", (self.path.resolve(),), spend)

    def _below(
        self, folder: str, trail: tuple[Path, ...], spend: Callable[[int, int], None]
    ) -> Iterator[str]:
        if len(trail) > FOLDER_DEPTH:
            raise BrokenDefinition(
                f"folders link to each other more than {FOLDER_DEPTH} deep: {folder[:100]}..."
            )
        try:
            with os.scandir(self.path / folder) as there:
                entries = sorted(there, key=lambda one: one.name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise BrokenDefinition(f"{folder[:100]} cannot be looked into: {error.strerror}") from error
        for entry in entries:
            if not folder and entry.name == ".git":
                # Its files are other ones each time, and nobody's sources.
                continue
            spend(1, 0)
            path = f"{folder}{entry.name}"
            real = Path(os.path.realpath(entry.path))
            if not real.is_relative_to(trail[0]):
                continue
            if entry.is_file():
                yield path
            elif entry.is_dir() and real not in trail:
                yield from self._below(f"{path}/", (*trail, real), spend)

    def digest(self, path: str, spend: Callable[[int, int], None]) -> bytes:
        whole = hashlib.sha256()
        with self._opened(path) as descriptor:
            while piece := os.read(descriptor, PIECE_BYTES):
                spend(0, len(piece))
                whole.update(piece)
        return whole.digest()

    def read(self, path: str, limit: int) -> bytes:
        with self._opened(path) as descriptor:
            if os.fstat(descriptor).st_size > limit:
                raise BrokenDefinition(f"{path} is larger than {limit} bytes")
            return os.read(descriptor, limit)

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        """A file by its path, which may lead over links that stay in the workspace."""
        root = self.path.resolve()
        real = Path(os.path.realpath(root / path))
        if not real.is_relative_to(root):
            raise BrokenDefinition(f"{path} is not in the workspace")
        try:
            # Where the path is another one by now, no link is followed any more.
            with Beneath(root) as beneath, beneath.file(str(real.relative_to(root))) as descriptor:
                yield descriptor
        except Vanished:
            raise NotFound(f"the workspace has no file {path}") from None
