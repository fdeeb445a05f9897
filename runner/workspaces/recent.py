"""What was read of commits, as long as there is room: a commit never changes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType

Files = Mapping[str, bytes]


class Recent:
    """The files that were asked for last, `room` bytes of them at the most. For any thread."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._held = 0
        self._known: OrderedDict[Hashable, Files] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, what: Hashable, read: Callable[[], Files]) -> Files:
        """What is known as `what`, else what `read` gives, which may raise."""
        with self._lock:
            if what in self._known:
                self._known.move_to_end(what)
                return self._known[what]
        files = MappingProxyType(dict(read()))
        with self._lock:
            if what not in self._known and _size(files) <= self._room:
                self._known[what] = files
                self._held += _size(files)
                while self._held > self._room:
                    _, gone = self._known.popitem(last=False)
                    self._held -= _size(gone)
        return files


def _size(files: Files) -> int:
    # Where there is nothing, that is kept too.
    return 1000 + sum(len(path) + len(text) for path, text in files.items())
