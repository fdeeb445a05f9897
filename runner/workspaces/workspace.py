"""One job's folder, and keeping what its steps change in it."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from runner.errors import Unavailable
from runner.workspaces.folders import File, Folder, Link, Node
from runner.workspaces.layers import SMALL_BYTES, LayerWriter, digest, new_layer, nothing
from runner.workspaces.opened import Opened
from runner.workspaces.removal import Trash
from runner.workspaces.scanning import (
    Beneath,
    Mark,
    Unkeepable,
    Vanished,
    digest_of,
    file_clock,
    is_settled,
    mark_of,
    scan,
    settled_status,
)
from runner.workspaces.snapshots import last_number, manifest_of

_UNLIKE_ANY = "unlike any"


class GitWorkspace(Opened):
    """A job's folder as it was when it was opened or saved last: what differs from that is the next layer.

    A file written twice within one step of the clock that dates files, at the same size, looks the same.
    So what was that fresh when it was looked at is known by its content too, until it is older.
    """

    def __init__(self, path: Path, trash: Trash, snapshots: Path, commit: str, snapshot: str) -> None:
        super().__init__(path)
        self._attempt = int(path.name)
        self._trash = trash
        self._snapshots = snapshots
        self._commit = commit
        self._snapshot = snapshot
        self._number = last_number(snapshots, self._attempt)
        clock = file_clock()
        self._known = scan(path)
        self._fresh = self._digests(self._known, clock)

    def save(self, check: Callable[[], None] = nothing) -> str:
        """Keep the files as they are now; the same name again where nothing changed since.

        `check` is called now and then: by raising it ends the saving, and nothing is kept. Raises
        `Unkeepable` where a step left what no snapshot can hold.
        """
        clock = file_clock()
        try:
            found = scan(self.path)
            if found == self._known and not self._fresh:
                return self._snapshot
            changed = [path for path, mark in found.items() if self._known.get(path) != mark]
            changed += self._changed_unseen(found)
            gone = [path for path in self._known if path not in found]
            fresh = {path: known for path, known in self._fresh.items() if path in found}
            if changed or gone:
                self._add_layer(found, fresh, sorted(changed), gone, check)
        except PermissionError as error:
            raise Unkeepable(f"the workspace cannot be read: {error.filename}: {error.strerror}") from error
        except OSError as error:
            raise Unavailable(f"the workspace cannot be saved: {error.strerror}") from error
        self._known = found
        self._fresh = {
            path: known for path, known in fresh.items() if known and not is_settled(found[path], clock)
        }
        return self._snapshot

    @property
    def snapshot(self) -> str:
        return self._snapshot

    def close(self) -> None:
        self._trash.remove(self.path)

    def _digests(self, marks: dict[str, Mark], clock: int) -> dict[str, str]:
        fresh = {path: mark for path, mark in marks.items() if not is_settled(mark, clock)}
        if not fresh:
            return {}
        with Beneath(self.path) as beneath:
            return {path: digest_of(beneath, path, mark) for path, mark in fresh.items()}

    def _changed_unseen(self, found: dict[str, Mark]) -> list[str]:
        suspects = [path for path in self._fresh if found.get(path) == self._known[path]]
        if not suspects:
            return []
        with Beneath(self.path) as beneath:
            return [path for path in suspects if digest_of(beneath, path, found[path]) != self._fresh[path]]

    def _add_layer(
        self,
        found: dict[str, Mark],
        fresh: dict[str, str],
        changed: list[str],
        gone: list[str],
        check: Callable[[], None],
    ) -> None:
        """Write a layer, and correct `found` and `fresh` to what it really holds."""
        name = f"{self._attempt}.{self._number + 1}"
        nodes: dict[str, Node] = {}
        with new_layer(self._snapshots / name) as layer:
            if changed:
                with Beneath(self.path) as beneath:
                    for path in changed:
                        check()
                        try:
                            kept = _kept(beneath, path, found[path], layer, check)
                            nodes[path], found[path], fresh[path] = kept
                        except Vanished:
                            # Gone, or something else by now: the next save sees what.
                            del found[path]
                            fresh.pop(path, None)
                            gone.append(path)
            layer.end(manifest_of(self._commit, self._snapshot, gone, nodes))
        self._number += 1
        self._snapshot = name


def _kept(
    beneath: Beneath, path: str, mark: Mark, layer: LayerWriter, check: Callable[[], None]
) -> tuple[Node, Mark, str]:
    """Put one path into a layer: what to restore, the mark it had just before, and its digest then.

    The digest is empty where the mark alone is proof.
    """
    mode = mark[0]
    if stat.S_ISDIR(mode):
        return Folder(stat.S_IMODE(mode)), mark, ""
    if stat.S_ISLNK(mode):
        target, status = beneath.link(path)
        return Link(target, status.st_mtime_ns), mark_of(status), digest(os.fsencode(target))
    with beneath.file(path) as descriptor:
        status = os.fstat(descriptor)
        if status.st_size <= SMALL_BYTES:
            stored = layer.add(os.read(descriptor, status.st_size))
            known = stored.digest
        else:
            # Its content is not read, so there is no digest: let it become old enough to do without.
            status, settled = settled_status(descriptor)
            stored = layer.add_file(descriptor, status.st_size, check)
            known = "" if settled else _UNLIKE_ANY
        return File(stat.S_IMODE(status.st_mode), status.st_mtime_ns, stored), mark_of(status), known
