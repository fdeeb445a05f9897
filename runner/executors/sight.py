"""Whether docker sees what is mounted here: its daemon may be elsewhere, or in a container of its own."""

import socket
import struct
from contextlib import suppress
from pathlib import Path

SYSTEMS_OWN = "unix:///var/run/docker.sock"
_UNIX = "unix://"


def blindness(url: str) -> str | None:
    """Why containers would not see what we mount; None where they would, or where there is no docker."""
    if not url.startswith(_UNIX):
        return f"docker at {url} has mounts of its own"
    path = url.removeprefix(_UNIX)
    if not Path(path).is_socket():
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(path)
        except OSError:
            return None
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    process = struct.unpack("3i", credentials)[0]
    # One that is in another PID namespace has no number here.
    with suppress(OSError):
        if Path(f"/proc/{process}/ns/mnt").samefile("/proc/self/ns/mnt"):
            return None
    return f"docker at {url} has mounts of its own"
