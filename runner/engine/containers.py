"""The containers that a job asks for: what its definition says, evaluated."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from runner.errors import BrokenDefinition
from runner.expr.evaluate import render
from runner.expr.template import Template
from runner.expr.values import known, to_string
from runner.workflow.containers import (
    MOST_SERVICES,
    BadContainer,
    ContainerSpec,
    Login,
    check_counts,
    image_problem,
    parse_options,
    parse_ports,
    parse_volume,
)
from runner.workflow.document import Container, Steps
from runner.workflow.trees import settled, texts
from runner.workflow.words import cut


def container_of(job: Steps, seen: Mapping[str, Any]) -> ContainerSpec | None:
    """The container that a job runs in; None where it is in none.

    Without its variables, which are those of the job's steps.
    """
    if job.container is None:
        return None
    return _spec("container", _said(job.container, seen, variables=False), service=False)


def services_of(job: Steps, seen: Mapping[str, Any]) -> Mapping[str, ContainerSpec | None]:
    """A job's services by name; None is one that is not to be started, as its image is empty."""
    services: Mapping[str, Any] = job.services if isinstance(job.services, Mapping) else {}
    if isinstance(job.services, Template):
        found = settled(job.services, seen)
        if found is not None and not isinstance(found, Mapping):
            raise BrokenDefinition("services: a mapping is needed, which its expression does not give")
        services = found or {}
    if len(services) > MOST_SERVICES:
        raise BrokenDefinition(f"services: a job can have {MOST_SERVICES}")
    return {
        name: _spec(f"services.{name}", _said(one, seen, variables=True), service=True)
        for name, one in services.items()
    }


def _said(container: Any, seen: Mapping[str, Any], variables: bool) -> Mapping[str, Any]:
    """What a container is to be, as a mapping of the language's keys to values."""
    if isinstance(container, Container):
        return {
            "image": render(container.image, seen),
            "credentials": texts(container.credentials, seen),
            "env": texts(container.env, seen) if variables else {},
            "ports": settled(container.ports, seen),
            "volumes": settled(container.volumes, seen),
            "options": render(container.options, seen) if container.options else "",
            "entrypoint": render(container.entrypoint, seen) if container.entrypoint else "",
            "command": render(container.command, seen) if container.command else "",
        }
    found = settled(container, seen) if isinstance(container, Template) else container
    if isinstance(found, Mapping):
        return found if variables else {**found, "env": {}}
    return {"image": found}


def _spec(where: str, said: Mapping[str, Any], service: bool) -> ContainerSpec | None:
    """Raises `BrokenDefinition`."""
    image = _text(said.get("image")).strip().removeprefix("docker://")
    if not image:
        return None
    if problem := image_problem(image):
        hidden = problem.replace(f'"{cut(image)}"', '"***"')
        raise BrokenDefinition(f"{where}: {hidden}")
    try:
        options = parse_options(_text(said.get("options")), service)
        ports, volumes = _items(said.get("ports")), _items(said.get("volumes"))
        # Each of them is a port at least.
        check_counts(len(ports), len(volumes) + len(options.volumes))
        found = tuple(port for text in ports for port in parse_ports(text))
        check_counts(len(found) + len(options.ports), 0)
        return ContainerSpec(
            image,
            _login(said.get("credentials")),
            _texts(said.get("env")),
            options,
            found,
            tuple(map(parse_volume, volumes)),
            (_text(said.get("entrypoint")).strip() or None) if service else None,
            _command(_text(said.get("command"))) if service else None,
        )
    except BadContainer as error:
        raise BrokenDefinition(f"{where}: {error.hidden}") from None


def _login(said: Any) -> Login | None:
    given = _texts(said)
    username, password = given.get("username", ""), given.get("password", "")
    if bool(username) != bool(password):
        raise BadContainer(f"credentials: the {'password' if username else 'username'} is empty")
    return Login(username, password) if username else None


def _command(text: str) -> tuple[str, ...] | None:
    try:
        return tuple(shlex.split(text)) or None
    except ValueError as error:
        raise BadContainer(f"command cannot be read: {error}") from None


def _texts(said: Any) -> dict[str, str]:
    return {name: _text(value) for name, value in said.items()} if isinstance(said, Mapping) else {}


def _items(said: Any) -> list[str]:
    if isinstance(said, Sequence) and not isinstance(said, str):
        return [_text(item) for item in said]
    return [_text(said)] if said else []


def _text(value: Any) -> str:
    return to_string(known(value))
