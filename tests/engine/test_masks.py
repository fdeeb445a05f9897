import json
from base64 import b64encode
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engine.masks import Masks

SECRET = 'p@ss "word" <1> & it\'s'


@pytest.mark.parametrize(
    "said",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        quote(SECRET, safe=""),
        escape(SECRET, {'"': "&quot;", "'": "&apos;"}),
        SECRET.encode().hex(),
        b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_secret_is_hidden_however_it_is_quoted(said: str) -> None:
    assert Masks([SECRET]).hide(f"<{said}>".encode()) == b"<***>"


@given(st.binary(max_size=5), st.binary(max_size=5))
def test_a_secret_within_base64_is_hidden_whatever_stands_around_it(before: bytes, after: bytes) -> None:
    secret = "a-long-secret-1234"

    shown = Masks([secret]).hide(b64encode(before + secret.encode() + after))

    assert b"***" in shown
    assert len(shown) < 3 + 4 * (len(before) + len(after)) // 3 + 16


def test_each_line_of_a_secret_is_one() -> None:
    masks = Masks(["-----BEGIN-----\r\nfirst line\nsecond\n-----END-----"])

    assert masks.hide(b"a first line, a second, a third") == b"a ***, a ***, a third"


def test_secrets_that_overlap_are_hidden_together() -> None:
    assert Masks(["abc", "cde", "efg"]).hide(b"<abcdefg> <cdx>") == b"<***> <cdx>"


def test_a_blank_hides_nothing() -> None:
    masks = Masks(["", " ", "\r\n\t"])

    assert not masks
    assert masks.hide(b"a b\tc") == b"a b\tc"


@given(st.lists(st.text(min_size=1, max_size=8), max_size=4), st.text(max_size=60))
def test_no_secret_is_left_and_nothing_else_is_lost(secrets: list[str], text: str) -> None:
    said = text.encode(errors="surrogateescape")
    shown = Masks(secrets).hide(said)

    if b"***" not in shown:
        assert shown == said
    pieces = shown.split(b"***")
    at = 0
    for piece in pieces:
        at = said.index(piece, at) + len(piece)
