"""The home folder of a job's sandbox, with files of the stock below what its steps have there.

An overlay comes over the folder, as we see it and as the sandbox does, with the folder itself as its top
layer: nothing is taken off for that, and who has something open in it has it still. So the stock can only
bring what is not there yet. A process that is at home in the folder by then does not see what is brought.

It lasts for as long as the sandbox, and no snapshot has any of it. A step can neither rename nor remove the
folder itself then; of all that is in it, it can.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from runner.engine.ports import Folder, Sandbox
from runner.errors import NOT_NOW
from runner.workspaces import mounts
from runner.workspaces.laying import apart
from runner.workspaces.mounts import Unmountable, View
from runner.workspaces.pool import Layers

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Home:
    def __init__(self, sandbox: Sandbox, layers: Layers, owner: tuple[int, int] | None) -> None:
        self._sandbox = sandbox
        self._path = sandbox.host_temp / sandbox.home[len(sandbox.temp) :].lstrip("/")
        self._layers = layers
        self._owner = owner
        self._held = ExitStack()
        self._laid = False

    def lay(self, content: str, fill: Callable[[Folder], int], check: Callable[[], None]) -> int | None:
        """As `Workspace.lay`; once."""
        process = self._sandbox.namespace
        if self._laid or process is None:
            return None
        stocked = self._layers.stock.take(content, self._owner, fill)
        if stocked is None:
            return None
        with ExitStack() as opened, ExitStack() as undone:
            undone.callback(stocked.close)
            try:
                # Steps can have put a link there: an open folder leads nowhere else any more.
                descriptor = os.open(self._path, _FOLDER)
                opened.callback(os.close, descriptor)
                if not apart(stocked.files, descriptor, stocked.passed, check):
                    return None
                top = Path(f"/proc/self/fd/{descriptor}")
                begun = self._layers.begin(top)
                undone.callback(self._layers.discard, begun)
                mount = mounts.mount_overlay((stocked.files,), top, begun.work)
                opened.callback(os.close, mount)
                undone.callback(self._clear)
                if not mounts.show(mount, self._path, View(process, self._sandbox.home)):
                    return None
            except (OSError, Unmountable) as error:
                if isinstance(error, OSError) and error.errno in NOT_NOW:
                    raise
                return None
            self._held = undone.pop_all()
        self._laid = True
        return stocked.count

    def withdraw(self) -> None:
        """Take it off here, so that the folder can be removed. It stays in the sandbox."""
        if self._laid:
            self._clear()

    def _clear(self) -> None:
        # Steps own the folder, but not the one that this is in.
        mounts.clear(self._sandbox.host_temp)

    def close(self) -> None:
        """When the sandbox is gone, let go of what it saw."""
        self.withdraw()
        self._held.close()
