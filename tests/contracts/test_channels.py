"""What a conversation with a program in a sandbox promises, in every kind of sandbox."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runner.engine.ports import Channel, ChannelClosed, Command, Exit
from runner.errors import Unavailable
from runner.sdk import wire
from tests.executors.jobs import PATIENCE, Job, Kind, docker_kind, open_folder

TALKS = """
import json, os, socket, struct, sys
end = socket.socket(socket.AF_UNIX)
end.connect(sys.argv[-1])
stream = end.makefile("rwb")
def say(message):
    data = json.dumps(message).encode()
    stream.write(struct.pack(">I", len(data)) + data)
    stream.flush()
def hear():
    return json.loads(stream.read(struct.unpack(">I", stream.read(4))[0]))
"""
"""How a program begins that talks."""


@pytest.fixture(scope="session")
def docker() -> Iterator[Kind]:
    with docker_kind(python=True) as kind:
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


def talk(job: Job, program: str, log: Callable[[bytes], None] = lambda printed: None) -> Channel:
    sandbox = job.sandbox
    env = {"PATH": sandbox.path}
    return sandbox.talk(Command(("python3", "-c", TALKS + program), env, sandbox.workspace, PATIENCE), log)


def connected(channel: Channel) -> Channel:
    while not channel.connect(PATIENCE):
        # Somebody woke it up.
        continue
    return channel


def hear(channel: Channel) -> Mapping[str, Any]:
    while (message := channel.receive(PATIENCE)) is None:
        continue
    return message


def test_messages_arrive_whole_and_in_order_both_ways(job: Job) -> None:
    program = "while True:\n    said = hear()\n    say(said)\n    if said['is'] == 'last': break"
    sent = [{"is": "one", "text": "ü\0"}, {"is": "large", "text": "x" * 3_000_000}, {"is": "last"}]

    with closing(connected(talk(job, program))) as channel:
        for message in sent:
            channel.send(message)
        heard = [hear(channel) for _ in sent]

        assert heard == sent
        with pytest.raises(ChannelClosed) as closed:
            channel.receive(PATIENCE)
        assert closed.value.exit == Exit(0)


def test_what_the_program_prints_is_none_of_the_conversation(job: Job) -> None:
    printed: list[bytes] = []
    program = "print('loud', flush=True)\nsay({'is': 'quiet'})"

    with closing(connected(talk(job, program, printed.append))) as channel:
        assert hear(channel) == {"is": "quiet"}
        with pytest.raises(ChannelClosed) as closed:
            channel.receive(PATIENCE)

    assert closed.value.exit == Exit(0)

    assert b"".join(printed) == b"loud\n"


def test_who_waits_for_a_message_can_be_woken(job: Job) -> None:
    with closing(connected(talk(job, "hear()"))) as channel:
        threading.Timer(0.01, channel.wake).start()

        assert channel.receive(PATIENCE) is None


def test_a_program_that_ends_without_a_word_says_how(job: Job) -> None:
    sandbox = job.sandbox
    ends = Command(("bash", "-c", "exit 7"), {"PATH": sandbox.path}, sandbox.workspace, PATIENCE)

    with closing(sandbox.talk(ends, lambda printed: None)) as channel, pytest.raises(ChannelClosed) as closed:
        connected(channel)

    assert closed.value.exit == Exit(7)


def test_a_program_that_is_killed_says_so(job: Job) -> None:
    with (
        closing(connected(talk(job, "os.kill(os.getpid(), 9)"))) as channel,
        pytest.raises(ChannelClosed) as closed,
    ):
        hear(channel)

    assert closed.value.exit == Exit(128 + signal.SIGKILL)


def test_the_end_of_the_sandbox_is_the_end_of_the_conversation(job: Job) -> None:
    with closing(connected(talk(job, "hear()"))) as channel:
        job.sandbox.stop()

        with pytest.raises((ChannelClosed, Unavailable)):
            hear(channel)


@pytest.mark.parametrize(
    "said",
    [
        "stream.write(struct.pack('>I', 2 ** 31))",
        "stream.write(struct.pack('>I', 4) + b'null')",
        "stream.write(struct.pack('>I', 5) + b'[1,2]')",
        "stream.write(struct.pack('>I', 3) + b'\\xff{}')",
        "stream.write(struct.pack('>I', 200000) + b'[' * 200000)",
    ],
)
def test_what_is_no_message_ends_the_conversation_by_name(folder: Path, said: str) -> None:
    job = Job(Kind("host"), folder)
    try:
        with closing(connected(talk(job, f"{said}\nstream.flush()\nhear()"))) as channel:
            with pytest.raises(ChannelClosed, match="no conversation"):
                hear(channel)
            job.sandbox.stop()
    finally:
        job.sandbox.close()


def test_nobody_else_can_join_a_conversation(folder: Path) -> None:
    job = Job(Kind("host"), folder)
    program = """
other = socket.socket(socket.AF_UNIX)
try:
    other.connect(sys.argv[-1])
    # It may get as far as the door.
    say({"is": "joined" if other.recv(1) else "refused"})
except OSError as error:
    say({"is": "refused"})
"""
    try:
        with closing(connected(talk(job, program))) as channel:
            assert hear(channel) == {"is": "refused"}
    finally:
        job.sandbox.close()


def test_a_folder_may_have_a_longer_path_than_the_address_of_a_socket(folder: Path) -> None:
    deep = folder / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    program = TALKS.replace(
        "end.connect(sys.argv[-1])",
        "folder, name = os.path.split(sys.argv[-1])\n"
        "end.connect('/proc/self/fd/%d/%s' % (os.open(folder, os.O_RDONLY), name))",
    )
    job = Job(Kind("host"), deep)
    try:
        command = Command(
            ("python3", "-c", program + "say({'is': 'here'})"), {"PATH": job.sandbox.path}, "/", PATIENCE
        )
        with closing(connected(job.sandbox.talk(command, lambda printed: None))) as channel:
            assert hear(channel) == {"is": "here"}
    finally:
        job.sandbox.close()


def test_a_message_too_long_is_named_and_nothing_is_sent(folder: Path) -> None:
    job = Job(Kind("host"), folder)
    try:
        with closing(connected(talk(job, "say(hear())"))) as channel:
            with pytest.raises(wire.TooLong, match="the limit is"):
                channel.send({"is": "long", "text": "x" * wire.LONGEST})
            channel.send({"is": "short"})

            assert hear(channel) == {"is": "short"}
    finally:
        job.sandbox.close()
