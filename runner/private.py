"""Files that only we may read: made whole or not at all, and on the disk before anybody relies on them."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def create(path: Path, text: str) -> None:
    """Make a file where there is none; of several who make it at once, the first one's stays."""

    def place(draft: Path) -> None:
        try:
            os.link(draft, path)
        except FileExistsError:
            return

    _written(path, text, place)


def replace(path: Path, text: str) -> None:
    """Put another file in its place; who reads meanwhile finds the one or the other."""
    # Where the path is a link, what it leads to is meant.
    whole = path.resolve()

    def place(draft: Path) -> None:
        draft.replace(whole)

    _written(whole, text, place)


def _written(path: Path, text: str, place: Callable[[Path], None]) -> None:
    draft = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    opened = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(opened, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        place(draft)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
