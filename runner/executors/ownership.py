"""Who steps run as when the worker is root."""

import os
from pathlib import Path

from runner.errors import Unavailable

# Nobody else's on a Debian, Fedora or systemd machine, where 60578 to 61183 stay unused. `nobody` would
# not do: other daemons run as it, and they and the steps could signal and trace one another.
JOB_UID = 61000


def owner(uid: int = JOB_UID) -> tuple[int, int] | None:
    """The user and group of a job's files, or None where steps run as this process's own user.

    Root of a user namespace that has no such user, as `unshare -r` makes one, is an ordinary user outside;
    raises `Unavailable` where that is not so, as steps would be root to every file of the machine.
    """
    if os.geteuid() != 0:
        return None
    if _is_there(uid):
        return uid, uid
    if _outside("/proc/self/uid_map", 0) == 0:
        raise Unavailable(
            f"the root of this user namespace is root outside of it too, and it has no uid {uid} for steps: "
            "start runner outside of it, or as another user"
        )
    return None


def is_confined_root() -> bool:
    """Whether this process is root, and has no user for steps: whoever is outside may take it for root."""
    return os.geteuid() == 0 and not _is_there(JOB_UID)


def _is_there(id: int) -> bool:
    """Whether the user namespace of this process has a user and a group of that id."""
    return all(_outside(f"/proc/self/{kind}_map", id) is not None for kind in ("uid", "gid"))


def _outside(path: str, id: int) -> int | None:
    """Who an id of this user namespace is in the one around it; None where there is no such id."""
    try:
        lines = Path(path).read_text().splitlines()
    except FileNotFoundError:
        # A kernel without user namespaces has all of them.
        return id
    for first, outside, length in (map(int, line.split()) for line in lines):
        if 0 <= id - first < length:
            return outside + id - first
    return None
