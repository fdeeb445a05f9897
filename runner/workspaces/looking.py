"""What is in a folder, seen without following a link: to copy it, to measure it, to notice damage."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from runner.workspaces.scanning import Unkeepable, opened_folder
from runner.workspaces.trees import FOLDER_DEPTH

_BLOCK = 512


def inside(folder: Path) -> list[Path]:
    """What a folder has in it; nothing where it is gone, by now too."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def entries(folder: Path) -> Iterator[tuple[str, os.stat_result, int]]:
    """Everything in a folder, a folder before what is in it: path, status, and its parent's descriptor.

    The descriptor is open until the next is asked for. What goes meanwhile is passed over. Raises
    `Unkeepable` where it is too deep.
    """
    with suppress(FileNotFoundError, NotADirectoryError), opened_folder(str(folder), None) as descriptor:
        yield from _below(descriptor, "", 0)


def _below(descriptor: int, prefix: str, depth: int) -> Iterator[tuple[str, os.stat_result, int]]:
    if depth > FOLDER_DEPTH:
        raise Unkeepable(f"the steps left folders more than {FOLDER_DEPTH} deep: {prefix[:100]!a}...")
    for name in sorted(os.listdir(descriptor)):
        try:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except FileNotFoundError:
            continue
        yield prefix + name, status, descriptor
        if stat.S_ISDIR(status.st_mode):
            with suppress(FileNotFoundError, NotADirectoryError), opened_folder(name, descriptor) as child:
                yield from _below(child, f"{prefix}{name}/", depth + 1)


def measure(folder: Path) -> tuple[int, str]:
    """The space that a folder takes, and what two states of it differ in where a file was changed or lost.

    The number of a file's names is none of it, nor what changes with that.
    """
    size, digest = 0, hashlib.sha256()
    with suppress(Unkeepable):
        for path, status, _ in entries(folder):
            size += status.st_blocks * _BLOCK // (1 if stat.S_ISDIR(status.st_mode) else status.st_nlink)
            mark: tuple[int, ...] = (status.st_mode, status.st_rdev)
            if not stat.S_ISDIR(status.st_mode):
                mark += (status.st_size, status.st_mtime_ns)
            digest.update(repr((path, mark)).encode())
    return size, digest.hexdigest()
