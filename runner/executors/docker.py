"""Steps in a container of the job's own image."""

import logging
import os
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from docker import APIClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import LogConfig, Mount, Ulimit

from runner.errors import BrokenDefinition, Rejected, Unavailable
from runner.executors.agent import AgentSandbox
from runner.executors.attached import Attached, remove
from runner.executors.cgroups import Limits
from runner.executors.ownership import JOB_UID, owner
from runner.executors.place import AGENT, LAUNCH, Place

URL = "unix:///var/run/docker.sock"
WORKSPACE = "/workspace"
TEMP = "/runner"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LABEL = "runner.job"
ALL = {"label": LABEL}
SECONDS_TO_ANSWER = 60
OPEN_FILES = 16384
"""No more than a daemon that may not raise its own limit can give."""


log = logging.getLogger(__name__)


class NoImage(Rejected):
    """A job for the docker executor names no image."""

    def __init__(self) -> None:
        super().__init__("no image to run in: set `container:` in the job, or an image for the repository")


class NoSuchImage(BrokenDefinition):
    """A registry says that it has no such image, or not for us."""

    def __init__(self, image: str, why: object) -> None:
        super().__init__(f"there is no image {image}: {why}")


class UnusableImage(BrokenDefinition):
    """An image in which no step can be started."""

    def __init__(self, image: str, why: object) -> None:
        super().__init__(f"steps cannot run in the image {image}, which needs env, sh and setsid: {why}")


class Docker:
    """Runs steps in one container per job, as an unprivileged user without capabilities.

    The container's main process is the job's agent, over the connection that `open` makes: when the
    worker dies the daemon closes the agent's stdin, and the agent ends, and with it the container.
    One that outlives even that is removed by the next `open` under its label, or by `sweep`.
    Workspace and temp must be folders that the daemon sees under the same paths. With `network` the
    container is on the daemon's bridge.
    """

    def __init__(
        self, url: str = URL, network: bool = True, uid: int = JOB_UID, limits: Limits | None = None
    ) -> None:
        self.owner = owner(uid)
        self._url = url
        self._network = "bridge" if network else "none"
        self._limits = limits or Limits()

    def open(self, workspace: Path, temp: Path, label: str, image: str | None) -> AgentSandbox:
        """Raises `NoImage`, `NoSuchImage`, `UnusableImage`, and `Unavailable` where it cannot be had now."""
        if not image:
            raise NoImage
        client = self._connect()
        try:
            _clear(client, {"label": f"{LABEL}={label}"})
            path = _have(client, image)
            place = Place(WORKSPACE, TEMP, temp, path, self.owner)
            place.prepare()
            if self.owner:
                os.chown(workspace, *self.owner)
            container = self._create(client, workspace, temp, label, image)
            line = self._start(client, container, image)
        except BaseException as error:
            client.close()
            if isinstance(error, (DockerException, OSError)):
                raise Unavailable(f"docker cannot open a container of {image}: {error}") from error
            raise
        sandbox = AgentSandbox(line, place)
        try:
            sandbox.ready()
        except Unavailable as error:
            sandbox.close()
            raise UnusableImage(image, error) from error
        return sandbox

    def check(self) -> str | None:
        try:
            with self._connected() as client:
                client.info()
        except (DockerException, OSError, Unavailable) as error:
            return f"{error}; start the daemon, or let this user reach its socket"
        return None

    def sweep(self, site: str, living: Callable[[], Collection[str]]) -> None:
        """Remove the containers of this site's jobs that are not living.

        The living are asked for last: a container that was there before is one of theirs, or of the dead.
        """
        try:
            with self._connected() as client:
                found = {one["Id"]: one["Labels"][LABEL] for one in client.containers(all=True, filters=ALL)}
                ours = {id: label for id, label in found.items() if label.startswith(f"{site}-")}
                alive = living() if ours else ()
                for id, label in ours.items():
                    if label not in alive:
                        log.warning("a container outlived its worker", extra={"label": label})
                        remove(client, id)
        except (DockerException, OSError) as error:
            raise Unavailable(f"docker cannot be asked for its containers: {error}") from error

    def _connect(self) -> APIClient:
        try:
            # The SDK says of a missing socket neither which nor why.
            if self._url.startswith("unix://"):
                with socket.socket(socket.AF_UNIX) as tried:
                    tried.connect(self._url.removeprefix("unix://"))
            return APIClient(self._url, version="auto", timeout=SECONDS_TO_ANSWER)
        except (DockerException, OSError) as error:
            raise Unavailable(f"no docker daemon answers at {self._url}: {error}") from error

    @contextmanager
    def _connected(self) -> Iterator[APIClient]:
        client = self._connect()
        try:
            yield client
        finally:
            client.close()

    def _create(self, client: APIClient, workspace: Path, temp: Path, label: str, image: str) -> str:
        uid, gid = self.owner or (os.geteuid(), os.getegid())
        container = client.create_container(
            image,
            # An image's own variables are not part of a step's environment.
            entrypoint=["env", "-i", "sh", "-c", AGENT.read_text(), "agent"],
            command=[f"{TEMP}/{LAUNCH}", "", "", "", ""],
            user=f"{uid}:{gid}",
            stdin_open=True,
            working_dir="/",
            labels={LABEL: label},
            use_config_proxy=False,
            host_config=client.create_host_config(
                mounts=[
                    Mount(WORKSPACE, str(workspace), type="bind"),
                    Mount(TEMP, str(temp), type="bind"),
                ],
                network_mode=self._network,
                init=True,
                auto_remove=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                pids_limit=self._limits.processes,
                mem_limit=self._limits.memory,
                ulimits=[
                    Ulimit(name="nofile", soft=OPEN_FILES, hard=OPEN_FILES),
                    Ulimit(name="core", soft=0, hard=0),
                ],
                log_config=LogConfig(type="none"),
            ),
        )
        return str(container["Id"])

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


def _clear(client: APIClient, filters: dict[str, str]) -> None:
    for container in client.containers(all=True, filters=filters):
        remove(client, container["Id"])


def _have(client: APIClient, image: str) -> str:
    """Pull an image unless it is here; gives the PATH it sets."""
    try:
        found = client.inspect_image(image)  # type: ignore[no-untyped-call]
    except ImageNotFound:
        try:
            client.pull(image)
            found = client.inspect_image(image)  # type: ignore[no-untyped-call]
        except NotFound as error:
            raise NoSuchImage(image, error.explanation) from error
        except (DockerException, OSError) as error:
            raise Unavailable(f"the image {image} is not here and cannot be pulled: {error}") from error
    for variable in found["Config"].get("Env") or ():
        name, _, value = variable.partition("=")
        if name == "PATH":
            return str(value)
    return PATH
