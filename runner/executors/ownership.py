"""Who steps run as when the worker is root."""

import os

# Nobody else's on a Debian, Fedora or systemd machine, where 60578 to 61183 stay unused. `nobody` would
# not do: other daemons run as it, and they and the steps could signal and trace one another.
JOB_UID = 61000


def owner(uid: int = JOB_UID) -> tuple[int, int] | None:
    """The user and group of a job's files, or None where steps run as this process's own user."""
    return (uid, uid) if os.geteuid() == 0 else None
