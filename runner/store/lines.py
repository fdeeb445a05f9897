"""The lines before concurrency groups: one lock to a repository, whichever of its groups are concerned.

Whoever changes a run holds that run's lock, then takes this one, and never another run's: what others have
to hear is a row that says so, and the clock rings for it until they have. So no two transactions can wait
for each other.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from runner.model.concurrency import concerned, hear, listens, take_turns
from runner.model.run import Run
from runner.model.source import Route
from runner.model.turns import Place, State, Turn
from runner.store.database import MICROSECOND, micros, one_at_a_time
from runner.store.rows import FIRST_RING, place_columns, place_from
from runner.store.tables import places


def announce_turn(connection: Connection, run: Run, turn: Turn, now: datetime) -> None:
    """Have a new run come to its group: in this order, whoever lets it in and whenever."""
    _lock(connection, run.route.forge, run.route.repo)
    number = _newest(connection, run.route) + 1
    _insert(connection, run.route, Place(number, run.id, None, turn), _ring(now))


def heard(connection: Connection, run: Run, now: datetime) -> Run:
    """The run with what others have done to its turns since it was changed last."""
    if not listens(run):
        return run
    news = select(places).where(places.c.run == run.id, places.c.ring_at.is_not(None))
    if connection.execute(news.limit(1)).first() is None:
        return run
    _lock(connection, run.route.forge, run.route.repo)
    # Who has not come to its line yet does so with the change that follows.
    found = [
        place
        for row in connection.execute(news).all()
        if (place := place_from(row)).turn.state is not State.WANTED
    ]
    for place in found:
        connection.execute(
            update(places).where(_at(run.route.forge, run.route.repo, place)).values(ring_at=None)
        )
    return hear(run, found, now)


def moved(connection: Connection, before: Run, run: Run, now: datetime) -> tuple[Run, tuple[int, ...]]:
    """Store what a change of a run means for the lines; gives the run as it then is, and who has to hear."""
    if not concerned(before, run):
        return run, ()
    _lock(connection, run.route.forge, run.route.repo)
    known = _places(connection, run)
    run, there = take_turns(before, run, known.values(), now)
    stirred = dict.fromkeys(
        place.run for place in there if place.run != run.id and known.get(place.number) != place
    )
    _store(connection, run, known, there, _ring(now))
    return run, tuple(stirred)


def dissolve(connection: Connection, forge: str, repo: str) -> None:
    """End the lines of a repository that is removed: whoever gets its name next waits for nobody in them."""
    _lock(connection, forge, repo)
    connection.execute(delete(places).where(_of(forge, repo)))


def _store(
    connection: Connection, run: Run, known: Mapping[int, Place], there: tuple[Place, ...], ring_at: int
) -> None:
    staying = {place.number for place in there}
    for number, place in known.items():
        if number not in staying:
            connection.execute(delete(places).where(_at(run.route.forge, run.route.repo, place)))
    for place in there:
        # The run itself hears it in this transaction.
        ring = None if place.run == run.id else ring_at
        if place.number not in known:
            _insert(connection, run.route, place, ring)
        elif known[place.number] != place:
            changed = place_columns(place) | {"ring_at": ring}
            connection.execute(
                update(places).where(_at(run.route.forge, run.route.repo, place)).values(changed)
            )


def _insert(connection: Connection, route: Route, place: Place, ring_at: int | None) -> None:
    row = {"forge": route.forge, "repo": route.repo, "ring_at": ring_at}
    connection.execute(insert(places).values(row | place_columns(place)))


def _newest(connection: Connection, route: Route) -> int:
    query = select(func.max(places.c.number)).where(_of(route.forge, route.repo))
    return connection.execute(query).scalar() or 0


def _places(connection: Connection, run: Run) -> dict[int, Place]:
    """All that can matter to a run, by number: its own, those of their groups, and the newest.

    A job can wait for what waits for its run, or for the job that called it. So of a run that has such jobs,
    also those of the runs that it meets, and so on. Others wait while this is read.
    """
    newest = places.c.number == _newest(connection, run.route)
    found = _found(connection, run.route, (places.c.run == run.id) | newest)
    runs = {run.id}
    inside = any(job.turns and (run.turn or job.caller or len(job.turns) > 1) for job in run.jobs)
    turns = [*([run.turn] if run.turn else []), *(turn for job in run.jobs for turn in job.turns)]
    keys = {turn.key for turn in turns} | {place.turn.key for place in found.values()}
    known = set[str]()
    while keys - known:
        found |= _found(connection, run.route, places.c.turn["key"].as_string().in_(keys - known))
        known |= keys
        met = {place.run for place in found.values()} - runs if inside else set()
        if met:
            runs |= met
            others = _found(connection, run.route, places.c.run.in_(met))
            found |= others
            keys |= {place.turn.key for place in others.values()}
    return found


def _found(connection: Connection, route: Route, which: ColumnElement[bool]) -> dict[int, Place]:
    rows = connection.execute(select(places).where(_of(route.forge, route.repo), which)).all()
    return {row.number: place_from(row) for row in rows}


def _of(forge: str, repo: str) -> ColumnElement[bool]:
    return (places.c.forge == forge) & (places.c.repo == repo)


def _at(forge: str, repo: str, place: Place) -> ColumnElement[bool]:
    return _of(forge, repo) & (places.c.number == place.number)


def _ring(now: datetime) -> int:
    return micros(now) + FIRST_RING // MICROSECOND


def _lock(connection: Connection, forge: str, repo: str) -> None:
    one_at_a_time(connection, f"{forge} {repo}")
