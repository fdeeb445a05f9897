"""The administrator decides whether jobs have the network."""

import socket
from pathlib import Path

import pytest
from docker import APIClient

from runner.engine.ports import Command, Exit
from runner.settings import Settings
from runner.wiring import services
from tests.executors.jobs import Kind


@pytest.mark.parametrize(("network", "ended"), [(True, 0), (False, 1)])
def test_a_step_in_the_sandbox_reaches_localhost_only_where_jobs_have_the_network(
    folder: Path, network: bool, ended: int
) -> None:
    for name in ("home", "workspace", "temp"):
        (folder / name).mkdir(mode=0o711)
    made = services(Settings.from_env(home=folder / "home", job_network=network))
    sandbox = made.executors["sandbox"]().open(folder / "workspace", folder / "temp", "job-1", None)
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            argv = ("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{listener.getsockname()[1]}")
            command = Command(argv, {"PATH": sandbox.path}, sandbox.workspace, 30)
            assert sandbox.run(command, lambda printed: None) == Exit(ended)
    finally:
        sandbox.close()
        made.close()


def test_a_container_has_no_network_where_jobs_have_none(docker: Kind, folder: Path) -> None:
    for name in ("home", "workspace", "temp"):
        (folder / name).mkdir(mode=0o711)
    url = docker.options["url"]
    made = services(Settings.from_env(home=folder / "home", job_network=False, docker=url))
    label = f"job-{folder.name}"
    sandbox = made.executors["docker"]().open(folder / "workspace", folder / "temp", label, docker.container)
    client = APIClient(url, version="auto")
    try:
        (found,) = client.containers(filters={"label": f"runner.job={label}"})
        assert found["HostConfig"]["NetworkMode"] == "none"
    finally:
        client.close()
        sandbox.close()
        made.close()
