import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engine.commands import FILE_BYTES, BadCommandFile, CommandFiles, Written, parse_pairs
from runner.model.step import Exports

names = st.text(st.characters(codec="utf-8", exclude_characters="=<\r\n\0"), min_size=1).filter(str.strip)
values = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"))


def files(tmp_path: Path) -> CommandFiles:
    return CommandFiles(tmp_path, "/inside")


@given(st.dictionaries(names, st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"))))
def test_lines_of_name_and_value_are_read_back(pairs: dict[str, str]) -> None:
    text = "".join(f"{name}={value}\n" for name, value in pairs.items())

    assert parse_pairs(text, "GITHUB_OUTPUT") == pairs


@given(names, values)
def test_a_block_keeps_every_line_of_its_value(name: str, value: str) -> None:
    text = f"{name}<<ghadelimiter_x\n{value}\nghadelimiter_x\n"

    assert parse_pairs(text, "GITHUB_OUTPUT") == {name: value}


@given(st.text())
def test_whatever_a_step_writes_is_read_or_refused_by_name(text: str) -> None:
    refusal = ""
    try:
        parse_pairs(text, "GITHUB_ENV")
    except BadCommandFile as error:
        refusal = str(error)

    assert not refusal or refusal.startswith("GITHUB_ENV:")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("good=1\nbad", "GITHUB_OUTPUT:2: the line is neither"),
        ("=value", "is neither"),
        ("name<<EOF\nvalue", "the delimiter after << never comes"),
        ("name<<\nvalue", "no name or no delimiter"),
        ("good=1\nname=a\0b", r"GITHUB_OUTPUT:2: the line holds a NUL"),
        ("name<<EOF\na\0\nEOF", "GITHUB_OUTPUT:2: .* holds a NUL"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(text: str, says: str) -> None:
    with pytest.raises(BadCommandFile, match=says):
        parse_pairs(text, "GITHUB_OUTPUT")


@pytest.mark.parametrize("delimiter", ["=EOF", "<EOF", "E=F"])
def test_a_delimiter_may_hold_any_sign(delimiter: str) -> None:
    assert parse_pairs(f"a<<{delimiter}\nb\n{delimiter}\n", "GITHUB_ENV") == {"a": "b"}


def test_a_step_hands_on_what_it_wrote(tmp_path: Path) -> None:
    step = files(tmp_path)
    step.empty()
    (tmp_path / "_runner_output").write_text("\ufeffversion=7\n", "utf-8")
    (tmp_path / "_runner_env").write_text("A=b\n")
    (tmp_path / "_runner_path").write_text("/opt/bin\n\n")
    (tmp_path / "_runner_summary").write_text("# done")

    written = step.read()

    assert step.variables["GITHUB_OUTPUT"] == "/inside/_runner_output"
    assert (written.outputs, written.exports, written.summary) == (
        {"version": "7"},
        Exports({"A": "b"}, ("/opt/bin",)),
        "# done",
    )


def test_a_path_goes_to_the_end_of_its_line_and_no_further(tmp_path: Path) -> None:
    step = files(tmp_path)
    step.empty()
    (tmp_path / "_runner_path").write_bytes("/a\u2028b\r\n/c\x0bd\n\n/e".encode())

    assert step.read().exports.path == ("/a\u2028b", "/c\x0bd", "/e")


def test_a_nul_in_a_path_is_refused_with_its_line(tmp_path: Path) -> None:
    step = files(tmp_path)
    step.empty()
    (tmp_path / "_runner_path").write_bytes(b"/a\n/b\0\n")

    with pytest.raises(BadCommandFile, match=r"GITHUB_PATH:2: .* NUL"):
        step.read()


def test_a_file_that_a_step_removed_is_empty(tmp_path: Path) -> None:
    step = files(tmp_path)
    step.empty()
    (tmp_path / "_runner_output").unlink()

    assert step.read().outputs == {}


def test_a_link_to_another_file_is_not_followed(tmp_path: Path) -> None:
    step = files(tmp_path)
    step.empty()
    (tmp_path / "secret").write_text("a=hidden")
    (tmp_path / "_runner_output").unlink()
    (tmp_path / "_runner_output").symlink_to(tmp_path / "secret")

    with pytest.raises(BadCommandFile, match="GITHUB_OUTPUT: the file cannot be read"):
        step.read()


def test_a_pipe_in_a_files_place_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    step = files(tmp_path)
    step.empty()
    (tmp_path / "_runner_env").unlink()
    os.mkfifo(tmp_path / "_runner_env")

    with pytest.raises(BadCommandFile, match="no file"):
        step.read()


def test_a_link_that_an_earlier_step_left_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "_runner_env").symlink_to(tmp_path / "victim")

    files(tmp_path).empty()

    assert (tmp_path / "victim").read_text() == "untouched"
    assert not (tmp_path / "_runner_env").is_symlink()


def test_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    step = files(tmp_path)
    step.empty()
    (tmp_path / "_runner_output").write_text("a=" + "x" * FILE_BYTES)

    with pytest.raises(BadCommandFile, match=str(FILE_BYTES)):
        step.read()


def test_node_options_cannot_be_set_for_later_steps(tmp_path: Path) -> None:
    step = files(tmp_path)
    step.empty()
    (tmp_path / "_runner_env").write_text("NODE_OPTIONS=--require=evil\n")

    with pytest.raises(BadCommandFile, match="NODE_OPTIONS"):
        step.read()


def test_every_step_finds_its_files_empty_whatever_the_last_one_left_there(tmp_path: Path) -> None:
    step = files(tmp_path)
    step.empty()
    (tmp_path / "_runner_output").write_text("old=1\n")
    (tmp_path / "_runner_env").unlink()
    (tmp_path / "_runner_env").mkdir()
    (tmp_path / "elsewhere").write_text("untouched")
    (tmp_path / "_runner_path").unlink()
    os.link(tmp_path / "elsewhere", tmp_path / "_runner_path")

    step.empty()

    assert step.read() == Written({}, Exports(), "")
    assert (tmp_path / "elsewhere").read_text() == "untouched"


@pytest.mark.parametrize("written", ["<<", "x", "A<<B", "="])
def test_an_error_repeats_only_the_beginning_of_what_was_written(written: str) -> None:
    with pytest.raises(BadCommandFile) as caught:
        parse_pairs(written * 100_000, "GITHUB_ENV")

    assert len(str(caught.value)) < 300
