import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engine.commands import FILE_BYTES
from runner.engine.masks import MOST_VALUES, WITHHELD, Masks
from runner.engine.matchers import Matchers
from runner.engine.output import LONGEST_LINE, StepOutput, parse_command
from runner.model.step import Annotation

FILES = {
    "gcc.json": b"""{"problemMatcher": [{"owner": "gcc", "pattern": [{
        "regexp": "^(.*):(\\\\d+):(\\\\d+):\\\\s+(warning|error):\\\\s+(.*)$",
        "file": 1, "line": 2, "column": 3, "severity": 4, "message": 5}]}]}""",
    "broken.json": b"{",
    "two.json": b"""{"problemMatcher": [{"owner": "two", "pattern": [
        {"regexp": "^first$"}, {"regexp": "^(second)$", "message": 1}]}]}""",
}


def heard(*chunks: str, masks: Masks | None = None, **given: bool) -> tuple[StepOutput, str]:
    shown: list[bytes] = []
    masks = masks or Masks(["s3cr3t"])
    output = StepOutput(shown.append, masks, Matchers(), FILES.__getitem__, **given)
    for chunk in chunks:
        output(chunk.encode())
    output.end()
    return output, b"".join(shown).decode()


def test_what_is_no_command_is_shown_as_it_is() -> None:
    text = "a\n  b :: c\nhttp://x::y\r\n::unknown::x\nlast"

    assert heard(text)[1] == text


def test_an_error_is_an_annotation_and_a_line() -> None:
    output, shown = heard("::error file=a.c,line=3,col=7,endLine=4,endColumn=9,title=Bad::it%0Abroke%25\n")

    assert output.annotations == [Annotation("error", "it\nbroke%", "Bad", "a.c", 3, 4, 7, 9)]
    assert shown == "##[error]it\nbroke%\n"


def test_groups_are_lines_and_debugging_is_shown_to_who_asked_for_it() -> None:
    said = "::group::Build\nx\n::endgroup::\n::debug::inner\n"

    assert heard(said)[1] == "##[group]Build\nx\n##[endgroup]\n"
    assert "##[debug]inner\n" in heard(said, debug=True)[1]


def test_a_mask_counts_from_its_own_line_on() -> None:
    assert heard("hush\n::add-mask::hush\nhush s3cr3t\n")[1] == "hush\n::add-mask::***\n*** ***\n"


def test_a_secret_is_hidden_though_it_comes_in_pieces() -> None:
    assert heard("a s3", "cr", "3t b\n")[1] == "a *** b\n"


def test_annotations_hide_secrets_too() -> None:
    said = "::warning file=s3cr3t/a.c,title=A s3cr3t::got s3cr3t\n"

    assert heard(said)[0].annotations == [Annotation("warning", "got ***", "A ***", "***/a.c")]


def test_annotations_are_text_of_some_length_whatever_bytes_were_printed() -> None:
    output = StepOutput(lambda chunk: None, Masks(), Matchers(), FILES.__getitem__)
    output(b"::error file=a\xff,title=" + b"b" * 5000 + b"::\xfe\n")

    assert output.annotations == [Annotation("error", "\ufffd", "b" * 4096, "a\ufffd")]


def test_annotations_hide_secrets_in_their_title_and_file_too() -> None:
    output, _ = heard("::error title=s3cr3t,file=s3cr3t.c::x\n")

    assert output.annotations == [Annotation("error", "x", "***", "***.c")]


def test_a_command_is_no_line_of_a_tools_output() -> None:
    said = "::add-matcher::two.json\nfirst\n::debug::x\nsecond\n::error::first\n"

    output, _ = heard(said)

    assert [one.message for one in output.annotations] == ["second", "first"]


def test_a_problem_that_a_step_told_in_part_is_not_told_on_by_the_next_one() -> None:
    matchers = Matchers()
    said = ("::add-matcher::two.json\nfirst\n", "second\n")
    steps = [StepOutput(lambda chunk: None, Masks(), matchers, FILES.__getitem__) for _ in said]
    for step, text in zip(steps, said, strict=True):
        step(text.encode())
        step.end()

    assert [step.annotations for step in steps] == [[], []]


def test_outputs_said_the_former_way_count_with_a_warning() -> None:
    output, shown = heard("::set-output name=a::1\n::set-output name=b::2%0A3\n")

    assert output.outputs == {"a": "1", "b": "2\n3"}
    assert [one.level for one in output.annotations] == ["warning"]
    assert "GITHUB_OUTPUT" in shown


def test_after_stop_commands_everything_is_text_until_the_token_comes() -> None:
    output, shown = heard("::stop-commands::tok\n::error::no\n::other::\n::tok::\n::error::yes\n")

    assert [one.message for one in output.annotations] == ["yes"]
    assert "::error::no\n" in shown


@pytest.mark.parametrize("token", ["", "error", "pause-logging"])
def test_a_token_that_could_be_met_by_chance_fails_the_step(token: str) -> None:
    assert "random" in heard(f"::stop-commands::{token}\n")[0].failure


def test_the_environment_is_not_changed_by_what_is_printed_unless_that_was_allowed() -> None:
    said = "::set-env name=A::1\n::add-path::/opt/bin\n"
    refused, allowed = heard(said)[0], heard(said, unsafe=True)[0]

    assert "GITHUB_ENV" in refused.failure
    assert (refused.env, refused.path) == ({}, [])
    assert (allowed.failure, allowed.env, allowed.path) == ("", {"A": "1"}, ["/opt/bin"])


def test_commands_are_shown_where_echo_is_on() -> None:
    said = "::echo::on\n::debug::a\n::echo::off\n::debug::b\n"

    assert heard(said)[1] == "::echo::on\n::debug::a\n"


