"""What a job's containers beside its sandbox promise, tried on a real daemon."""

import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from runner.engine.ports import Command, Exit, Recipe
from runner.errors import BrokenDefinition, Unavailable
from runner.executors.confinement import TO_DROP_ROOT
from runner.executors.docker import Docker
from runner.executors.docks import OutOfReach
from runner.executors.ownership import JOB_UID
from runner.executors.packing import BadRecipe
from runner.executors.services import ServiceFailed
from runner.workflow.containers import ContainerSpec, Health, Options, Port, Volume
from tests.executors.jobs import PATIENCE, Kind, a_token, docker_kind, open_folder, survivors
from tests.executors.yard import REDIS, Yard, a_recipe, a_service, a_yard, interrupts_at, says
from tests.servers import reserved_port


@pytest.fixture(scope="session")
def docker() -> Iterator[Kind]:
    with docker_kind() as kind:
        yield kind


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as made:
        yield made


@pytest.fixture
def yard(docker: Kind, folder: Path) -> Iterator[Yard]:
    with a_yard(docker, folder) as made:
        yield made


# --- steps -----------------------------------------------------------------------------------


def test_a_step_ends_with_its_exit_code_and_what_it_printed(yard: Yard) -> None:
    dock = yard.dock()

    assert yard.run(dock, "bash", "-c", "echo out; exit 7") == (Exit(7), "out\n")
    assert yard.run(dock, "-c", "echo $0 $1", "a b", "$HOME", entrypoint="/bin/bash") == (
        Exit(0),
        "a b $HOME\n",
    )


def test_a_step_finds_the_jobs_folders_where_github_has_them(yard: Yard) -> None:
    (yard.workspace / "file").write_text("of the workspace\n")
    script = """
        pwd; cat file; cat /github/runner_temp/event.json; echo; echo "$HOME $ONE"
        touch made /github/runner_temp/home/x; echo 1 > /github/runner_temp/out
    """

    exit, printed = yard.run(
        yard.dock(), "bash", "-ec", script, env={"HOME": "/github/runner_temp/home", "ONE": "line\nline"}
    )

    assert printed.splitlines() == [
        "/github/workspace",
        "of the workspace",
        '{"ref": "main"}',
        "/github/runner_temp/home line",
        "line",
    ]
    assert exit == Exit(0)
    assert (yard.workspace / "made").stat().st_uid == JOB_UID
    assert (yard.folder / "temp/out").read_text() == "1\n"


def test_a_link_that_a_step_left_leads_to_nothing_of_the_machine(yard: Yard) -> None:
    secret, temp = yard.folder / "secret", yard.folder / "temp"
    secret.mkdir()
    (secret / "file").write_text("of another job")
    (temp / "home").rmdir()
    (temp / "home").symlink_to(secret)
    (temp / "event.json").unlink()
    (temp / "event.json").symlink_to(secret / "file")

    exit, printed = yard.run(yard.dock(), "bash", "-c", "cat $0/*/file $0/*/*.json 2>&1", "/github")

    assert exit == Exit(1)
    assert "of another job" not in printed


def test_a_program_that_is_not_there_fails_the_step(yard: Yard) -> None:
    exit, printed = yard.run(yard.dock(), "x", entrypoint="no-such-program")

    assert exit == Exit(127)
    assert "no-such-program" in printed


def test_what_no_program_can_be_given_fails_the_step(yard: Yard) -> None:
    dock = yard.dock()

    assert yard.run(dock, env={"A": "nul\0"})[0] == Exit(126)
    assert "holds a NUL byte" in yard.run(dock, "nul\0")[1]


def test_a_step_out_of_time_is_ended(yard: Yard) -> None:
    token = a_token()
    exit, _ = yard.run(
        yard.dock(), "bash", "-c", f"trap '' TERM INT; sleep {token}; sleep {token}", timeout=1
    )

    assert exit == Exit(137, "timeout")
    assert survivors(token) == []


