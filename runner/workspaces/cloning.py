"""Files that share their blocks with others until one of them is written: where overlays cannot be mounted.

A commit's tree is unpacked once (`bases`), and each job's files are clones of those that are there. That
takes a file system that can: btrfs, or xfs. Elsewhere a job's files are written from what git has.
"""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from runner.errors import NOT_NOW
from runner.workspaces.bases import Bases, top
from runner.workspaces.folders import Blob, Clone, File, Node
from runner.workspaces.layers import FICLONE
from runner.workspaces.reading import Reader
from runner.workspaces.removal import Trash
from runner.workspaces.trees import Commit


class Clones:
    """Opening jobs' folders as clones of the bases in `home`; `keeping` is whether bases outlive this."""

    def __init__(self, home: Path, trash: Trash, bases: Bases, keeping: bool) -> None:
        self._bases = bases
        not_kept = "what is unpacked here is not kept"
        self._problem = cache(lambda: problem(home, trash) if keeping else not_kept)

    def problem(self) -> str | None:
        """Why jobs' files are no clones here, or None where they are, if they are no overlays."""
        return self._problem()

    @contextmanager
    def made(
        self,
        reader: Reader,
        commit: Commit,
        repository: str,
        nodes: Mapping[str, Node],
        check: Callable[[], None],
    ) -> Iterator[dict[str, Node]]:
        """The `nodes` of a commit while the block goes on, with its files as clones where that can be.

        `check` is called while another makes what they are clones of, and ends the waiting by raising.
        """
        if self.problem() is not None:
            yield dict(nodes)
            return
        with closing(self._bases.take(reader, commit, repository, check)) as base:
            yield {path: _cloned(base.folders, path, node) for path, node in nodes.items()}


def problem(home: Path, trash: Trash) -> str | None:
    """Why no file can be cloned in a folder, or None where one can: by trying it."""
    probe = home / "layers" / f".new-{secrets.token_hex(8)}"
    try:
        probe.mkdir(parents=True, mode=0o700)
        (probe / "one").write_bytes(b"1")
        with (probe / "one").open("rb") as source, (probe / "other").open("wb") as target:
            fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
        # In bases these stand for what a commit has no more.
        os.mknod(probe / "gone", stat.S_IFCHR, 0)
    except OSError as error:
        if error.errno in NOT_NOW:
            # It is tried again by the next process; what is made in the meantime is as good.
            return f"it could not be tried: {error.strerror}"
        unable = error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL)
        return "the file system there cannot" if unable else f"{error.strerror}"
    finally:
        with suppress(OSError):
            trash.remove(probe)
    return None


def _cloned(folders: tuple[Path, ...], path: str, node: Node) -> Node:
    if isinstance(node, File) and isinstance(node.source, Blob) and (there := top(folders, path)) is not None:
        return replace(node, source=Clone(there))
    return node
