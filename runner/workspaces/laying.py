"""Whether files can be laid over a folder as a layer, with the same outcome as if each were written there.

A layer takes the place of a link where it has a folder, and of a folder where it has a file; who writes the
files one by one goes where the link leads, and stops at the folder.
"""

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from runner.workspaces.scanning import Beneath, Vanished

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def met(layer: Path, place: Path, check: Callable[[], None]) -> Mapping[str, os.stat_result] | None:
    """The folders that a layer has and that are at `place` already; None where the outcome would be another.

    `check` is called now and then, and ends it by raising.
    """
    found: dict[str, os.stat_result] = {}
    above, below = os.open(layer, _FOLDER), os.open(place, _FOLDER)
    try:
        return found if _meet(above, below, "", found, check) else None
    except OSError:
        # Somebody is changing it right now.
        return None
    finally:
        os.close(above)
        os.close(below)


def _meet(
    layer: int, place: int, prefix: str, found: dict[str, os.stat_result], check: Callable[[], None]
) -> bool:
    with os.scandir(layer) as entries:
        for entry in entries:
            check()
            is_folder = entry.is_dir(follow_symlinks=False)
            try:
                there = os.stat(entry.name, dir_fd=place, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if is_folder != stat.S_ISDIR(there.st_mode):
                if is_folder or stat.S_ISDIR(there.st_mode):
                    return False
                continue
            if not is_folder:
                continue
            path = f"{prefix}{entry.name}"
            above = os.open(entry.name, _FOLDER, dir_fd=layer)
            try:
                below = os.open(entry.name, _FOLDER, dir_fd=place)
                try:
                    # What is made in such a folder takes after it.
                    if there.st_mode & stat.S_ISGID or os.listxattr(below):
                        return False
                    found[path] = there
                    if not _meet(above, below, f"{path}/", found, check):
                        return False
                finally:
                    os.close(below)
            finally:
                os.close(above)
    return True


def like_before(place: Path, folders: Mapping[str, os.stat_result], passed: frozenset[str]) -> None:
    """Have the owners of these folders as they were, and the modes of those that are just `passed`."""
    with Beneath(place) as beneath:
        for path, before in folders.items():
            with suppress(Vanished), beneath.folder(path) as descriptor:
                now = os.fstat(descriptor)
                if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
                    os.fchmod(descriptor, stat.S_IMODE(now.st_mode))
                if path in passed:
                    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
                    os.utime(descriptor)
