"""A real `runner serve` of this module's own, a real bare repository, and commands as people run them."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runner.cli.main import runner, status_of
from tests.forked import COMMAND, Forked, command, forked

PATIENCE = 120.0
RUNNER = [sys.executable, "-m", "runner.cli"]
GIT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def pytest_itemcollected(item: pytest.Item) -> None:
    """What waits for several processes one after the other has several times their patience."""
    item.add_marker(pytest.mark.timeout(3 * PATIENCE))


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Machine:
    """A home folder, its server while one runs, and a work tree with its bare repository."""

    folder: Path
    server: Forked | None = None
    also: dict[str, str] = field(default_factory=dict)
    """Variables that are set there besides."""

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def env(self) -> dict[str, str]:
        """What a person on this machine has in the environment."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        return kept | {
            "HOME": str(self.folder),
            "USER": "octo",
            "RUNNER_HOME": str(self.home),
            "RUNNER_GIT_PROTOCOLS": "file",
            "RUNNER_ACTIONS_URL": str(self.folder / "others"),
            "RUNNER_EXECUTOR": "host",
            "RUNNER_CONCURRENCY": "2",
            "RUNNER_DRAIN": "0",
            **self.also,
        }

    def start(self, *options: str, before: tuple[str, ...] = ()) -> str:
        """Start the server; gives the line that says where it listens. `before` precedes `serve`."""
        with (self.folder / "server.log").open("a") as log:
            args = (*before, "serve", "--port", "0", *options)
            self.server = forked(COMMAND, args, self.env, stderr=log.fileno())
        ready, _, _ = select.select([self.server.stdout], [], [], PATIENCE)
        assert ready, "the server says nothing"
        return self.server.stdout.readline().strip()

    def said(self, text: str) -> None:
        """Wait until the server has said that in its log."""
        until = time.monotonic() + PATIENCE
        while text not in (self.folder / "server.log").read_text():
            assert time.monotonic() < until, f"the server has not said {text!r}"
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; gives the server's exit status."""
        assert self.server is not None
        server, self.server = self.server, None
        with server:
            server.send_signal(number)
            return server.wait(PATIENCE)

    @contextmanager
    def spawn(self, *args: str) -> Iterator["subprocess.Popen[str]"]:
        """A command that goes on meanwhile; it dies with the block."""
        with subprocess.Popen([*RUNNER, *args], env=self.env, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, *args: str, said: str = "") -> Ran:
        """One command as a process of its own, `said` on its standard input."""
        done = command(*args, env=self.env, said=said)
        return Ran(done.returncode, done.stdout, done.stderr)

    # --- git -------------------------------------------------------------------------------------

    def git(self, *args: str, at: str = "work") -> str:
        command = ["git", *args]
        env = self.env | GIT
        done = subprocess.run(
            command, cwd=self.folder / at, env=env, check=True, capture_output=True, text=True
        )
        return done.stdout + done.stderr

    def push(self, workflow: str, branch: str = "main") -> str:
        """Commit a workflow and push it; gives what the push said."""
        path = self.folder / "work" / ".runner" / "workflows" / "ci.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(workflow)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        return self.git("push", "origin", f"HEAD:refs/heads/{branch}")


@contextmanager
def a_machine() -> Iterator[Machine]:
    # Jobs may run as another user, who must be able to pass through.
    machine = Machine(Path(tempfile.mkdtemp(prefix="runner-cli-", dir="/tmp")))
    machine.folder.chmod(0o711)
    try:
        machine.git("init", "-q", "--bare", "-b", "main", "bare.git", at=".")
        machine.git("clone", "-q", "bare.git", "work", at=".")
        yield machine
    finally:
        try:
            if machine.server is not None:
                machine.stop()
        finally:
            shutil.rmtree(machine.folder)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """With a server, and the repository octo/hello whose pushes it hears of."""
    with a_machine() as made:
        made.start()
        added = made.run("repo", "add", "octo/hello", "--url", str(made.folder / "bare.git"))
        assert added.status == 0, added.err
        hook = made.folder / "bare.git" / "hooks" / "post-receive"
        hook.write_text(made.run("repo", "hook", "octo/hello").out)
        hook.chmod(0o700)
        yield made


@pytest.fixture
def bare_machine() -> Iterator[Machine]:
    """Without a server yet."""
    with a_machine() as made:
        yield made


class Shell:
    """Commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *args: str) -> Ran:
        self._capsys.readouterr()
        status = status_of(runner, list(args))
        said = self._capsys.readouterr()
        return Ran(status, said.out, said.err)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture
def on_machine(machine: Machine, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Commands in this process, as if typed on the machine."""
    for name, value in machine.env.items():
        monkeypatch.setenv(name, value)
    return shell


def run_of(shell: Shell, commit: str) -> int:
    """The run that a push started, as soon as it is admitted."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = shell("runs", "list", "--commit", commit, "--json").json
        if found:
            run: int = found[0]["id"]
            return run
    raise AssertionError(f"no run for {commit}")
