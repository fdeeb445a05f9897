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
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock

from runner.engine.ports import Folder, Sandbox
from runner.errors import NOT_NOW, Unavailable
from runner.workspaces import mounts
from runner.workspaces.bases import Base
from runner.workspaces.copying import Copy, copy, marks_in
from runner.workspaces.layers import nothing
from runner.workspaces.laying import like_before, met
from runner.workspaces.mounts import Busy, View
from runner.workspaces.opened import Opened
from runner.workspaces.pool import Begun, Layers
from runner.workspaces.removal import Trash
from runner.workspaces.snapshots import last_number
from runner.workspaces.stock import Stocked

LONGEST_NAME = len("/bases/") + 40 + len("/files")
"""Of a layer in the home folder."""


def problem(home: Path, trash: Trash) -> str | None:
    """Why no overlay can be mounted in a folder, or None where one can: by trying it.

    Raises `Unavailable` where it cannot be known now: jobs that began with one are to go on with one.
    """
    if os.geteuid():
        return "that takes root: in a user namespace no step could rename a folder of an earlier one"
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
        owner: tuple[int, int] | None,
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
        """The snapshot of all that is sealed. The newest may be one of a copy, or older."""
        self._unsaved: list[Path] = []
        """Snapshots that nobody asked for: they have what something was laid over."""
        self._layers = layers
        self._owner = owner
        self._sandbox: Sandbox | None = None
        self._shared = False
        self._copy: Copy | None = None
        self._changing = Lock()
        """Of a workflow in Python several steps may lay something at once, and others be saved meanwhile."""
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
            seen = mounts.sees(there, self.path)
            if seen is None:
                raise Unavailable("the job's container ended before its first step; something killed it")
            if not seen:
                raise Unavailable("docker does not see what this process mounts, and so not the job's files")

    def save(self, check: Callable[[], None] = nothing) -> str:
        """Keep the files as they are now; the same name again where nothing changed since.

        `check` is called now and then: by raising it ends the saving, and nothing is kept. Raises
        `Unkeepable` where a step left what no snapshot can hold.
        """
        check()
        with self._changing:
            try:
                if _is_empty(self._top.files):
                    self._snapshot = self._under
                else:
                    with self._begun(self._top.files) as begun:
                        self._keep(begun, check)
            except OSError as error:
                raise Unavailable(f"the workspace cannot be saved: {error.strerror}") from error
            self._unsaved.clear()
            return self._snapshot

    def lay(
        self, content: str, fill: Callable[[Folder], int], check: Callable[[], None] = nothing
    ) -> int | None:
        if not self._may_grow():
            return None
        stocked = self._layers.stock.take(content, self._owner, fill)
        if stocked is None:
            return None
        with closing(stocked), self._changing:
            return self._lay(stocked, check)

    def _lay(self, stocked: Stocked, check: Callable[[], None]) -> int | None:
        views = self._views()
        # The kernel takes no folder twice.
        if views is None or not self._may_grow() or stocked.files in self._sealed:
            return None
        folders = met(stocked.files, self.path, check)
        if folders is None:
            return None
        with self._begun(self._top.files) as begun, self._begun(stocked.files) as between:
            try:
                self._change(views, partial(self._seal, begun, between, stocked))
            except Busy:
                return None
        like_before(self.path, folders, stocked.passed)
        return stocked.count

    def _may_grow(self) -> bool:
        """Whether what was laid can be put below what steps have made."""
        return self._views() is not None and self._height + 2 <= mounts.MOST_LAYERS

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        with ExitStack() as closing:
            # Last to first; each whatever becomes of the others.
            closing.callback(self._base.close)
            for unsaved in self._unsaved:
                closing.callback(unsaved.unlink, missing_ok=True)
            closing.callback(self._layers.discard, self._top)
            closing.callback(self._trash.remove, self.path)
            mounts.clear(self.path)

    @contextmanager
    def _begun(self, like: Path) -> Iterator[Begun]:
        """A layer for what comes next, before anything is taken off: the disk may be full."""
        begun = self._layers.begin(like)
        try:
            yield begun
        finally:
            if begun is not self._top:
                self._layers.discard(begun)

    @property
    def _height(self) -> int:
        """How many layers there are below the top one."""
        return len(self._sealed) + len(self._base.folders)

    def _keep(self, begun: Begun, check: Callable[[], None]) -> None:
        """Begin an empty layer on top of what there is now, or fill it with a copy of that."""
        views = self._views()
        if views is None or self._height >= mounts.MOST_LAYERS:
            self._keep_copy(begun, check)
            return
        try:
            self._change(views, partial(self._seal, begun))
            self._snapshot = self._under
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

    def _change(self, views: Sequence[View], change: Callable[[], None]) -> None:
        """Take the folder off, and put it back on other layers, whatever comes of that. Raises `Busy`."""
        done = self._top
        with mounts.lifted(self.path, views) as put:
            try:
                change()
            except BaseException:
                # The kernel takes a work folder once.
                shutil.rmtree(self._top.work, ignore_errors=True)
                self._top.work.mkdir(exist_ok=True)
                raise
            finally:
                self._mount(put)
        if done is not self._top:
            self._layers.discard(done)

    def _seal(self, begun: Begun, between: Begun | None = None, stocked: Stocked | None = None) -> None:
        """Make the top layer one that is never written again, and put an empty one on it.

        What is `stocked` comes between them, where it is given.
        """
        if stocked is None or not _is_empty(self._top.files):
            self._name(self._top)
        self._top = begun
        if between is not None:
            self._name(between, stocked)

    def _name(self, begun: Begun, stocked: Stocked | None = None) -> None:
        """Make it the topmost of those that are never written again."""
        name = self._next()
        path = self._snapshots / name
        self._sealed.insert(0, self._layers.seal(begun, path, self._commit, self._under, stocked))
        self._unsaved.append(path)
        self._under = name
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
