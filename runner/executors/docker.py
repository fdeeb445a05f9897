"""Steps in a container of the job's own image."""

import io
import os
import tarfile
from collections.abc import Callable, Collection
from pathlib import Path
from time import monotonic

from docker import APIClient
from docker.errors import APIError, DockerException
from docker.types import Mount

from runner.engine.ports import BOX_OBJECTS
from runner.errors import BrokenDefinition, Rejected, Unavailable
from runner.executors import daemon
from runner.executors.agent import AgentSandbox
from runner.executors.attached import Attached, remove
from runner.executors.cgroups import Limits
from runner.executors.confinement import confined, mounted
from runner.executors.daemon import URL, Daemon
from runner.executors.ownership import JOB_UID, owner
from runner.executors.place import AGENT, LAUNCH, Place
from runner.workflow.containers import ContainerSpec, Health, Volume

WORKSPACE = "/workspace"
TEMP = "/runner"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SANDBOX = "sandbox"
SECONDS_TO_PULL = 1800.0


class NoImage(Rejected):
    """A job for the docker executor names no image."""

    def __init__(self) -> None:
        super().__init__("no image to run in: set `container:` in the job, or an image for the repository")


class UnusableImage(BrokenDefinition):
    """An image in which no step can be started."""

    def __init__(self, image: str, why: object) -> None:
        super().__init__(f"steps cannot run in the image {image}, which needs env, sh and setsid: {why}")


class Docker:
    """Runs steps in one container per job, as an unprivileged user without capabilities.

    The container's main process is the job's agent, over the connection that `open` makes: when the
    worker dies the daemon closes the agent's stdin, and the agent ends, and with it the container.
    One that outlives even that is removed by the next `open` under its label, or by `sweep`.
    Workspace and temp must be folders that the daemon sees under the same paths. Where the job asks for
    no network of its own, it is on the daemon's bridge with `network`, and on none without.
    """

    def __init__(
        self, url: str = URL, network: bool = True, uid: int = JOB_UID, limits: Limits | None = None
    ) -> None:
        self.owner = owner(uid)
        self.objects: str | None = BOX_OBJECTS
        self._daemon = Daemon(url)
        self._network = "bridge" if network else "none"
        self._limits = limits or Limits()

    def open(
        self,
        workspace: Path,
        temp: Path,
        label: str,
        container: ContainerSpec | None,
        lent: Path | None = None,
    ) -> AgentSandbox:
        """Raises `NoImage`, `NoSuchImage`, `UnusableImage`, and `Unavailable` where it cannot be had now."""
        if container is None or not container.image:
            raise NoImage
        image = container.image
        client = self._daemon.connect()
        try:
            daemon.clear(client, label.__eq__, SANDBOX)
            found = self._daemon.fetch(image, container.login, monotonic() + SECONDS_TO_PULL)
            if found is None:
                raise Unavailable(f"the image {image} was not pulled within {SECONDS_TO_PULL:.0f} seconds")
            place = Place(WORKSPACE, TEMP, temp, _path(client, found), self.owner)
            place.prepare()
            if self.owner:
                os.chown(workspace, *self.owner)
            id = self._create(client, workspace, temp, label, found, container, lent)
            line = self._start(client, id, image)
        except BaseException as error:
            client.close()
            if isinstance(error, (DockerException, OSError)):
                raise Unavailable(f"docker cannot open a container of {image}: {error}") from error
            raise
        sandbox = AgentSandbox(line, place, id)
        try:
            sandbox.ready()
        except Unavailable as error:
            sandbox.close()
            raise UnusableImage(image, error) from error
        return sandbox

    def check(self) -> str | None:
        try:
            with self._daemon.connected() as client:
                client.info()
        except (DockerException, OSError) as error:
            return str(error)
        except Unavailable as error:
            return str(error)
        return None

    def sweep(self, site: str, living: Callable[[], Collection[str]]) -> None:
        """Remove the containers of this site's jobs that are not living, with their networks and volumes."""
        try:
            with self._daemon.connected() as client:
                daemon.sweep(client, site, living)
        except (DockerException, OSError) as error:
            raise Unavailable(f"docker cannot be asked for its containers: {error}") from error

    def _create(
        self,
        client: APIClient,
        workspace: Path,
        temp: Path,
        label: str,
        image: str,
        spec: ContainerSpec,
        lent: Path | None,
    ) -> str:
        uid, gid = self.owner or (os.geteuid(), os.getegid())
        options, ports = spec.options, (*spec.options.ports, *spec.ports)
        volumes = (*options.volumes, *spec.volumes)
        network = spec.network or self._network
        ours = [
            Mount(WORKSPACE, str(workspace), type="bind"),
            Mount(TEMP, str(temp), type="bind"),
            *([Mount(BOX_OBJECTS, str(lent), type="bind", read_only=True)] if lent else []),
        ]
        container = client.create_container(
            image,
            # An image's own variables are not part of a step's environment.
            entrypoint=["env", "-i", "sh", "-c", AGENT.read_text(), "agent"],
            command=[f"{TEMP}/{LAUNCH}", "", "", "", ""],
            user=f"{uid}:{gid}",
            hostname=options.hostname,
            stdin_open=True,
            working_dir="/",
            labels={**options.labels, **daemon.labels(label, SANDBOX)},
            ports=[(port.inside, port.protocol) for port in ports],
            healthcheck=health_check(options.health),
            use_config_proxy=False,
            networking_config=joined(client, spec.network, options.aliases),
            host_config=confined(
                client,
                self._limits,
                network,
                options=options,
                mounts=[*ours, *mounted(volumes, label, str(workspace), writable=True)],
                ports=ports,
                vanishes=True,
            ),
        )
        id = str(container["Id"])
        try:
            _hand_over(client, id, volumes, uid, gid)
        except BaseException:
            remove(client, id)
            raise
        return id

    def _start(self, client: APIClient, container: str, image: str) -> Attached:
        try:
            # Before the start, so that nothing the agent says is missed.
            line = Attached(client, container)
        except BaseException:
            remove(client, container)
            raise
        try:
            client.start(container)
        except BaseException as error:
            line.close()
            if isinstance(error, APIError) and "executable file not found" in str(error):
                raise UnusableImage(image, error.explanation) from error
            raise
        return line


