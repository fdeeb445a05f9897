"""What must be true of a database, and of what steps wrote, whatever happened to the processes over them.

Checked at the end of every case, and while things go on. Each law gives what breaks it, in words; one more
is a function more in `LAWS`.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import Row, select, text

from runner.store import Database
from runner.store.tables import checkpoints, deliveries, jobs, places, runs, signals, stops

COMMIT = re.compile(r"\b[0-9a-f]{40}\b")
SAID_LATER = ("superseded", "logs_settled")
"""Of a job, after its end: that another one has its place in the run, and that its logs are packed."""


@dataclass(frozen=True)
class Rows:
    """All that laws are about, as it was at one moment."""

    runs: Sequence[Row[Any]]
    jobs: Sequence[Row[Any]]
    checkpoints: Sequence[Row[Any]]
    places: Sequence[Row[Any]]
    deliveries: Sequence[Row[Any]]
    signals: Sequence[Row[Any]]
    stops: Sequence[Row[Any]]

    def of_run(self, run: int) -> list[Row[Any]]:
        """The jobs of its newest attempt."""
        return [job for job in self.jobs if job.run == run and job.superseded is None]

    def stands_still(self, run: int) -> bool:
        """Whether somebody wants that of it, of its commit, its workflow or its repository."""
        mine = next(one for one in self.runs if one.id == run)
        here = [one for one in self.stops if (one.forge, one.repo) == (mine.forge, mine.repo)]
        return any(
            one.run == run
            or (
                one.run is None
                and one.commit in (None, mine.commit)
                and one.workflow in (None, mine.workflow)
            )
            for one in here
        )

    def checkpoints_of(self, job: int) -> list[Row[Any]]:
        """In their order."""
        return sorted((one for one in self.checkpoints if one.job == job), key=lambda one: one.sequence)

    @cached_property
    def copies(self) -> set[tuple[int, int, str]]:
        """The keys of checkpoints that a job which went back had before: only the base may differ."""
        told = ("fingerprint", "outcome", "started_at", "finished_at", "snapshot", "kept")
        found, first = set(), dict[tuple[int, str, int], list[Any]]()
        for one in sorted(self.checkpoints, key=lambda one: one.base):
            said = [getattr(one, name) for name in told]
            before = first.setdefault((one.job, one.key, one.attempt), said)
            if before is not said and before == said:
                found.add((one.job, one.base, one.key))
        return found

    def is_copy(self, one: Row[Any]) -> bool:
        return (one.job, one.base, one.key) in self.copies


def read(database: Database) -> Rows:
    tables = (runs, jobs, checkpoints, places, deliveries, signals, stops)

    def work(connection: Any) -> Rows:
        if not database.lite:
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        return Rows(*(connection.execute(select(table)).all() for table in tables))

    # A transaction of its own: what is read in several statements has to be of one moment.
    found = database.writing(work, durable=False)
    ordered = sorted(found.checkpoints, key=lambda one: (one.job, one.sequence))
    return replace(found, checkpoints=ordered)


def check(database: Database) -> None:
    """Raises `AssertionError` naming every law that is broken, and by what."""
    rows = read(database)
    broken = [f"{law.__name__}: {what}" for law in LAWS for what in law(rows)]
    assert not broken, "\n".join(broken)


# --- of rows -----------------------------------------------------------------------------------


def one_checkpoint_to_a_key(rows: Rows) -> Iterator[str]:
    counted = Counter((one.job, one.base, one.key) for one in rows.checkpoints)
    yield from (f"{key} has {number}" for key, number in counted.items() if number > 1)


def fences_only_rise(rows: Rows) -> Iterator[str]:
    for job in rows.jobs:
        done = rows.checkpoints_of(job.id)
        if [one.sequence for one in done] != list(range(len(done))):
            yield f"job {job.id}: in sequence {[one.sequence for one in done]}"
        for before, after in pairwise(one for one in done if not rows.is_copy(one)):
            if after.attempt < before.attempt or after.base < before.base:
                yield f"job {job.id}: {after.key} of {after.attempt} comes after {before.attempt}"
        for what, attempts in (("lost", job.lost), ("tried", [one[0] for one in job.tried])):
            if attempts != sorted(set(attempts)) or any(one > job.attempt for one in attempts):
                yield f"job {job.id} of attempt {job.attempt}: {what} {attempts}"


def nothing_is_written_under_a_stale_fence(rows: Rows) -> Iterator[str]:
    known = {job.id: job for job in rows.jobs}
    for one in rows.checkpoints:
        job = known[one.job]
        if rows.is_copy(one):
            continue
        if not one.base <= one.attempt <= job.attempt or one.base > job.base:
            yield f"{one.key} of attempt {one.attempt} from {one.base}, of a job of {job.attempt}, {job.base}"
    for job in rows.jobs:
        # A try begins with the next attempt.
        if job.base > job.attempt + bool(job.tried):
            yield f"job {job.id} of attempt {job.attempt} counts from {job.base}"


def what_has_ended_is_whole(rows: Rows) -> Iterator[str]:
    for job in rows.jobs:
        if job.phase == "finished":
            held = (job.worker, job.lease_until, job.ring_at, job.asked_at)
            if job.result is None or job.finished_at is None or held != (None,) * 4:
                yield f"job {job.id} ended as {job.result} at {job.finished_at} with {held}"
        elif job.superseded is not None:
            yield f"job {job.id} was replaced while it was {job.phase}"
        elif job.result is not None:
            yield f"job {job.id} is {job.phase} and has the result {job.result}"


def what_has_not_ended_waits_for_something(rows: Rows) -> Iterator[str]:
    for job in rows.jobs:
        if job.phase == "finished":
            continue
        waits = WAITS.get(job.phase, _for_a_time_or_a_signal)
        if not waits(rows, job):
            yield f"job {job.id} ({job.key}) of run {job.run} is {job.phase} for nothing: {job}"
        if job.asked_at is not None and job.ring_at is None:
            yield f"job {job.id} is asked, and nobody is told"


def _for_a_time(_rows: Rows, job: Row[Any]) -> bool:
    return job.ring_at is not None


def _for_a_time_or_a_signal(_rows: Rows, job: Row[Any]) -> bool:
    return job.ring_at is not None or any(wait["answer"] is None for wait in job.waits or ())


def _for_its_worker(_rows: Rows, job: Row[Any]) -> bool:
    return None not in (job.worker, job.lease_until, job.ring_at) and job.attempt > 0


def _for_its_group(rows: Rows, job: Row[Any]) -> bool:
    return any(place.run == job.run and place.job == job.id for place in rows.places)


def _for_others(rows: Rows, job: Row[Any]) -> bool:
    if rows.stands_still(job.run):
        return True
    beside = rows.of_run(job.run)
    called = [one for one in beside if one.caller == job.id]
    if called:
        return any(one.phase != "finished" for one in called)
    needed = [one for one in beside if one.caller == job.caller and one.key in job.needs]
    if any(one.phase != "finished" for one in needed):
        return True
    if any(place.run == job.run and place.job is None for place in rows.places):
        return True
    most = job.leg.get("max_parallel")
    legs = [one for one in beside if (one.caller, one.key) == (job.caller, job.key)]
    begun = [one for one in legs if one.phase not in ("finished", "waiting")]
    return most is not None and len(begun) >= most


WAITS: dict[str, Callable[[Rows, Row[Any]], bool]] = {
    "waiting": _for_others,
    "ready": _for_a_time,
    "pending": _for_its_group,
    "queued": _for_a_time,
    "running": _for_its_worker,
}
"""What a job of each phase waits for; of any other it is a due time or a signal."""


def no_more_legs_at_once_than_allowed(rows: Rows) -> Iterator[str]:
    for run in rows.runs:
        begun = Counter(
            (job.caller, job.key, job.leg["max_parallel"])
            for job in rows.of_run(run.id)
            if job.phase not in ("waiting", "finished") and job.leg.get("max_parallel") is not None
        )
        yield from (f"run {run.id}: {number} of {key}" for key, number in begun.items() if number > key[2])


def a_group_has_one_holder_and_nobody_waits_for_a_free_one(rows: Rows) -> Iterator[str]:
    ended = {run.id for run in rows.runs if all(job.phase == "finished" for job in rows.of_run(run.id))}
    over = {job.id for job in rows.jobs if job.phase == "finished"}
    groups: dict[tuple[str, str, str], Counter[str]] = {}
    for place in rows.places:
        key = (place.forge, place.repo, place.turn["key"])
        groups.setdefault(key, Counter())[place.turn["state"]] += 1
        if place.run in ended or place.job in over:
            yield f"run {place.run}, job {place.job} has ended and is in line"
        if place.turn["state"] in ("wanted", "out") and place.ring_at is None:
            yield f"run {place.run}, job {place.job} is {place.turn['state']}, and nobody is told"
    for key, states in groups.items():
        if states["held"] > 1 or (states["waiting"] and not states["held"]):
            yield f"{key}: {dict(states)}"


def a_delivery_is_judged_or_will_be(rows: Rows) -> Iterator[str]:
    admitted = {one.id for one in rows.deliveries if one.status == "admitted"}
    for one in rows.deliveries:
        if (one.status == "received") != (one.ring_at is not None):
            yield f"delivery {one.id} is {one.status}, to be rung for at {one.ring_at}"
    for run in rows.runs:
        if run.delivery not in admitted:
            yield f"run {run.id} is of a delivery that started none"


def a_signal_is_given_once(rows: Rows) -> Iterator[str]:
    taken = Counter((one.job, one.wait) for one in rows.signals if one.job is not None)
    yield from (f"the wait {wait} was given {number}" for wait, number in taken.items() if number > 1)
    known = {job.id: job for job in rows.jobs}
    for one in rows.signals:
        if one.job is None:
            continue
        answers = {wait["key"]: wait["answer"] for wait in known[one.job].waits or ()}
        if answers.get(one.wait) is None:
            yield f"signal {one.id} was given to a wait that has no answer: {one}"


LAWS: tuple[Callable[[Rows], Iterable[str]], ...] = (
    one_checkpoint_to_a_key,
    fences_only_rise,
    nothing_is_written_under_a_stale_fence,
    what_has_ended_is_whole,
    what_has_not_ended_waits_for_something,
    no_more_legs_at_once_than_allowed,
    a_group_has_one_holder_and_nobody_waits_for_a_free_one,
    a_delivery_is_judged_or_will_be,
    a_signal_is_given_once,
)


# --- of the past -------------------------------------------------------------------------------


@dataclass
class Past:
    """What had ended whenever somebody looked: it stays as it was."""

    _jobs: dict[int, dict[str, Any]] = field(default_factory=dict)
    _checkpoints: dict[tuple[int, int, str], Row[Any]] = field(default_factory=dict)
    _fences: dict[int, int] = field(default_factory=dict)
    _answers: dict[tuple[int, str, int], Any] = field(default_factory=dict)
    """Of waits, by their job, key and beginning."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, database: Database) -> None:
        # Whoever reads later remembers later.
        with self._lock:
            self._compare(read(database))

    def _compare(self, rows: Rows) -> None:
        changed: list[str] = []
        for job in rows.jobs:
            now = {name: value for name, value in job._mapping.items() if name not in SAID_LATER}
            if self._jobs.get(job.id, now) != now:
                changed.append(f"job {job.id} was {self._jobs[job.id]} and is {now}")
            if job.phase == "finished":
                self._jobs[job.id] = now
            if job.attempt < self._fences.get(job.id, 0):
                changed.append(f"job {job.id} was at attempt {self._fences[job.id]} and is at {job.attempt}")
            self._fences[job.id] = job.attempt
            for wait in job.waits or ():
                which, said = (job.id, wait["key"], wait["since"]), wait["answer"]
                before = self._answers.setdefault(which, said)
                # What a workflow has heard, its checkpoint has.
                if said not in (before, before and {**before, "payload": None}):
                    changed.append(f"the wait {which} had the answer {self._answers[which]} and has {said}")
                if said is None:
                    del self._answers[which]
        seen = {(one.job, one.base, one.key): one for one in rows.checkpoints}
        for key, one in self._checkpoints.items():
            if seen.get(key) != one:
                changed.append(f"the checkpoint {one} is {seen.get(key)}")
        self._checkpoints = seen
        assert not changed, "\n".join(changed)


# --- of what steps wrote -----------------------------------------------------------------------


def every_attempt_saw_a_commit_of_its_own(written: str, database: Database) -> None:
    """Whatever commits steps wrote down are those of runs."""
    seen = set(COMMIT.findall(written))
    with database.reading() as connection:
        known = set(connection.execute(select(runs.c.commit)).scalars())
    assert seen <= known, f"steps saw {seen - known}, but the runs are of {known}"


def nobody_is_inside_with_too_many(stamps: Path) -> None:
    """What steps wrote as they came and went: `enter NAME MOST WHO` and `leave NAME MOST WHO`.

    Whoever was killed inside leaves no stamp, and comes again. So from its first stamp to its last one each
    counts as inside.
    """
    if not stamps.exists():
        return
    lines = [line.split() for line in stamps.read_text().splitlines()]
    for name, most in {(name, int(most)) for _, name, most, _ in lines}:
        whose = [who for _, group, _, who in lines if group == name]
        spans = {who: (whose.index(who), len(whose) - 1 - whose[::-1].index(who)) for who in whose}
        for at, who in enumerate(whose):
            inside = [one for one, (first, last) in spans.items() if first <= at <= last]
            assert len(inside) <= most, f"{who} was in {name} with {inside}, and it takes {most}"
