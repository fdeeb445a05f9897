from contextlib import closing
from pathlib import Path

from sqlalchemy import BigInteger, bindparam

from runner.store import Database
from runner.store.checkpoints import _next_in
from tests.servers import migrated_sqlite


def test_where_a_checkpoint_comes_is_found_without_counting_those_before_it(tmp_path: Path) -> None:
    database = Database(migrated_sqlite(tmp_path / "runner.db"))
    with closing(database), database.reading() as connection:
        asked = str(_next_in(bindparam("job", type_=BigInteger)).compile(dialect=connection.dialect))
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN SELECT {asked}", (1, 1, 0)).fetchall()

    assert "max(" in asked
    assert any("INDEX checkpoints_in_order (job=?)" in row.detail for row in plan), plan
