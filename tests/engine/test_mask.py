"""Secrets in what is printed."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.logs import MASKED, Mask

SECRET = 'pass "word"&<1>'


@pytest.mark.parametrize(
    "printed",
    [
        SECRET,
        quote(SECRET, safe=""),
        json.dumps(SECRET)[1:-1],
        base64.b64encode(SECRET.encode()).decode(),
        SECRET.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;"),
    ],
)
def test_a_secret_is_hidden_in_every_form(printed: str) -> None:
    assert Mask([SECRET]).hide(f"a {printed} b") == f"a {MASKED} b"


def test_every_line_of_a_secret_is_hidden_and_blanks_are_not() -> None:
    mask = Mask(["one\ntwo\r\n \n"])

    assert mask.hide("one two  \n three") == f"{MASKED} {MASKED}  \n three"


def test_secrets_that_overlap_are_hidden_together() -> None:
    assert Mask(["abc", "cde"]).hide("xabcdex") == f"x{MASKED}x"
    assert Mask(["aa"]).hide("aaaa") == MASKED


@given(st.lists(st.text("ab&+", min_size=1, max_size=4), max_size=4), st.text("abx&+", max_size=40))
def test_no_secret_is_left(secrets: list[str], text: str) -> None:
    hidden = Mask(secrets).hide(text)

    assert not any(secret in piece for piece in hidden.split(MASKED) for secret in secrets)


@given(st.lists(st.text("ab", min_size=1, max_size=4), max_size=4), st.text("xyz", max_size=40))
def test_what_holds_no_secret_stays_as_it_is(secrets: list[str], text: str) -> None:
    assert Mask(secrets).hide(text) == text
