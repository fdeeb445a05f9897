"""How a run takes its turns: when it comes to the lines of its repository, leaves them, and hears from them.

Others change its places while it does something else. It hears of that when it is changed next, so nobody
ever needs two runs at once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from runner.model.ending import cancel, oust
from runner.model.lifecycle import decide
from runner.model.run import Finished, Job, Pending, Run
from runner.model.turns import Place, State, Turn, line


def take_turns(
    before: Run, run: Run, places: Iterable[Place], now: datetime
) -> tuple[Run, tuple[Place, ...]]:
    """What a change of a run from `before` means for the lines of its repository, and these for the run.

    Who came before is in line before what ends here leaves: the newest one of those that came replaces the
    others. Twice changes nothing more.
    """
    there = tuple(places)
    while concerned(before, run):
        there = line(one for one in there if one.turn.state is not State.WANTED or not _is_over(run, one))
        there = line(one for one in there if not _is_over(run, one))
        there = line((*there, *_comers(run, there)))
        before, run = run, decide(hear(run, there, now), now)
    return run, there


def concerned(before: Run, run: Run) -> bool:
    """Whether a run comes to a line by a change, or leaves one."""
    if run.turn is None and not any(job.turns for job in run.jobs):
        return False
    if run.turn is not None and run.result is not None and before.result is None:
        return True
    ended = {job.id for job in before.jobs if isinstance(job.phase, Finished)}
    left = (job.turns and isinstance(job.phase, Finished) and job.id not in ended for job in run.jobs)
    return any(left) or any(True for _ in _wanted(run))


def hear(run: Run, places: Iterable[Place], now: datetime) -> Run:
    """The run with what has become of its own places."""
    for place in places:
        if place.run == run.id and place.turn.state is not State.WANTED and not _is_over(run, place):
            run = (
                _heard(run, place, now)
                if place.job is None
                else _heard_of(run, run.job(place.job), place.turn, now)
            )
    return run


def listens(run: Run) -> bool:
    """Whether it may have places that others can change."""
    return run.result is None and (run.turn is not None or any(job.turns for job in run.jobs))


def _heard(run: Run, place: Place, now: datetime) -> Run:
    former = run.turn
    run = replace(run, turn=place.turn)
    return cancel(run, now) if place.turn.reason and former and not former.reason else run


def _heard_of(run: Run, job: Job, turn: Turn, now: datetime) -> Run:
    former = job.ousted
    job = replace(job, turns=tuple(turn if one.called == turn.called else one for one in job.turns))
    run = run.with_job(job)
    return oust(run, job.id, now) if job.ousted and not former else run


def _is_over(run: Run, place: Place) -> bool:
    """Whether it is the place of something in this run that has ended."""
    if place.run != run.id:
        return False
    if place.job is None:
        return run.result is not None
    return not run.has(place.job) or isinstance(run.job(place.job).phase, Finished)


def _wanted(run: Run) -> Iterator[tuple[Job | None, Turn]]:
    """Turns whose time to line up has come."""
    if run.turn is not None and run.turn.state is State.WANTED and run.result is None:
        yield None, run.turn
    for job in run.jobs:
        if isinstance(job.phase, Pending):
            yield from ((job, turn) for turn in job.turns if turn.state is State.WANTED)


def _comers(run: Run, places: tuple[Place, ...]) -> Iterator[Place]:
    mine = {(one.job, one.turn.called): one.number for one in places if one.run == run.id}
    number = max((one.number for one in places), default=0)
    for job, turn in _wanted(run):
        key = (job.id if job else None, turn.called)
        if key not in mine:
            number += 1
            within = tuple(mine[one] for one in _above(run, job, turn) if one in mine)
            yield Place(number, run.id, key[0], turn, job.name if job else "", within)


def _above(run: Run, job: Job | None, turn: Turn) -> Iterator[tuple[int | None, bool]]:
    """What ends only after a job, by job and whether it is a called workflow's."""
    if job is None:
        return
    yield None, False
    if turn.called:
        yield job.id, False
    while job.caller is not None:
        job = run.job(job.caller)
        yield from ((job.id, False), (job.id, True))
