"""What is stored, as this version reads it."""

from dataclasses import replace
from typing import Any

import pytest

from runner.errors import Unavailable
from runner.model.waits import Answer, Awaited, Wait, Word
from runner.store.rows import wait_from, wait_to
from tests.builders import NOON

WAIT = Wait("go#1", Awaited.SIGNAL, NOON, name="go", joint=True)


def test_a_wait_is_read_as_it_was_stored() -> None:
    over = replace(WAIT, answer=Answer(Word.SENT, NOON, "ada", payload={"n": 1}))

    assert [wait_from(wait_to(wait)) for wait in (WAIT, over)] == [WAIT, over]


@pytest.mark.parametrize(
    "newer", [{"awaited": "moon"}, {"answer": {"word": "howled", "at": 0, "by": "", "comment": ""}}]
)
def test_a_wait_that_only_a_newer_version_knows_is_read_by_nobody(newer: dict[str, Any]) -> None:
    with pytest.raises(Unavailable, match=r"only a newer version of runner knows it: .*; upgrade this one"):
        wait_from({**wait_to(WAIT), **newer})
