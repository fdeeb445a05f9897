"""What every executor promises, tried on real processes, sandboxes and containers."""

import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from runner.engine.ports import Command, Exit
from runner.errors import Unavailable
from runner.executors import NoSuchExecutor, executor
from runner.executors.host import MARK
from tests.executors.jobs import (
    PATIENCE,
    SOON,
    Job,
    Kind,
    a_token,
    a_worker,
    comes_alive,
    docker_kind,
    escapes,
    open_folder,
    survivors,
)

TIME = 3.0
"""What a step is given that is to run out of it; enough for one to begin on a busy machine."""


@pytest.fixture(scope="session")
def docker() -> Iterator[Kind]:
    with docker_kind() as kind:
        yield kind


@pytest.fixture(params=["host", "host without namespaces", "sandbox", "docker"])
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param == "docker":
        found: Kind = request.getfixturevalue("docker")
        return found
    name, *without = request.param.split(maxsplit=1)
    return Kind(name, {"namespaces": False} if without else {})


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as made:
        yield made


@pytest.fixture
def job(kind: Kind, folder: Path) -> Iterator[Job]:
    made = Job(kind, folder)
    yield made
    made.sandbox.close()


# --- running ---------------------------------------------------------------------------------


def test_a_step_ends_with_its_exit_code_and_both_streams_in_order(job: Job) -> None:
    assert job.sh("echo out; echo err >&2; echo out; exit 7") == (Exit(7), "out\nerr\nout\n")


def test_a_step_killed_by_a_signal_has_128_and_its_number(job: Job) -> None:
    assert job.sh("kill -KILL $$")[0] == Exit(137)
    assert job.sh("kill -TERM $$")[0] == Exit(143)


def test_output_comes_while_the_step_runs(job: Job) -> None:
    # The step waits for a file that is only made once its first line has arrived.
    go = job.workspace / "go"
    job.sh("mkfifo go")

    def log(printed: bytes) -> None:
        if b"first" in printed:
            go.write_text("second\n")
        said.append(printed)

    said: list[bytes] = []
    exit, _ = job.sh("echo first; cat go", log=log)

    assert (exit, b"".join(said)) == (Exit(0), b"first\nsecond\n")


def test_a_step_reads_nothing_from_its_stdin(job: Job) -> None:
    assert job.sh("cat; echo end") == (Exit(0), "end\n")


def test_a_step_starts_in_the_folder_it_names(job: Job) -> None:
    job.sh("mkdir -p 'a folder/with spaces'")
    inside = f"{job.sandbox.workspace}/a folder/with spaces"

    assert job.run("bash", "-c", "pwd", cwd=inside) == (Exit(0), f"{inside}\n")


def test_what_a_step_writes_is_in_the_workspace(job: Job) -> None:
    job.sh("echo made > file")

    assert (job.workspace / "file").read_text() == "made\n"


def test_temp_is_the_same_folder_on_both_sides(job: Job) -> None:
    job.sh(f"echo made > {job.sandbox.temp}/file; test -d {job.sandbox.home}; touch {job.sandbox.home}/x")

    assert (job.sandbox.host_temp / "file").read_text() == "made\n"


def test_what_is_lent_is_seen_and_isolated_steps_cannot_write_to_it(kind: Kind, folder: Path) -> None:
    lent, workspace, temp = (folder / name for name in ("lent", "workspace", "temp"))
    for made in (lent, workspace, temp):
        made.mkdir()
    lent.chmod(0o755)
    (lent / "object").write_text("lent")
    (lent / "object").chmod(0o444)
    executor = kind.make()
    sandbox = executor.open(workspace, temp, f"lent-{secrets.token_hex(4)}", kind.container, lent)
    printed: list[bytes] = []
    with closing(sandbox):
        seen = executor.objects or str(lent)
        (lent / "later").write_text("later")
        script = f"cat {seen}/object {seen}/later; echo x > {seen}/object || echo x > {seen}/new || echo no"
        command = Command(("sh", "-c", script), {"PATH": sandbox.path}, sandbox.workspace, PATIENCE)
        sandbox.run(command, printed.append)

    assert b"".join(printed).startswith(b"lentlater")
    if kind.name != "host":
        assert b"".join(printed).endswith(b"no\n")
        assert sorted(path.name for path in lent.iterdir()) == ["later", "object"]


