"""Steps on this machine as it is: cleanup, and no isolation."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from runner.errors import Unavailable
from runner.executors import cgroups
from runner.executors.agent import AgentSandbox, probe
from runner.executors.cgroups import Cgroup, Limits
from runner.executors.line import Pipes
from runner.executors.place import AGENT, Place, agent

SWEEP = Path(__file__).with_name("sweep.sh")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

MARK = "RUNNER_TRACKING_ID"
"""Where there is no PID namespace, a step's environment has this one variable more."""


class Host:
    """Runs steps as this process's user, on its files, with its network: for writers you trust with it.

    Every process of a job is in a PID namespace of its own and dies with it. Where the machine does not
    let us make one (`namespaces=False` asks for that), processes are found by a variable in their
    environment, by descent and by session: one that sheds all three escapes. Limits are held by cgroups
    where we may make them, which is as root.
    """

    owner: tuple[int, int] | None = None

    def __init__(
        self, path: str = SYSTEM_PATH, limits: Limits | None = None, namespaces: bool | None = None
    ) -> None:
        self._path = path
        self._limits = limits or Limits()
        self._apart = () if namespaces is False else _apart()
        if namespaces and not self._apart:
            raise Unavailable("no PID namespace can be made here: run as root, or allow user namespaces")
        if os.geteuid() == 0:
            cgroups.sweep()

    def open(self, workspace: Path, temp: Path, label: str, image: str | None) -> AgentSandbox:
        """`image` is of no use here and ignored."""
        place = Place(str(workspace), str(temp), temp, self._path, self.owner)
        place.prepare()
        cgroup = cgroups.create(label, self._limits) if os.geteuid() == 0 else None
        return AgentSandbox(self._line(temp, label, cgroup), place)

    def check(self) -> str | None:
        return probe(self)

    def _line(self, temp: Path, label: str, cgroup: Cgroup | None) -> Pipes:
        entrances = cgroup.entrances if cgroup else ()
        after = cgroup.remove if cgroup else None
        # A user's own limit counts all its processes, but in a user namespace only those in there.
        processes = self._limits.processes if self._apart and os.geteuid() else None
        if self._apart:
            argv = agent(str(AGENT), str(temp), processes)
            return Pipes([*self._apart, *argv, *entrances], {}, after=after)
        sweep(f"{MARK}={label}-")
        name = f"{label}-{secrets.token_hex(4)}"
        mark = f"{MARK}={name}"
        argv = [*agent(str(AGENT), str(temp), processes, mark, str(SWEEP)), *entrances]
        return Pipes(argv, {MARK: name}, kill=lambda: sweep(mark), after=after)


def sweep(mark: str) -> None:
    """Kill all that carry a mark, with their descendants."""
    subprocess.run(["/bin/sh", str(SWEEP), mark], env={"PATH": SYSTEM_PATH}, check=False)


def _apart() -> Sequence[str]:
    """What to put before a command to give it a PID namespace; empty where that cannot be done."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    user = () if os.geteuid() == 0 else ("--user", "--map-current-user")
    argv = (unshare, *user, "--pid", "--fork", "--mount-proc", "--kill-child")
    tried = subprocess.run([*argv, "/bin/true"], env={}, capture_output=True, check=False)
    return argv if tried.returncode == 0 else ()
