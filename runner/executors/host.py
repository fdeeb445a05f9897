"""Steps on this machine as it is: cleanup, and no isolation."""

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from runner.errors import Unavailable
from runner.executors import cgroups
from runner.executors.agent import AgentSandbox, probe
from runner.executors.cgroups import Cgroup, Limits
from runner.executors.line import Pipes
from runner.executors.place import AGENT, Place, agent
from runner.workflow.containers import ContainerSpec

SWEEP = Path(__file__).with_name("sweep.sh")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

NAMESPACED_PID_MAX = (6, 14)
"""The kernel from which /proc/sys/kernel/pid_max belongs to a PID namespace; before, to the machine."""
FIRST_PID = 301
"""What the kernel keeps back once PIDs have gone round."""

MARK = "RUNNER_TRACKING_ID"
"""Where there is no PID namespace, a step's environment has this one variable more."""


class Host:
    """Runs steps as this process's user, on its files, with its network: for writers you trust with it.

    Every process of a job is in a PID namespace of its own and dies with it. Where the machine does not
    let us make one (`namespaces=False` asks for that), processes are found by a variable in their
    environment, by descent and by session: one that sheds all three escapes. As root, limits are held
    by the namespace where the kernel can, else by a cgroup.
    """

    owner: tuple[int, int] | None = None
    objects: str | None = None

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

    def open(
        self,
        workspace: Path,
        temp: Path,
        label: str,
        container: ContainerSpec | None,
        lent: Path | None = None,
    ) -> AgentSandbox:
        """`container` is of no use here and ignored; steps see `lent` as it is."""
        if os.geteuid() == 0:
            _hand_over(workspace)
        place = Place(str(workspace), str(temp), temp, self._path, self.owner)
        place.prepare()
        # To enter a cgroup waits for every processor to have been idle once: 20 ms on a quiet machine.
        grouped = os.geteuid() == 0 and (self._limits.memory is not None or not self._counted)
        cgroup = cgroups.create(label, self._limits) if grouped else None
        return AgentSandbox(self._line(temp, label, cgroup), place)

    @property
    def _counted(self) -> bool:
        """Whether the PID namespace itself can limit how many processes there are."""
        release = tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])
        return bool(self._apart) and os.geteuid() == 0 and release >= NAMESPACED_PID_MAX

    def check(self) -> str | None:
        return probe(self)

    def sweep(self, site: str, living: Callable[[], Collection[str]]) -> None:
        """Nothing outlives its worker."""

    def _line(self, temp: Path, label: str, cgroup: Cgroup | None) -> Pipes:
        entrances = cgroup.entrances if cgroup else ()
        after = cgroup.remove if cgroup else None
        # A user's own limit counts all its processes, but in a user namespace only those in there.
        processes = str(self._limits.processes) if self._apart and os.geteuid() else ""
        if self._counted:
            processes = f"={FIRST_PID + self._limits.processes}"
        if self._apart:
            argv = agent(str(AGENT), str(temp), processes)
            return Pipes([*self._apart, *argv, *entrances], {}, after=after)
        sweep(f"{MARK}={label}-")
        name = f"{label}-{secrets.token_hex(4)}"
        mark = f"{MARK}={name}"
        argv = [*agent(str(AGENT), str(temp), processes, mark, str(SWEEP)), *entrances]
        return Pipes(argv, {MARK: name}, kill=lambda: sweep(mark), after=after)


def _hand_over(workspace: Path) -> None:
    """Make root's what git looks at before it trusts a repository: its folder, and the one that it is in."""
    for path in (workspace, workspace / ".git"):
        with suppress(FileNotFoundError):
            if path.lstat().st_uid:
                os.chown(path, 0, 0, follow_symlinks=False)


def sweep(mark: str) -> None:
    """Kill all that carry a mark, with their descendants."""
    subprocess.run(["/bin/sh", str(SWEEP), mark], env={"PATH": SYSTEM_PATH}, check=False)


def _apart() -> Sequence[str]:
    """What to put before a command to give it a PID namespace; empty where that cannot be done."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    user = () if os.geteuid() == 0 else ("--user", "--map-current-user")
    # What is mounted later, and what is taken off, is so in there too.
    apart = ("--pid", "--fork", "--mount-proc", "--propagation", "slave", "--kill-child")
    argv = (unshare, *user, *apart)
    tried = subprocess.run([*argv, "/bin/true"], env={}, capture_output=True, check=False)
    return argv if tried.returncode == 0 else ()
