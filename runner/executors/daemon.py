"""Docker's daemon: how it is reached, what of it is ours, and how images come to it."""

import hashlib
import logging
import re
import secrets
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from docker import APIClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.utils import parse_repository_tag

from runner.errors import BrokenDefinition, Unavailable
from runner.executors.attached import remove
from runner.executors.ownership import JOB_UID, is_confined_root
from runner.executors.streams import Stream
from runner.workflow.containers import RESERVED, Login, image_problem

URL = "unix:///var/run/docker.sock"
LABEL = "runner.job"
PART = "runner.part"
"""Which of a job's containers it is: `sandbox`, `service` or `step`."""
SECONDS_TO_ANSWER = 60
IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}")
PRIVATE = f"{RESERVED}private"
SALT = secrets.token_hex(16)
"""So that nobody else knows the name of an image that was pulled with credentials."""
BUILT = f"{RESERVED}action"
IMAGES_LIVE = timedelta(days=7)
"""How long an image of ours stays that nobody uses."""
REFUSED = ("denied", "unauthorized", "authentication required", "no basic auth credentials", "not found")

log = logging.getLogger(__name__)


class NoSuchImage(BrokenDefinition):
    """A registry says that it has no such image, or not for us."""

    def __init__(self, image: str, why: object) -> None:
        super().__init__(f"there is no image {image}: {why}")


class Daemon:
    """The daemon at `url`; every client is its caller's own."""

    def __init__(self, url: str) -> None:
        self._url = url

    def connect(self) -> APIClient:
        if is_confined_root():
            # The daemon is outside, where uid 0 is the machine's root.
            raise Unavailable(
                f"docker would run steps as root: the user namespace of this process has no uid {JOB_UID}; "
                "start runner outside of it, or use the sandbox"
            )
        try:
            # The SDK says of a missing socket neither which nor why.
            if self._url.startswith("unix://"):
                with socket.socket(socket.AF_UNIX) as tried:
                    tried.connect(self._url.removeprefix("unix://"))
            return APIClient(self._url, version="auto", timeout=SECONDS_TO_ANSWER)
        except (DockerException, OSError) as error:
            raise Unavailable(
                f"no docker daemon answers at {self._url}: {error}; start it, let this user reach it, or "
                "set RUNNER_DOCKER to its address"
            ) from error

    @contextmanager
    def connected(self) -> Iterator[APIClient]:
        client = self.connect()
        try:
            yield client
        finally:
            client.close()

    def fetch(
        self,
        image: str,
        login: Login | None,
        until: float,
        begin: Callable[[Stream], None] = lambda stream: None,
    ) -> str | None:
        """The id of an image, pulled where it is not here; None where that was cut off, or time ran out.

        With a login the registry is asked every time, and the image is kept under a name that nobody can
        use: who may not pull it gets none that somebody else has pulled. `begin` is told what can be cut.
        """
        if problem := image_problem(image):
            raise NoSuchImage(image, problem)
        with self.connected() as client:
            if login is None and (found := present(client, image)):
                return str(found["Id"])
            auth = {"username": login.username, "password": login.password} if login else None
            with _pulling(image):
                # Under its usual name anybody could use it, as long as it has that.
                name = image if auth is None else _exact(client, image, auth)
            stream = Stream(
                self.connect(),
                lambda client: client.pull(name, stream=True, decode=True, auth_config=auth),
            )
            begin(stream)
            with closing(stream), _pulling(image):
                for piece in stream.pieces(until):
                    if why := piece.get("error"):
                        raise _not_pulled(image, str(why))
            if stream.early:
                return None
            found = client.inspect_image(name)  # type: ignore[no-untyped-call]
            if login is not None:
                tag = hashlib.sha256(f"{SALT}\n{login.username}\n{image}".encode()).hexdigest()[:32]
                client.tag(found["Id"], PRIVATE, tag)
                with suppress(ImageNotFound):
                    client.remove_image(name, noprune=True)
            return str(found["Id"])


