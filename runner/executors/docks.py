"""A job's containers beside its sandbox: services, and steps that bring an image of their own."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from posixpath import normpath
from threading import Event, Lock
from time import monotonic
from typing import IO

from docker.errors import APIError, DockerException, NotFound
from docker.types import Mount

from runner.engine.ports import (
    BOX_TEMP,
    BOX_WORKSPACE,
    Boxed,
    Exit,
    Recipe,
    Service,
    Site,
)
from runner.errors import BrokenDefinition, Unavailable
from runner.executors import daemon, packing
from runner.executors.agent import (
    CANCELLED,
    INTERRUPTED,
    KILLED,
    PULSE,
    SECONDS_TO_DIE,
    TIME_IS_UP,
)
from runner.executors.attached import Attached, remove
from runner.executors.cgroups import Limits
from runner.executors.confinement import TO_DROP_ROOT, confined
from runner.executors.daemon import BUILT, URL, Daemon
from runner.executors.dockerfile import check_trigger, with_images
from runner.executors.launch import NOT_EXECUTABLE, NOT_FOUND
from runner.executors.packing import BadRecipe, CutShort, packed
from runner.executors.services import Services
from runner.executors.streams import Stream
from runner.workflow.containers import ContainerSpec

STEP = "step"
NOT_STARTED = ("executable file not found", "no such file or directory", "permission denied", "exec format")
"""What docker says of a program that cannot be started."""

Log = Callable[[bytes], None]


class OutOfReach(BrokenDefinition):
    """Services that the job's steps could not connect to."""

    def __init__(self) -> None:
        super().__init__(
            "the job's services cannot be reached: jobs on this machine have no network "
            "(RUNNER_JOB_NETWORK=no); a job with `container:` shares one with its services alone"
        )


class Docks:
    """Jobs' containers beside their sandboxes. With `network` they reach what the machine reaches.

    `dead` says of a job, by its label, whether it is surely nobody's any more: it is removed too.
    """

    def __init__(
        self,
        url: str = URL,
        network: bool = True,
        limits: Limits | None = None,
        dead: Callable[[str], bool] = lambda label: False,
    ) -> None:
        self._daemon = Daemon(url)
        self._network = network
        self._limits = limits or Limits()
        self._dead = dead

    def dock(self, site: Site) -> "Dock":
        """Raises `Unavailable`."""
        return Dock(self._daemon, site, self._network, self._limits, self._dead)