def test_a_cancel_asks_first_and_a_later_step_that_may_be_cancelled_does_not_begin(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.executors.docks.CANCELLED", (("INT", 2 * PATIENCE),))
    dock = yard.dock()
    printed: list[bytes] = []

    def log(chunk: bytes) -> None:
        printed.append(chunk)
        if b"ready" in chunk:
            threading.Thread(target=dock.interrupt).start()

    began = monotonic()
    exit, _ = yard.run(
        dock, "bash", "-c", "trap 'echo asked; exit 3' INT; echo ready; while :; do sleep 0.1; done", log=log
    )

    assert (exit, b"".join(printed)) == (Exit(3, "cancel"), b"ready\nasked\n")
    assert monotonic() - began < 2 * PATIENCE, "it was not waited for longer than it took"
    assert yard.run(dock, "true") == (Exit(130, "cancel"), "")
    assert yard.run(dock, "bash", "-c", "echo on", cancellable=False) == (Exit(0), "on\n")


def test_what_resists_a_cancel_is_killed(yard: Yard) -> None:
    dock, token = yard.dock(), a_token()

    def log(chunk: bytes) -> None:
        threading.Thread(target=dock.interrupt).start()

    began = monotonic()
    script = f"trap '' TERM INT; echo ready; sleep {token}; sleep {token}"
    exit, _ = yard.run(dock, "bash", "-c", script, log=log)

    assert exit == Exit(137, "cancel")
    assert monotonic() - began >= 10.0
    assert survivors(token) == []


def test_a_stop_ends_the_step_and_every_later_one(yard: Yard) -> None:
    dock = yard.dock()
    exit, _ = yard.run(
        dock,
        *("bash", "-c", "trap '' TERM INT; echo ready; sleep 1000; sleep 1000"),
        log=lambda chunk: threading.Thread(target=dock.stop).start(),
    )

    assert exit == Exit(137, "stop")
    assert yard.run(dock, "true", cancellable=False) == (Exit(137, "stop"), "")


def test_an_image_that_nobody_has_is_named(yard: Yard) -> None:
    with pytest.raises(Unavailable, match="the image no-such/image:1 is not here and cannot be pulled: "):
        yard.run(yard.dock(), image="no-such/image:1")


# --- images ----------------------------------------------------------------------------------


def test_an_image_is_made_of_the_actions_folder_once(yard: Yard) -> None:
    dock, recipe = yard.dock(network=False), a_recipe(yard, salt=secrets.token_hex(8))

    first = yard.run(dock, "it", image=recipe)
    said = b"".join(yard.said)
    yard.said.clear()

    assert first == (Exit(0), "made it\n")
    assert b"Step 1/3 : FROM" in said
    assert yard.run(dock, "again", image=recipe) == (Exit(0), "made again\n")
    assert yard.said == []
    # A cancel finds nothing of it any more that could be cut off.
    dock.interrupt()


def test_what_is_run_for_an_image_is_not_taken_from_anybody_elses(yard: Yard) -> None:
    text = "FROM {image}\nRUN cat /proc/sys/kernel/random/uuid > /made\nCOPY salt /\n"
    made = []
    for _ in range(2):
        recipe = a_recipe(yard, text, salt=secrets.token_hex(8))
        made.append(yard.run(yard.dock(network=False), "cat", "/made", image=recipe))

    assert {exit for exit, _ in made} == {Exit(0)}
    assert made[0] != made[1]


def test_an_image_is_made_of_several_whose_names_are_those_of_any_image(yard: Yard) -> None:
    text = """
        ARG NAME={image}
        FROM $NAME AS first
        COPY salt /of/first
        FROM ${NAME}
        COPY --from=first /of/first /one
        COPY --from=0 /of/first /two
        COPY --from={image} /usr/bin/cat /three
    """
    recipe = a_recipe(yard, text, salt=secrets.token_hex(8))

    exit, printed = yard.run(
        yard.dock(network=False), "bash", "-c", "cat /one /two && /three /one", image=recipe
    )

    assert (exit, len(printed)) == (Exit(0), 3 * 16)


@pytest.mark.parametrize(
    "line", ["FROM {}", "FROM {image}\nCOPY --from={} / /", "FROM {image} AS a\nFROM sha256:{}"]
)
def test_an_image_is_not_made_of_one_by_the_beginning_of_its_id(yard: Yard, line: str) -> None:
    client = yard.client()
    id = client.images(yard.image)[0]["Id"].removeprefix("sha256:")[:12]
    client.close()

    with pytest.raises((BrokenDefinition, Unavailable), match=id):
        yard.run(yard.dock(network=False), image=a_recipe(yard, line.replace("{}", id)))


def test_what_an_image_has_done_at_each_build_is_looked_at(yard: Yard) -> None:
    client = yard.client()
    name = f"trigger-{secrets.token_hex(4)}"
    try:
        container = client.create_container(yard.image, "true")["Id"]
        client.commit(container, name, changes='ONBUILD ADD ["http://127.0.0.1/", "/x"]')
        client.remove_container(container)

        with pytest.raises(BadRecipe, match=f"made of {name}, which has ONBUILD: ADD .*own network"):
            yard.run(yard.dock(network=False), image=a_recipe(yard, f"FROM {name}\n"))
    finally:
        client.remove_image(name)


def test_what_runs_while_an_image_is_made_is_in_the_note_and_fails_it(yard: Yard) -> None:
    recipe = a_recipe(yard, "FROM {image}\nRUN echo working && exit 3\n", salt=secrets.token_hex(8))

    with pytest.raises(BadRecipe, match=r"an action/Dockerfile makes no image: .*non-zero code: 3"):
        yard.run(yard.dock(network=False), image=recipe)
    assert b"working\n" in b"".join(yard.said)


def test_the_making_of_an_image_is_within_the_steps_time_and_ends_on_a_cancel(yard: Yard) -> None:
    token = a_token()
    recipe = a_recipe(yard, f"FROM {{image}}\nRUN echo begun && sleep {token}\n", salt=secrets.token_hex(8))

    assert yard.run(yard.dock(network=False), image=recipe, timeout=4) == (Exit(137, "timeout"), "")
    assert survivors(token) == []

    dock = yard.dock(network=False)
    interrupting = threading.Thread(target=interrupts_at, args=(dock, token))
    interrupting.start()
    assert yard.run(dock, image=recipe) == (Exit(130, "cancel"), "")
    interrupting.join()
    assert survivors(token) == []


@pytest.mark.parametrize(
    ("target", "problem"),
    [("/etc/passwd", "out is a link that leads out"), ("../../secret", "out is a link that leads out")],
)
def test_a_link_that_leads_out_of_the_actions_folder_is_refused(
    yard: Yard, target: str, problem: str
) -> None:
    recipe = a_recipe(yard)
    (yard.workspace / "an action" / "out").symlink_to(target)

    with pytest.raises(BadRecipe, match=problem):
        yard.run(yard.dock(network=False), image=recipe)


def test_an_actions_folder_is_not_reached_over_a_link(yard: Yard) -> None:
    a_recipe(yard)
    (yard.workspace / "linked").symlink_to("an action")

    with pytest.raises(BadRecipe, match="linked is no folder"):
        yard.run(yard.dock(network=False), image=Recipe(yard.workspace, "linked", "Dockerfile"))
    with pytest.raises(BadRecipe, match="is not in the action's folder"):
        yard.run(yard.dock(network=False), image=Recipe(yard.workspace, "an action", "../linked/Dockerfile"))


# --- services --------------------------------------------------------------------------------


def test_a_service_that_drops_root_is_reached_from_localhost_when_it_is_healthy(yard: Yard) -> None:
    dock = yard.dock()

    found = dock.start({"cache": a_service(yard, ports=(Port(6379),))}, PATIENCE, yard.said.append)

    assert says(int(found["cache"].ports["6379"])) == b"+PONG\r\n"
    (container,) = yard.ours()
    assert container["Id"] == found["cache"].id
    assert container["HostConfig"]["PortBindings"] == {"6379/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    assert sorted(container["HostConfig"]["CapAdd"]) == list(TO_DROP_ROOT)
    yard.close()
    assert b"Log of the service cache" in b"".join(yard.said)
    assert b"Ready to accept connections" in b"".join(yard.said)


@pytest.mark.parametrize("network", [True, False])
def test_steps_and_the_jobs_own_container_reach_services_by_name(yard: Yard, network: bool) -> None:
    dock = yard.dock(inside=True, network=network)
    service = a_service(yard, options=Options(health=REDIS, aliases=("other",)))
    dock.start({"cache": service}, PATIENCE, yard.said.append)
    asks = "exec 3<>/dev/tcp/$0/6379; echo PING >&3; read -r said <&3; echo $said"

    assert yard.run(dock, "bash", "-c", asks, "cache") == (Exit(0), "+PONG\r\n")
    assert yard.run(dock, "bash", "-c", asks, "other") == (Exit(0), "+PONG\r\n")

    temp = yard.folder / "sandbox"
    temp.mkdir()
    spec = ContainerSpec(yard.image, network=dock.network)
    sandbox = Docker(yard.url, network).open(yard.workspace, temp, yard.label, spec)
    try:
        printed: list[bytes] = []
        command = Command(("bash", "-c", asks, "cache"), {"PATH": sandbox.path}, "/workspace", PATIENCE)
        assert sandbox.run(command, printed.append) == Exit(0)
        assert b"".join(printed) == b"+PONG\r\n"
    finally:
        sandbox.close()


def test_services_without_a_network_are_out_of_a_steps_reach(yard: Yard) -> None:
    with pytest.raises(OutOfReach, match="RUNNER_JOB_NETWORK=no"):
        yard.dock(network=False).start({"cache": a_service(yard)}, PATIENCE, yard.said.append)


def test_a_service_that_dies_is_named_with_its_last_lines(yard: Yard) -> None:
    service = a_service(yard, "echo starting; echo no disk; exit 3")

    with pytest.raises(ServiceFailed, match=r"(?s)service cache ended with exit code 3; .*starting.*no disk"):
        yard.dock().start({"cache": service}, PATIENCE, yard.said.append)


def test_a_service_that_is_never_healthy_is_named_with_what_its_check_said(yard: Yard) -> None:
    health = Health("echo not yet; exit 1", interval=10**8, retries=1)
    service = a_service(yard, "echo up; sleep 1000", options=Options(health=health))

    with pytest.raises(ServiceFailed, match=r"(?s)service cache is not healthy: not yet; .*up"):
        yard.dock().start({"cache": service}, PATIENCE, yard.said.append)


def test_the_wait_for_health_has_an_end(yard: Yard) -> None:
    health = Health("exit 1", interval=3600 * 10**9)
    service = a_service(yard, "sleep 1000", options=Options(health=health))

    with pytest.raises(ServiceFailed, match="not healthy in time"):
        yard.dock().start({"cache": service}, 2, yard.said.append)


def test_a_cancel_ends_the_wait_for_health(yard: Yard) -> None:
    health = Health("exit 1", interval=3600 * 10**9)
    dock, token = yard.dock(), a_token()
    interrupting = threading.Thread(target=interrupts_at, args=(dock, token))
    interrupting.start()
    service = a_service(yard, f"sleep {token}", options=Options(health=health))

    assert dock.start({"cache": service}, PATIENCE * 10, yard.said.append) == {}
    interrupting.join()


def test_a_port_that_is_taken_is_waited_for(yard: Yard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        service = a_service(yard, ports=(Port(6379, taken),))

        with pytest.raises(Unavailable, match="the service cache cannot have a port of this machine"):
            yard.dock().start({"cache": service}, PATIENCE, yard.said.append)


def test_a_job_that_goes_on_elsewhere_has_services_of_its_own_at_the_same_ports(yard: Yard) -> None:
    with reserved_port() as port:
        service = a_service(yard, ports=(Port(6379, port),))
        dead = yard.dock()
        dead.start({"cache": service}, PATIENCE, yard.said.append)
        first = says(port, "INCR x\r\n")

        yard.dock(label=yard.label[:-1] + "2").start({"cache": service}, PATIENCE, yard.said.append)

        assert (first, says(port, "INCR x\r\n")) == (b":1\r\n", b":1\r\n")
    assert yard.ours() == []


def test_volumes_are_the_jobs_own_and_writable_by_it(yard: Yard) -> None:
    dock = yard.dock(inside=True, network=False)
    volumes = (Volume("/fresh/one"), Volume("/shared/two", "named"), Volume("/src", None, read_only=True))
    service = a_service(yard, "echo from the service > /there/file; sleep 1000", options=Options())
    writes = ContainerSpec(
        yard.image, command=service.command, volumes=(Volume("/there", "named"), Volume("/w", None))
    )
    dock.start({"writes": writes}, PATIENCE, yard.said.append)
    temp = yard.folder / "sandbox"
    temp.mkdir()
    (yard.workspace / "file").write_text("x")
    spec = ContainerSpec(yard.image, volumes=volumes, network=dock.network)

    sandbox = Docker(yard.url, False).open(yard.workspace, temp, yard.label, spec)
    try:
        script = (
            "touch /fresh/one/x /shared/two/x && cat /src/file && ! touch /src/x 2>/dev/null && "
            "until [ -s /shared/two/file ]; do sleep 0.05; done; cat /shared/two/file"
        )
        printed: list[bytes] = []
        command = Command(("bash", "-c", script), {"PATH": sandbox.path}, "/workspace", PATIENCE)
        assert sandbox.run(command, printed.append) == Exit(0)
        assert b"".join(printed) == b"xfrom the service\n"
        mounts = {one["Target"]: one for one in yard.ours()[-1]["HostConfig"]["Mounts"]}
    finally:
        sandbox.close()
    services = [one for one in yard.ours() if one["Config"]["Labels"]["runner.part"] == "service"]
    mounts = {one["Target"]: one for one in services[0]["HostConfig"]["Mounts"]}
    assert mounts["/w"]["ReadOnly"] is True
