"""A job's folders with docks over them, to try containers beside sandboxes with."""

import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker import APIClient

from runner.engine.ports import Boxed, Exit, Recipe, Site
from runner.executors.docks import Dock, Docks
from runner.executors.ownership import JOB_UID
from runner.workflow.containers import ContainerSpec, Health, Options
from tests.executors.jobs import PATIENCE, SOON, Kind, comes_alive

REDIS = Health("redis-cli ping", interval=10**8, retries=50)
DROPS_ROOT = (
    "mkdir -p /data && chown 999:999 /data && cd /data && "
    "exec setpriv --reuid 999 --regid 999 --clear-groups redis-server --save '' --protected-mode no"
)


@dataclass
class Yard:
    """A job's folders, and docks over them; all of them are closed at the end."""

    folder: Path
    url: str
    image: str
    label: str = field(default_factory=lambda: f"{secrets.token_hex(4)}-7-1")
    said: list[bytes] = field(default_factory=list)
    docks: list[Dock] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("workspace", "temp", "temp/home"):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, JOB_UID, JOB_UID)
        (self.folder / "temp/event.json").write_text('{"ref": "main"}')

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def site(self, label: str, inside: bool) -> Site:
        temp = self.folder / "temp"
        return Site(label, self.workspace, temp, inside, "octo/hello")

    def dock(self, inside: bool = False, network: bool = True, label: str = "", **options: Any) -> Dock:
        made = Docks(self.url, network, **options).dock(self.site(label or self.label, inside))
        self.docks.append(made)
        return made

    def run(self, dock: Dock, *args: str, **given: Any) -> tuple[Exit, str]:
        printed: list[bytes] = []
        log: Callable[[bytes], None] = given.pop("log", printed.append)
        step: dict[str, Any] = {"image": self.image, "entrypoint": None, "env": {}, "timeout": PATIENCE}
        step |= {"owner": (JOB_UID, JOB_UID), **given}
        exit = dock.run(Boxed(args=args, **step), log, self.said.append)
        return exit, b"".join(printed).decode()

    def client(self) -> APIClient:
        return APIClient(self.url, version="auto")

    def ours(self, label: str = "") -> list[Mapping[str, Any]]:
        client = self.client()
        try:
            wanted = {"label": f"runner.job={label or self.label}"}
            return [client.inspect_container(one["Id"]) for one in client.containers(True, filters=wanted)]
        finally:
            client.close()

    def left(self) -> list[str]:
        """The names of everything that is still there of any job of this yard."""
        client, site = self.client(), self.label.partition("-")[0]
        try:
            names = [one["Labels"].get("runner.job", "") for one in client.containers(all=True)]
            names += [one["Name"] for one in client.networks()]
            names += [one["Name"] for one in client.volumes()["Volumes"] or ()]
            return [name for name in names if site in name]
        finally:
            client.close()

    def close(self) -> None:
        for dock in self.docks:
            dock.close(self.said.append)
        self.docks.clear()


def a_service(yard: Yard, command: str = DROPS_ROOT, **given: Any) -> ContainerSpec:
    options = given.pop("options", Options(health=REDIS))
    return ContainerSpec(yard.image, options=options, command=("bash", "-c", command), **given)


def says(port: int, text: str = "PING\r\n") -> bytes:
    with socket.create_connection(("127.0.0.1", port), SOON) as connection:
        connection.sendall(text.encode())
        return connection.recv(100)


def interrupts_at(dock: Dock, token: str) -> None:
    assert comes_alive(token)
    dock.interrupt()


@contextmanager
def a_yard(kind: Kind, folder: Path) -> Iterator[Yard]:
    """Nothing of it may be left at its end."""
    made = Yard(folder, kind.options["url"], str(kind.image))
    yield made
    made.close()
    assert made.left() == []


def a_recipe(yard: Yard, dockerfile: str = "", **files: str) -> Recipe:
    folder = yard.workspace / "an action"
    folder.mkdir(exist_ok=True)
    text = dockerfile or 'FROM {image}\nCOPY entry.sh /entry.sh\nENTRYPOINT ["/entry.sh"]\n'
    (folder / "Dockerfile").write_text(text.replace("{image}", yard.image))
    for name, content in {"entry.sh": '#!/bin/bash\necho "made $@"\n', **files}.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    return Recipe(yard.workspace, "an action", "Dockerfile")
