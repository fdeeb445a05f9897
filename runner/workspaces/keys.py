"""Going to a repository with an ssh key that a step gave: that key, and none of this machine's.

The key is in no file system: ssh reads it out of our own memory, and with this process it is gone.
"""

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from runner.model.source import Key

KNOWN = (
    "github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
    "github.com ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7"
    "opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=",
)
"""As https://api.github.com/meta has them."""
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
    hosts = "\n".join((*KNOWN, lines(key.hosts)))
    with _in_memory(lines(key.private)) as private, _in_memory(hosts) as known:
        strict = "yes" if key.strict else "accept-new"
        # The administrator's own are those of the user that we run as.
        said = (
            *_OPTIONS,
            f"StrictHostKeyChecking={strict}",
            f"UserKnownHostsFile={known} ~/.ssh/known_hosts",
        )
        yield shlex.join(["ssh", "-F", "none", "-i", private, *(f"-o{one}" for one in said)])


def lines(text: str) -> str:
    """Text as ssh reads it: programs refuse a key whose last line has no end."""
    text = re.sub(r"\r\n?", "\n", text).strip()
    return f"{text}\n" if text else ""


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
