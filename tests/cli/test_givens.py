"""What a run is given in files and options."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.cli.givens import dotenv, from_files, pairs
from runner.errors import Rejected


def test_a_file_is_read_as_people_write_them() -> None:
    text = """\ufeff
# a comment
PLAIN=a value # with a comment
export SHELL_LIKE = spaced\r
EMPTY=
HASH=a#b
SINGLE='as it $is\\n' # and a comment
DOUBLE="one\\ntwo \\"quoted\\" \\\\"
LINES="first
second"
KEY='-----BEGIN-----
abc=
-----END-----'
LAST=end"""

    assert dotenv(text.removeprefix("\ufeff"), "f") == {
        "PLAIN": "a value",
        "SHELL_LIKE": "spaced",
        "EMPTY": "",
        "HASH": "a#b",
        "SINGLE": "as it $is\\n",
        "DOUBLE": 'one\ntwo "quoted" \\',
        "LINES": "first\nsecond",
        "KEY": "-----BEGIN-----\nabc=\n-----END-----",
        "LAST": "end",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A=1\nhush", "f:2: write NAME=value"),
        ("A=1\n\n1B=hush", "f:3: a name is letters"),
        ('A="hush', 'f:1: the value of A begins with " and never ends with it'),
        ("A='hush' hush", "f:1: the value of A begins with ' and never ends with it"),
    ],
)
def test_what_is_wrong_is_told_by_its_line_and_without_what_is_in_it(text: str, says: str) -> None:
    with pytest.raises(Rejected) as refused:
        dotenv(text, "f")

    assert str(refused.value).startswith(says)
    assert "hush" not in str(refused.value)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(Rejected):
        dotenv(text, "f")


@given(st.text(st.characters(exclude_characters="'\r", exclude_categories=["Cs"])))
def test_single_quotes_keep_what_is_in_them(value: str) -> None:
    assert dotenv(f"A=1\nB='{value}'\nC=3", "f") == {"A": "1", "B": value, "C": "3"}


def test_later_files_win_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("A=1\nB=1")
    second.write_bytes(b"\xef\xbb\xbfB=2")

    assert from_files("--env-file", [first, second]) == {"A": "1", "B": "2"}
    second.write_bytes(b"\xff")
    with pytest.raises(Rejected, match="is not UTF-8"):
        from_files("--env-file", [second])


def test_an_option_names_a_value() -> None:
    assert pairs("--var", ["A=1=2", "B="]) == {"A": "1=2", "B": ""}
    with pytest.raises(Rejected, match="--var A: write --var NAME=value"):
        pairs("--var", ["A"])
