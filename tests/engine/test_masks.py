import json
import time
from base64 import b64encode
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engine.masks import FEW_FORMS, Masks

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


PARTS = st.text("ab\r\n", min_size=1, max_size=12)


@given(st.lists(PARTS, max_size=30), st.text("ab\r\n", max_size=200))
def test_many_are_hidden_as_few_are(secrets: list[str], text: str) -> None:
    many = Masks([*secrets, *(f"{n}{n}{n}{n}" for n in range(FEW_FORMS))])
    said = text.encode()

    shown = many.hide(said)

    assert shown == Masks(secrets).hide(said)
    for secret in secrets:
        assert not secret.strip() or secret.encode() not in shown


@pytest.mark.slow("only of very many values it shows")
def test_values_that_begin_alike_take_no_longer_than_others() -> None:
    masks = Masks()
    for length in range(1, 1400):
        masks.add("a" * length + "A")
    begun = time.process_time()

    shown = masks.hide(b"x" + b"a" * 65536)

    assert shown.startswith(b"x***")
    assert time.process_time() - begun < 20


def test_what_a_value_has_in_common_with_a_longer_one_stays() -> None:
    masks = Masks(f"value-{n}-{n}" for n in range(FEW_FORMS))

    assert masks.hide(b"value-1 value-1-1 value-1-12") == b"value-1 *** ***2"
