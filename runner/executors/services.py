"""The service containers of one job."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event
from time import monotonic
from typing import Any

from docker import APIClient
from docker.errors import APIError, NotFound

from runner.engine.ports import Service, Site
from runner.errors import BrokenDefinition, Unavailable
from runner.executors import daemon
from runner.executors.cgroups import Limits
from runner.executors.confinement import TO_DROP_ROOT, confined, mounted
from runner.executors.docker import health_check, joined
from runner.workflow.containers import ContainerSpec

SERVICE = "service"
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
LAST_LINES = 20
SHOWN_LINES = 5000
PORT_TAKEN = ("port is already allocated", "address already in use", "failed to bind")


class ServiceFailed(BrokenDefinition):
    """A service that does not start, or is not what its own check wants."""


@dataclass(frozen=True, slots=True)
class _Started:
    id: str
    spec: ContainerSpec


class Services:
    """Containers on the job's network, each under the name that the job gives it.

    Their images mostly start as root to hand a folder to a user of their own and become it, so they
    have the capabilities for that and no others. Errors: `docker.errors`, and what each method names.
    """

    def __init__(self, client: APIClient, site: Site, network: str, limits: Limits) -> None:
        self._client = client
        self._site = site
        self._network = network
        self._limits = limits
        self._started: dict[str, _Started] = {}

    def start(self, name: str, spec: ContainerSpec, image: str) -> None:
        """Raises `ServiceFailed`, and `Unavailable` where somebody else has its port."""
        client, options = self._client, spec.options
        ports = (*options.ports, *spec.ports)
        volumes = (*options.volumes, *spec.volumes)
        entrypoint = spec.entrypoint or options.entrypoint
        try:
            created = client.create_container(
                image,
                entrypoint=[entrypoint] if entrypoint else None,
                command=list(spec.command) if spec.command else None,
                environment={**options.env, **spec.env},
                user=options.user,
                hostname=options.hostname,
                working_dir=options.workdir,
                labels={**options.labels, **daemon.labels(self._site.label, SERVICE)},
                ports=[(port.inside, port.protocol) for port in ports],
                healthcheck=health_check(options.health),
                stop_signal=options.stop_signal,
                stop_timeout=options.stop_timeout,
                use_config_proxy=False,
                networking_config=joined(client, self._network, (name, *options.aliases)),
                host_config=confined(
                    client,
                    self._limits,
                    self._network,
                    options=options,
                    mounts=mounted(volumes, self._site.label, str(self._site.workspace), writable=False),
                    ports=ports,
                    capabilities=TO_DROP_ROOT,
                    logs=True,
                ),
            )
            self._started[name] = _Started(str(created["Id"]), spec)
            client.start(created["Id"])
        except APIError as error:
            why = str(error.explanation or error)
            if any(word in why for word in PORT_TAKEN):
                raise Unavailable(
                    f"the service {name} cannot have a port of this machine: {why}; one without a number "
                    "for the machine, as in `5432`, gets any that is free"
                ) from error
            raise ServiceFailed(f"the service {name} cannot be started: {why}") from error

    def healthy(self, until: float, halted: Event, log: Callable[[bytes], None]) -> Mapping[str, Service]:
        """Wait until all of them are. Raises `ServiceFailed` with what one said that is not."""
        found: dict[str, Service] = {}
        for name, started in self._started.items():
            pause = SHORTEST_PAUSE
            while not halted.is_set():
                state = self._client.inspect_container(started.id)
                if self._ready(name, state):
                    found[name] = Service(started.id, _ports(state))
                    log(f"The service {name} is ready\n".encode())
                    break
                if monotonic() >= until:
                    raise ServiceFailed(f"the service {name} is not healthy in time{self._last(name)}")
                halted.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        return found

    def _ready(self, name: str, container: Mapping[str, Any]) -> bool:
        state = container["State"]
        if not state["Running"]:
            raise ServiceFailed(
                f"the service {name} ended with exit code {state['ExitCode']}{self._last(name)}"
            )
        health = state.get("Health")
        if health is None or health["Status"] in ("healthy", "none"):
            return True
        if health["Status"] == "unhealthy":
            checks = health.get("Log") or [{}]
            said = str(checks[-1].get("Output", "")).strip()
            raise ServiceFailed(f"the service {name} is not healthy: {said[-500:]}{self._last(name)}")
        return False

    def _last(self, name: str) -> str:
        said = self._said(name, LAST_LINES).decode(errors="replace").strip()
        return f"; its last lines are\n{said}" if said else "; it said nothing"

    def _said(self, name: str, lines: int) -> bytes:
        found: bytes = self._client.logs(self._started[name].id, tail=lines)
        return found

    def tell(self, log: Callable[[bytes], None]) -> None:
        """Show what each of them said."""
        for name in self._started:
            try:
                said = self._said(name, SHOWN_LINES)
            except NotFound:
                # A later attempt of the job, or a sweep, has removed it.
                continue
            log(f"##[group]Log of the service {name}\n".encode())
            log(said if said.endswith(b"\n") or not said else said + b"\n")
            log(b"##[endgroup]\n")


def _ports(container: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    published: Mapping[str, Any] = container["NetworkSettings"].get("Ports") or {}
    # A port of both protocols is shown as tcp's.
    for inside, outside in sorted(published.items(), key=lambda one: one[0].endswith("/udp")):
        if outside:
            found.setdefault(inside.partition("/")[0], outside[0]["HostPort"])
    return found
