"""The worker's end of a conversation, whatever its threads do first."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.engine.ports import ChannelClosed, Command, Exit
from runner.executors.channel import SocketChannel
from runner.sdk import wire
from tests.executors.jobs import PATIENCE


class Lingering(SocketChannel):
    """Its thread lives on for a moment after its last word."""

    def wake(self) -> None:
        super().wake()
        threading.Event().wait(0.2)


def test_a_program_that_ended_is_told_of_while_its_thread_still_lives(tmp_path: Path) -> None:
    def ends(command: Command, log: Callable[[bytes], None]) -> Exit:
        return Exit(7)

    channel = Lingering(tmp_path, str(tmp_path), None, ends, Command(("true",), {}, "/", PATIENCE), print)
    try:
        with pytest.raises(ChannelClosed) as closed:
            channel.connect(PATIENCE)
    finally:
        channel.close()

    assert closed.value.exit == Exit(7)


def test_the_last_words_of_a_program_are_heard_though_it_takes_no_answer_any_more(tmp_path: Path) -> None:
    gone = threading.Event()

    def says_and_ends(command: Command, log: Callable[[bytes], None]) -> Exit:
        with socket.socket(socket.AF_UNIX) as end:
            end.connect(command.argv[-1])
            end.sendall(wire.pack({"is": "last"}))
        gone.set()
        return Exit(0)

    command = Command(("true",), {}, "/", PATIENCE)
    channel = SocketChannel(tmp_path, str(tmp_path), None, says_and_ends, command, print)
    try:
        while not channel.connect(PATIENCE):
            pass
        assert gone.wait(PATIENCE)
        channel.send({"is": "an answer"})

        assert channel.receive(PATIENCE) == {"is": "last"}
        with pytest.raises(ChannelClosed) as closed:
            channel.receive(PATIENCE)
    finally:
        channel.close()

    assert closed.value.exit == Exit(0)
