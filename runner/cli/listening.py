"""The socket that a server listens on."""

import errno
import socket

from runner.errors import Rejected, Unavailable

BACKLOG = 2048


def listening(host: str, port: int) -> socket.socket:
    """Raises `Rejected` for a host that is not this machine's, `Unavailable` for a port it cannot have."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        listener.close()
        said = error.strerror if isinstance(error, OSError) else "no host can have this name"
        if isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES, errno.EPERM):
            raise Unavailable(
                f"cannot listen on {host}:{port}: {said}; give another --port (RUNNER_PORT), "
                "or 0 for a free one"
            ) from None
        raise Rejected(
            f"RUNNER_HOST: cannot listen on {host!r}: {said}; give an address of this machine such as "
            "127.0.0.1, or 0.0.0.0 for all of them"
        ) from None
    return listener
