"""Git LFS for the checkouts of a repository: which files of a commit are in it, and having their contents."""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

from runner.engine.ports import Large
from runner.errors import BrokenDefinition, Rejected
from runner.workspaces.batches import Fetching, local_folder, server_of
from runner.workspaces.folders import Copied, File, Node
from runner.workspaces.git import Git
from runner.workspaces.hosts import Hosts
from runner.workspaces.indexes import sizes_in
from runner.workspaces.large import Shelf, WrongContent
from runner.workspaces.mirrors import Mirror
from runner.workspaces.names import Address
from runner.workspaces.pointers import (
    EXCLUDED,
    INCLUDE,
    INCLUDED,
    MOST_LARGE,
    POINTER_BYTES,
    SHORTEST,
    attributes_of,
    pointer_in,
)
from runner.workspaces.reading import Reader
from runner.workspaces.remotes import TooLarge
from runner.workspaces.sparse import Sparse
from runner.workspaces.trees import Entry

ASKING = "runner.workspaces.asking:Asking"
"""Found by name where it is asked: HTTP takes longer to import than all that a local run needs."""
CONFIG = ".lfsconfig"
_ATTRIBUTES = ".gitattributes"
_PIECE = 1 << 20
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def large_files(
    mirror: Mirror,
    reader: Reader,
    entries: Mapping[str, Entry],
    index: bytes,
    settings: Mapping[str, str],
    sparse: Sparse | None,
    check: Callable[[], None],
) -> dict[str, Large]:
    """What a commit has in LFS of the files that are wanted, by path.

    `entries` and `index` are all files of the commit, `settings` what its `.lfsconfig` says.
    """
    if not any(path.rpartition("/")[2] == _ATTRIBUTES for path in entries):
        return {}
    sizes = sizes_in(index)
    small = [
        path
        for path, entry in entries.items()
        if stat.S_ISREG(entry.mode)
        and SHORTEST <= sizes.get(entry.id, 0) <= POINTER_BYTES
        and (sparse is None or sparse.has(path))
    ]
    if not small:
        return {}
    names, more = ("filter", INCLUDED, EXCLUDED), attributes_of(settings)
    paths = [
        path
        for path, one in mirror.contents.attributes(index, small, names, more, check)
        if one["filter"] == "lfs"
        and (one[INCLUDED] == "set" or not settings.get(INCLUDE))
        and one[EXCLUDED] != "set"
    ]
    if len(paths) > MOST_LARGE:
        raise BrokenDefinition(f"lfs: at most {MOST_LARGE} files (MOST_LARGE) are fetched, not {len(paths)}")
    contents = reader.contents([entries[path].id for path in paths])
    found = ((path, pointer_in(path, one.whole())) for path, one in zip(paths, contents, strict=True))
    return {path: large for path, large in found if large is not None}


def large_nodes(shelf: Shelf, nodes: Mapping[str, Node], large: Mapping[str, Large]) -> dict[str, Node]:
    """The files with their contents in the place of pointers."""
    return {
        path: replace(node, source=Copied(shelf.place(one), one.size))
        for path, one in large.items()
        if isinstance(node := nodes.get(path), File)
    }


def fetch_large(
    name: str,
    address: Address,
    found: Mapping[str, Large],
    settings: Mapping[str, str],
    shelf: Shelf,
    *,
    git: Git,
    hosts: Hosts,
    protocols: str,
    environment: Mapping[str, str],
    most: int,
    check: Callable[[], None],
) -> None:
    """Have the contents of these files on the shelf. `most`: how many bytes they may be; 0 is no limit.

    Errors: `Rejected`, `Unavailable`.
    """
    wanted = {large: path for path, large in found.items()}
    total = sum(large.size for large in found.values())
    if most and total > most:
        raise TooLarge(
            f"{name}: the {len(found)} files that it has in LFS are {total} bytes, and more than {most} are "
            "not fetched (RUNNER_FETCH_BYTES); with sparse-checkout, or lfs.fetchexclude in .lfsconfig, they "
            "are fewer"
        )
    if not shelf.lacks(wanted):
        return
    with shelf.filling(check), ExitStack() as opened:
        # Somebody else may have fetched them meanwhile.
        missing = {large: wanted[large] for large in shelf.lacks(wanted)}
        if not missing:
            return
        if (folder := local_folder(address)) is not None:
            _copy(name, folder, missing, shelf, check)
            return
        configured = settings.get("lfs.url") or settings.get("remote.origin.lfsurl") or ""
        server = server_of(name, address, configured, git, hosts, check)
        asking = opened.enter_context(resolve_name(ASKING)(hosts, protocols, environment))
        Fetching(name, server, missing, shelf, asking).fetch(check)


def _copy(
    name: str, folder: Path, missing: Mapping[Large, str], shelf: Shelf, check: Callable[[], None]
) -> None:
    """From a repository on this machine."""
    for large, path in missing.items():
        try:
            shelf.put(large, _pieces(folder / large.id[:2] / large.id[2:4] / large.id, check))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP):
                raise
            raise Rejected(
                f"{name}: {path[:200]!a} is not in the LFS folder of the repository, {folder}; push it there "
                f"with `git lfs push --all` ({error.strerror})"
            ) from None
        except WrongContent as error:
            raise Rejected(f"{name}: {path[:200]!a} is damaged in {folder}: {error}") from None


def _pieces(path: Path, check: Callable[[], None]) -> Iterator[bytes]:
    descriptor = os.open(path, _FILE)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            while piece := os.read(descriptor, _PIECE):
                check()
                yield piece
    finally:
        os.close(descriptor)
