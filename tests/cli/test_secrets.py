"""Secrets and variables as people set them, on real servers; and that nothing says what a secret is."""

import base64
import os
import pty
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from runner.client import Client
from runner.settings import Settings
from tests.cli.conftest import PATIENCE, RUNNER, Machine, Shell, a_machine
from tests.homes import contents
from tests.servers import postgres_database, redis_server

CANARY = 'canary-of-the-"command"-line'
FORMS = (CANARY, base64.b64encode(CANARY.encode()).decode()[:20], CANARY.encode().hex(), "canary-of")
REPOSITORY = ("-R", "octo/hello")
ACTIONS = "/repos/octo/hello/actions"
USES = """
on: [push, workflow_dispatch]
jobs:
  build:
    runs-on: ${{ vars.LABEL }}
    if: vars.GO == 'yes'
    strategy:
      matrix:
        n: ${{ fromJSON(vars.LIST) }}
    steps:
      - env: {TOKEN: "${{ secrets.token }}"}
        run: |
          echo "of ${{ matrix.n }}: $TOKEN has ${#TOKEN} letters"
          echo "ours: [${{ secrets.GITHUB_TOKEN }}${{ github.token }}]"
          printf '%s' "$TOKEN" | base64
          echo '${{ toJSON(secrets) }}'
"""


@pytest.fixture(autouse=True)
def nothing_kept(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "machine" in request.fixturenames:
        machine: Machine = request.getfixturevalue("machine")
        with client_of(machine) as client:
            for kind in ("secrets", "variables"):
                for one in client.get(f"{ACTIONS}/{kind}")[kind]:
                    client.delete(f"{ACTIONS}/{kind}/{one['name']}")


def client_of(machine: Machine) -> Client:
    return Client(Settings(home=machine.home, token="", url=""))


def secrets_of(machine: Machine) -> list[str]:
    with client_of(machine) as client:
        return [one["name"] for one in client.get(f"{ACTIONS}/secrets")["secrets"]]


# --- how a value is given --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("plain", "plain"),
        ("line\r\n\n", "line"),
        ("two\nlines\n", "two\nlines"),
        (" spaces  \n", " spaces  "),
    ],
)
def test_what_is_piped_in_loses_the_ends_of_lines_at_its_end(machine: Machine, said: str, kept: str) -> None:
    secret = machine.run("secret", "set", "a", *REPOSITORY, said=said)
    variable = machine.run("variable", "set", "a", *REPOSITORY, said=said)

    assert (secret.status, secret.out, secret.err) == (0, "set secret A of octo/hello\n", "")
    assert (variable.status, variable.out) == (0, "set variable A of octo/hello\n")
    assert machine.run("variable", "get", "a", *REPOSITORY, "--json", "value").json == {"value": kept}


def test_an_option_and_a_file_of_many_give_values_too(machine: Machine) -> None:
    file = machine.folder / "many.env"
    file.write_text("# of mine\nexport ONE='1 # not a comment'\nTWO=\"a\\nb\"\n")

    assert machine.run("variable", "set", "zero", *REPOSITORY, "--body", "0\n").status == 0
    assert machine.run("variable", "set", *REPOSITORY, "-f", str(file)).status == 0
    assert machine.run("variable", "set", *REPOSITORY, "--env-file", "-", said="THREE=3\n").status == 0
    assert machine.run("secret", "set", *REPOSITORY, "-f", str(file)).out.splitlines() == [
        "set secret ONE of octo/hello",
        "set secret TWO of octo/hello",
    ]

    found = machine.run("variable", "list", *REPOSITORY, "--json", "name,value").json
    assert {one["name"]: one["value"] for one in found} == {
        "ZERO": "0\n",
        "ONE": "1 # not a comment",
        "TWO": "a\nb",
        "THREE": "3",
    }
    assert secrets_of(machine) == ["ONE", "TWO"]

    set_again = machine.run("secret", "set", *REPOSITORY, "-f", str(file), "--json", "name").json
    assert set_again == [{"name": "ONE"}, {"name": "TWO"}]
    changed = machine.run("variable", "set", "zero", *REPOSITORY, "--body", "1", "--json", "name,value").json
    assert changed == [{"name": "ZERO", "value": "1"}]
    for kind, name in (("secret", "one"), ("variable", "zero")):
        gone = machine.run(kind, "remove", name, *REPOSITORY, "--json").json
        assert gone == {"name": name.upper(), "removed": True}


