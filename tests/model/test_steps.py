"""Steps that a program asks for by a name: what they are known by, and when they began."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from runner.model.beginnings import Beginning, beginnings_in
from runner.model.forks import POST, PRE
from runner.model.step import TRY, is_named, name_in, named_in, named_key
from runner.model.waits import LOSS
from tests.builders import NOON

# Also halves of letters, which no text may have that is stored or sent, but a program's name may.
NAMES = st.text(
    st.characters() | st.sampled_from("%#~!./ 1u\x00\n\x85\u2028\u202e\ud800\U0010ffff"), max_size=256
)
TIMES = st.integers(1, 10_000)


@given(NAMES, TIMES)
def test_a_steps_name_can_be_read_from_its_key(name: str, number: int) -> None:
    assert name_in(named_key(name, number)) == (name if number == 1 else f"{name} ({number})")
    assert named_in(named_key(name, number)) == (name, number)


@given(NAMES, NAMES, TIMES, TIMES)
def test_no_two_steps_have_the_same_key(one: str, other: str, first: int, second: int) -> None:
    same = (one, first) == (other, second)

    assert (named_key(one, first) == named_key(other, second)) is same


@given(NAMES, TIMES)
def test_a_key_can_be_stored_sent_and_shown_and_is_no_other_kind_of_key(name: str, number: int) -> None:
    key = named_key(name, number)

    assert is_named(key)
    assert key.count("#") == 1
    assert not any(mark in key for mark in (TRY, LOSS, PRE, POST))
    assert key.splitlines() == [key]
    # As much as fits into a key of PostgreSQL's indexes.
    assert len(key.encode()) < 2600


def test_keys_of_plain_names_are_as_people_write_them() -> None:
    assert named_key("make lint/test", 3) == "make lint/test#3"
    assert named_key("v1.2 #3 at 100%!", 1) == "v1%2E2 %233 at 100%25%21#1"
    assert not is_named("2.1.post")


@given(
    st.lists(st.tuples(NAMES, st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)), TIMES), max_size=5),
    st.integers(0, 20),
)
def test_what_began_is_read_as_it_was_written_however_much_of_it_there_is(
    said: list[tuple[str, datetime, int]], cut: int
) -> None:
    begun = [Beginning(named_key(name, number), at.replace(tzinfo=NOON.tzinfo)) for name, at, number in said]
    text = b"".join(one.line for one in begun)

    assert list(beginnings_in(text)) == begun
    assert (
        list(beginnings_in(text[: max(0, len(text) - cut)]))
        == begun[: text[: max(0, len(text) - cut)].count(b"\n")]
    )
    assert list(beginnings_in(text + b"1234")) == begun


def test_a_beginning_is_known_to_the_microsecond() -> None:
    at = NOON + timedelta(microseconds=1)

    assert [one.at for one in beginnings_in(Beginning("a#1", at).line)] == [at]
