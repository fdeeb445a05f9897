"""What of a container in a workflow file no job can have here, as far as it is written out.

What an expression makes of it is looked at when the job begins.
"""

from collections.abc import Callable, Iterator

from runner.expr.template import OPEN
from runner.workflow.compose import Node, Scalar
from runner.workflow.containers import (
    BadContainer,
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
    for _, one in entries_of(value_at(job, "services")):
        yield from _refused(one, service=True)


def _refused(container: Node | None, service: bool) -> Iterator[Refused]:
    image = container if isinstance(container, Scalar) else value_at(container, "image")
    yield from _read(image, _named)
    yield from _read(value_at(container, "options"), lambda text: parse_options(text, service))
    for port in items_of(value_at(container, "ports")):
        yield from _read(port, parse_ports)
    for volume in items_of(value_at(container, "volumes")):
        yield from _read(volume, parse_volume)


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
