"""Opening the place where a job's steps run: the sandbox, and the containers beside it."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from runner.engine.beside import Beside
from runner.engine.containers import container_of, services_of
from runner.engine.contexts import Asked, machine
from runner.engine.heart import Hold
from runner.engine.masks import Masks
from runner.engine.ports import BOX_WORKSPACE, Sandbox, Site
from runner.engine.stage import Log
from runner.engine.station import Station
from runner.errors import BrokenDefinition, NotFound, Unavailable
from runner.model.run import Job
from runner.model.source import Repository
from runner.workflow.containers import ContainerSpec
from runner.workflow.document import Steps, Workflow
from runner.workflow.trees import texts

DOCKER = "docker"
FIRST_WORDS, LAST_WORDS = "0", "end"
"""The keys under which a job itself speaks, before its first step and after its last."""
SERVICE_SECONDS = 1800.0
"""What the services of a job may take until they are healthy, with the pulling of their images."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job's steps run. `env` are the variables that the options of its container give.

    `objects` is where they see those of git, as of an `Executor`. `shared`: whether its services see the
    workspace too.
    """

    sandbox: Sandbox
    beside: Beside
    objects: str | None
    env: Mapping[str, str] = field(default_factory=dict)
    shared: bool = False


@dataclass(frozen=True)
class Opening:
    """A job that is about to begin; `deadline` is a reading of `time.monotonic()`."""

    asked: Asked
    job: Job
    workflow: Workflow
    body: Steps
    secrets: Mapping[str, str]
    masks: Masks
    workspace: Path
    temp: Path
    lent: Path
    deadline: float

    def open(
        self,
        repository: Repository,
        hold: Hold,
        station: Station,
        log: Log,
        opened: ExitStack,
    ) -> Place:
        """Errors, in which no secret is shown: `Unavailable`, and what else keeps the job from beginning."""

        def say(key: str, chunk: bytes) -> None:
            log(key, self.masks.hide(chunk))

        try:
            return self._open(repository, hold, station, say, opened)
        except (BrokenDefinition, Unavailable) as error:
            shown = self.masks.hide_text(str(error))
            if shown == str(error):
                raise
            kind = Unavailable if isinstance(error, Unavailable) else BrokenDefinition
            raise kind(shown) from None

    def _open(
        self,
        repository: Repository,
        hold: Hold,
        station: Station,
        say: Log,
        opened: ExitStack,
    ) -> Place:
        container = self._secured(container_of(self.body, self._seen(station)))
        _check_ports("container", container, station.server)
        # `container:` names an image, so it means docker; otherwise the repository or the server chooses.
        name = DOCKER if container else repository.executor or station.executor
        if name not in station.executors:
            raise NotFound(f"no executor {name!r}; there are {', '.join(sorted(station.executors))}")
        if container is None and repository.image:
            container = ContainerSpec(repository.image)
        executor, label = station.executors[name](), station.label(self.job.id, self.job.attempt)
        # A name may be registered again, for somebody else.
        whose = (repository.forge, repository.name, repository.registration)
        tenant = "\n".join((*whose, str(self.asked.event.trusted)))
        lent = (self.lent, executor.objects or str(self.lent))
        site = Site(label, self.workspace, self.temp, name == DOCKER, tenant, lent)
        beside = Beside(lambda: station.containers().dock(site))
        opened.callback(self._close, beside, station, partial(say, LAST_WORDS))
        hold.stops(beside.stop, beside.interrupt)
        begin = partial(say, FIRST_WORDS)
        services = self._services(station, begin)
        if services or name == DOCKER:
            seconds = min(SERVICE_SECONDS, self.deadline - monotonic())
            network = beside.start(services, seconds, begin)
            container = container.on(network) if container is not None else None
        sandbox = executor.open(self.workspace, self.temp, label, container, self.lent)
        opened.enter_context(closing(sandbox))

        def stop() -> None:
            sandbox.stop()
            beside.stop()

        def interrupt() -> None:
            sandbox.interrupt()
            beside.interrupt()

        hold.stops(stop, interrupt)
        volumes = [one for spec in services.values() for one in (*spec.options.volumes, *spec.volumes)]
        shared = any(one.name is None for one in volumes)
        env = container.options.env if container is not None else {}
        return Place(sandbox, beside, executor.objects, env, shared)

    def _services(self, station: Station, say: Callable[[bytes], None]) -> Mapping[str, ContainerSpec]:
        if not self.body.services:
            return {}
        found = services_of(self.body, self._seen(station))
        for name, spec in found.items():
            _check_ports(f"services.{name}", spec, station.server)
        for name in [name for name, spec in found.items() if spec is None]:
            say(f"the service {name} is not started: its image is empty\n".encode())
        return {name: spec for name, spec in found.items() if self._secured(spec) is not None and spec}

    def _secured(self, spec: ContainerSpec | None) -> ContainerSpec | None:
        """Have its password shown nowhere."""
        if spec is not None and spec.login is not None:
            self.masks.add(spec.login.password)
        return spec

    def _close(self, beside: Beside, station: Station, say: Callable[[bytes], None]) -> None:
        if beside.used:
            beside.close(say)
            station.logs.flush(self.job.id)

    def _seen(self, station: Station) -> Mapping[str, Any]:
        """What the definitions of containers can see, before there is any place for steps."""
        seen = self.asked.of_job(self.job)
        if self.body.container is None and not self.body.services:
            return seen
        seen["github"] |= {"workspace": BOX_WORKSPACE, "token": self.secrets.get("GITHUB_TOKEN", "")}
        seen |= {
            "secrets": dict(self.secrets),
            "runner": machine(station.worker),
            "job": {"status": "success"},
        }
        env = {**station.env, **texts(self.workflow.env, seen)}
        return {**seen, "env": env | texts(self.body.env, {**seen, "env": env})}


def _check_ports(where: str, spec: ContainerSpec | None, server: str) -> None:
    """Raises `BrokenDefinition` where one is asked for that is the server's, up or down."""
    own = urlsplit(server).port
    if own and spec and any(port.outside == own for port in (*spec.ports, *spec.options.ports)):
        raise BrokenDefinition(f"{where}: port {own} of this machine is the server's; write another one")
