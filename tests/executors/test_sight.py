"""Whether docker would see what we mount."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runner.executors.sight import blindness

LISTENING = """
import socket, sys
with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(sys.argv[1])
    listening.listen()
    print("listening", flush=True)
    sys.stdin.read()
"""


def test_a_daemon_beside_us_sees_what_we_mount(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        assert blindness(f"unix://{path}") is None


def test_where_there_is_no_docker_nobody_is_blind(tmp_path: Path) -> None:
    assert blindness(f"unix://{tmp_path / 'docker.sock'}") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a mount namespace without another")
def test_a_daemon_with_mounts_of_its_own_does_not(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    command = ["unshare", "--mount", sys.executable, "-c", LISTENING, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "listening\n"

        assert "has mounts of its own" in str(blindness(f"unix://{path}"))
        daemon.kill()


def test_a_daemon_on_another_machine_does_not() -> None:
    assert "has mounts of its own" in str(blindness("tcp://build.example:2375"))
