"""What docks do besides the contract."""

import json
import os
import secrets
import threading
from base64 import b64decode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import unquote

import pytest

from runner.engine.ports import Exit
from runner.errors import BrokenDefinition, Unavailable
from runner.executors.cgroups import Limits
from runner.executors.confinement import TO_DROP_ROOT
from runner.executors.daemon import Daemon, NoSuchImage, unused
from runner.executors.docker import Docker
from runner.executors.docks import Docks
from runner.executors.ownership import JOB_UID
from runner.workflow.containers import Login, Options, Volume
from tests.executors.jobs import PATIENCE, Kind
from tests.executors.yard import Yard, a_recipe, a_service, a_yard

DIGEST = f"sha256:{'0123' * 16}"


@pytest.fixture
def yard(docker: Kind, folder: Path) -> Iterator[Yard]:
    with a_yard(docker, folder) as made:
        yield made


def test_a_steps_container_is_bare_and_gone_when_it_ended(yard: Yard) -> None:
    found: list[Mapping[str, Any]] = []
    said: list[bytes] = []

    def log(chunk: bytes) -> None:
        said.append(chunk)
        if not found:
            found.extend(yard.ours())
            (yard.workspace / "go").touch()

    script = "grep -E 'Cap(Eff|Bnd)|NoNewPrivs' /proc/self/status; id -u; until [ -e go ]; do sleep 0.1; done"
    exit, _ = yard.run(yard.dock(), "bash", "-c", script, log=log)

    (container,) = found
    host = container["HostConfig"]
    assert exit == Exit(0)
    assert b"".join(said).split() == [
        *(b"CapEff:", b"0" * 16, b"CapBnd:", b"0" * 16, b"NoNewPrivs:", b"1", str(JOB_UID).encode()),
    ]
    assert {mount["Target"] for mount in host["Mounts"]} == {"/github/workspace", "/github/runner_temp"}
    assert (host["Privileged"], host["CapAdd"], host["CapDrop"]) == (False, None, ["ALL"])
    assert yard.ours() == []


def test_root_of_the_host_has_its_way_with_files_and_nothing_else(yard: Yard) -> None:
    (yard.workspace / "theirs").write_text("")
    (yard.workspace / "theirs").chmod(0o600)
    os.chown(yard.workspace / "theirs", 12345, 12345)

    exit, printed = yard.run(
        yard.dock(), "bash", "-c", "echo x > theirs; id -u; grep CapEff /proc/self/status", owner=(0, 0)
    )

    assert exit == Exit(0)
    assert printed.split() == ["0", "CapEff:", "00000000000000cb"]
    assert len(TO_DROP_ROOT) == bin(0xCB).count("1")


def test_options_cannot_go_beyond_the_jobs_limits(yard: Yard) -> None:
    dock = yard.dock(limits=Limits(processes=64, memory=64 << 20))
    service = a_service(yard, options=Options(memory=65 << 20))

    with pytest.raises(
        BrokenDefinition, match="--memory 68157440 is more than a job may have here: 67108864"
    ):
        dock.start({"cache": service}, PATIENCE, yard.said.append)


def test_an_image_is_not_had_by_the_beginning_of_its_id(yard: Yard) -> None:
    client = yard.client()
    id = client.images(yard.image)[0]["Id"].removeprefix("sha256:")
    client.close()

    with pytest.raises((Unavailable, BrokenDefinition), match=id[:12]):
        yard.run(yard.dock(), image=id[:12])
    with pytest.raises(BrokenDefinition, match="cannot be named"):
        yard.run(yard.dock(label=f"{yard.label}1"), image="runner.local/action:1")


def test_a_private_image_is_asked_for_each_time_and_kept_under_a_name_of_nobodys() -> None:
    asked: list[tuple[str, str]] = []
    logins: list[dict[str, str]] = []
    answer: list[dict[str, str]] = [{"status": "pulled"}]

    class Registry(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "/distribution/" in self.path:
                asked.append(("GET", self.path))
                self._login()
                if refused := answer[0].get("error"):
                    self._answer({"message": refused}, 401)
                else:
                    self._answer({"Descriptor": {"digest": DIGEST}})
            else:
                self._answer({"ApiVersion": "1.41", "Id": "sha256:1", "RepoTags": []})

        def do_POST(self) -> None:
            asked.append(("POST", self.path))
            if "/create" in self.path:
                self._login()
                self._answer(answer[0])
            else:
                self._answer({}, 201)

        def do_DELETE(self) -> None:
            asked.append(("DELETE", self.path))
            self._answer([])

        def _login(self) -> None:
            logins.append(json.loads(b64decode(self.headers["X-Registry-Auth"], b"-_")))

        def _answer(self, content: object, status: int = 200) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    reached, login = Daemon(f"tcp://127.0.0.1:{server.server_port}"), Login("me", "hunter2")
    try:
        for _ in range(2):
            assert reached.fetch("octo/private:1", login, monotonic() + PATIENCE) == "sha256:1"
        answer[0] = {"error": "unauthorized: authentication required"}
        with pytest.raises(NoSuchImage, match="no image octo/private:1: unauthorized") as refused:
            reached.fetch("octo/private:1", login, monotonic() + PATIENCE)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

    assert [(one["username"], one["password"]) for one in logins] == [("me", "hunter2")] * 5
    assert "hunter2" not in str(refused.value)
    ask, pull, tag, untag = asked[:4]
    assert "/distribution/octo/private:1/json" in ask[1]
    assert f"tag={DIGEST.replace(':', '%3A')}&fromImage=octo%2Fprivate" in pull[1]
    assert "repo=runner.local%2Fprivate" in tag[1]
    assert (untag[0], f"/images/octo/private@{DIGEST}?" in unquote(untag[1])) == ("DELETE", True)
    assert all("hunter2" not in path for _, path in asked)


def test_an_image_that_was_made_is_unused_only_after_a_while(yard: Yard) -> None:
    before, recipe = datetime.now(UTC) - timedelta(minutes=1), a_recipe(yard, salt=secrets.token_hex(8))
    yard.run(yard.dock(network=False), image=recipe)
    (name,) = [line.split()[-1] for line in b"".join(yard.said).decode().splitlines() if "tagged" in line]
    client = yard.client()
    try:
        assert name not in list(unused(client, before))
        assert name in list(unused(client, before + timedelta(minutes=9)))
    finally:
        client.close()


def test_a_sweep_removes_all_of_the_dead_and_nothing_else(yard: Yard) -> None:
    site = yard.label.partition("-")[0]
    dead, living = yard.dock(), yard.dock(label=f"{site}-8-1")
    kept = Options(volumes=(Volume("/kept", "kept"),))
    for dock in (dead, living):
        dock.start({"one": a_service(yard, "sleep 1000", options=kept)}, PATIENCE, yard.said.append)

    Docker(yard.url).sweep(site, lambda: {f"{site}-8-1"})

    assert sorted(set(yard.left())) == [*(f"{site}-8-1", f"runner-{site}-8-1", f"runner-{site}-8-1-kept")]


def test_what_is_left_of_the_surely_dead_is_removed_with_it(yard: Yard) -> None:
    site = yard.label.partition("-")[0]
    service = a_service(yard, "sleep 1000", options=Options())
    yard.dock(label=f"{site}-9-1").start({"one": service}, PATIENCE, yard.said.append)
    made = Docks(yard.url, dead=f"{site}-9-1".__eq__).dock(yard.site(yard.label, False))
    yard.docks.append(made)

    assert yard.left() == []
