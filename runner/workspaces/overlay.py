"""A job's folder as an overlay: the commit's base below, what steps change in a layer on top of it.

At a step's end the overlay is taken off, which the kernel refuses while anybody uses it; what was its top
layer is never written again, and a new overlay with an empty one is put in its place. So keeping the files
costs the same however many there are. Where a process of an earlier step is at home in it, or somebody has
mounted it elsewhere too, it is left alone: what changed is copied instead.

Files that had several names come apart where a later step writes to one of them. A process that looks for
the folder at the very moment between two overlays finds it empty.
"""

import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from runner.engine.ports import Sandbox
from runner.errors import NOT_NOW, Unavailable
from runner.workspaces import mounts
from runner.workspaces.bases import Base
from runner.workspaces.copying import Copy, copy, marks_in
from runner.workspaces.layers import nothing
from runner.workspaces.mounts import Busy, View
from runner.workspaces.opened import Opened
from runner.workspaces.pool import Begun, Layers
from runner.workspaces.removal import Trash
from runner.workspaces.snapshots import last_number

LONGEST_NAME = len("/bases/") + 40 + len("/files")
"""Of a layer in the home folder."""


def problem(home: Path, trash: Trash) -> str | None:
    """Why no overlay can be mounted in a folder, or None where one can: by trying it.

    Raises `Unavailable` where it cannot be known now: jobs that began with one are to go on with one.
    """
    if os.geteuid():
        return "that takes root"
    if len(os.fsencode(home)) > mounts.LONGEST_PATH - LONGEST_NAME:
        return f"the path of {home} has more than {mounts.LONGEST_PATH - LONGEST_NAME} bytes"
    probe = home / "layers" / f".new-{secrets.token_hex(8)}"
    at, lower, upper, work = (probe / name for name in ("at", "lower", "upper", "work"))
    try:
        probe.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (probe, at, lower, upper, work):
            folder.mkdir(mode=0o700)
        mounts.make_ground(at)
        descriptor = mounts.mount_overlay([lower], upper, work)
        try:
            mounts.attach(descriptor, at)
        finally:
            os.close(descriptor)
        (at / "written").touch()
        (at / "written").rename(at / "renamed")
    except PermissionError:
        return "root may mount nothing here, as in a container without CAP_SYS_ADMIN"
    except (OSError, Unavailable, Busy) as error:
        if isinstance(error, OSError) and error.errno in NOT_NOW:
            raise Unavailable(f"no overlay can be tried in {home}: {error.strerror}") from error
        return str(error)
    finally:
        mounts.clear(probe)
        with suppress(OSError):
            trash.remove(probe)
    return None


class OverlayWorkspace(Opened):
    """Owns `base`, which it closes. `sealed` are the layers of `snapshot`, the topmost first."""

    def __init__(
        self,
        path: Path,
        trash: Trash,
        snapshots: Path,
        commit: str,
        snapshot: str,
        base: Base,
        sealed: Sequence[Path],
        layers: Layers,
    ) -> None:
        super().__init__(path)
        self._attempt = int(path.name)
        self._trash = trash
        self._snapshots = snapshots
        self._commit = commit
        self._snapshot = snapshot
        self._number = last_number(snapshots, self._attempt)
        self._base = base
        self._sealed = list(sealed)
        self._under = snapshot
        """The snapshot of all that is sealed. The newest may be one of a copy."""
        self._layers = layers
        self._sandbox: Sandbox | None = None
        self._shared = False
        self._copy: Copy | None = None
        self.closed = False
        path.mkdir(mode=0o700)
        self._top = layers.begin((*self._sealed, *base.folders)[0])
        try:
            mounts.make_ground(path)
            self._mount(lambda mount: mounts.attach(mount, path))
        except BaseException:
            layers.discard(self._top)
            raise

    @property
    def base(self) -> Base:
        """What it lies on."""
        return self._base

    @property
    def snapshot(self) -> str:
        return self._snapshot

    def shown(self, sandbox: Sandbox, shared: bool) -> None:
        self._sandbox, self._shared = sandbox, shared
        if sandbox.container and sandbox.namespace is not None:
            there = View(sandbox.namespace, sandbox.workspace)
            if not mounts.sees(there, self.path):
                raise Unavailable("docker does not see what this process mounts, and so not the job's files")

    def save(self, check: Callable[[], None] = nothing) -> str:
        """Keep the files as they are now; the same name again where nothing changed since.

        `check` is called now and then: by raising it ends the saving, and nothing is kept. Raises
        `Unkeepable` where a step left what no snapshot can hold.
        """
        check()
        try:
            if _is_empty(self._top.files):
                return self._snapshot
            # Before anything is taken off: the disk may be full.
            begun = self._layers.begin(self._top.files)
            try:
                self._keep(begun, check)
            finally:
                if begun is not self._top:
                    self._layers.discard(begun)
        except OSError as error:
            raise Unavailable(f"the workspace cannot be saved: {error.strerror}") from error
        return self._snapshot

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        with ExitStack() as closing:
            # Last to first; each whatever becomes of the others.
            closing.callback(self._base.close)
            closing.callback(self._layers.discard, self._top)
            closing.callback(self._trash.remove, self.path)
            mounts.clear(self.path)

    def _keep(self, begun: Begun, check: Callable[[], None]) -> None:
        """Begin an empty layer on top of what there is now, or fill it with a copy of that."""
        views = self._views()
        if views is None or len(self._sealed) + len(self._base.folders) >= mounts.MOST_LAYERS:
            self._keep_copy(begun, check)
            return
        try:
            with mounts.lifted(self.path, views) as put:
                self._seal(begun, put)
        except Busy:
            self._keep_copy(begun, check)

    def _views(self) -> list[View] | None:
        """Where steps see the folder besides here; None where that is not known."""
        if self._sandbox is None:
            return []
        if self._shared:
            return None
        if self._sandbox.namespace is not None:
            return [View(self._sandbox.namespace, self._sandbox.workspace)]
        return [] if self._sandbox.workspace == str(self.path) else None

    def _mount(self, put: Callable[[int], None]) -> None:
        try:
            mount = mounts.mount_overlay(
                (*self._sealed, *self._base.folders), self._top.files, self._top.work
            )
            try:
                put(mount)
            finally:
                os.close(mount)
        except Busy as error:
            raise Unavailable(f"no overlay can be mounted at {self.path}: {error}") from error

    def _seal(self, begun: Begun, put: Callable[[int], None]) -> None:
        """Make the top layer one that is never written again, and put an empty one on it."""
        done, self._top = self._top, begun
        name = self._next()
        self._sealed.insert(0, self._layers.seal(done, self._snapshots / name, self._commit, self._under))
        self._mount(put)
        self._snapshot = self._under = name
        self._copy = None

    def _keep_copy(self, begun: Begun, check: Callable[[], None]) -> None:
        """Make a layer like the top one, which stays; it lies on the same ones."""
        if self._copy is not None and not self._copy.unproven:
            marks, _ = marks_in(self._top.files, check)
            if marks == self._copy.marks:
                return
        made = copy(self._top.files, begun.files, self._copy, check)
        name = self._next()
        self._layers.seal(begun, self._snapshots / name, self._commit, self._under)
        self._copy, self._snapshot = made, name

    def _next(self) -> str:
        self._number += 1
        return f"{self._attempt}.{self._number}"


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None
