"""How a server starts, shares its home, stops and comes back."""

import signal
import socket
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import PATIENCE, Machine
from tests.cli.test_commands import WAITS


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_server_says_where_it_is_and_goes_in_order(bare_machine: Machine, number: int, status: int) -> None:
    said = bare_machine.start()

    assert said.startswith("runner listens on http://127.0.0.1:")
    assert stat.S_IMODE((bare_machine.home / "admin-token").stat().st_mode) == 0o600
    assert said.rpartition(" ")[2] in (bare_machine.home / "server.json").read_text()
    assert bare_machine.run("runs", "list", "--json").json == []
    assert bare_machine.stop(number) == status
    assert not (bare_machine.home / "server.json").exists()


def test_a_home_has_one_server(bare_machine: Machine) -> None:
    bare_machine.start()
    assert bare_machine.server is not None

    second = bare_machine.run("serve", "--port", "0")

    assert second.status == 1
    assert f"home is in use by pid {bare_machine.server.pid}" in second.err


def test_a_port_that_is_taken_is_named(bare_machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = bare_machine.run("serve", "--port", str(port))

    assert ran.status == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in ran.err


def test_tables_can_be_made_before_the_server_starts(bare_machine: Machine) -> None:
    for _ in range(2):
        assert bare_machine.run("migrate").status == 0

    assert "tables up to date" in bare_machine.run("doctor").out


def test_a_server_that_was_killed_is_named_and_nobody_else_is_sent_the_token(bare_machine: Machine) -> None:
    port = int(bare_machine.start().rpartition(":")[2])
    bare_machine.stop(signal.SIGKILL)

    with socket.create_server(("127.0.0.1", port)) as stranger:
        stranger.setblocking(False)
        for command in (("runs", "watch"), ("runs", "view", "1"), ("repo", "list")):
            ran = bare_machine.run(*command)
            assert ran.status == 1
            assert ran.err.startswith(
                f"runner: the server of {bare_machine.home}, last at http://127.0.0.1:{port},"
            )
            assert "is not running" in ran.err
            assert "start it again with `runner serve`" in ran.err
        with pytest.raises(BlockingIOError):
            stranger.accept()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_watching_goes_on_where_it_was_when_the_server_comes_back(bare_machine: Machine, number: int) -> None:
    flag = bare_machine.folder / "flag"
    bare_machine.start()
    bare = bare_machine.folder / "bare.git"
    assert bare_machine.run("repo", "add", "octo/hello", "--url", str(bare)).status == 0
    bare_machine.push(WAITS.format(flag=flag))
    # Nobody told the server of a push yet, so it asks the repository for its default branch.
    with bare_machine.spawn("trigger", "octo/hello", "--watch") as watching:
        assert watching.stdout is not None
        before = []
        for line in watching.stdout:
            before.append(line)
            if line == "[build] waiting\n":
                break

        bare_machine.stop(number)
        bare_machine.start()
        flag.touch()
        rest, _ = watching.communicate(timeout=PATIENCE)

    assert watching.returncode == 0, rest
    assert "[build] went on" in rest
    assert sum("run 1  " in line for line in [*before, *rest.splitlines()]) == 1


def a_step_that_waits(machine: Machine) -> Path:
    """Start a server and a run in it; gives the file that its step waits for."""
    machine.also["RUNNER_DRAIN"] = str(PATIENCE)
    flag = machine.folder / "flag"
    machine.start(before=("--verbose",))
    assert machine.run("repo", "add", "octo/hello", "--url", str(machine.folder / "bare.git")).status == 0
    machine.push(WAITS.format(flag=flag))
    with machine.spawn("trigger", "octo/hello", "--watch") as watching:
        assert watching.stdout is not None
        assert "[build] waiting\n" in iter(watching.stdout.readline, "")
    return flag


def test_a_server_that_is_asked_to_end_serves_on_until_its_steps_have(bare_machine: Machine) -> None:
    flag = a_step_that_waits(bare_machine)
    assert bare_machine.server is not None

    bare_machine.server.send_signal(signal.SIGTERM)
    (run,) = bare_machine.run("runs", "list", "--json").json
    assert run["status"] == "running"
    flag.touch()

    assert bare_machine.server.wait(PATIENCE) == 0
    bare_machine.stop()
    bare_machine.start()
    shown = bare_machine.run("runs", "view", "1", "--json").json
    assert shown["status"] == "success"
    assert [job["attempt"] for job in shown["jobs"]] == [1]


@pytest.mark.parametrize(("numbers", "status"), [((signal.SIGTERM,) * 2, 0), ((signal.SIGINT,), 130)])
def test_ctrl_c_and_a_second_signal_wait_for_no_step(
    bare_machine: Machine, numbers: tuple[int, ...], status: int
) -> None:
    a_step_that_waits(bare_machine)
    assert bare_machine.server is not None

    first, *more = numbers
    bare_machine.server.send_signal(first)
    for number in more:
        # One that is on its way is not counted twice.
        bare_machine.said("draining")
        bare_machine.server.send_signal(number)

    assert bare_machine.server.wait(PATIENCE / 2) == status


def test_a_server_refuses_the_objects_of_another_one(bare_machine: Machine) -> None:
    assert bare_machine.run("migrate").status == 0
    objects = bare_machine.home / "objects"
    objects.mkdir(exist_ok=True)
    (objects / "owner").write_text("another")

    ran = bare_machine.run("serve", "--port", "0")

    assert ran.status == 1
    assert f"what is kept in {objects} is that of another server's database ('another'" in ran.err
    assert f"remove {objects}/owner" in ran.err
    (objects / "owner").unlink()
    assert bare_machine.start()
