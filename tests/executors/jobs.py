"""Jobs to try executors with, and ways to see which of their processes live."""

import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker import APIClient

from runner.engine.ports import Command, Executor, Exit
from runner.executors import executor
from runner.executors.agent import AgentSandbox
from runner.workflow.containers import ContainerSpec
from tests.daemons import dockerd, image, python_image
from tests.servers import FOLDER

PATIENCE = 60.0
SOON = 30.0
"""What dies when it is told to is dead by then, on a busy machine too."""

WORKER = """
import json, sys
from pathlib import Path
from runner.engine.ports import Command
from runner.executors import executor
from runner.workflow.containers import ContainerSpec

name, options, image, workspace, temp, label, script = json.loads(sys.argv[1])
sandbox = executor(name)(**options).open(Path(workspace), Path(temp), label, image and ContainerSpec(image))
command = Command(("bash", "-ec", script), {"PATH": sandbox.path}, sandbox.workspace, 60)
sandbox.run(command, lambda printed: print(printed.decode(), end="", flush=True))
"""
"""A worker of one step, for a process that a test kills."""


@dataclass(frozen=True)
class Kind:
    """One executor, how it is made, and the image that a job of it names."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    image: str | None = None
    spec: ContainerSpec | None = None

    @property
    def container(self) -> ContainerSpec | None:
        return self.spec or (ContainerSpec(self.image) if self.image else None)

    def make(self) -> Executor:
        return executor(self.name)(**self.options)


@contextmanager
def docker_kind(python: bool = False) -> Iterator[Kind]:
    """`python`: whether its image has python3."""
    folder = Path(os.environ[FOLDER])
    with dockerd(folder) as url:
        client = APIClient(url, version="auto")
        made = python_image if python else image
        try:
            yield Kind("docker", {"url": url, "network": False}, made(folder, client))
        finally:
            client.close()


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users can pass through, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="runner-job-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made)


@contextmanager
def a_worker(kind: Kind, folder: Path, script: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that runs a step, as far as the step has said `ready`; it dies with the block."""
    for name in ("workspace", "temp"):
        (folder / name).mkdir()
    places = (str(folder / "workspace"), str(folder / "temp"), f"worker-{secrets.token_hex(4)}")
    told = json.dumps([kind.name, dict(kind.options), kind.image, *places, script])
    with subprocess.Popen([sys.executable, "-c", WORKER, told], stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
            yield worker
        finally:
            worker.kill()


class Job:
    """A sandbox with a workspace, and shell scripts as its steps."""

    def __init__(self, kind: Kind, folder: Path, label: str = "") -> None:
        self.kind = kind
        self.workspace = folder / "workspace"
        self.label = label or f"job-{secrets.token_hex(4)}"
        self.sandbox = self.open(folder / "temp")

    def open(self, temp: Path) -> AgentSandbox:
        self.workspace.mkdir(exist_ok=True)
        temp.mkdir()
        opened = self.kind.make().open(self.workspace, temp, self.label, self.kind.container)
        assert isinstance(opened, AgentSandbox)
        return opened

    def run(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout: float = PATIENCE,
        cancellable: bool = True,
        log: Callable[[bytes], None] | None = None,
    ) -> tuple[Exit, str]:
        printed: list[bytes] = []
        given = {"PATH": self.sandbox.path} | dict(env or {})
        command = Command(argv, given, cwd or self.sandbox.workspace, timeout, cancellable)
        exit = self.sandbox.run(command, log or printed.append)
        return exit, b"".join(printed).decode(errors="surrogateescape")

    def sh(self, script: str, **given: Any) -> tuple[Exit, str]:
        return self.run("bash", "-ec", script, **given)


def living(token: str) -> list[int]:
    """The processes on this machine with `token` in their arguments; the dead and unburied do not count."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if token.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [pid for pid in found if pid != os.getpid()]


def comes_alive(token: str, count: int = 1) -> bool:
    """Whether so many of them are there. A process that was just forked, or that is between one program
    and the next, has not got its arguments yet, so they are awaited."""
    until = time.monotonic() + PATIENCE
    while len(living(token)) < count and time.monotonic() < until:
        os.sched_yield()
    return len(living(token)) >= count


def survivors(token: str, within: float = SOON) -> list[int]:
    """Those still alive after so many seconds; answers as soon as there are none."""
    until = time.monotonic() + within
    while (left := until - time.monotonic()) > 0 and (pids := living(token)):
        try:
            held = os.pidfd_open(pids[0])
        except ProcessLookupError:
            continue
        poll = select.poll()
        poll.register(held, select.POLLIN)
        poll.poll(left * 1000)
        os.close(held)
    return living(token)


def a_token() -> str:
    """A number of seconds for `sleep` that nobody else sleeps."""
    return f"3153600{secrets.randbelow(10**9):09}"


def escapes(token: str) -> str:
    """A step that does everything to outlive its end, and says when it has."""
    forker = f"trap '' TERM INT HUP; while :; do sleep {token} & sleep 0.05; done"
    return "\n".join(
        [
            "trap '' TERM INT HUP",
            f"setsid sleep {token} &",
            f"nohup sleep {token} >/dev/null 2>&1 &",
            f"( ( setsid sleep {token} >/dev/null 2>&1 & ) & )",
            f"setsid bash -c 'trap \"\" TERM INT HUP; sleep {token}; :' &",
            f'setsid bash -c "$1" {token} >/dev/null 2>&1 &',
            "echo ready",
            f"sleep {token}; sleep {token}",
        ]
    ).replace('"$1"', f'"{forker}"')
