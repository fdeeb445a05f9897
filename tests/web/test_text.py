import pytest

from runner.web.text import one_line, place_of, visible


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain \u2713 text\n\tindented", "plain \u2713 text\n\tindented"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;aGk=\x07copied", "copied"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("\x1bcreset", "reset"),
        ("open \x1b]0;title", "open \u241b]0;title"),
        ("end \x1b", "end \u241b"),
        ("\x9b31m", "<U+009B>31m"),
        ("abc\u202edcba\u2066", "abc<U+202E>dcba<U+2066>"),
        ("bell\x07 back\x08 nul\0 del\x7f", "bell\u2407 back\u2408 nul\u2400 del\u2421"),
        ("10%\r20%\r\ndone", "10%\n20%\ndone"),
    ],
)
def test_what_a_stranger_wrote_cannot_act(written: str, shown: str) -> None:
    assert visible(written) == shown


def test_colours_may_stay_and_nothing_else() -> None:
    assert (
        visible("\x1b[1;31mred\x1b[0m\x1b[2J\x1b]0;x\x07\x1b", colours=True) == "\x1b[1;31mred\x1b[0m\u241b"
    )


def test_a_name_stays_on_its_line() -> None:
    assert one_line("a\nb\tc") == "a b c"


def test_a_place_is_said_as_compilers_say_it() -> None:
    assert place_of("a.c", 3, 7) == "a.c:3:7"
    assert place_of("a.c", 3, None) == "a.c:3"
    assert place_of("a\n.c", None, 7) == "a .c"
