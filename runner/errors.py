"""Failure families, named by who must act.

`Rejected`: the sender must change the request. `BrokenDefinition`: the repository must change.
`Unavailable`: wait and retry. `LeaseLost`: another worker has the job; stop. Anything else that
is raised is our bug and keeps its traceback.
"""

import errno

NOT_NOW = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)
"""Of an `OSError` by which this machine is in trouble: its disk is full, or it is out of files."""


class RunnerError(Exception):
    """What `runner` says when it is not at fault: what is wrong, where, and what would have worked."""


class Rejected(RunnerError):
    """The sender must change the request."""


class NotFound(Rejected):
    """What the request names is not here."""


class RefNotFound(NotFound):
    """A repository has no such branch or tag; `others` says which it has, as the end of a sentence."""

    def __init__(self, message: str, others: str) -> None:
        super().__init__(f"{message}{others}")
        self.others = others


class Unauthorized(Rejected):
    """The sender has not shown who they are; says the same for every cause."""


class Forbidden(Rejected):
    """The sender is known, and may not."""


class BrokenDefinition(RunnerError):
    """The repository must change a file."""


class Unavailable(RunnerError):
    """Something we depend on does not answer; the same request may work later."""


class LeaseLost(RunnerError):
    """Another worker has the job: whatever this one does from now on is refused."""


class SnapshotGone(Unavailable):
    """The files that a finished step left are not on this machine."""


class Damaged(Unavailable):
    """What is kept is not what was written."""


class DatabaseUnavailable(Unavailable):
    """The database did not take a transaction: nothing of it happened, and it may be tried again."""
