"""What the docker executor does besides the contract."""

import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from docker import APIClient

from runner.engine.ports import Exit
from runner.errors import Unavailable
from runner.executors.cgroups import Limits
from runner.executors.daemon import NoSuchImage
from runner.executors.docker import Docker, NoImage, UnusableImage
from runner.executors.ownership import JOB_UID
from runner.wiring import station
from runner.worker import Worker
from tests.crash.world import a_world
from tests.executors.jobs import PATIENCE, Job, Kind, a_token, comes_alive, survivors


def test_a_container_is_bare(docker: Kind, folder: Path) -> None:
    job = Job(docker, folder)
    client = APIClient(docker.options["url"], version="auto")
    try:
        (found,) = client.containers(filters={"label": f"runner.job={job.label}"})
        config = client.inspect_container(found["Id"])
    finally:
        client.close()
        job.sandbox.close()

    host = config["HostConfig"]
    assert {mount["Target"] for mount in host["Mounts"]} == {"/workspace", "/runner"}
    assert (host["Privileged"], host["CapAdd"], host["CapDrop"]) == (False, None, ["ALL"])
    assert (host["Devices"], host["SecurityOpt"]) == (None, ["no-new-privileges"])
    assert (host["NetworkMode"], host["PidMode"], host["UsernsMode"]) == ("none", "", "")
    assert (host["PidsLimit"], host["LogConfig"]["Type"], host["Init"]) == (4096, "none", True)
    assert config["Config"]["User"] == f"{JOB_UID}:{JOB_UID}"
    assert config["Config"]["Env"] in (
        None,
        ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    )


def test_a_step_has_no_capability_and_belongs_to_the_jobs_user(docker: Kind, folder: Path) -> None:
    job = Job(docker, folder)
    try:
        exit, printed = job.sh("grep CapEff /proc/self/status; touch made")
    finally:
        job.sandbox.close()

    assert (exit, printed.split()[1]) == (Exit(0), "0" * 16)
    assert (folder / "workspace" / "made").stat().st_uid == JOB_UID


def test_a_fork_bomb_hurts_only_its_own_job(docker: Kind, folder: Path) -> None:
    limited = Kind("docker", {**docker.options, "limits": Limits(processes=64)}, docker.image)
    job = Job(limited, folder)
    try:
        exit, _ = job.sh("bomb() { bomb | bomb & }; bomb; while :; do :; done", timeout=3)
        after = job.sh("echo on")
    finally:
        job.sandbox.close()

    assert exit.stopped == "timeout"
    assert after == (Exit(0), "on\n")


def test_leftovers_under_the_same_label_are_ended_first(docker: Kind, folder: Path) -> None:
    token = a_token()
    first = Job(docker, folder)
    try:
        first.sh(f"sleep {token} &")
        assert comes_alive(token)

        first.open(folder / "second").close()

        assert survivors(token) == []
    finally:
        first.sandbox.close()


def test_a_sweep_ends_the_dead_of_its_own_site_and_nobody_else(docker: Kind, folder: Path) -> None:
    site, token = secrets.token_hex(4), a_token()
    labels = [f"{site}-1-1", f"{site}-2-1", f"{site}a-1-1"]
    jobs = []
    for number, label in enumerate(labels):
        (folder / str(number)).mkdir()
        jobs.append(Job(docker, folder / str(number), label))
    dead, living, strangers = jobs
    dead.sh(f"sleep {token} &")
    try:
        Docker(**docker.options).sweep(site, lambda: {living.label})

        assert survivors(token) == []
        with pytest.raises(Unavailable, match="agent"):
            dead.sh("echo never")
        for spared in (living, strangers):
            assert spared.sh("echo on") == (Exit(0), "on\n")
    finally:
        for job in jobs:
            job.sandbox.close()


def test_a_worker_ends_what_a_dead_one_left_as_it_starts(docker: Kind, folder: Path, tmp_path: Path) -> None:
    token = a_token()
    with a_world(tmp_path, docker=docker.options["url"]) as world:
        here = station(world.services, "worker-2")
        left = Job(docker, folder, here.label(77, 1))
        left.sh(f"sleep {token} &")
        worker = Worker(world.services, here, ("linux",), 1)
        worker.start()
        try:
            assert survivors(token, PATIENCE) == []
        finally:
            worker.stop()
            left.sandbox.close()


def test_a_job_without_an_image_is_told_where_to_name_one(docker: Kind, folder: Path) -> None:
    with pytest.raises(NoImage, match="container:"):
        Job(Kind("docker", docker.options), folder)


def test_an_image_that_cannot_be_had_is_named_with_the_reason(docker: Kind, folder: Path) -> None:
    with pytest.raises(Unavailable, match="the image no-such/image:1 is not here and cannot be pulled: "):
        Job(Kind("docker", docker.options, "no-such/image:1"), folder)


def test_an_image_that_no_registry_has_is_the_definitions_fault(folder: Path) -> None:
    class Daemon(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "/images/" in self.path:
                self._answer(404, {"message": "No such image"})
            else:
                self._answer(200, {"ApiVersion": "1.41"} if "/version" in self.path else [])

        def do_POST(self) -> None:
            self._answer(404, {"message": "pull access denied for octo/typo"})

        def _answer(self, status: int, content: object) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Daemon)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with pytest.raises(NoSuchImage, match="no image octo/typo:1: pull access denied for octo/typo"):
            Job(Kind("docker", {"url": f"tcp://127.0.0.1:{server.server_port}"}, "octo/typo:1"), folder)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_image_without_a_shell_cannot_be_used(docker: Kind, folder: Path) -> None:
    client = APIClient(docker.options["url"], version="auto")
    try:
        client.import_image_from_data(bytes(10240), repository="empty", tag="latest")
        with pytest.raises(UnusableImage, match="empty:latest"):
            Job(Kind("docker", docker.options, "empty:latest"), folder)
    finally:
        client.close()


def test_a_daemon_that_is_not_there_is_named(folder: Path) -> None:
    problem = Docker(f"unix://{folder}/none.sock").check()

    assert problem is not None
    assert f"no docker daemon answers at unix://{folder}/none.sock" in problem
