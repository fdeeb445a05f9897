"""Ports to the places where steps run."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from runner.errors import RunnerError
from runner.workflow.containers import ContainerSpec


@dataclass(frozen=True, slots=True)
class Command:
    """One step as a sandbox runs it.

    `argv` is complete, its paths as seen inside. `env` is the whole environment. `timeout` is in
    seconds. `cwd` is absolute, as seen inside. `cancellable`: whether `Sandbox.interrupt` ends it.
    """

    argv: tuple[str, ...]
    # What a traceback shows of a command must not show the secrets in it.
    env: Mapping[str, str] = field(repr=False)
    cwd: str
    timeout: float
    cancellable: bool = True


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended: its exit code (128 + N for a signal), or why it was stopped.

    `stopped` is `timeout` where its time was up, `cancel` where `Sandbox.interrupt` ended it, `stop`
    where `Sandbox.stop` did.
    """

    code: int
    stopped: str | None = None


class ChannelClosed(RunnerError):
    """A program that talks has ended, or what it says is no conversation; `exit` is how, if that is known."""

    def __init__(self, exit: "Exit | None", reason: str) -> None:
        super().__init__(reason or "it has ended")
        self.exit = exit
        self.reason = reason


class Channel(Protocol):
    """A conversation with a program in a sandbox; `runner.sdk.wire` says what a message is.

    Errors: `ChannelClosed`; `Unavailable` where the place itself breaks.
    """

    def connect(self, seconds: float) -> bool:
        """Wait for the program to be there, so many seconds at the most; whether it is."""

    def send(self, message: Mapping[str, Any]) -> None:
        """Of a program that has ended, `receive` gives what it had said before, and then its end."""

    def receive(self, seconds: float) -> Mapping[str, Any] | None:
        """The next message; None where none came within so many seconds, or somebody called `wake`."""

    def wake(self) -> None:
        """Have `receive` return at once, from any thread."""

    def close(self) -> None:
        """Let go of it; the program is ended with the sandbox."""


class Sandbox(Protocol):
    """One job's place to run steps: what a step starts in the background lives until `close`.

    `workspace` and `temp` are folders as the step sees them; `host_temp` is `temp` as we see it.
    Errors: `Unavailable` where the place itself breaks.
    """

    workspace: str
    temp: str
    host_temp: Path
    path: str
    """The PATH that a step begins with."""
    home: str
    """The HOME that a step begins with: an empty folder of the job's own, as the step sees it."""
    owner: tuple[int, int] | None
    """The user and group that steps are, seen from outside; None: whoever this process is."""
    container: str
    """The id of the container that it is; empty where it is none."""

    @property
    def namespace(self) -> int | None:
        """A pidfd of a process in it, which is waited for; None where that is not known."""

    def run(self, command: Command, log: Callable[[bytes], None]) -> Exit:
        """Run to the end, handing output on as it comes, stdout and stderr in one stream."""

    def talk(self, command: Command, log: Callable[[bytes], None]) -> Channel:
        """Run a program to talk with: it is given one argument more, the path of a socket to connect to.

        As long as it runs, nothing else does: `run` waits for its end.
        """

    def interrupt(self) -> None:
        """End the running command and all it started, from any thread, with time to end by itself.

        A later command that may be cancelled ends at once; others run.
        """

    def stop(self) -> None:
        """End everything in the sandbox, from any thread; `run` then returns, and every later one at once."""

    def close(self) -> None:
        """End every process of the job, also those that called setsid, and remove `temp`."""


BOX_OBJECTS = "/run/git"
"""Where steps that do not see this machine's files find what `Workspaces.lent` has."""


class Executor(Protocol):
    """A way to isolate a job."""

    objects: str | None
    """Where a sandbox shows what `lent` has; None where steps see it at its own place."""

    def open(
        self,
        workspace: Path,
        temp: Path,
        label: str,
        container: ContainerSpec | None,
        lent: Path | None = None,
    ) -> Sandbox:
        """A sandbox over `workspace`. `temp` is a fresh folder for the step's own files.

        `lent` is a folder that steps can read only.

        `label` names the job's attempt, unique among all jobs, as SITE-JOB-ATTEMPT; leftovers under the
        same label are ended first. `container` is what the job asks for where it is to be one.
        """

    def check(self) -> str | None:
        """Why this executor cannot work on this machine, or None where it can."""

    def sweep(self, site: str, living: Callable[[], Collection[str]]) -> None:
        """End whatever outlived its worker of the jobs whose labels begin with `site-` and are not living.

        Raises `Unavailable`.
        """