def test_of_many_annotations_the_first_ten_of_each_level_are_kept() -> None:
    output, shown = heard("".join(f"::error::{n}\n::notice::{n}\n" for n in range(12)))

    assert len(output.annotations) == 20
    assert shown.count("##[error]") == 12


def test_a_problem_matcher_makes_annotations_of_what_a_tool_prints_and_shows_it_unchanged() -> None:
    said = "::add-matcher::gcc.json\nsrc/a.c:3:7: error: no s3cr3t\nfine\n"
    output, shown = heard(said + "::remove-matcher owner=gcc::\nb.c:1:1: error: late\n")

    assert output.annotations == [Annotation("error", "no ***", file="src/a.c", line=3, col=7)]
    assert shown == "src/a.c:3:7: error: no ***\nfine\nb.c:1:1: error: late\n"


def test_a_problem_matcher_that_cannot_be_read_is_a_warning() -> None:
    output, _ = heard("::add-matcher::broken.json\n")

    assert "broken.json: a problem matcher is a JSON file" in output.annotations[0].message
    assert output.failure == ""


def test_a_line_without_an_end_is_shown_in_time() -> None:
    shown: list[bytes] = []
    output = StepOutput(shown.append, Masks(), Matchers(), FILES.__getitem__)
    output(b"x" * (LONGEST_LINE + 1))

    assert b"".join(shown) == b"x" * (LONGEST_LINE + 1)


def test_what_overwrites_its_line_is_shown_as_it_comes() -> None:
    shown: list[bytes] = []
    output = StepOutput(shown.append, Masks(), Matchers(), FILES.__getitem__)
    output(b"10%\r20%\r3")

    assert b"".join(shown) == b"10%\r20%\r"


@pytest.mark.parametrize("line", [">>> ::error::x", "::error", ":: error::x", "error::x::"])
def test_a_command_stands_at_the_beginning_of_its_line(line: str) -> None:
    assert parse_command(line) is None


@given(st.text(alphabet=":#[]=, \n\rabenot%0AD", max_size=200), st.integers(1, 50))
def test_how_it_comes_in_pieces_makes_no_difference(text: str, size: int) -> None:
    whole, shown = heard(text)
    pieces, shown_in_pieces = heard(*(text[at : at + size] for at in range(0, len(text), size)))

    assert shown_in_pieces.replace("\r\n", "\n") == shown.replace("\r\n", "\n")
    assert pieces.annotations == whole.annotations


@pytest.mark.parametrize("command", ["set-output name=x", "save-state name=x", "set-env name=x", "add-path"])
def test_what_commands_hand_on_is_as_much_as_a_file_may(command: str) -> None:
    said = f"::{command}::{'x' * 60_000}\n"

    within, beyond = heard(said * 17, unsafe=True)[0], heard(said * 18, unsafe=True)[0]

    assert within.failure == ""
    assert f"::{command.split()[0]}:: gives: " in beyond.failure
    assert f"more than the limit of {FILE_BYTES}" in beyond.failure
    assert len(beyond.path) < 18


def test_thousands_of_masks_are_all_hidden_and_soon() -> None:
    shown = bytearray()
    output = StepOutput(shown.extend, Masks(), Matchers(), unread)
    begun = time.process_time()

    for n in range(MOST_VALUES):
        output(b"::add-mask::secret-%d-%d\nnow secret-%d-%d is said\n" % (n, n, n, n))
    output(b"".join(b"<secret-%d-%d>\n" % (n, n) for n in range(MOST_VALUES)))
    output.end()

    assert output.failure == ""
    assert bytes(shown) == b"::add-mask::***\nnow *** is said\n" * MOST_VALUES + b"<***>\n" * MOST_VALUES
    assert time.process_time() - begun < 30


@pytest.mark.parametrize(
    "said",
    [
        "".join(f"::add-mask::secret-{n}-{n}\n" for n in range(MOST_VALUES))
        + "::add-mask::one-more\none-more\n",
        "::add-mask::" + "%0A".join(map(str, range(MOST_VALUES))) + "\none-more\n",
        "::add-mask::" + "one-more" * 10_000 + "\none-more\n",
        "::add-mask::" + "%0A" * 30_000 + "one-more\none-more\n",
        "".join(f"::add-mask::{n}{'x' * 60_000}\n" for n in range(18)) + "::add-mask::one-more\none-more\n",
    ],
    ids=["too many", "too many lines", "too long", "longer than a line", "too long together"],
)
@pytest.mark.parametrize("size", [1000, 10_000_000])
def test_what_is_more_than_can_be_hidden_fails_the_step_and_is_not_shown(said: str, size: int) -> None:
    masks = Masks(["s3cr3t"])
    said = f"before s3cr3t\n{said}::warning::one-more\n::set-output name=x::one-more\n"

    output, shown = heard(*(said[at : at + size] for at in range(0, len(said), size)), masks=masks)
    later, shown_later = heard("one-more\n", "one-more\n", masks=masks)

    assert (output.failure, later.failure) == (WITHHELD, "")
    assert shown.startswith("before ***\n")
    assert shown.endswith(f"##[error]{WITHHELD}\n")
    assert "one-more" not in shown
    assert shown_later == f"##[error]{WITHHELD}\n"
    assert (output.annotations, output.outputs) == ([], {})
    assert (masks.hide_text("one-more"), masks.covers("x"), masks.covers("")) == (WITHHELD, True, False)
    again = Masks()
    for value in masks.added:
        again.add(value)
    assert again.withheld


def unread(path: str) -> bytes:
    raise AssertionError(path)
