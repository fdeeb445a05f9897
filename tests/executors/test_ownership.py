"""Who steps run as: where root has a user for them, that one; else whoever the worker is."""

import os
import subprocess
import sys

import pytest

from runner.executors.ownership import JOB_UID, owner

BY_ANOTHER_USER = """\
import ctypes, os
from runner.errors import Unavailable
from runner.executors import executor
from runner.executors.daemon import Daemon
from runner.executors.ownership import owner

# Whoever it becomes may read nothing of what they are made of.
sandbox, host = executor("sandbox"), executor("host")
NEW_USER = 0x10000000
apart, mapped = os.pipe(), os.pipe()
if child := os.fork():
    os.read(apart[0], 1)
    for kind in "uid", "gid":
        with open(f"/proc/{child}/{kind}_map", "w") as file:
            file.write("0 {outside} 1")
    os.write(mapped[1], b"!")
    os.waitpid(child, 0)
else:
    ctypes.CDLL(None).unshare(NEW_USER)
    os.write(apart[1], b"!")
    os.read(mapped[0], 1)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    try:
        print(owner(), owner(0), flush=True)
        print(sandbox().check(), host().check(), flush=True)
        Daemon("unix:///there/is/none.sock").connect()
    except Unavailable as error:
        print(error, flush=True)
"""
"""What root of a user namespace is told, who is `outside` to everybody else."""

LOOKS = """\
from runner.errors import Unavailable
from runner.executors import executor
from runner.executors.daemon import Daemon
from runner.executors.ownership import owner

print(owner(), owner(0))
print(executor("sandbox")().check(), executor("host")().check())
try:
    Daemon("unix:///there/is/none.sock").connect()
except Unavailable as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts steps as somebody else")
def test_steps_of_root_are_of_a_user_of_their_own() -> None:
    assert owner() == (JOB_UID, JOB_UID)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may map any user")
@pytest.mark.parametrize(
    ("outside", "said"),
    [
        (12345, "None (0, 0)\nNone None\ndocker would run steps as root"),
        (0, "the root of this user namespace is root outside"),
    ],
)
def test_root_of_a_user_namespace_runs_steps_as_itself_unless_it_is_root_outside(
    outside: int, said: str
) -> None:
    program = BY_ANOTHER_USER.replace("{outside}", str(outside))
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)

    assert found.stdout.startswith(said), found.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root has the same in the test above")
def test_root_of_a_user_namespace_with_one_user_runs_steps_as_itself_and_asks_no_docker() -> None:
    command = ["unshare", "--map-root-user", sys.executable, "-c", LOOKS]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert found.returncode == 0, found.stderr
    owners, works, docker = found.stdout.splitlines()
    assert (owners, works) == ("None (0, 0)", "None None")
    assert docker.startswith("docker would run steps as root: the user namespace of this process has no uid")
