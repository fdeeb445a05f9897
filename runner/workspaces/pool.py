"""Folder layers: what steps changed over a workspace's overlay, each a folder that is never written again.

    layers/<token>/files      what changed, as overlayfs writes it, with its marks for what is gone
    layers/<token>/snapshot   which snapshot it is; the snapshot's own name is another link to this file
    layers/<token>/settled    its size and digest, once all of it is on the disk
    layers/<token>/stock      where what changed is in the stock: another name of what is said of it there

So who has the snapshot has the layer, by whatever name, and one whose last name is gone can be removed. Until
it is on the disk it only counts in the life of the machine in which it was made.
"""

import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from runner.errors import SnapshotGone
from runner.workspaces.holding import begin, hold
from runner.workspaces.layers import new_layer, read_manifest
from runner.workspaces.looking import measure
from runner.workspaces.merging import OPAQUE
from runner.workspaces.notes import read, write
from runner.workspaces.removal import Trash
from runner.workspaces.stock import Stock, Stocked
from runner.workspaces.syncing import Syncing, boot

_ABOUT, _SETTLED = "snapshot", "settled"
FOLDER = "folder"
"""What a snapshot says that is a folder layer: its token."""
_STOCK = "stock"
"""What one says whose files are in the stock: under which key. It has none of its own."""


@dataclass(slots=True)
class Begun:
    """A layer that is being written. It is removed when the process that holds it is gone."""

    path: Path
    held: int | None

    def let_go(self) -> None:
        if self.held is not None:
            os.close(self.held)
            self.held = None

    @property
    def files(self) -> Path:
        return self.path / "files"

    @property
    def work(self) -> Path:
        return self.path / "work"


class Layers:
    """All folder layers of this machine, and beside their folder the stock.

    Where no `syncing` is given none outlives the machine.
    """

    def __init__(self, folder: Path, trash: Trash, syncing: Syncing | None) -> None:
        self._folder = folder
        self._trash = trash
        self._syncing = syncing
        self.stock = Stock(folder.with_name("stock"), trash, syncing)

    def begin(self, like: Path) -> Begun:
        """An empty layer, whose top folder has rights and owner of another folder."""
        begun = Begun(*begin(self._folder))
        try:
            begun.work.mkdir()
            begun.files.mkdir()
            copy_rights(like, begun.files)
        except BaseException:
            self.discard(begun)
            raise
        return begun

    def seal(
        self, begun: Begun, snapshot: Path, commit: str, parent: str, stocked: Stocked | None = None
    ) -> Path:
        """Give it the name of a snapshot; nothing may be able to write to it any more.

        `stocked`: it is nothing itself, and stands for that.
        """
        about = {"commit": commit, "parent": parent, "gone": [], "nodes": {}}
        if stocked is not None:
            stocked.name(begun.path / _STOCK)
            about[_STOCK] = stocked.key
            # Who knows nothing of the stock is to miss them, and not to go on without.
            begun.files.rmdir()
        with new_layer(begun.path / _ABOUT, durable=False) as layer:
            layer.end({**about, FOLDER: begun.path.name, "boot": boot()})
        snapshot.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.link(begun.path / _ABOUT, snapshot)
        begun.let_go()
        self._settle(begun.path)
        return begun.files if stocked is None else stocked.files

    def discard(self, begun: Begun) -> None:
        """Remove it; what has become a snapshot stays."""
        if begun.held is not None:
            self._trash.remove(begun.path)
            begun.let_go()

    def files(self, about: Mapping[str, Any], snapshot: str) -> Path:
        """The files of a layer, given what its snapshot says. Raises `SnapshotGone`."""
        if _STOCK in about:
            stocked = self.stock.files(str(about[_STOCK]))
            if stocked is None:
                raise SnapshotGone(f"what the snapshot {snapshot} shares with others is damaged or gone")
            return stocked
        path = self._folder / str(about[FOLDER])
        files = path / "files"
        if not files.is_dir():
            raise SnapshotGone(f"the files of the snapshot {snapshot} are not on this machine")
        settled = read(path / _SETTLED)
        if settled is None:
            if about["boot"] != boot():
                raise SnapshotGone(f"the machine went down before the snapshot {snapshot} was on its disk")
        elif settled["digest"] != measure(files)[1]:
            raise SnapshotGone(f"the files of the snapshot {snapshot} are damaged")
        return files

    @cached_property
    def shows_marks(self) -> bool:
        """Whether this process sees what overlayfs notes: else layers look like less than they are."""
        probe = self._folder / f".new-{secrets.token_hex(8)}"
        try:
            probe.mkdir(parents=True, mode=0o700)
            os.setxattr(probe, OPAQUE, b"y")
            return os.getxattr(probe, OPAQUE) == b"y"
        except OSError:
            return False
        finally:
            with suppress(OSError):
                probe.rmdir()

    def sizes(self) -> dict[int, int]:
        """The space that layers take which are on the disk, by the inode of what says so."""
        found = {}
        for path in self._all():
            settled = read(path / _SETTLED)
            with suppress(FileNotFoundError):
                found[(path / _ABOUT).stat().st_ino] = settled["size"] if settled else 0
        return found

    def sweep(self) -> None:
        """Remove what is no snapshot any more, and what processes were writing that are gone."""
        for path in self._all():
            if self._is_named(path) or (held := hold(path, alone=True)) is None:
                continue
            try:
                # Whoever was writing it may have given it a name before they let go of it.
                if not self._is_named(path):
                    self._trash.remove(path)
            finally:
                os.close(held)

    def _is_named(self, path: Path) -> bool:
        """Whether a layer is one of a snapshot; whoever made x."""
        try:
            if (path / _ABOUT).stat().st_nlink == 1:
                return False
            if not (path / _SETTLED).exists() and read_manifest(path / _ABOUT)["boot"] == boot():
                self._settle(path)
        except FileNotFoundError:
            return False
        except SnapshotGone:
            pass
        return True

    def _all(self) -> list[Path]:
        try:
            return [path for path in self._folder.iterdir() if not path.name.startswith(".new-")]
        except FileNotFoundError:
            return []

    def _settle(self, path: Path) -> None:
        def say() -> None:
            # It may have been removed meanwhile.
            with suppress(FileNotFoundError):
                shutil.rmtree(path / "work", ignore_errors=True)
                size, digest = measure(path / "files")
                write(path / _SETTLED, {"size": size, "digest": digest})

        if self._syncing is not None:
            self._syncing.then(say)


def copy_rights(source: Path, target: Path) -> None:
    """Give a folder the owner, mode and time of another."""
    status = source.stat()
    os.chown(target, status.st_uid, status.st_gid)
    target.chmod(status.st_mode & 0o7777)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