@pytest.mark.parametrize(
    "args",
    [
        ("repo", "remove", "octo/hello/actions/secrets/A"),
        ("repo", "show", "octo/hello/hook"),
        ("repo", "show", "../runs"),
        ("repo", "show", "git:../runs"),
        ("trigger", "octo/hello", "--workflow", ".runner/workflows/.."),
        ("secret", "remove", "../secrets/A", *REPOSITORY),
        ("variable", "get", "..", *REPOSITORY),
        ("deliveries", "show", "../runs"),
        ("deliveries", "replay", "../runs/1/cancel?"),
        ("deliveries", "approve", "../runs/1/cancel?"),
    ],
)
def test_what_is_named_is_no_other_place_of_the_api(
    machine: Machine, on_machine: Shell, args: tuple[str, ...]
) -> None:
    assert on_machine("secret", "set", "a", *REPOSITORY, "-b", CANARY).status == 0

    ran = on_machine(*args)

    assert ran.status == 1
    assert "cannot name a" in ran.err or "is no " in ran.err
    assert secrets_of(machine) == ["A"]
    assert on_machine("repo", "show", "git:octo/hello").status == 0


def test_on_a_terminal_a_secret_is_asked_for_and_not_shown(machine: Machine) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*RUNNER, "secret", "set", "asked", *REPOSITORY],
        env=machine.env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = os.read(ours, 1000).decode()
        os.write(ours, f"{CANARY}\n".encode())
        while True:
            try:
                shown += os.read(ours, 1000).decode()
            except OSError:
                # The terminal is nobody's any more.
                break
        status = process.wait(PATIENCE)
    os.close(ours)

    assert status == 0, shown
    assert "Paste your secret" in shown
    assert "set secret ASKED of octo/hello" in shown
    assert CANARY not in shown
    assert secrets_of(machine) == ["ASKED"]


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("set", *REPOSITORY), 2, "name the secret, or give a file of many with --env-file"),
        (("set", "a"), 2, "Missing option '--repo'"),
        (("set", "a", *REPOSITORY, "-b", "x", "-f", "x"), 2, "give one of --body and --env-file"),
        (("set", "a", *REPOSITORY, "-f", "x"), 2, "--env-file brings the names"),
        (("set", *REPOSITORY, "-f", "/nowhere"), 1, "/nowhere: No such file"),
        (("set", *REPOSITORY, "-f", "/dev/null"), 1, "no secret is in it; write NAME=value"),
        (("set", "1a", *REPOSITORY, "-b", CANARY), 1, "'1a' cannot name a secret"),
        (("set", "github_a", *REPOSITORY, "-b", CANARY), 1, "cannot begin with GITHUB_"),
        (("set", "a", *REPOSITORY, "-b", CANARY * 2000), 1, "has 56000 bytes; 49152 are the limit"),
        (("set", "a", *REPOSITORY, "-b", ""), 1, "the secret A is empty"),
        (("set", "a", "-R", "octo/nope", "-b", CANARY), 1, "no repository octo/nope"),
        (("remove", "a", *REPOSITORY), 1, "octo/hello has no secret A; `runner secret list` shows"),
        (("list", *REPOSITORY, "--json", "value"), 0, ""),
    ],
)
def test_what_is_wrong_is_said_without_the_value(
    on_machine: Shell, args: tuple[str, ...], status: int, said: str
) -> None:
    ran = on_machine("secret", *args)

    assert (ran.status, said in ran.err) == (status, True), ran.err
    assert not any(form in ran.out + ran.err for form in FORMS)