class Dock:
    """All containers are on one network, which is made for the job and removed with it.

    Steps run as whoever the job's files belong to, without capabilities; where that is root itself, as
    on the host, with those that root needs to have its way with files. `log` is of the thread that
    calls; `interrupt` and `stop` may come from any other.
    """

    def __init__(
        self, reached: Daemon, site: Site, network: bool, limits: Limits, dead: Callable[[str], bool]
    ) -> None:
        self.network = ""
        self._daemon = reached
        self._site = site
        self._networked = network
        self._limits = limits
        self._halted = Event()
        self._interrupted = self._stopped = False
        self._cancellable = True
        self._stream: Stream | None = None
        self._state = Lock()
        self._services: Services | None = None
        self._client = reached.connect()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            # A job goes on with services of its own, and at the same ports.
            job = site.label.rpartition("-")[0]
            daemon.clear(self._client, lambda label: label.startswith(f"{job}-") or dead(label))
        except BaseException as error:
            self._let_go()
            if isinstance(error, (DockerException, OSError)):
                raise Unavailable(f"docker cannot be asked for a job's containers: {error}") from error
            raise

    def start(self, services: Mapping[str, ContainerSpec], seconds: float, log: Log) -> Mapping[str, Service]:
        if services and not self._networked and not self._site.inside:
            raise OutOfReach
        until = monotonic() + seconds
        try:
            self._join(bool(services))
            self._services = Services(self._client, self._site, self.network, self._limits)
            for name, spec in services.items():
                log(f"Starting the service {name} of {spec.image}\n".encode())
                image = self._fetched(spec, until)
                if image is None or self._halted.is_set():
                    if monotonic() >= until:
                        raise Unavailable(f"the service {name}: {spec.image} was not pulled in time")
                    return {}
                self._services.start(name, spec, image)
            return self._services.healthy(until, self._halted, log)
        except (DockerException, OSError) as error:
            raise Unavailable(f"docker cannot start the job's services: {error}") from error

    def run(self, step: Boxed, log: Log, note: Log) -> Exit:
        until = monotonic() + step.timeout
        with self._state:
            self._cancellable = step.cancellable
        try:
            if self._over(step):
                return self._cut_short(step)
            if problem := _unfit(step):
                log(f"runner: {problem}\n".encode())
                return Exit(NOT_EXECUTABLE)
            self._join(False)
            image = self._image(step.image, until, note)
            if image is None or self._over(step):
                return self._cut_short(step)
            return self._boxed(step, image, until, log)
        except (DockerException, OSError) as error:
            raise Unavailable(f"docker cannot run the step's container: {error}") from error

    def interrupt(self) -> None:
        with self._state:
            self._interrupted = True
            self._halted.set()
            if self._stream is not None and self._cancellable:
                self._stream.cut()
            self._awaken()

    def stop(self) -> None:
        with self._state:
            self._stopped = True
            self._halted.set()
            if self._stream is not None:
                self._stream.cut()
            self._awaken()
        with self._daemon.connected() as client:
            for one in client.containers(filters={"label": f"{daemon.LABEL}={self._site.label}"}):
                # It may have ended by itself.
                with suppress(APIError):
                    client.kill(one["Id"])

    def close(self, log: Log) -> None:
        try:
            try:
                if self._services is not None:
                    self._services.tell(log)
            finally:
                daemon.clear(self._client, self._site.label.__eq__)
        except (DockerException, OSError) as error:
            raise Unavailable(f"docker cannot remove the job's containers: {error}") from error
        finally:
            self._let_go()

    def _let_go(self) -> None:
        with self._state:
            self._client.close()
            if self._wake >= 0:
                os.close(self._wake)
                self._wake = -1

    def _awaken(self) -> None:
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def _over(self, step: Boxed) -> bool:
        return self._stopped or (self._interrupted and step.cancellable)

    def _cut_short(self, step: Boxed) -> Exit:
        if self._stopped:
            return Exit(KILLED, "stop")
        if self._interrupted and step.cancellable:
            return Exit(INTERRUPTED, "cancel")
        return Exit(KILLED, "timeout")

    def _join(self, services: bool) -> None:
        """Make the job's network; one without a way out where jobs have none, for services alone."""
        if self.network:
            return
        if not self._networked and not services:
            self.network = "none"
            return
        name = f"runner-{self._site.label}"
        self._client.create_network(
            name, driver="bridge", internal=not self._networked, labels={daemon.LABEL: self._site.label}
        )
        self.network = name

    # --- images ----------------------------------------------------------------------------------

    def _image(self, wanted: str | Recipe, until: float, note: Log) -> str | None:
        if isinstance(wanted, str):
            return self._fetched(ContainerSpec(wanted), until)
        try:
            return self._built(wanted, until, note)
        except CutShort:
            return None

    def _fetched(self, spec: ContainerSpec, until: float) -> str | None:
        return self._daemon.fetch(spec.image, spec.login, until, self._begin)

    def _begin(self, stream: Stream) -> None:
        with self._state:
            self._stream = stream
            if self._stopped or (self._interrupted and self._cancellable):
                stream.cut()

    def _built(self, recipe: Recipe, until: float, note: Log) -> str | None:
        def over() -> bool:
            return self._stopped or (self._interrupted and self._cancellable) or monotonic() >= until

        with packed(recipe.root, recipe.folder, recipe.dockerfile, over) as (context, digest):
            said = f"{self._site.tenant}\n{recipe.dockerfile}\n{digest}"
            tag = hashlib.sha256(said.encode()).hexdigest()[:32]
            name = f"{BUILT}:{tag}"
            if found := daemon.present(self._client, name):
                # How long ago it was used is how long ago it got its name.
                self._client.tag(name, BUILT, tag)
                return str(found["Id"])
            dockerfile = normpath(recipe.dockerfile)
            where = f"{recipe.folder or '.'}/{dockerfile}"
            note(f"Building the image of {where}\n".encode())
            self._resolve(context, dockerfile, where, until)
            stream = Stream(
                self._daemon.connect(),
                lambda client: client.build(
                    fileobj=context,
                    custom_context=True,
                    dockerfile=dockerfile,
                    tag=name,
                    # Layers are found by the text that made them, whoever wrote it.
                    nocache=True,
                    rm=True,
                    forcerm=True,
                    decode=True,
                    network_mode=self.network,
                    container_limits={"memory": self._limits.memory} if self._limits.memory else None,
                    use_config_proxy=False,
                ),
            )
            self._begin(stream)
            with closing(stream):
                for piece in stream.pieces(until):
                    if why := piece.get("error"):
                        raise BadRecipe(f"{where} makes no image: {why}")
                    note(str(piece.get("stream", "")).encode(errors="replace"))
            found = None if stream.early else daemon.present(self._client, name)
            return str(found["Id"]) if found else None

    def _resolve(self, context: IO[bytes], dockerfile: str, where: str, until: float) -> None:
        """Have the images that a Dockerfile names, as any job has them, and name them by their ids."""

        def had(image: str) -> str:
            found = self._daemon.fetch(image, None, until, self._begin)
            if found is None:
                raise CutShort
            config = self._client.inspect_image(found)["Config"] or {}  # type: ignore[no-untyped-call]
            for trigger in config.get("OnBuild") or ():
                check_trigger(trigger, image)
            return found

        packing.replace(context, dockerfile, with_images(packing.read(context, dockerfile), where, had))

    # --- steps -----------------------------------------------------------------------------------

    def _boxed(self, step: Boxed, image: str, until: float, log: Log) -> Exit:
        container = str(self._created(step, image)["Id"])
        client = self._daemon.connect()
        try:
            line = Attached(client, container, self._wake)
        except BaseException:
            remove(self._client, container)
            client.close()
            raise
        with closing(line):
            try:
                self._client.start(container)
            except APIError as error:
                why = str(error.explanation or error)
                if not any(word in why.lower() for word in NOT_STARTED):
                    raise
                log(f"runner: the container of {step.image} does not start: {why}\n".encode())
                return Exit(NOT_FOUND)
            return self._followed(step, container, line, until, log)

    def _created(self, step: Boxed, image: str) -> Mapping[str, str]:
        site, client = self._site, self._client
        uid, gid = step.owner or (os.geteuid(), os.getegid())
        mounts = [
            Mount(BOX_WORKSPACE, str(site.workspace), type="bind"),
            Mount(BOX_TEMP, str(site.temp), type="bind"),
        ]
        if site.lent is not None:
            lent, seen = site.lent
            mounts.append(Mount(seen, str(lent), type="bind", read_only=True))
        created: Mapping[str, str] = client.create_container(
            image,
            entrypoint=[step.entrypoint] if step.entrypoint else None,
            command=list(step.args) or None,
            environment=dict(step.env),
            user=f"{uid}:{gid}",
            working_dir=BOX_WORKSPACE,
            labels=daemon.labels(site.label, STEP),
            use_config_proxy=False,
            host_config=confined(
                client,
                self._limits,
                self.network,
                mounts=mounts,
                capabilities=TO_DROP_ROOT if uid == 0 else (),
            ),
        )
        return created

    def _followed(self, step: Boxed, container: str, line: Attached, until: float, log: Log) -> Exit:
        """Hand on what it prints until it ends; from when it is to end on, send signal after signal."""
        why: str | None = None
        rungs: deque[tuple[str, float]] = deque()
        due = until
        ended = False
        while True:
            now = monotonic()
            if self._stopped:
                why, due = "stop", now
                rungs.clear()
            elif why is None and self._over(step):
                why, due = "cancel", now
                rungs.extend(CANCELLED)
            elif why is None and now >= until:
                why = "timeout"
                rungs.extend(TIME_IS_UP)
            if why is not None and now >= due:
                signal, seconds = rungs.popleft() if rungs else ("KILL", SECONDS_TO_DIE)
                # It may have ended by itself.
                with suppress(APIError):
                    self._client.kill(container, signal)
                due = now + seconds
            if ended:
                if (code := self._code(container)) is not None:
                    return Exit(code, why)
                continue
            heard = line.receive(max(0.0, min(due - monotonic(), PULSE)))
            with suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            for printed in (heard.output, heard.answers):
                if printed:
                    log(printed)
            ended = heard.ended

    def _code(self, container: str) -> int | None:
        """How it ended, soon: a program may close what it prints to long before it ends."""
        try:
            return int(self._client.wait(container, timeout=1)["StatusCode"])
        except NotFound:
            return KILLED
        except (APIError, OSError):
            return None


def _unfit(step: Boxed) -> str | None:
    """Why no program can be started with what a step is given."""
    for name, value in step.env.items():
        if not name or "=" in name or "\0" in name + value:
            return f"no program can be given the variable {name!r}: it holds a NUL byte, or = in its name"
    if any("\0" in word for word in step.args):
        return "an argument holds a NUL byte, which no program can be given"
    return None
