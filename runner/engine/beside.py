"""A job's containers beside its sandbox; nothing of docker is touched before one is asked for."""

import logging
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from runner.engine.ports import BOX_TEMP, BOX_WORKSPACE, Dock, Sandbox, Service
from runner.errors import Unavailable
from runner.workflow.containers import ContainerSpec

log = logging.getLogger(__name__)


class Beside:
    """`interrupt` and `stop` are for any thread, all else for the one that performs the job."""

    def __init__(self, make: Callable[[], Dock]) -> None:
        self._make = make
        self._dock: Dock | None = None
        self._interrupted = self._stopped = False
        self._state = Lock()
        self._services: Mapping[str, Service] = {}

    @property
    def dock(self) -> Dock:
        """Raises `Unavailable` where there is no docker."""
        if self._dock is None:
            made = self._make()
            with self._state:
                self._dock = made
                stopped, interrupted = self._stopped, self._interrupted
            if stopped:
                made.stop()
            elif interrupted:
                made.interrupt()
        return self._dock

    @property
    def used(self) -> bool:
        return self._dock is not None

    def start(
        self, services: Mapping[str, ContainerSpec], seconds: float, say: Callable[[bytes], None]
    ) -> str:
        """Start a job's services; gives the network that they are on."""
        dock = self.dock
        self._services = dock.start(services, seconds, say)
        return dock.network

    def context(self, sandbox: Sandbox) -> dict[str, Any]:
        """What the `job` context says of containers."""
        network = self._dock.network if self._dock is not None else ""
        found: dict[str, Any] = {}
        if sandbox.container:
            found["container"] = {"id": sandbox.container, "network": network}
        if self._services:
            found["services"] = {
                name: {"id": one.id, "network": network, "ports": dict(one.ports)}
                for name, one in self._services.items()
            }
        return found

    def interrupt(self) -> None:
        with self._state:
            self._interrupted, dock = True, self._dock
        if dock is not None:
            dock.interrupt()

    def stop(self) -> None:
        with self._state:
            self._stopped, dock = True, self._dock
        if dock is not None:
            dock.stop()

    def close(self, say: Callable[[bytes], None]) -> None:
        try:
            self.dock.close(say)
        except Unavailable as error:
            # What the job did stands; the sweep removes what is left.
            log.warning("containers were not removed", extra={"error": str(error)})


def seen_inside(env: Mapping[str, str], sandbox: Sandbox) -> dict[str, str]:
    """Variables whose paths are those that a step in a container of its own finds, as on GitHub."""
    places = ((sandbox.workspace, BOX_WORKSPACE), (sandbox.temp, BOX_TEMP))

    def inside(value: str) -> str:
        for outer, inner in places:
            if value == outer or value.startswith(f"{outer}/"):
                return inner + value[len(outer) :]
        return value

    return {name: inside(value) for name, value in env.items()}