def test_arguments_arrive_as_they_are(job: Job) -> None:
    odd = ["a b", "", "$HOME", "`id`", "it's", 'a"b', "line\nline", "\\n", "*", "-x", "ü", "\x01\x7f"]

    exit, printed = job.run("bash", "-c", 'printf "<%s>" "$@"', "bash", *odd)

    assert (exit, printed) == (Exit(0), "".join(f"<{argument}>" for argument in odd))


def test_interrupts_are_not_ignored(job: Job) -> None:
    # A shell has its background jobs ignore them, and what is ignored stays ignored.
    assert job.sh("kill -INT $$; echo ignored")[0] == Exit(130)


def test_kill_0_reaches_the_step_and_no_other(job: Job) -> None:
    token = a_token()
    job.sh(f"sleep {token} &")

    assert job.sh("kill -TERM 0")[0] == Exit(143)
    assert job.sh("echo on") == (Exit(0), "on\n")
    assert comes_alive(token)


# --- the environment -------------------------------------------------------------------------


def test_the_environment_is_made_from_scratch(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CANARY", "of the worker")
    temp = job.sandbox.host_temp.with_name("second")
    second = job.open(temp)
    try:
        printed: list[bytes] = []
        command = Command(("/usr/bin/env", "-0"), {"ONE": "1", "TWO": ""}, second.workspace, PATIENCE)
        second.run(command, printed.append)
    finally:
        second.close()

    seen = {line for line in b"".join(printed).split(b"\0") if not line.startswith(MARK.encode())}
    assert seen == {b"ONE=1", b"TWO=", b""}


def test_any_value_and_any_name_arrives_as_it_is(job: Job) -> None:
    every_byte = bytes(range(1, 256)).decode(errors="surrogateescape")
    env = {
        "BYTES": every_byte,
        "LINES": "one\ntwo\n",
        "QUOTES": 'it\'s "quoted" `id` $(id) $HOME \\',
        "UNICODE": "grün 日本 🚀",
        "INPUT_DRY-RUN": "a name no shell can hold",
        "session": "a name the agent uses",
        "UID": "a name bash keeps",
        "OPTIND": "a name sh keeps",
        "IFS": "x",
        "PWD": "/elsewhere",
        "LC_ALL": "C",
        "EMPTY": "",
    }

    exit, printed = job.run("/usr/bin/env", "-0", env=env)

    pairs = [line.split("=", 1) for line in printed.split("\0") if line and not line.startswith(MARK)]
    assert exit == Exit(0)
    assert {name: value for name, value in pairs if name != "PATH"} == env


def test_a_large_environment_arrives(job: Job) -> None:
    env = {f"LARGE_{number}": "x" * 100_000 for number in range(8)}

    assert job.sh("echo ${#LARGE_0} ${#LARGE_7}", env=env) == (Exit(0), "100000 100000\n")


def test_a_value_that_linux_cannot_pass_is_named(job: Job) -> None:
    exit, printed = job.sh("echo never", env={"BIG": "x" * 200_000})

    assert exit == Exit(126)
    assert "environment variable BIG is 200004 bytes" in printed
    assert job.sh("echo on") == (Exit(0), "on\n")


def test_an_environment_that_is_too_large_altogether_is_named(job: Job) -> None:
    exit, printed = job.sh("echo never", env={f"V{number}": "x" * 100_000 for number in range(200)})

    assert exit == Exit(126)
    assert "rgument list too long" in printed
    assert job.sh("echo on") == (Exit(0), "on\n")


@pytest.mark.parametrize(("name", "value"), [("NUL", "a\0b"), ("", "no name"), ("A=B", "two names")])
def test_a_variable_that_cannot_be_is_named(job: Job, name: str, value: str) -> None:
    exit, printed = job.sh("echo never", env={name: value})

    assert exit == Exit(126)
    assert "environment variable" in printed


# --- what cannot be started ------------------------------------------------------------------


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "./no such"])
def test_a_missing_program_is_named(job: Job, program: str) -> None:
    exit, printed = job.run(program, "argument")

    assert exit == Exit(127)
    assert f"no program {program}" in printed


