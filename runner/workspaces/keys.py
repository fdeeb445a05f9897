"""Going to a repository with an ssh key that a step gave: that key, and none of this machine's.

The key is in no file system: ssh reads it out of our own memory, and with this process it is gone.
"""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from runner.model.source import Key

_OPTIONS = (
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "BatchMode=yes",
    "ConnectTimeout=30",
    "ControlPath=none",
    "UpdateHostKeys=no",
    "CheckHostIP=no",
)


@contextmanager
def command_with(key: Key) -> Iterator[str]:
    """What git is to run as ssh while the block lasts."""
    with _in_memory(key.private_file) as private, _in_memory(key.known_hosts) as known:
        strict = "yes" if key.strict else "accept-new"
        # The administrator's own are those of the user that we run as.
        said = (
            *_OPTIONS,
            f"StrictHostKeyChecking={strict}",
            f"UserKnownHostsFile={known} ~/.ssh/known_hosts",
        )
        yield shlex.join(["ssh", "-F", "none", "-i", private, *(f"-o{one}" for one in said)])


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """A path at which processes of our own user can read a text."""
    descriptor = os.memfd_create("given", os.MFD_CLOEXEC)
    try:
        # ssh reads no key that others could read.
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, text.encode())
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)