def joined(client: APIClient, network: str, aliases: tuple[str, ...]) -> dict[str, object] | None:
    """What puts a container on a job's network under these names."""
    if network in ("", "none"):
        return None
    endpoint = client.create_endpoint_config(aliases=list(aliases))
    found: dict[str, object] = client.create_networking_config({network: endpoint})  # type: ignore[arg-type]
    return found


def health_check(health: Health) -> dict[str, object] | None:
    """As docker's API has it; None leaves it to the image."""
    if health == Health():
        return None
    said = {
        "interval": health.interval,
        "timeout": health.timeout,
        "start_period": health.start_period,
        "retries": health.retries,
    }
    found: dict[str, object] = {name: value for name, value in said.items() if value is not None}
    if health.off:
        return {"test": ["NONE"]}
    if health.command is not None:
        found["test"] = ["CMD-SHELL", health.command]
    return found


def _hand_over(client: APIClient, container: str, volumes: tuple[Volume, ...], uid: int, gid: int) -> None:
    """Make a job's volumes its own: docker gives new ones to root."""
    folders = [one.target for one in volumes if one.name is not None and not one.read_only]
    if not folders:
        return
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for folder in folders:
            member = tarfile.TarInfo(folder.lstrip("/"))
            member.type, member.mode, member.uid, member.gid = tarfile.DIRTYPE, 0o777, uid, gid
            tar.addfile(member)
    client.put_archive(container, "/", packed.getvalue())


def _path(client: APIClient, image: str) -> str:
    """The PATH that an image sets."""
    found = client.inspect_image(image)  # type: ignore[no-untyped-call]
    for variable in found["Config"].get("Env") or ():
        name, _, value = variable.partition("=")
        if name == "PATH":
            return str(value)
    return PATH
