import json
import logging
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from runner.cli.journal import keep_journal
from runner.cli.main import COMMANDS, SUMMARIES, runner
from tests.cli.conftest import PATIENCE, Shell

HEAVY = {"pydantic", "httpx2", "sqlalchemy", "celery", "fastapi", "uvicorn", "rich", "structlog"}


def test_the_version_needs_no_library_but_click(shell: Shell) -> None:
    assert shell("--version").out == "runner 0.1.0\n"
    script = f"import sys, runner.cli.main; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_is_what_the_command_says_of_itself(name: str) -> None:
    command = runner.get_command(click.Context(runner), name)

    assert command is not None
    assert (command.help or "").splitlines()[0].rstrip(".") == SUMMARIES[name].rstrip(".")


@pytest.mark.parametrize("name", ["repo", "runs", "secret", "variable", "environment", "deliveries", "token"])
def test_the_help_of_a_group_has_no_summary_that_is_cut(shell: Shell, name: str) -> None:
    _, _, commands = shell(name, "--help").out.partition("Commands:")

    assert not [line for line in commands.splitlines() if line.endswith("...")]


def test_what_does_not_exist_is_a_usage_error(shell: Shell) -> None:
    assert shell("nothing").status == 2
    assert shell("runs", "view", "one").status == 2
    assert "No such command" in shell("nothing").err
    assert shell("--help").status == 0


@pytest.mark.parametrize(
    ("command", "number", "status"),
    [
        ("serve", signal.SIGTERM, 0),
        ("worker", signal.SIGTERM, 0),
        ("clock", signal.SIGTERM, 0),
        ("serve", signal.SIGINT, 130),
        ("runs", signal.SIGTERM, -signal.SIGTERM),
    ],
)
def test_a_signal_during_the_imports_ends_a_process_as_later_ones_do(
    tmp_path: Path, command: str, number: int, status: int
) -> None:
    (tmp_path / "slow.py").write_text("import sys\nprint('importing', flush=True)\nsys.stdin.read()\n")
    script = f"import sys, runner.cli.main as cli; sys.path.append({str(tmp_path)!r})\n"
    script += (
        f"cli.COMMANDS[{command!r}] = 'slow:command'; sys.argv = ['runner', '-v', {command!r}]; cli.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(number)
        assert process.wait(PATIENCE) == status


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNNER_URL", "RUNNER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RUNNER_HOME", str(tmp_path))
    monkeypatch.setenv("RUNNER_PORT", "1")


@pytest.mark.usefixtures("nowhere")
def test_without_a_server_a_command_says_how_to_start_one(shell: Shell, tmp_path: Path) -> None:
    for token in (False, True):
        if token:
            (tmp_path / "admin-token").write_text("a token that nobody asks for\n")
        ran = shell("runs", "list")
        assert ran.status == 1
        assert ran.err == (
            "runner: no server at http://127.0.0.1:1; start one with `runner serve`, or set RUNNER_URL\n"
        )


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("command", ["worker", "clock"])
def test_a_process_of_its_own_needs_a_broker(shell: Shell, command: str) -> None:
    ran = shell(command)

    assert ran.status == 1
    assert "set RUNNER_BROKER" in ran.err


@pytest.mark.usefixtures("nowhere")
def test_a_wrong_setting_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNER_LEASE", "soon")

    assert "RUNNER_LEASE" in shell("runs", "list").err


@pytest.mark.usefixtures("nowhere")
def test_what_is_in_no_token_is_not_sent(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "admin-token"
    file.write_bytes(b"hunter\xe4")
    of_the_file = shell("runs", "list")
    monkeypatch.setenv("RUNNER_TOKEN", "hunter\u00e4")
    of_the_variable = shell("runs", "list")

    assert (of_the_file.status, of_the_variable.status) == (4, 4)
    assert of_the_file.err.startswith(f"runner: {file} holds what is in no token")
    assert of_the_variable.err.startswith("runner: RUNNER_TOKEN holds what is in no token")


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("command", ["serve", "doctor"])
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DATABASE", "nonsense", "postgresql+psycopg://USER:PASSWORD@HOST/NAME, not 'nonsense'"),
        ("DATABASE", "mysql://u:hunter2@h/n", "sqlite:////FOLDER/runner.db"),
        ("DATABASE", "postgresql+psycopg://h:x/n", "postgresql+psycopg://USER"),
        ("DATABASE", "sqlite://", "sqlite:////FOLDER"),
        ("LABELS", "", "give at least one label, such as self-hosted"),
        ("LABELS", " , ", "give at least one label"),
        ("LABELS", "a,b,c,d,e,f,g,h,i", "limit of 8: a, b, c, d, e, f, g, h, i; leave some out"),
        ("HOME", "/proc/x", "a folder that you may write to, not '/proc/x'"),
        ("HOME", "/dev/null", "not '/dev/null'"),
        ("EXECUTOR", "zz", "RUNNER_EXECUTOR: there are host, sandbox, docker, not 'zz'"),
        ("ACTIONS_URL", "foo", "RUNNER_ACTIONS_URL: give the address of a forge"),
        ("ACTIONS_URL", "ftp://u:hunter2@x", "RUNNER_ACTIONS_URL: give the address of a forge"),
        ("DOCKER", "foo", "give the address of a daemon, such as unix:///var/run/docker.sock, not 'foo'"),
        ("GIT_PROTOCOLS", ",", "give protocols with colons between them, such as https:ssh, not ','"),
        ("GIT_NETWORKS", "x", "RUNNER_GIT_NETWORKS: give networks with commas between them"),
        ("URL", "zz", "give the address of a server, such as https://ci.example.org, not 'zz'"),
        ("BROKER", "amqp://u:hunter2@x", "redis://HOST:PORT/NUMBER or rediss://HOST:PORT/NUMBER"),
        ("BROKER", "redis://x:y/0", "give memory://, redis://HOST:PORT/NUMBER"),
        ("HOST", "no such host", "give an address of this machine"),
        ("HOST", "a..b", "cannot listen on 'a..b'"),
        ("HOST", "", "give an address of this machine"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_what_would_be_one(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, command: str, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv("RUNNER_PORT", "0")
    monkeypatch.setenv(f"RUNNER_{name}", value)

    ran = shell(command)

    assert ran.status == 1
    said = ran.out + ran.err
    assert f"RUNNER_{name}: " in said
    assert says in said
    assert "hunter2" not in said


def test_a_log_line_is_json_with_what_the_caller_said(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    try:
        keep_journal(verbose=1)
        logging.getLogger("runner.test").info("it happened", extra={"run": 7, "job": "build"})
        logging.getLogger("runner.test").debug("not said")
        try:
            raise ValueError("broken")
        except ValueError:
            logging.getLogger("runner.test").exception("a bug")
    finally:
        root.handlers, root.level = before, level

    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["message"], first["level"], first["run"], first["job"]) == (
        "it happened",
        "info",
        7,
        "build",
    )
    assert "ValueError: broken" in second["exception"]
