"""What becomes of a sandbox whose agent never comes to be."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.engine.ports import Command
from runner.errors import Unavailable
from runner.executors.agent import AgentSandbox
from runner.executors.line import Heard
from runner.executors.place import Place
from tests.executors.jobs import PATIENCE


class Dead:
    """A line to an agent that says why it ends instead of being ready."""

    namespace = None

    def hold(self) -> None:
        raise AssertionError("it was never ready")

    def send(self, command: str) -> None:
        raise BrokenPipeError

    def receive(self, seconds: float) -> Heard:
        return Heard(answers=b"bwrap: no room\n", ended=True)

    def drain(self) -> Iterator[bytes]:
        return iter(())

    def kill(self) -> None:
        """It is dead."""

    def close(self) -> None:
        """There is nothing to let go of."""


def test_a_sandbox_that_did_not_start_says_so_to_all_who_use_it_whoever_asked_first(tmp_path: Path) -> None:
    sandbox = AgentSandbox(Dead(), Place("/workspace", "/runner", tmp_path, "/bin", None))
    command = Command(("true",), {}, "/workspace", PATIENCE)

    assert sandbox.namespace is None
    for _ in range(2):
        with pytest.raises(Unavailable, match="the sandbox did not start: bwrap: no room"):
            sandbox.run(command, print)
    sandbox.close()
