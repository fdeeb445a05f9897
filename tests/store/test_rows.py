"""What is stored, as this version reads it."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import BigInteger, bindparam

from runner.errors import Unavailable
from runner.model.waits import Answer, Awaited, Wait, Word
from runner.store import Database
from runner.store.checkpoints import _next_in
from runner.store.rows import wait_from, wait_to
from tests.builders import NOON
from tests.servers import migrated_sqlite

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


def test_where_a_checkpoint_comes_is_found_without_counting_those_before_it(tmp_path: Path) -> None:
    database = Database(migrated_sqlite(tmp_path / "runner.db"))
    with closing(database), database.reading() as connection:
        asked = str(_next_in(bindparam("job", type_=BigInteger)).compile(dialect=connection.dialect))
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN SELECT {asked}", (1, 1, 0)).fetchall()

    assert "max(" in asked
    assert any("INDEX checkpoints_in_order (job=?)" in row.detail for row in plan), plan
