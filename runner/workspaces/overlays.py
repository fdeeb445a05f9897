"""Opening jobs' folders as overlays: what lies below them, and what is kept of that on this machine."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from runner.engine.ports import History
from runner.errors import SnapshotGone
from runner.model.source import Route
from runner.workspaces import mounts
from runner.workspaces.bases import Base, Bases
from runner.workspaces.dotgit import Histories
from runner.workspaces.fitting import fit
from runner.workspaces.overlay import OverlayWorkspace, problem
from runner.workspaces.pool import FOLDER, Layers
from runner.workspaces.reading import Reader
from runner.workspaces.removal import Trash
from runner.workspaces.snapshots import Line
from runner.workspaces.syncing import Syncing
from runner.workspaces.trees import Commit

REREAD_BYTES = 256 * 1024 * 1024
"""How much is read again at a time."""


class Overlays:
    """All overlays of this process, on the bases and layers in `home`.

    `owner` is the uid and gid that files of commits belong to; `hindrance` why there may be no overlays,
    None where there may.
    """

    def __init__(
        self,
        home: Path,
        trash: Trash,
        syncing: Syncing | None,
        owner: tuple[int, int] | None,
        histories: Histories,
        bases: Bases,
        hindrance: Callable[[], str | None],
    ) -> None:
        self._trash = trash
        self._owner = owner
        self._histories = histories
        self._bases = bases
        self._layers = Layers(home / "layers", trash, syncing)
        self._open: list[OverlayWorkspace] = []
        self._opening = Lock()
        self._problem = cache(lambda: hindrance() or problem(home, trash))

    def close(self) -> None:
        with ExitStack() as closing:
            for opened in self._open:
                closing.callback(opened.close)

    def problem(self) -> str | None:
        """Why jobs' folders are no overlays here, or None where they are."""
        return self._problem()

    def layers(self, folder: Path, line: Line) -> list[Path] | None:
        """The folders of a snapshot's layers, the topmost first; None where all files are to be written."""
        kinds = {FOLDER in layer for _, layer in line}
        if kinds == {False}:
            return None
        why = self.problem()
        if why is None and kinds != {True, False}:
            return [self._layers.files(layer, str(folder / name)) for name, layer in reversed(line)]
        if not line or self._layers.shows_marks:
            return None
        why = why or "some of its layers are none"
        raise SnapshotGone(f"the snapshot {folder / line[-1][0]} is one of an overlay: {why}")

    def open(
        self,
        path: Path,
        reader: Reader,
        route: Route,
        commit: Commit,
        snapshots: Path,
        snapshot: str,
        sealed: list[Path],
        history: History | None,
        check: Callable[[], None],
    ) -> OverlayWorkspace:
        """A job's folder at `path`: its commit, its history, then the layers of its snapshot, `sealed`."""
        below = self._bases.take(reader, commit, f"{route.forge}/{route.repo}", check)
        try:
            if history is not None:
                layer = self._histories.layer(
                    reader, route, commit, below, snapshots.name, int(path.name), history
                )
                below = replace(below, folders=(*layer, *below.folders))
            opened = OverlayWorkspace(
                path, self._trash, snapshots, route.commit, snapshot, below, sealed, self._layers, self._owner
            )
        except BaseException:
            clear_away(path, self._trash)
            below.close()
            raise
        with self._opening:
            self._open = [*(one for one in self._open if not one.closed), opened]
        return opened

    def base(self, path: Path) -> Base | None:
        """What the folder that is open at `path` lies on; None where it is no overlay."""
        with self._opening:
            return next((one.base for one in self._open if one.path == path and not one.closed), None)

    def files(self, layer: Mapping[str, Any], snapshot: str) -> Path:
        """Those of a layer, given what its snapshot says. Raises `SnapshotGone`."""
        return self._layers.files(layer, snapshot)

    def reread(self, reading: Callable[[str], AbstractContextManager[Reader]]) -> None:
        """Have some of what lies below the overlays read again, and dropped where it is damaged.

        `reading` opens the mirror of a repository.
        """
        self._bases.reread(reading, REREAD_BYTES)

    def sizes(self) -> dict[int, int]:
        """The space that layers take, by the inode of what names them as a snapshot."""
        return self._layers.sizes()

    def sweep(self) -> None:
        """Remove layers that are no snapshot's any more."""
        self._layers.sweep()

    def tidy(self, limit: int) -> None:
        """Remove also what was left half-made, and of what can be made again what exceeds so many bytes."""
        self._layers.sweep()
        stock = self._layers.stock
        self._bases.clean()
        stock.clean()
        fit(limit, (*self._bases.spares(), *stock.spares()))


def clear_away(folder: Path, trash: Trash) -> None:
    """Remove a folder in which something may be mounted."""
    mounts.clear(folder)
    trash.remove(folder)
