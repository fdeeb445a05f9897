"""SqlArchived: which objects the layers of jobs' snapshots are."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, exists, func, insert, or_, select, update

from runner.engine.ports import Archived
from runner.model.blob import Blob
from runner.model.snapshot import BASE, Layer, StoredLayer
from runner.store.database import Database, micros
from runner.store.tables import jobs, repositories, runs, snapshots

SECOND = 10**6
MOST_KEYS = 500
"""How many values a statement asks for at once."""


class SqlArchived(Archived):
    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, job: int, place: str, layers: Sequence[Layer]) -> Sequence[str]:
        def work(connection: Connection) -> list[str]:
            # Locked, so that it is not forgotten meanwhile.
            living = select(jobs.c.id).where(jobs.c.id == job).with_for_update(key_share=True)
            if connection.execute(living).first() is None:
                return []
            there = {row.name: row.key for row in _rows_of(connection, job)}
            rows = [
                {"job": job, "name": layer.name, "parent": layer.parent, "place": place}
                for layer in layers
                if layer.name not in there
            ]
            if rows:
                now = micros(self._database.now(connection))
                connection.execute(insert(snapshots), [row | {"noted_at": now} for row in rows])
            return [layer.name for layer in layers if there.get(layer.name) is None]

        return self._database.writing(work, durable=False)

    def share(self, job: int, layer: str, content: str) -> bool:
        own = (snapshots.c.job == job) & (snapshots.c.name == layer)

        def work(connection: Connection) -> bool:
            place = select(snapshots.c.place).where(own).scalar_subquery()
            same = (snapshots.c.place == place) & (snapshots.c.content == content)
            # Locked: whoever forgets it meanwhile waits, and then sees that its object is still needed.
            query = select(snapshots).where(same, snapshots.c.key.is_not(None)).limit(1).with_for_update()
            found = connection.execute(query).first()
            if found is None:
                return False
            what = {"content": content, "key": found.key, "size": found.size, "digest": found.digest}
            return bool(connection.execute(update(snapshots).where(own).values(what)).rowcount)

        return self._database.writing(work)

    def stored(self, job: int, layer: str, content: str, blob: Blob) -> bool:
        own = (snapshots.c.job == job) & (snapshots.c.name == layer) & snapshots.c.key.is_(None)
        what = {"content": content, "key": blob.key, "size": blob.size, "digest": blob.digest}

        def work(connection: Connection) -> bool:
            return bool(connection.execute(update(snapshots).where(own).values(what)).rowcount)

        return self._database.writing(work)

    def chain(self, job: int, line: Sequence[int], snapshot: str) -> Sequence[StoredLayer] | None:
        def work(connection: Connection) -> list[StoredLayer] | None:
            for one in (job, *line):
                rows = {row.name: row for row in _rows_of(connection, one)}
                if (found := _chain(rows, snapshot)) is not None:
                    if one != job:
                        self._adopt(connection, job, found)
                    return [
                        StoredLayer(row.name, row.content, Blob(row.key, row.size, row.digest))
                        for row in found
                    ]
            return None

        return self._database.writing(work)

    def _adopt(self, connection: Connection, job: int, found: Sequence[Row[Any]]) -> None:
        names = [row.name for row in found]
        connection.execute(delete(snapshots).where(snapshots.c.job == job, snapshots.c.name.in_(names)))
        now = micros(self._database.now(connection))
        rows = [row._asdict() | {"job": job, "noted_at": now} for row in found]
        connection.execute(insert(snapshots), rows)

    def pending(self) -> Sequence[tuple[int, str, tuple[str, ...]]]:
        query = select(snapshots.c.job, snapshots.c.place, snapshots.c.name).where(snapshots.c.key.is_(None))
        found: dict[tuple[int, str], list[str]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(query):
                found.setdefault((row.job, row.place), []).append(row.name)
        return [(job, place, tuple(names)) for (job, place), names in found.items()]

    def expired(self, kept: timedelta, most: int) -> Sequence[str]:
        with self._database.reading() as connection:
            now = self._database.now(connection)
            over = _over(micros(now), micros(now - kept))
            query = select(snapshots.c.job, jobs.c.run).join(jobs, jobs.c.id == snapshots.c.job)
            query = query.where(over).distinct().limit(most)
            found = connection.execute(query).all()
        keys: list[str] = []
        for row in found:
            keys += self._database.writing(partial(_forget, job=row.job, run=row.run, over=over))
        return keys

    def known(self, keys: Collection[str]) -> Collection[str]:
        wanted, found = list(keys), set[str]()
        with self._database.reading() as connection:
            for start in range(0, len(wanted), MOST_KEYS):
                some = snapshots.c.key.in_(wanted[start : start + MOST_KEYS])
                found.update(connection.execute(select(snapshots.c.key).where(some)).scalars())
        return found


def _rows_of(connection: Connection, job: int) -> Sequence[Row[Any]]:
    # Whoever forgets them waits.
    return connection.execute(select(snapshots).where(snapshots.c.job == job).with_for_update()).all()


def _chain(rows: dict[str, Row[Any]], snapshot: str) -> list[Row[Any]] | None:
    found: list[Row[Any]] = []
    while snapshot != BASE:
        row = rows.pop(snapshot, None)
        if row is None or row.key is None:
            return None
        found.append(row)
        snapshot = row.parent
    return found[::-1]


def _over(now: int, border: int) -> ColumnElement[bool]:
    """Whether a job and its run have ended, before the border or that of its repository."""
    run = (
        (runs.c.id == jobs.c.run)
        & (runs.c.forge == repositories.c.forge)
        & (runs.c.repo == repositories.c.name)
    )
    own = select(repositories.c.keep_snapshots).where(run).correlate(jobs).scalar_subquery()
    going_on, other = jobs.alias(), jobs.alias()
    unfinished = exists().where(
        going_on.c.run == jobs.c.run, going_on.c.superseded.is_(None), going_on.c.phase != "finished"
    )
    last = select(func.max(other.c.finished_at)).where(other.c.run == jobs.c.run).scalar_subquery()
    # 0 is no limit there, as of all that is said of a repository.
    late = or_(own.is_(None) & (last <= border), (own > 0) & (last <= now - own * SECOND))
    return (jobs.c.phase == "finished") & ~unfinished & late


def _forget(connection: Connection, job: int, run: int, over: ColumnElement[bool]) -> list[str]:
    """Unless its run was begun again; who wants that now waits for this, and finds them gone."""
    connection.execute(select(runs.c.id).where(runs.c.id == run).with_for_update())
    if connection.execute(select(jobs.c.id).where(jobs.c.id == job, over)).first() is None:
        return []
    keys = {row.key for row in _rows_of(connection, job) if row.key is not None}
    connection.execute(delete(snapshots).where(snapshots.c.job == job))
    still: set[str] = set()
    asked = list(keys)
    for start in range(0, len(asked), MOST_KEYS):
        some = snapshots.c.key.in_(asked[start : start + MOST_KEYS])
        still.update(connection.execute(select(snapshots.c.key).where(some)).scalars())
    return sorted(keys - still)