def test_a_missing_folder_is_named(job: Job) -> None:
    exit, printed = job.run("bash", "-c", "echo never", cwd="/no/such folder")

    assert exit == Exit(1)
    assert printed == "runner: cannot enter the folder /no/such folder to run bash\n"


# --- the background --------------------------------------------------------------------------


def test_a_background_process_lives_on_in_the_next_step_and_dies_at_close(job: Job) -> None:
    token = a_token()

    assert job.sh(f"sleep {token} & echo $! > pid")[0] == Exit(0)
    assert job.sh("kill -0 $(cat pid)")[0] == Exit(0)
    assert comes_alive(token)
    job.sandbox.close()

    assert survivors(token) == []


def test_a_background_process_that_prints_does_not_hold_a_step_up(job: Job) -> None:
    job.sh("yes & echo started")

    exit, _ = job.sh("echo next", timeout=PATIENCE)

    assert exit == Exit(0)


def test_close_ends_what_tries_to_outlive_it_and_removes_temp(job: Job) -> None:
    token = a_token()
    # The step itself ends; all it started stays.
    job.sh(escapes(token).removesuffix(f"sleep {token}; sleep {token}") + "exit 0")
    assert comes_alive(token)

    job.sandbox.close()
    job.sandbox.close()

    assert survivors(token) == []
    assert not job.sandbox.host_temp.exists()


# --- timeout ---------------------------------------------------------------------------------


def test_a_step_out_of_time_is_asked_to_end_and_says_its_last_words(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.executors.agent.TIME_IS_UP", (("TERM", PATIENCE),))
    said: list[tuple[float, bytes]] = []
    step = "trap 'echo bye; exit 5' TERM; echo up; sleep 60 & wait"

    exit, _ = job.sh(step, timeout=TIME, log=lambda printed: said.append((time.monotonic(), printed)))
    ended = time.monotonic()

    assert (exit, b"".join(printed for _, printed in said)) == (Exit(5, "timeout"), b"up\nbye\n")
    last_words, _ = said[-1]
    assert ended - last_words < PATIENCE, "it was not waited for longer than it took"


def test_a_step_out_of_time_that_does_not_listen_is_killed_with_all_it_started(job: Job) -> None:
    token = a_token()

    exit, printed = job.sh(escapes(token), timeout=TIME)

    assert exit == Exit(137, "timeout")
    assert printed == "ready\n"
    assert survivors(token) == []


def test_a_timeout_spares_earlier_steps_and_lets_later_ones_run(job: Job) -> None:
    earlier, late = a_token(), a_token()
    job.sh(f"sleep {earlier} & setsid sleep {earlier} &")

    assert job.sh(f"sleep {late}", timeout=TIME)[0] == Exit(143, "timeout")

    assert survivors(late) == []
    assert comes_alive(earlier, 2)
    assert job.sh("echo on") == (Exit(0), "on\n")


def test_a_fast_forker_out_of_time_is_killed(job: Job) -> None:
    token = a_token()
    step = f"trap '' TERM; f() {{ while :; do sleep {token} & sleep 0.05; done; }}; f & f & f"

    assert job.sh(step, timeout=TIME)[0] == Exit(137, "timeout")

    assert survivors(token) == []
    assert job.sh("echo on") == (Exit(0), "on\n")


# --- interrupt and stop ----------------------------------------------------------------------


class Step:
    """A step in a thread of its own, as far as it has said `ready`."""

    def __init__(self, job: Job, script: str) -> None:
        self.exit: Exit | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(job, script))
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    def _run(self, job: Job, script: str) -> None:
        self.exit, _ = job.sh(script, log=self._log)
        self._ready.set()

    def _log(self, printed: bytes) -> None:
        if b"ready" in printed:
            self._ready.set()

    def end(self, within: float) -> Exit | None:
        self._thread.join(within)
        assert not self._thread.is_alive()
        return self.exit