def _exact(client: APIClient, image: str, auth: Mapping[str, str]) -> str:
    """An image by the digest that the registry has for it now."""
    repository, tag = parse_repository_tag(image)
    if tag is not None and ":" in tag:
        return image
    said = client.inspect_distribution(image, auth_config=auth)  # type: ignore[no-untyped-call]
    return f"{repository}@{said['Descriptor']['digest']}"


@contextmanager
def _pulling(image: str) -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise NoSuchImage(image, error.explanation) from error
    except APIError as error:
        raise _not_pulled(image, str(error.explanation or error)) from error
    except (DockerException, OSError) as error:
        raise Unavailable(f"the image {image} is not here and cannot be pulled: {error}") from error


def _not_pulled(image: str, why: str) -> Exception:
    if any(word in why.lower() for word in REFUSED):
        return NoSuchImage(image, why)
    return Unavailable(f"the image {image} is not here and cannot be pulled: {why}")


def present(client: APIClient, image: str) -> Mapping[str, Any] | None:
    """An image that is here under that very name; docker would also take the first letters of an id."""
    try:
        found: Mapping[str, Any] = client.inspect_image(image)  # type: ignore[no-untyped-call]
    except ImageNotFound:
        return None
    if IMAGE_ID.fullmatch(image) and f"{image}:latest" not in (found.get("RepoTags") or ()):
        return None
    return found


# --- what is ours ----------------------------------------------------------------------------


def labels(label: str, part: str) -> dict[str, str]:
    return {LABEL: label, PART: part}


def clear(client: APIClient, ours: Callable[[str], bool], part: str | None = None) -> None:
    """Remove the containers of those labels; their networks and volumes too, unless one `part` is meant."""
    wanted = [LABEL] if part is None else [LABEL, f"{PART}={part}"]
    for one in client.containers(all=True, filters={"label": wanted}):
        if ours(one["Labels"][LABEL]):
            remove(client, one["Id"])
    if part is not None:
        return
    for one in client.networks(filters={"label": LABEL}):
        if ours(one["Labels"][LABEL]):
            with suppress(NotFound):
                # Docker ends a build a moment after it was cut off.
                for container in client.inspect_network(one["Id"]).get("Containers") or ():
                    remove(client, container)
                client.remove_network(one["Id"])
    for one in client.volumes(filters={"label": LABEL})["Volumes"] or ():
        if ours(one["Labels"][LABEL]):
            with suppress(NotFound):
                client.remove_volume(one["Name"], force=True)


def sweep(client: APIClient, site: str, living: Callable[[], Collection[str]]) -> None:
    """Remove what outlived its worker of the jobs of a site, and images of ours that nobody uses.

    The living are asked for last: what was there before is one of theirs, or of the dead.
    """
    found = {one["Labels"][LABEL] for one in client.containers(all=True, filters={"label": LABEL})}
    found |= {one["Labels"][LABEL] for one in client.networks(filters={"label": LABEL})}
    found |= {one["Labels"][LABEL] for one in client.volumes(filters={"label": LABEL})["Volumes"] or ()}
    if ours := {label for label in found if label.startswith(f"{site}-")}:
        dead = ours - set(living())
        for label in dead:
            log.warning("containers outlived their worker", extra={"label": label})
        if dead:
            clear(client, dead.__contains__)
    before = datetime.now(UTC) - IMAGES_LIVE
    for name in unused(client, before):
        # Another worker may have removed it, or a container of it may live.
        with suppress(APIError):
            client.remove_image(name)


def unused(client: APIClient, before: datetime) -> Iterator[str]:
    """The names of images of ours that nobody has used since."""
    for one in client.images(filters={"reference": f"{RESERVED}*"}):
        with suppress(ImageNotFound):
            image = client.inspect_image(one["Id"])  # type: ignore[no-untyped-call]
            used = image["Metadata"]["LastTagTime"][:19]
            if datetime.fromisoformat(used).replace(tzinfo=UTC) < before:
                yield from (tag for tag in image["RepoTags"] if tag.startswith(RESERVED))
