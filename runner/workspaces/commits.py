"""What commits hold, and how they differ: read from mirrors, with no folder for them."""

import stat
from collections.abc import Collection, Mapping, Sequence

from runner.engine.ports import Submodule
from runner.errors import BrokenDefinition, Rejected
from runner.model.source import FULL_COMMIT_ID, Route
from runner.workspaces.reading import Reader
from runner.workspaces.recent import Recent
from runner.workspaces.repositories import Repositories
from runner.workspaces.submodules import submodules_in
from runner.workspaces.trees import Entry, differences, folder_in, printable, read_commit

WORKFLOW_BYTES = 512 * 1024
"""The largest file that `read` hands out."""

FOLDER_BYTES = 16 * 1024 * 1024
"""The most that `read` hands out of one folder."""

RECENT_BYTES = 2 * FOLDER_BYTES
"""How much of what `read` handed out is kept, in case that it is asked for again."""

_NO_COMMIT = "0" * 40


class Commits:
    """The commits of the repositories that have mirrors here."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories
        self._recent = Recent(RECENT_BYTES)

    def read(self, route: Route, folder: str, names: Collection[str] | None = None) -> Mapping[str, bytes]:
        """The regular files directly in `folder` at that commit, by path; empty where it is missing."""
        folder = folder.strip("/")
        known = self._repositories.fetched(route)
        # Whoever gets a name that another repository had gets nothing of that one.
        what = route, known and known.registration, folder, None if names is None else frozenset(names)
        return self._recent.get(what, lambda: self._read(route, folder, names))

    def _read(self, route: Route, folder: str, names: Collection[str] | None) -> dict[str, bytes]:
        with self._repositories.reading(route) as reader:
            tree = read_commit(reader, route.commit).tree
            entries = [
                (f"{folder}/{name}" if folder else name, entry)
                for name, entry in folder_in(reader, tree, folder).items()
                if not entry.is_folder and (names is None or name in names)
            ]
            return _read_files(reader, entries)

    def listed(self, route: Route, folder: str) -> Collection[str]:
        """The names of what is directly in `folder` at that commit, also folders; empty where it is none."""
        with self._repositories.reading(route) as reader:
            return folder_in(reader, read_commit(reader, route.commit).tree, folder.strip("/")).keys()

    def message(self, route: Route) -> str:
        """What its author wrote about the commit."""
        with self._repositories.reading(route) as reader:
            return read_commit(reader, route.commit).message

    def parents(self, route: Route) -> Sequence[str]:
        """The commits that it was made from: two or more where it is a merge."""
        with self._repositories.reading(route) as reader:
            return read_commit(reader, route.commit).parents

    def parting(self, route: Route, other: str) -> str | None:
        """The newest commit that both have in their history; None where they have none in common."""
        if not self._obtained(route, other):
            return None
        return self._repositories.at(route).contents.parting(route.commit, other)

    def changed(self, route: Route, before: str | None) -> Sequence[str]:
        """Paths that differ between `before` (None: the empty tree) and the route's commit.

        Where `before` cannot be had any more, every path of the commit. A rename is both its names.
        """
        if before is not None and not self._obtained(route, before):
            before = None
        with self._repositories.reading(route) as reader:
            old = read_commit(reader, before).tree if before else None
            return printable(differences(reader, old, read_commit(reader, route.commit).tree))

    def _obtained(self, route: Route, before: str) -> bool:
        """Have a commit here for a moment, from where this process fetched the route's commit."""
        if not FULL_COMMIT_ID.fullmatch(before):
            raise Rejected(f"{before[:100]!a} is no full commit id")
        repo = self._repositories.fetched(route)
        try:
            if before == _NO_COMMIT or self._repositories.at(route).has(before):
                return before != _NO_COMMIT
            if repo is not None:
                self._repositories.of(repo).download(self._repositories.address(repo), before)
            return repo is not None
        except Rejected:
            return False

    def submodules(self, route: Route) -> Sequence[Submodule]:
        """What other repositories the commit has in it, as its `.gitmodules` says."""
        if ".gitmodules" not in self.read(route, "", [".gitmodules"]):
            return ()
        with self._repositories.reading(route) as reader:
            tree = read_commit(reader, route.commit).tree
            mirror = self._repositories.at(route)
            return tuple(
                submodules_in(reader, tree, mirror.contents.settings_at(f"{route.commit}:.gitmodules"))
            )


def _read_files(reader: Reader, entries: Sequence[tuple[str, Entry]]) -> dict[str, bytes]:
    for path, entry in entries:
        if not stat.S_ISREG(entry.mode):
            kind = "a symlink" if stat.S_ISLNK(entry.mode) else "a submodule"
            raise BrokenDefinition(f"{path} is {kind}; put a regular file there")
    files: dict[str, bytes] = {}
    total = 0
    for (path, _), content in zip(entries, reader.contents([entry.id for _, entry in entries]), strict=True):
        total += content.size
        if content.size > WORKFLOW_BYTES:
            raise BrokenDefinition(
                f"{path} has {content.size} bytes; "
                f"a workflow file has at most {WORKFLOW_BYTES} (WORKFLOW_BYTES)"
            )
        if total > FOLDER_BYTES:
            raise BrokenDefinition(f"{path} makes its folder larger than {FOLDER_BYTES} bytes (FOLDER_BYTES)")
        files[path] = content.whole()
    return files
