"""Whatever a repository or a step wrote, its reader answers soon, and its errors are our own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.engine.commands import FILE_BYTES
from runner.engine.stage import MATCHER_BYTES
from runner.expr.syntax import MAX_LENGTH
from runner.workflow.load import MAX_BYTES
from tests.fuzz.targets import LONGEST, TARGETS, Target, TooSlow, spelled

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 300.0
EXAMPLES = 300
"""Enough for what broke by a change; what is rare is for `make fuzz` to find."""
LIMITS = {
    "yaml": MAX_BYTES,
    "workflow": MAX_BYTES,
    "python": MAX_BYTES,
    "action": MAX_BYTES,
    "expression": MAX_LENGTH,
    "env-file": FILE_BYTES,
    "spoken": FILE_BYTES,
    "matcher": MATCHER_BYTES,
    "plan": MAX_BYTES,
}


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Noise, sentences of its words, and whole examples with something else in one place."""
    word = st.sampled_from(target.words) | st.text(max_size=3)
    sentence = st.lists(word, max_size=40).map("".join).map(str.encode)
    place = st.integers(0, 2000)
    spliced = st.builds(
        lambda whole, start, length, between: whole[:start] + between + whole[start + length :],
        st.sampled_from(target.seeds),
        place,
        st.integers(0, 40),
        sentence,
    )
    return st.binary(max_size=100) | sentence | spliced


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_keeps_its_promises_whatever_it_is_given(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=EXAMPLES)
    @given(inputs(target))
    def read(data: bytes) -> None:
        target.read(data)

    read()


@pytest.mark.parametrize("name", TARGETS)
def test_the_longest_input_of_one_word_repeated_is_read_in_a_second(name: str) -> None:
    target, limit = TARGETS[name], LIMITS[name]
    slowest = max(target.take((word * limit).encode()[:limit]) for word in target.words)

    assert slowest <= LONGEST


def test_what_takes_too_long_is_told() -> None:
    def wait(data: bytes) -> None:
        begun = time.process_time()
        while time.process_time() - begun <= LONGEST:
            pass

    with pytest.raises(TooSlow, match="3 bytes took"):
        Target(wait, (), (), 1).take(b"abc")


def test_bytes_of_which_no_text_is_made_stand_for_words() -> None:
    assert spelled(b"\x80\x00\x01\x02", ("on: ", "push")) == b"on: pushon: "
    assert spelled(b"on: push", ("x",)) == b"on: push"


@pytest.mark.timeout(2 * PATIENCE)
def test_the_fuzzer_runs_and_counts(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has no wheel for this machine", exc_type=ImportError)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz"],
        env={
            **os.environ,
            "FUZZ_RUNS": "1000",
            "FUZZ_READERS": "expression,env-file",
            "FUZZ_FOLDER": str(tmp_path),
        },
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        timeout=PATIENCE,
        check=False,
    )
    rows = [line.split() for line in done.stdout.splitlines()[1:]]

    assert done.returncode == 0, done.stdout + done.stderr
    assert [(row[0], row[-1]) for row in rows] == [("expression", "well"), ("env-file", "well")]
    assert sum(int(row[1]) for row in rows) >= 900
