"""What a workflow and its functions print."""

import io
from typing import Any

from runner.sdk.bodies import Bodies, within


class Printed(io.TextIOBase):
    """What bodies print goes to their steps' logs, and the rest to the job's."""

    def __init__(self, bodies: Bodies, out: Any) -> None:
        self._bodies = bodies
        self._out = out

    def write(self, text: str) -> int:
        if self._bodies.is_fork:
            self._out.write(text)
        else:
            data, step = text.encode("utf-8", "surrogateescape"), within()
            if step is None:
                self._bodies.print(None, data)
            else:
                self._bodies.say(step, data)
        return len(text)

    def flush(self) -> None:
        self._out.flush()
        if not self._bodies.is_fork and (step := within()) is not None:
            self._bodies.flush(step)

    def fileno(self) -> int:
        return int(self._out.fileno())

    def writable(self) -> bool:
        return True

    @property
    def buffer(self) -> Any:
        return self._out.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"