def test_an_interrupted_step_can_end_by_itself_and_others_run_after_it(job: Job) -> None:
    token = a_token()
    step = Step(job, f"trap 'echo bye; exit 5' INT; sleep {token} & echo ready; wait")

    job.sandbox.interrupt()
    job.sandbox.interrupt()

    assert step.end(PATIENCE) == Exit(5, "cancel")
    assert survivors(token) == []
    assert job.sh("echo never") == (Exit(130, "cancel"), "")
    assert job.sh("echo on", cancellable=False) == (Exit(0), "on\n")


def test_a_step_that_ignores_an_interrupt_is_terminated(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.executors.agent.CANCELLED", (("INT", 0.3), ("TERM", 10.0)))
    step = Step(job, "trap '' INT; trap 'exit 6' TERM; sleep 1000 & echo ready; wait")

    job.sandbox.interrupt()

    assert step.end(PATIENCE) == Exit(6, "cancel")


def test_a_step_that_ignores_everything_is_killed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.executors.agent.CANCELLED", (("INT", 0.2), ("TERM", 0.2)))
    token = a_token()
    step = Step(job, escapes(token))

    job.sandbox.interrupt()

    assert step.end(PATIENCE) == Exit(137, "cancel")
    assert survivors(token) == []
    assert job.sh("echo on", cancellable=False) == (Exit(0), "on\n")


def test_a_step_that_must_not_be_cancelled_runs_to_its_end(job: Job) -> None:
    job.sandbox.interrupt()

    assert job.sh("sleep 0.2; echo done", cancellable=False) == (Exit(0), "done\n")


def test_stop_from_another_thread_leaves_nothing_alive(job: Job) -> None:
    token = a_token()
    step = Step(job, escapes(token))

    job.sandbox.stop()
    job.sandbox.stop()

    assert survivors(token) == []
    assert step.end(SOON) == Exit(137, "stop")


def test_after_a_stop_nothing_runs(job: Job) -> None:
    job.sandbox.stop()

    assert job.sh("touch ran") == (Exit(137, "stop"), "")
    assert not (job.workspace / "ran").exists()


def test_a_stop_after_the_end_is_fine(job: Job) -> None:
    job.sh("true")
    job.sandbox.close()
    job.sandbox.stop()


def test_an_error_of_the_log_ends_the_sandbox(job: Job) -> None:
    token = a_token()

    def log(_printed: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        job.sh(f"echo x; sleep {token}", log=log)

    assert survivors(token) == []


# --- deaths ----------------------------------------------------------------------------------


def test_a_worker_killed_by_kill_9_leaves_no_process(kind: Kind, folder: Path) -> None:
    token = a_token()
    with a_worker(kind, folder, escapes(token)) as worker:
        assert comes_alive(token)
        worker.send_signal(signal.SIGKILL)

    assert survivors(token) == []


def test_an_agent_that_is_killed_makes_the_sandbox_unavailable(job: Job) -> None:
    with pytest.raises(Unavailable, match="agent"):
        job.sh("kill -9 $PPID; sleep 60")
    with pytest.raises(Unavailable, match="agent"):
        job.sh("echo never")


def test_a_flood_of_output_leaves_memory_flat(job: Job) -> None:
    size = 200_000_000
    seen = largest = 0

    def log(printed: bytes) -> None:
        nonlocal seen, largest
        seen += len(printed)
        largest = max(largest, len(printed))

    before = resident()
    exit, _ = job.sh(f"yes | head -c {size}", log=log)

    assert (exit, seen) == (Exit(0), size)
    assert largest <= 65536
    assert resident() - before < 20_000_000


def resident() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


# --- around it -------------------------------------------------------------------------------


def test_a_working_executor_says_so(kind: Kind) -> None:
    assert kind.make().check() is None


def test_an_unknown_executor_is_told_which_there_are() -> None:
    with pytest.raises(NoSuchExecutor, match="no executor 'cloud'; there are host, sandbox, docker"):
        executor("cloud")
