"""What of a container in a workflow file no job can have here, as far as it is written out.

What an expression makes of it is looked at when the job begins.
"""

from collections.abc import Callable, Iterator

from runner.expr.template import OPEN
from runner.workflow.compose import Node, Scalar
from runner.workflow.containers import (
    MOST_PORTS,
    MOST_SERVICES,
    MOST_VOLUMES,
    BadContainer,
    check_counts,
    parse_options,
    parse_ports,
    parse_volume,
    reserved_image,
)
from runner.workflow.reading import entries_of, items_of, value_at

Refused = tuple[Node, str]


def refused_of_job(job: Node) -> Iterator[Refused]:
    """What is wrong where with a job's container and its services."""
    yield from _refused(value_at(job, "container"), service=False)
    services = value_at(job, "services")
    for number, (_, one) in enumerate(entries_of(services), 1):
        yield from _refused(one, service=True)
        if number == MOST_SERVICES + 1 and services is not None:
            yield services, f"a job can have {MOST_SERVICES} services"


def _refused(container: Node | None, service: bool) -> Iterator[Refused]:
    image = container if isinstance(container, Scalar) else value_at(container, "image")
    yield from _read(image, _named)
    yield from _read(value_at(container, "options"), lambda text: parse_options(text, service))
    ports, volumes = value_at(container, "ports"), value_at(container, "volumes")
    found = 0

    def read(text: str) -> None:
        nonlocal found
        found += len(parse_ports(text))
        check_counts(found, 0)

    for port in items_of(ports)[: MOST_PORTS + 1]:
        yield from _read(port, read)
    for number, volume in enumerate(items_of(volumes)[: MOST_VOLUMES + 1], 1):
        yield from _read(volume, parse_volume)
        if number > MOST_VOLUMES:
            yield volume, f"a container can have {MOST_VOLUMES} volumes"


def _named(image: str) -> None:
    if problem := reserved_image(image.removeprefix("docker://")):
        raise BadContainer(problem)


def _read(node: Node | None, read: Callable[[str], object]) -> Iterator[Refused]:
    if not isinstance(node, Scalar) or OPEN in node.text:
        return
    try:
        read(node.text.strip())
    except BadContainer as error:
        yield node, str(error)
