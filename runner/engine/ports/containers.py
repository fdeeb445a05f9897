"""Ports to the containers beside a job's sandbox."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runner.engine.ports.executors import Exit
from runner.workflow.containers import ContainerSpec

BOX_WORKSPACE = "/github/workspace"
BOX_TEMP = "/github/runner_temp"
"""Where a step in a container of its own finds the job's folders, as on GitHub.

Steps can write in both, and docker follows links as root: so nothing below them is mounted by itself.
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A job as its containers see it: its folders, and for whom an image is kept that it made or was given.

    `inside`: the job itself is in a container.
    """

    label: str
    workspace: Path
    temp: Path
    inside: bool
    tenant: str
    lent: tuple[Path, str] | None = None
    """What steps can read only, and where they find it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image that is yet to be made, of a Dockerfile and the files of its `folder` below `root`."""

    root: Path
    folder: str
    dockerfile: str


@dataclass(frozen=True, slots=True)
class Boxed:
    """A step in a container of its own. What is None or empty is the image's own.

    `env` comes on top of the image's variables. `owner` is the user and group that it is, as of a
    `Sandbox`. `timeout` is in seconds, `cancellable` as of a `Command`.
    """

    image: str | Recipe
    entrypoint: str | None
    args: tuple[str, ...]
    env: Mapping[str, str]
    owner: tuple[int, int] | None
    timeout: float
    cancellable: bool = True


@dataclass(frozen=True, slots=True)
class Service:
    """A service that runs: its container, and the ports of localhost that lead to its own."""

    id: str
    ports: Mapping[str, str]


class Dock(Protocol):
    """One job's containers beside its sandbox, on a network of the job's own.

    Errors: `Unavailable` where docker does not answer, `BrokenDefinition` where a container cannot be had.
    """

    network: str

    def start(
        self, services: Mapping[str, ContainerSpec], seconds: float, log: Callable[[bytes], None]
    ) -> Mapping[str, Service]:
        """Start services, and wait until those that can tell say that they are healthy.

        Returns early where the job is interrupted or stopped meanwhile.
        """

    def run(self, step: Boxed, log: Callable[[bytes], None], note: Callable[[bytes], None]) -> Exit:
        """Have the step's image, and run it to the end as `Sandbox.run` does.

        `note` is told how the image came about.
        """

    def interrupt(self) -> None:
        """As of a `Sandbox`: for the step that runs. Services go on."""

    def stop(self) -> None:
        """End everything, from any thread."""

    def close(self, log: Callable[[bytes], None]) -> None:
        """Show what the services said, and remove all containers and volumes, and the network."""


class Containers(Protocol):
    """Where jobs have containers beside their sandboxes."""

    def dock(self, site: Site) -> Dock:
        """A dock without services; what earlier attempts of the job left is ended first."""
