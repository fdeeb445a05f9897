"""Holding a folder: nobody removes it meanwhile, and the hold ends with the process, by `kill -9` too."""

import fcntl
import os
from pathlib import Path


def hold(folder: Path, alone: bool = False) -> int | None:
    """A descriptor whose life is the hold; None where the folder is not there.

    `alone`: only where nobody else holds it, else None.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == folder.lstat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        # Somebody who holds it alone is about to take it away.
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
