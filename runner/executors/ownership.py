"""Who steps run as when the worker is root."""

import os
from pathlib import Path

# Nobody else's on a Debian, Fedora or systemd machine, where 60578 to 61183 stay unused. `nobody` would
# not do: other daemons run as it, and they and the steps could signal and trace one another.
JOB_UID = 61000


def owner(uid: int = JOB_UID) -> tuple[int, int] | None:
    """The user and group of a job's files, or None where steps run as this process's own user.

    Root of a user namespace that has no such user, as `unshare -r` makes one, is an ordinary user outside.
    """
    return (uid, uid) if os.geteuid() == 0 and _is_there(uid) else None


def is_confined_root() -> bool:
    """Whether this process is root, and has no user for steps: whoever is outside may take it for root."""
    return os.geteuid() == 0 and not _is_there(JOB_UID)


def _is_there(id: int) -> bool:
    """Whether the user namespace of this process has a user and a group of that id."""
    return all(_maps(f"/proc/self/{kind}_map", id) for kind in ("uid", "gid"))


def _maps(path: str, id: int) -> bool:
    try:
        lines = Path(path).read_text().splitlines()
    except FileNotFoundError:
        # A kernel without user namespaces has all of them.
        return True
    return any(0 <= id - int(first) < int(length) for first, _, length in map(str.split, lines))
