"""A real Docker daemon for tests, shared by all parallel test processes.

The first process that needs it starts it, the last one that used it ends it: each holds a shared lock
while it does, and whoever can take the lock for itself is the last.
"""

import fcntl
import io
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from docker import APIClient

from tests.servers import end_process

PATIENCE = 60.0
IMAGE = "runner-test:latest"
PYTHON_IMAGE = "runner-test-python:latest"
STDLIB = Path("/usr/lib/python3.11")
UNUSED = {"__pycache__", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo"}
"""Parts of it that no workflow imports."""
PROGRAMS = (
    "/bin/sh /bin/bash /usr/bin/setsid /usr/bin/env /usr/bin/sleep /usr/bin/cat /usr/bin/head /usr/bin/yes"
    " /usr/bin/nohup /usr/bin/id /usr/bin/touch /usr/bin/mkdir /usr/bin/true /usr/bin/grep /usr/bin/wc"
    " /usr/bin/ls /usr/bin/rm /usr/bin/mkfifo /usr/bin/stat /usr/bin/chown /usr/bin/setpriv /usr/bin/ln"
    " /usr/bin/redis-server /usr/bin/redis-cli"
)


@contextmanager
def dockerd(folder: Path) -> Iterator[str]:
    """The address of a daemon without any network. The folder must have a short path.

    Its process is noted in `docker.pid`, for whoever cleans up after a test run that crashed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "docker.start").open("w") as start, (folder / "docker.users").open("w") as users:
        fcntl.flock(start, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        address = f"{folder}/docker.sock"
        try:
            if not _answers(address):
                _start(folder, address)
            fcntl.flock(start, fcntl.LOCK_UN)
            yield f"unix://{address}"
        finally:
            fcntl.flock(start, fcntl.LOCK_EX)
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _end(folder)


def _answers(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(address)
            client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"200 OK" in client.recv(4096)
        except OSError:
            return False


def _start(folder: Path, address: str) -> None:
    # Outlives this process, as another may be the last that uses it: so setsid forks, and goes.
    log = folder / "docker.log"
    with log.open("ab") as output:
        subprocess.run(
            [
                *("/usr/bin/setsid", "--fork", "/usr/sbin/dockerd", "-H", f"unix://{address}"),
                *("--pidfile", f"{folder}/docker.pid"),
                *(
                    "--data-root",
                    f"{folder}/docker-data",
                    "--exec-root",
                    f"{folder}/docker-exec",
                    "--bridge=none",
                ),
                *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=True,
        )
    until = time.monotonic() + PATIENCE
    while not _answers(address):
        if time.monotonic() > until:
            raise TimeoutError(f"dockerd does not start: {log.read_text()[-2000:]}")
        time.sleep(0.02)


def _end(folder: Path) -> None:
    with suppress(FileNotFoundError):
        end_process(int((folder / "docker.pid").read_text()), signal.SIGTERM)
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{folder}/docker-")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False)
    for name in ("docker-data", "docker-exec"):
        shutil.rmtree(folder / name, ignore_errors=True)


def image(folder: Path, client: APIClient) -> str:
    """The name of an image of this machine's shell, core utilities and Redis; made once per daemon."""
    return _made(folder, client, IMAGE, PROGRAMS.split())


def python_image(folder: Path, client: APIClient) -> str:
    """The same with this machine's python3 in it."""
    return _made(folder, client, PYTHON_IMAGE, [*PROGRAMS.split(), "/usr/bin/python3"], STDLIB)


def _made(folder: Path, client: APIClient, image: str, programs: list[str], tree: Path | None = None) -> str:
    with (folder / "docker.image").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not client.images(image):
            name, tag = image.split(":")
            files = [] if tree is None else [str(path) for path in _modules(tree)]
            client.import_image_from_data(_tar(programs, files), repository=name, tag=tag)
    return image


def _modules(tree: Path) -> Iterator[Path]:
    for path in sorted(tree.rglob("*")):
        if path.is_file() and not UNUSED & set(path.relative_to(tree).parts):
            yield path


def _tar(programs: list[str], files: list[str]) -> bytes:
    linking = [*programs, *(path for path in files if path.endswith(".so"))]
    linked = subprocess.run(["ldd", *linking], capture_output=True, text=True, check=True).stdout
    libraries = set(re.findall(r"(/\S+) \(0x", linked))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for folder in ("tmp", "proc", "dev", "sys", "etc"):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(member)
        for path in (*programs, *sorted(libraries), *files):
            content = Path(path).read_bytes()
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()
