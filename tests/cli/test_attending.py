"""`runner run` of workflows that wait."""

import os
import pty
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.cli.conftest import PATIENCE, RUNNER
from tests.cli.test_running import PLACE, Desk, desk

__all__ = ["desk"]
SHIPS = """
on: push
jobs:
  ship:
    runs-on: ubuntu-latest
    steps:
      - run: echo made > made
      - uses: runner/sleep@v1
        with: {for: 200ms}
      - id: go
        uses: runner/wait@v1
        with: {signal: go}
      - id: ok
        uses: runner/approve@v1
        with: {message: "ship to ${{ steps.go.outputs.region }}?"}
      - run: echo "$(cat made) for ${{ steps.go.outputs.region }}, said ${{ steps.ok.outputs.by }}"
"""


def test_what_was_given_beforehand_lets_it_go_on_with_its_files(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHIPS})

    ran = desk.run("--signal", 'go={"region": "eu"}', "--approve")

    assert (ran.status, "[ship] made for eu, said ada" in ran.out) == (0, True), ran.err
    assert "[ship] ◷ ship  waiting  sleeps, until 20" in ran.out


def test_what_nobody_gives_ends_it_with_8_and_names_the_option(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHIPS})

    for_signal = desk.run()
    for_approval = desk.run("--signal", "go", "--json")

    assert for_signal.status == 8
    assert 'runner: ship waits for the signal "go"; --signal go gives it' in for_signal.err
    assert "ci.yml waiting" in for_signal.out
    assert for_approval.status == 8
    assert "runner: ship waits for approval: ship to ?; --approve approves it" in for_approval.err
    assert (for_approval.json["conclusion"], for_approval.json["jobs"]["ship"]["conclusion"]) == (None, None)


def test_each_leg_takes_a_signal_of_its_own(desk: Desk) -> None:
    desk.commit(
        {
            f"{PLACE}/ci.yml": """
on: push
jobs:
  leg:
    runs-on: ubuntu-latest
    strategy: {matrix: {n: [1, 2]}}
    outputs: {got: "${{ steps.go.outputs.payload }}"}
    steps:
      - {id: go, uses: runner/wait@v1, with: {signal: go}}
"""
        }
    )

    one = desk.run("--signal", "go=1")
    two = desk.run("--signal", "go=1", "--signal", "go=2", "--json")

    assert one.status == 8
    assert one.err.count('waits for the signal "go"') == 1
    assert two.status == 0
    assert two.json["conclusion"] == "success"


def test_a_wait_that_ends_soon_is_awaited_and_times_out(desk: Desk) -> None:
    desk.commit(
        {
            f"{PLACE}/ci.yml": """
on: push
jobs:
  late:
    runs-on: ubuntu-latest
    steps:
      - id: go
        uses: runner/wait@v1
        with: {signal: go, timeout: 300ms}
        continue-on-error: true
      - run: echo "timed out ${{ steps.go.outputs.timed-out }}, ${{ steps.go.outcome }}"
"""
        }
    )

    ran = desk.run()

    assert (ran.status, "[late] timed out true, failure" in ran.out) == (0, True), ran.err


@pytest.mark.parametrize("said", ["go=x", "", "=1"])
def test_a_signal_that_is_none_is_refused_before_anything_runs(desk: Desk, said: str) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHIPS})

    ran = desk.run("--signal", said)

    assert (ran.status, ran.out) == (2, "")
    assert "--signal" in ran.err


def test_ctrl_c_ends_what_sleeps_in_order(desk: Desk) -> None:
    tidies = "      - {if: always(), run: echo tidied}\n"
    desk.commit({f"{PLACE}/ci.yml": SHIPS.replace("200ms", "1h") + tidies})
    with subprocess.Popen(
        [*RUNNER, "run"], cwd=desk.checkout, env=desk.env(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any("sleeps, until" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE)

    assert (process.returncode, "[ship] tidied" in rest) == (130, True)


@pytest.mark.parametrize(
    ("answer", "status", "said"), [(b"y\n", 0, "said ada"), (b"\n", 1, "ada rejected it")]
)
def test_on_a_terminal_whoever_sits_there_is_asked(desk: Desk, answer: bytes, status: int, said: str) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHIPS})
    worker, terminal = pty.openpty()
    command = [*RUNNER, "run", "--signal", 'go={"region": "eu"}']
    with subprocess.Popen(
        command, cwd=desk.checkout, env=desk.env(), stdin=terminal, stderr=terminal, stdout=subprocess.PIPE
    ) as process:
        os.close(terminal)
        asked = b""
        for piece in pieces(worker):
            asked += piece
            if b"[y/N]: " in asked:
                break
        os.write(worker, answer)
        assert process.stdout is not None
        shown = process.stdout.read().decode()
        process.wait(PATIENCE)
        os.close(worker)

    assert "ship waits for approval: ship to eu?. Approve? [y/N]" in asked.decode()
    assert (process.returncode, said in shown) == (status, True), shown


def test_a_terminal_marks_what_waits(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHIPS})
    worker, terminal = pty.openpty()
    with subprocess.Popen(
        [*RUNNER, "run", "--signal", "go", "--approve"],
        cwd=desk.checkout,
        env=desk.env({"NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "200"}),
        stdout=terminal,
    ) as process:
        os.close(terminal)
        shown = b"".join(pieces(worker)).decode()
        os.close(worker)

    assert process.returncode == 0
    assert "◷ ship" in shown
    last = shown[shown.rindex("run 1 ") :]
    assert "✓ ship" in last


def pieces(terminal: int) -> Iterator[bytes]:
    """What comes to a terminal; Linux ends one whose other side is closed with an error."""
    try:
        while piece := os.read(terminal, 65536):
            yield piece
    except OSError:
        return
