"""Steps in a bubblewrap sandbox: files, processes and, if asked, the network apart; the kernel shared."""

import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any

from runner.engine.ports import BOX_OBJECTS
from runner.errors import Unavailable
from runner.executors.agent import AgentSandbox, probe
from runner.executors.cgroups import Cgroup, Limits, create
from runner.executors.line import Pipes
from runner.executors.ownership import JOB_UID, owner
from runner.executors.place import AGENT, Place, agent
from runner.executors.seccomp import program
from runner.workflow.containers import ContainerSpec

WORKSPACE = "/workspace"
TEMP = "/runner"
SCRIPT = "/run/agent.sh"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

UID = 1000
PASSWD = f"root:x:0:0:root:/root:/bin/sh\nrunner:x:{UID}:{UID}:runner:{TEMP}/home:/bin/bash\n"
GROUP = f"root:x:0:\nrunner:x:{UID}:\n"

ETC = (
    *("alternatives", "ca-certificates", "crypto-policies", "hosts", "ld.so.cache", "localtime"),
    *("nsswitch.conf", "pki", "protocols", "resolv.conf", "services", "ssl"),
)
"""What programs expect of a system, and nothing that says more about this one."""

ISOLATION = (
    "--unshare-user --unshare-all --disable-userns --die-with-parent --new-session --clearenv"
    f" --as-pid-1 --cap-drop ALL --uid {UID} --gid {UID}"
).split()

# Joins cgroups before bubblewrap has children, which would otherwise stay outside.
JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 1; shift; done; shift; exec "$@"'


class Bubblewrap:
    """Runs steps as an unprivileged user who sees `/usr`, the workspace and little else.

    With `network` a step shares this machine's network, so it reaches whatever listens on localhost.
    `read_only` folders are seen at their own place, for toolchains outside `/usr`. As root, steps run
    as `uid`, to whom `open` gives `temp` and the workspace's top folder; the files in the workspace
    belong to whoever made them, which should be `owner`.
    """

    def __init__(
        self,
        network: bool = True,
        uid: int = JOB_UID,
        limits: Limits | None = None,
        tmp_bytes: int = 1 << 30,
        read_only: Iterable[Path] = (),
    ) -> None:
        self.owner = owner(uid)
        self.objects: str | None = BOX_OBJECTS
        self._limits = limits or Limits()
        self._network = ("--share-net",) if network else ()
        # Scripts that were written for containers, where everybody is root, look for its folder.
        own = ("--size", str(tmp_bytes), "--tmpfs", "/tmp", "--tmpfs", "/root")
        self._files = [*_system(), "--proc", "/proc", "--dev", "/dev", *own, *_readable(read_only)]
        self._programs = {name: shutil.which(name) for name in ("bwrap", "setpriv")}

    def open(
        self,
        workspace: Path,
        temp: Path,
        label: str,
        container: ContainerSpec | None,
        lent: Path | None = None,
    ) -> AgentSandbox:
        """`container` is of no use here and ignored."""
        place = Place(WORKSPACE, TEMP, temp, PATH, self.owner)
        place.prepare()
        if self.owner:
            os.chown(workspace, *self.owner)
        cgroup = None
        if self._limits.memory is not None:
            cgroup = create(label, self._limits)
            if cgroup is None:
                raise Unavailable("memory cannot be limited here: no cgroup can be made")
        return AgentSandbox(self._line(workspace, temp, cgroup, lent), place)

    def check(self) -> str | None:
        return probe(self)

    def sweep(self, site: str, living: Callable[[], Collection[str]]) -> None:
        """Nothing outlives its worker."""

    def _line(self, workspace: Path, temp: Path, cgroup: Cgroup | None, lent: Path | None) -> Pipes:
        with ExitStack() as stack:
            data = {
                SCRIPT: AGENT.read_bytes(),
                "/etc/passwd": PASSWD.encode(),
                "/etc/group": GROUP.encode(),
                "": program(),
            }
            held = {name: _held(stack, content) for name, content in data.items()}
            seccomp = held.pop("")
            argv = [
                *self._start(cgroup),
                *ISOLATION,
                *self._network,
                *self._files,
                *(word for path, fd in held.items() for word in ("--ro-bind-data", str(fd), path)),
                *(("--ro-bind", str(lent), BOX_OBJECTS) if lent else ()),
                *("--bind", str(workspace), WORKSPACE, "--bind", str(temp), TEMP, "--chdir", "/"),
                *("--seccomp", str(seccomp), "--", *agent(SCRIPT, TEMP, str(self._limits.processes))),
            ]
            passed = (*held.values(), seccomp)
            after = cgroup.remove if cgroup else None
            return Pipes(argv, {}, after=after, passed=passed, spawn=BIRTHPLACE.spawn)

    def _start(self, cgroup: Cgroup | None) -> Sequence[str]:
        for name, path in self._programs.items():
            if path is None and (name == "bwrap" or self.owner):
                package = {"bwrap": "bubblewrap", "setpriv": "util-linux"}[name]
                raise Unavailable(f"there is no {name} on this machine: install {package}")
        join = ("/bin/sh", "-c", JOIN, "sh", *cgroup.entrances, "--") if cgroup else ()
        if self.owner is None:
            return (*join, str(self._programs["bwrap"]))
        uid, gid = map(str, self.owner)
        drop = ("--reuid", uid, "--regid", gid, "--clear-groups", "--inh-caps=-all")
        return (*join, str(self._programs["setpriv"]), *drop, str(self._programs["bwrap"]))


class _Birthplace:
    """A thread that lives as long as the process and starts every sandbox.

    `--die-with-parent` kills a sandbox when the *thread* that started it ends.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._process = 0
        self._lock = Lock()

    def spawn(self, argv: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
        with self._lock:
            # A fork takes no threads along.
            if self._thread is None or self._process != os.getpid():
                self._thread, self._process = ThreadPoolExecutor(1, "sandboxes"), os.getpid()
            thread = self._thread
        return thread.submit(lambda: subprocess.Popen(argv, **options)).result()


# As long as the process, and so not an executor's own: a sandbox may outlive that.
BIRTHPLACE = _Birthplace()


def _held(stack: ExitStack, content: bytes) -> int:
    """A file in memory, for bubblewrap to read from its start."""
    fd = os.memfd_create("runner")
    stack.callback(os.close, fd)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _system() -> Iterable[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("bin", "lib", "lib64", "sbin"):
        top = Path("/", name)
        if top.is_symlink():
            yield from ("--symlink", f"usr/{name}", str(top))
        elif top.is_dir():
            yield from ("--ro-bind", str(top), str(top))
    for name in ETC:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")


def _readable(folders: Iterable[Path]) -> Iterable[str]:
    for folder in folders:
        yield from ("--ro-bind", str(folder), str(folder))
