"""Who steps run as: where root has a user for them, that one; else whoever the worker is."""

import os
import subprocess
import sys

import pytest

from runner.executors.ownership import JOB_UID, owner

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


def test_root_of_a_user_namespace_with_one_user_runs_steps_as_itself_and_asks_no_docker() -> None:
    command = ["unshare", "--map-root-user", sys.executable, "-c", LOOKS]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert found.returncode == 0, found.stderr
    owners, works, docker = found.stdout.splitlines()
    assert (owners, works) == ("None (0, 0)", "None None")
    assert docker.startswith("docker would run steps as root: the user namespace of this process has no uid")
