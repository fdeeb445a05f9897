"""The worker's end of a conversation, whatever its threads do first."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.engine.ports import ChannelClosed, Command, Exit
from runner.executors.channel import SocketChannel
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