def test_where_nothing_can_be_read_it_is_said(machine: Machine) -> None:
    command = ["bash", "-c", '"$@" <&-', "bash", *RUNNER, "secret", "set", "a", *REPOSITORY]

    ran = subprocess.run(command, env=machine.env, capture_output=True, text=True, check=False)

    assert ran.returncode == 1
    assert ran.stderr == (
        "runner: standard input is closed; write the secret to it, or give it with --body\n"
    )


def test_a_file_with_a_wrong_line_or_a_wrong_name_sets_nothing(machine: Machine) -> None:
    for wrong in ("A=1\nno value here canary-of\n", "A=1\nGITHUB_B=canary-of\n", "A=1\nB-C=canary-of\n"):
        ran = machine.run("secret", "set", *REPOSITORY, "-f", "-", said=wrong)
        assert ran.status == 1
        assert "canary-of" not in ran.out + ran.err

    assert secrets_of(machine) == []


def test_sending_a_secret_over_plain_http_to_another_machine_is_warned_of(
    on_machine: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNNER_TOKEN", "a token of another server")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    warned = {}
    for host in ("0.0.0.0", "127.0.0.1", "localhost"):
        monkeypatch.setenv("RUNNER_URL", f"http://{host}:{port}")
        ran = on_machine("secret", "set", "a", *REPOSITORY, "-b", CANARY)
        assert ran.status == 1
        warned[host] = "is no https: whoever is on the way there can read this secret" in ran.err

    assert warned == {"0.0.0.0": True, "127.0.0.1": False, "localhost": False}


def test_the_token_is_needed(on_machine: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNER_TOKEN", "wrong")

    for args in (("secret", "list"), ("secret", "set", "a", "-b", CANARY), ("variable", "get", "a")):
        assert on_machine(*args, *REPOSITORY).status == 4


# --- what becomes of it ----------------------------------------------------------------------------


def given(machine: Machine) -> None:
    for args, said in (
        (("secret", "set", "Token"), CANARY + "\n"),
        (("variable", "set", "label", "-b", "ubuntu-latest"), ""),
        (("variable", "set", "go", "-b", "yes"), ""),
        (("variable", "set", "list"), '["x", "y"]\n'),
    ):
        ran = machine.run(*args, *REPOSITORY, said=said)
        assert ran.status == 0, ran.err


def triggered(machine: Machine) -> str:
    ran = machine.run("trigger", "octo/hello", "--watch")
    assert ran.status == 0, ran.out + ran.err
    return ran.out


def test_a_workflow_sees_both_and_a_changed_value_counts_from_the_next_attempt(machine: Machine) -> None:
    machine.push("on: workflow_dispatch\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n")
    given(machine)
    machine.push(USES)

    log = triggered(machine)
    run = machine.run("runs", "list", *REPOSITORY, "--json", "id", "-L", "1").json[0]["id"]
    machine.run("secret", "set", "token", *REPOSITORY, said="another")
    machine.run("runs", "rerun", str(run))
    again = machine.run("runs", "watch", str(run)).out

    for number in ("x", "y"):
        assert f"of {number}: *** has {len(CANARY)} letters" in log
        assert f"of {number}: *** has 7 letters" in again
    assert log.count("ours: []") == again.count("ours: []") == 2
    assert not any(form in log + again for form in FORMS)


def test_the_doctor_says_whether_secrets_can_be_opened(machine: Machine, on_machine: Shell) -> None:
    def said() -> tuple[bool, str]:
        (found,) = [
            one for one in on_machine("doctor", "--json").json["findings"] if one["name"] == "secrets"
        ]
        return found["works"], found["said"]

    given(machine)
    key, away = machine.home / "secret-key", machine.home / "away"
    assert said()[0]
    assert said()[1].startswith("1 kept, sealed with the key ")

    key.rename(away)
    works, why = said()
    away.rename(key)

    assert (works, "there is no" in why) == (False, True)


def test_another_key_is_taken_up_by_the_server_that_runs(machine: Machine) -> None:
    machine.push(USES)
    given(machine)
    former = (machine.home / "secret-key").read_text()

    ran = machine.run("secret", "rotate-key")

    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("sealed with the key ")
    assert (machine.home / "secret-key").read_text() != former
    assert f"has {len(CANARY)} letters" in triggered(machine)
    assert machine.run("secret", "set", "another", *REPOSITORY, said="x").status == 0


def test_a_job_that_lacks_the_key_waits_for_it_and_the_worker_lives(machine: Machine) -> None:
    machine.push(USES)
    given(machine)
    key, away = machine.home / "secret-key", machine.home / "away"
    key.rename(away)

    started = machine.run("trigger", "octo/hello", "--json").json["delivery"]
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        runs = machine.run("deliveries", "show", started, "--json", "runs").json["runs"]
        shown = machine.run("runs", "view", str(runs[0])).out if runs else ""
        if "there is no" in shown and " of 6 times" in shown:
            break
    away.rename(key)

    assert "secrets are sealed with the key" in shown
    assert machine.run("runs", "watch", str(runs[0])).status == 0


# --- nothing says what a secret is -----------------------------------------------------------------


@contextmanager
def embedded(folder: Path) -> Iterator[tuple[Machine, list[bytes]]]:
    with a_machine() as machine:
        machine.start(before=("-vv",))
        yield machine, []


@contextmanager
def distributed(folder: Path) -> Iterator[tuple[Machine, list[bytes]]]:
    """With all that is said to Redis."""
    with (
        postgres_database() as url,
        redis_server(folder) as redis,
        a_machine() as machine,
        ExitStack() as stack,
    ):
        machine.also = {"RUNNER_DATABASE": url, "RUNNER_BROKER": redis.url}
        assert machine.run("migrate").status == 0
        heard: list[bytes] = []
        monitor = stack.enter_context(socket.create_connection(("127.0.0.1", redis.port)))
        monitor.sendall(b"MONITOR\r\n")
        listening = threading.Thread(target=_listen, args=(monitor, heard), daemon=True)
        listening.start()
        stack.callback(listening.join)
        stack.callback(monitor.shutdown, socket.SHUT_RDWR)
        machine.start(before=("-vv",))
        log = stack.enter_context((machine.folder / "server.log").open("a"))
        for role in ("worker", "clock"):
            process = subprocess.Popen([*RUNNER, "-vv", role], env=machine.env, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield machine, heard


def _listen(connection: socket.socket, heard: list[bytes]) -> None:
    while said := connection.recv(65536):
        heard.append(said)


@pytest.mark.parametrize("kind", [embedded, distributed])
def test_no_log_and_no_store_says_what_a_secret_is(kind: object, tmp_path: Path) -> None:
    assert callable(kind)
    with kind(tmp_path) as (machine, heard):
        machine.run("repo", "add", "octo/hello", "--url", str(machine.folder / "bare.git"))
        machine.push(USES)
        for wrong in (["set", "1", "-b", CANARY], ["set", "a", "-b", CANARY * 2000], ["list", "-b", CANARY]):
            assert machine.run("secret", *wrong, *REPOSITORY).status != 0
        given(machine)
        log = triggered(machine)
        machine.run("secret", "rotate-key")
        log += triggered(machine)
        stored = [b"".join(heard), *_rows(machine)]
        seen = {str(path): data for path, data in contents(machine.folder)}
        seen["elsewhere"] = b"\n".join(stored)

    assert log.count(f"*** has {len(CANARY)} letters") == 4
    assert (b"octo/hello" in b"".join(heard)) is (kind is distributed)
    assert b"admitted" in seen["elsewhere"]
    assert len(seen[str(machine.folder / "server.log")]) > 1000
    assert [(path, form) for path, said in seen.items() for form in FORMS if form.encode() in said] == []


def _rows(machine: Machine) -> Iterator[bytes]:
    """All that the database holds."""
    engine = create_engine(machine.also.get("RUNNER_DATABASE", f"sqlite:///{machine.home / 'runner.db'}"))
    with engine.connect() as connection:
        for table in inspect(engine).get_table_names():
            for row in connection.execute(text(f'SELECT * FROM "{table}"')):
                yield repr(tuple(row)).encode()
    engine.dispose()
