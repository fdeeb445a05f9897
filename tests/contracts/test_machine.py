"""The store and the state machine agree: the same commands, in any order, to a database and to plain values.

`Model` is a dict of runs which the pure transitions change, with due times and checkpoints kept beside them
in the simplest way there is. `Machine` draws commands, gives each to both, and compares. A new verb is a rule
more; a new phase is a line in `ring_of`, and what the clock does about it one in `Model.stranded`.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from runner.engine.ports import Change, NewRun, Renewal, Verdict
from runner.errors import LeaseLost, Rejected
from runner.model import answers, ending, leasing, pauses, planning, reruns
from runner.model.audit import Act
from runner.model.environment import Environment, gates
from runner.model.lifecycle import decide
from runner.model.run import (
    UNSAVED,
    Finished,
    Job,
    Lease,
    Leg,
    Queued,
    Ready,
    Run,
    Running,
    Suspended,
    Waiting,
    combined,
)
from runner.model.source import Repository
from runner.model.step import Checkpoint, Result
from runner.model.stops import Stop
from runner.model.waits import Answer, Awaited, Signal, Wait, Word
from runner.store import Database, SqlRepositories, SqlStops, SqlStore
from runner.store.tables import metadata
from tests.builders import LENGTH, NOON, a_checkpoint, a_job, a_route, an_event
from tests.servers import postgres_database

Next = Callable[[Run, datetime], Run]
# It computes all the time, and a busy machine lets it do so for a fraction of that.
pytestmark = pytest.mark.timeout(900)

SECOND = timedelta(seconds=1)
FIRST_RING, RAREST_RING, PUT_OFF, LONGEST_PUT_OFF = 5 * SECOND, 60 * SECOND, 60 * SECOND, 900 * SECOND
MOST_RUNS, MOST_JOBS, MOST_ATTEMPTS = 6, 24, 3
KEYS = ("1", "2", "2~1", "3")
REPOSITORY = Repository("git", "octo/hello", "/srv/hello.git")
ENVIRONMENTS = [
    Environment("open"),
    Environment("reviewed", reviewers=("anna",)),
    Environment("later", reviewers=("anna",), wait_timer=1),
]
SPANS = st.sampled_from([1, 4, 5, 6, 29, 30, 31, 61, 301])
"""Seconds around what leases, rings and delays last."""
WAITS = st.tuples(
    st.sampled_from([Awaited.TIME, Awaited.SIGNAL, Awaited.SIGNAL, Awaited.APPROVAL]),
    st.one_of(st.none(), SPANS),
    st.booleans(),
    st.sampled_from("ab"),
)
UNSHORTENED = [Phase.explicit, Phase.reuse, Phase.generate]
"""What fails is short as it is: to make it shorter takes longer than a test may, and then nobody sees it."""


class SetDatabase(Database):
    """One whose clock a test sets."""

    at = NOON

    def now(self, connection: Connection, said: datetime | None = None) -> datetime:
        return self.at


# --- the model ---------------------------------------------------------------------------------


def ring_of(job: Job) -> datetime | None:
    """When the clock rings for a job that has just changed; None where there is nothing to ring for."""
    if isinstance(job.phase, Finished):
        return None
    if job.asked is not None:
        return job.asked + FIRST_RING
    match job.phase:
        case Ready(since) | Queued(since, None):
            return since + FIRST_RING
        case Queued(_, due):
            return due
        case Running(lease):
            return lease.until
        case Suspended():
            return job.wakes
        case _:
            return None


def due_of(job: Job) -> datetime | None:
    match job.phase:
        case Queued(_, due):
            return due
        case Suspended():
            return job.wakes
        case _:
            return None


def is_put_off(run: Run, job: Job) -> bool:
    """Whether the clock leaves it alone until its run goes on."""
    return pauses.stands_still(run, job) and job.asked is None and isinstance(job.phase, Queued | Suspended)


@dataclass
class Model:
    runs: dict[int, Run] = field(default_factory=dict)
    inboxes: dict[tuple[int, int], list[Signal]] = field(default_factory=dict)
    """What nobody was given yet, by run and its attempt."""
    seen: set[tuple[int, int, str, str]] = field(default_factory=set)
    hold: Stop | None = None
    """Of the repository."""
    rings: dict[int, datetime | None] = field(default_factory=dict)
    checkpoints: dict[tuple[int, int], dict[str, Checkpoint]] = field(default_factory=dict)
    deliveries: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    """Of those that nobody has judged yet: when they came, and when the clock rings for them."""

    def follows(self, before: Run | None, after: Run, now: datetime) -> None:
        """A run is stored: what changed of it is due as its phase says; and the laws."""
        former = {job.id: job for job in before.jobs} if before else {}
        for job in after.jobs:
            if former.get(job.id) != job:
                self.rings[job.id] = ring_of(job)
            if job.id not in former and job.forked is not None:
                done = self.checkpoints.get((job.forked.job, job.base), {})
                carried = list(done.items())[: job.forked.carried]
                self.checkpoints[job.id, job.base] = {key: replace(one, job=job.id) for key, one in carried}
            if job.id in former and former[job.id].base < job.base:
                done = self.checkpoints.get((job.id, former[job.id].base), {})
                self.checkpoints[job.id, job.base] = dict(list(done.items())[: job.carried])
        if before is not None and before.pause and not after.pause:
            self.ring(after, now)
        self.runs[after.id] = after
        assert decide(after, now) == after, "deciding twice changes nothing more"
        for job in former.values():
            if not after.has(job.id):
                assert isinstance(job.phase, Finished), "only what has ended is replaced"
                continue
            changed = after.job(job.id)
            assert changed.attempt >= job.attempt, "fences only rise"
            assert changed.base >= job.base
            if isinstance(job.phase, Finished):
                assert changed == job, "what has ended stays as it is"
            over = any(wait.joint and wait.answer is not None for wait in changed.waits)
            suspended = isinstance(changed.phase, Suspended) and changed.asked is None
            assert not (suspended and over), "nobody is left to wait for the others once one is over"

    def ring(self, run: Run, now: datetime) -> None:
        """It goes on."""
        for job in run.jobs:
            waits = isinstance(job.phase, Queued | Suspended) and job.asked is None
            if waits and self.rings[job.id] is not None:
                self.rings[job.id] = not_before(now, job)

    def jobs(self, which: Callable[[Job], bool] = lambda job: True) -> list[tuple[Run, Job]]:
        return [(run, job) for run in self.runs.values() for job in run.jobs if which(job)]

    def job(self, job_id: int) -> Job | None:
        return next((job for _, job in self.jobs() if job.id == job_id), None)

    def renew(self, leases: list[Lease], now: datetime) -> Renewal:
        lost, cancelled, stopped = set[Lease](), set[Lease](), set[Lease]()
        for lease in leases:
            job = self.job(lease.job)
            if job is None or not self.holds(lease):
                lost.add(lease)
                continue
            if job.cancelled:
                cancelled.add(lease)
            run = next(run for run in self.runs.values() if run.has(lease.job))
            if pauses.stands_still(run, job):
                stopped.add(lease)
            assert isinstance(job.phase, Running)
            longer = replace(job.phase.lease, until=now + LENGTH)
            self.runs[run.id] = run.with_job(replace(job, phase=Running(longer)))
            if job.asked is None:
                self.rings[job.id] = now + LENGTH
        return Renewal(frozenset(lost), frozenset(cancelled), frozenset(stopped))

    def holds(self, lease: Lease) -> bool:
        job = self.job(lease.job)
        return job is not None and isinstance(job.phase, Running) and job.attempt == lease.attempt

    def stranded(self, now: datetime, everything: bool) -> tuple[set[int], set[int], set[int]]:
        """The jobs to plan, those to perform, and the runs to decide anew."""
        plans, performs, stirred = set[int](), set[int](), set[int]()
        for run, job in self.jobs():
            ring = self.rings[job.id]
            if ring is None or (ring > now and not everything):
                continue
            if is_put_off(run, job):
                assert isinstance(job.phase, Queued | Suspended)
                put_off = min(max(PUT_OFF, now - job.phase.since), LONGEST_PUT_OFF)
                self.rings[job.id] = not_before(now + put_off, job)
                continue
            if job.cancelled:
                stirred.add(run.id)
            due = due_of(job)
            if due is not None and due > now:
                continue
            if isinstance(job.phase, Ready) or job.asked is not None:
                plans.add(job.id)
            elif isinstance(job.phase, Suspended) and (
                job.started is None or (due and now - due >= RAREST_RING)
            ):
                stirred.add(run.id)
            else:
                performs.add(job.id)
            if isinstance(job.phase, Running):
                lost = min(job.phase.lease.until, now)
                self.rings[job.id] = later(now, lost)
                if everything:
                    over = replace(job.phase.lease, until=lost)
                    self.runs[run.id] = self.runs[run.id].with_job(replace(job, phase=Running(over)))
            else:
                since = job.phase.since if isinstance(job.phase, Queued | Ready | Suspended) else now
                since = due if due is not None and isinstance(job.phase, Queued) else since
                self.rings[job.id] = later(now, job.asked or since)
        return plans, performs, stirred

    def unjudged(self, now: datetime, everything: bool) -> set[str]:
        due = {one for one, (_, ring) in self.deliveries.items() if ring <= now or everything}
        for one in due:
            came = self.deliveries[one][0]
            self.deliveries[one] = (came, later(now, came))
        return due


def later(now: datetime, since: datetime) -> datetime:
    return now + min(max(FIRST_RING, now - since), RAREST_RING)


def not_before(at: datetime, job: Job) -> datetime:
    return max(at, due_of(job) or at)


# --- what a run may be made of -----------------------------------------------------------------


@st.composite
def definitions(draw: st.DrawFn, most: int = 4) -> tuple[Job, ...]:
    """The jobs of a workflow before anything has happened."""
    keys = [f"j{number}" for number in range(draw(st.integers(1, most)))]
    made = []
    for place, key in enumerate(keys):
        conditional, dynamic = draw(st.booleans()), draw(st.booleans())
        made.append(
            a_job(
                key,
                id=UNSAVED,
                needs=tuple(need for need in keys[:place] if draw(st.booleans())),
                phase=Waiting(),
                conditional=conditional,
                dynamic=conditional or dynamic,
                planned=not (conditional or dynamic),
                calls="called.yml" if draw(st.integers(0, 4)) == 0 else None,
                position=place,
            )
        )
    return tuple(made)


# --- both together -----------------------------------------------------------------------------


def is_claimable(job: Job) -> bool:
    return isinstance(job.phase, Queued | Running | Suspended)


def awaits(job: Job, awaited: Awaited) -> bool:
    return any(wait.awaited is awaited for wait in job.hears)


def is_judged(job: Job) -> bool:
    return awaits(job, Awaited.APPROVAL)


class Machine(RuleBasedStateMachine):
    def __init__(self, database: SetDatabase) -> None:
        super().__init__()
        self.database = database
        database.at = NOON
        SqlRepositories(database).add(REPOSITORY, "secret")
        self.store = SqlStore(database, LENGTH)
        self.model = Model()
        self.leases: list[Lease] = []
        self._guids, self._numbers = count(), count(1)

    def teardown(self) -> None:
        def empty(connection: Connection) -> None:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())

        self.database.writing(empty)

    @property
    def now(self) -> datetime:
        return self.database.at

    # --- how a command is given to both ---

    def change(self, run: Run, change: Next, signal: Signal | None = None) -> Change | None:
        """As `advance` does it. None where it is refused, by both in the same way."""
        # No two changes come at the same moment.
        self.database.at += timedelta(milliseconds=1)

        def whole(run: Run, now: datetime) -> Run:
            return decide(change(run, now), now)

        try:
            wanted = whole(run, self.now)
        except (Rejected, LeaseLost) as refused:
            kind, why = type(refused), str(refused)
        else:
            return self._made(run, whole, wanted, signal)
        with pytest.raises(kind) as raised:
            self.store.update(run.id, whole, signal=signal)
        assert str(raised.value) == why
        return None

    def _made(self, run: Run, whole: Next, wanted: Run, signal: Signal | None) -> Change:
        made = self.store.update(run.id, whole, signal=signal)
        same(made.before, run)
        after = pauses.as_kept(with_ids(wanted, made.after))
        inbox = self.model.inboxes.setdefault((after.id, after.attempt), [])
        if signal is not None:
            known = (after.id, after.attempt, signal.name, signal.key)
            assert made.fresh == (known not in self.model.seen), "a copy of a signal is known"
            self.model.seen.add(known)
            inbox += [signal] if made.fresh else []
        told, given = answers.deliver(after, inbox, self.now)
        inbox[:] = [one for one in inbox if one.number not in given]
        after = decide(told, self.now) if given else after
        same(made.after, after)
        self.model.follows(run, after, self.now)
        return made

    def of_job(self, run: Run, change: Callable[[Run, datetime], Job]) -> Change | None:
        return self.change(run, lambda run, now: run.with_job(change(run, now)))

    def under(self, lease: Lease, change: Callable[[Job, datetime], Job]) -> None:
        """What a worker says of the job that it holds, or thinks that it holds."""
        run = next((run for run in self.model.runs.values() if run.has(lease.job)), None)
        if run is not None:
            self.of_job(run, lambda run, now: change(run.job(lease.job), now))

    def any_of(self, data: st.DataObject, which: Callable[[Job], bool]) -> tuple[Run, Job]:
        found = self.model.jobs(which)
        return found[data.draw(st.integers(0, len(found) - 1))]

    def any_lease(self, data: st.DataObject) -> Lease:
        """Mostly one that is held, sometimes one of long ago."""
        held = [lease for lease in self.leases if self.model.holds(lease)]
        if held and data.draw(st.integers(0, 4)) > 0:
            return data.draw(st.sampled_from(held))
        return data.draw(st.sampled_from(self.leases))

    # --- commands ---

    @precondition(lambda self: len(self.model.runs) + len(self.model.deliveries) < MOST_RUNS)
    @rule()
    def deliver(self) -> None:
        guid = f"guid-{next(self._guids)}"
        delivery, new = self.store.receive(an_event(), guid, guid)
        assert (new, delivery.received_at) == (True, self.now)
        assert self.store.receive(an_event(), guid, guid) == (delivery, False)
        self.model.deliveries[delivery.id] = (self.now, self.now + FIRST_RING)

    @precondition(lambda self: self.model.deliveries)
    @rule(data=st.data(), jobs=definitions())
    def admit(self, data: st.DataObject, jobs: tuple[Job, ...]) -> None:
        self._admit(data.draw(st.sampled_from(list(self.model.deliveries))), jobs)

    def _admit(self, delivery: str, jobs: tuple[Job, ...]) -> None:
        verdict = Verdict("admitted", route=a_route(), runs=(NewRun("ci.yml", "ci", jobs),))
        (run,) = self.store.settle(delivery, verdict)
        number = len(self.model.runs) + 1
        born = Run(run.id, number, 1, a_route(), delivery, "ci.yml", "ci", self.now, jobs)
        wanted = with_ids(decide(born, self.now), run)
        same(run, wanted)
        assert self.store.settle(delivery, verdict) == (), "a delivery is judged once"
        del self.model.deliveries[delivery]
        self.model.follows(None, replace(wanted, hold=self.model.hold), self.now)

    @precondition(lambda self: len(self.model.runs) + len(self.model.deliveries) < MOST_RUNS)
    @rule()
    def begin(self) -> None:
        """A run whose one job has a worker at once: it takes long to come to that by chance."""
        self.deliver()
        self._admit(list(self.model.deliveries)[-1], (a_job(id=UNSAVED, phase=Waiting()),))
        run = list(self.model.runs.values())[-1]
        if not run.stopped:
            self._claim(run, run.jobs[0], "worker-1")

    @precondition(lambda self: self.model.jobs(is_claimable))
    @rule(data=st.data(), worker=st.sampled_from(["worker-1", "worker-2"]))
    def claim(self, data: st.DataObject, worker: str) -> None:
        self._claim(*self.any_of(data, is_claimable), worker)

    def _claim(self, run: Run, job: Job, worker: str) -> None:
        def taken(run: Run, now: datetime) -> Job:
            if pauses.stands_still(run, run.job(job.id)):
                return leasing.lay_down(run.job(job.id), now, LENGTH)
            return leasing.claim(run.job(job.id), worker, now, LENGTH)

        made = self.of_job(run, taken)
        if made is not None:
            phase = made.after.job(job.id).phase
            # Whoever was cancelled may have ended by deciding.
            if isinstance(phase, Running) and phase.lease not in self.leases:
                self.leases.append(phase.lease)

    @precondition(lambda self: self.leases)
    @rule(
        data=st.data(),
        result=st.sampled_from([Result.SUCCESS, Result.SUCCESS, Result.FAILURE, Result.TIMED_OUT]),
        tolerated=st.booleans(),
        outputs=st.sampled_from([{}, {"a": "b"}]),
    )
    def conclude(self, data: st.DataObject, result: Result, tolerated: bool, outputs: dict[str, str]) -> None:
        lease = self.any_lease(data)
        job = self.model.job(lease.job)
        result = Result.CANCELLED if job is not None and job.cancelled else result
        self.under(
            lease,
            lambda job, now: leasing.conclude(
                job, lease, result, now, "why", outputs=outputs, tolerated=tolerated
            ),
        )

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), begun=st.booleans())
    def hand_back(self, data: st.DataObject, begun: bool) -> None:
        lease = self.any_lease(data)
        postponed = partial(leasing.postpone, reason="no disk", begun=begun)
        how: Callable[..., Job] = leasing.release if data.draw(st.booleans()) else postponed
        self.under(lease, lambda job, now: how(job, lease, at=now))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), seconds=st.sampled_from([0, 1, 10, 100_000]), whole=st.booleans())
    def try_again(self, data: st.DataObject, seconds: int, whole: bool) -> None:
        lease, delay = self.any_lease(data), seconds * SECOND

        def change(job: Job, now: datetime) -> Job:
            if whole:
                return leasing.retry(job, lease, now, delay, Result.FAILURE, "it failed")
            return leasing.wait(job, lease, now, delay, "tried once")

        self.under(lease, change)

    @precondition(lambda self: any(map(self.model.holds, self.leases)))
    @rule(
        data=st.data(),
        awaited=st.sampled_from([Awaited.TIME, Awaited.SIGNAL, Awaited.SIGNAL, Awaited.APPROVAL]),
        span=SPANS,
        relative=st.booleans(),
        name=st.sampled_from("ab"),
    )
    def suspend(self, data: st.DataObject, awaited: Awaited, span: int, relative: bool, name: str) -> None:
        lease, length = self.any_lease(data), span * SECOND
        limited = awaited is Awaited.TIME or data.draw(st.booleans())

        def change(job: Job, now: datetime) -> Job:
            due = now + length if limited and not relative else None
            key = f"{len(job.waits)}"
            wait = Wait(key, awaited, now, due, name=name, message="why", approvers=("anna",))
            return leasing.suspend(job, lease, now, wait, length if limited and relative else None)

        self.under(lease, change)

    @precondition(lambda self: any(map(self.model.holds, self.leases)))
    @rule(data=st.data(), waits=st.lists(WAITS, min_size=1, max_size=3))
    def begin_waits(self, data: st.DataObject, waits: list[tuple[Awaited, int | None, bool, str]]) -> None:
        lease = self.any_lease(data)

        def change(job: Job, now: datetime) -> Job:
            begun = []
            for place, (awaited, span, relative, name) in enumerate(waits, start=max(0, len(job.waits) - 1)):
                length = None if span is None else span * SECOND
                due = None if length is None or relative else now + length
                wait = Wait(f"{place}", awaited, now, due, name=name)
                begun.append((wait, length if relative else None))
            return leasing.begin_waits(job, lease, now, begun)

        self.under(lease, change)

    @precondition(lambda self: any(self.model.holds(one) and self.joint(one) for one in self.leases))
    @rule(data=st.data(), suspended=st.sampled_from([True, True, False]))
    def choose_waits(self, data: st.DataObject, suspended: bool) -> None:
        """The job waits for some of them alone, or leaves some while it runs."""
        branching = [one for one in self.leases if self.model.holds(one) and self.joint(one)]
        lease = data.draw(st.sampled_from(branching))
        keys = data.draw(st.sets(st.sampled_from(self.joint(lease)), min_size=1))
        how = leasing.suspend_for_any if suspended else leasing.leave_waits
        self.under(lease, lambda job, now: how(job, lease, now, keys))

    def joint(self, lease: Lease) -> list[str]:
        job = self.model.job(lease.job)
        return [wait.key for wait in job.waits if wait.joint] if job else []

    @precondition(lambda self: self.model.runs)
    @rule(data=st.data(), name=st.sampled_from("ab"), key=st.sampled_from("kl"))
    def send(self, data: st.DataObject, name: str, key: str) -> None:
        waiting = self.model.jobs(lambda job: awaits(job, Awaited.SIGNAL))
        wanted: bool = data.draw(st.booleans())
        if waiting and wanted:
            run, job = waiting[0]
            name = next(wait.name for wait in job.hears if wait.awaited is Awaited.SIGNAL)
        else:
            run = data.draw(st.sampled_from(list(self.model.runs.values())))
        said = Signal(name, key, "anna", {"n": [1, None]}, next(self._numbers))
        self.change(run, lambda run, now: answers.check_listening(run), said)

    @precondition(lambda self: self.model.jobs(is_judged))
    @rule(
        data=st.data(),
        word=st.sampled_from([Word.APPROVED, Word.REJECTED]),
        by=st.sampled_from(["anna", "anna", "bert"]),
    )
    def judge(self, data: st.DataObject, word: Word, by: str) -> None:
        run, job = self.any_of(data, is_judged)
        chosen = data.draw(st.sampled_from([None, [job.id]]))
        steps = data.draw(st.sampled_from([None, [wait.key for wait in job.hears][:1]]))

        def change(run: Run, now: datetime) -> Run:
            said = Answer(word, now, by, "why")
            return answers.settle_waits(run, Awaited.APPROVAL, said, chosen, steps=steps)

        self.change(run, change)

    @precondition(lambda self: self.model.runs)
    @rule(data=st.data(), on=st.booleans())
    def pause(self, data: st.DataObject, on: bool) -> None:
        run = data.draw(st.sampled_from(list(self.model.runs.values())))

        def change(run: Run, now: datetime) -> Run:
            if on:
                return pauses.pause(run, Stop("anna", now, "why", run.route.repo, run.id))
            return pauses.unpause(run, now)

        self.change(run, change)

    @rule(on=st.booleans())
    def hold(self, on: bool) -> None:
        stops, model = SqlStops(self.database), self.model
        if on:
            model.hold = model.hold or Stop("anna", self.now, "bad", REPOSITORY.name)
            stops.put(REPOSITORY, Act("anna", "repo.pause"), "bad", None, None)
        else:
            if model.hold:
                for run in model.runs.values():
                    model.ring(run, self.now)
            model.hold = None
            stops.lift(REPOSITORY, Act("anna", "repo.unpause"), None, None)
        model.runs = {id: replace(run, hold=model.hold) for id, run in model.runs.items()}

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), carried=st.integers(0, 4))
    def start_over(self, data: st.DataObject, carried: int) -> None:
        lease = self.any_lease(data)
        self.under(lease, lambda job, now: leasing.start_over(job, lease, carried))
        job = self.model.job(lease.job)
        if job is not None:
            known = self.model.checkpoints.get((job.id, job.base), {})
            assert list(self.store.recall(job).items()) == list(known.items())

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), key=st.sampled_from(KEYS))
    def record(self, data: st.DataObject, key: str) -> None:
        self._record(self.any_lease(data), key)

    def _record(self, lease: Lease, key: str) -> None:
        one = a_checkpoint(lease, key, snapshot=f"{lease.attempt}.{key}")
        job = self.model.job(lease.job)
        if job is None or not self.model.holds(lease):
            with pytest.raises(LeaseLost):
                self.store.record(lease, one)
            return
        known = self.model.checkpoints.setdefault((job.id, job.base), {})
        if key in known:
            with pytest.raises(IntegrityError):
                self.store.record(lease, one)
            return
        self.store.record(lease, one)
        known[key] = one
        assert list(self.store.recall(job).items()) == list(known.items())

    @precondition(lambda self: any(map(self.model.holds, self.leases)))
    @rule(data=st.data(), key=st.sampled_from(KEYS))
    def fail_with_something_done(self, data: st.DataObject, key: str) -> None:
        lease = data.draw(st.sampled_from([one for one in self.leases if self.model.holds(one)]))
        job = self.model.job(lease.job)
        assert job is not None
        if key not in self.model.checkpoints.get((job.id, job.base), {}):
            self._record(lease, key)
        result = Result.CANCELLED if job.cancelled else Result.FAILURE
        self.under(lease, lambda job, now: leasing.conclude(job, lease, result, now))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        held = data.draw(st.lists(st.sampled_from(self.leases), unique=True, max_size=5))
        assert self.store.renew(held) == self.model.renew(held, self.now)

    @precondition(lambda self: self.model.jobs(lambda job: isinstance(job.phase, Ready)))
    @rule(data=st.data())
    def plan(self, data: st.DataObject) -> None:
        """What `plan` makes of a job whose definition is evaluated."""
        run, job = self.any_of(data, lambda job: isinstance(job.phase, Ready))
        called = run.called_by(job.id)
        if called:
            result = combined(one.phase for one in called) or Result.FAILURE
            self.change(run, lambda run, now: planning.settle(run, job.id, result, now))
        elif data.draw(st.integers(0, 4)) == 0 or len(run.jobs) > MOST_JOBS:
            result = data.draw(st.sampled_from([Result.SKIPPED, Result.FAILURE]))
            self.change(run, lambda run, now: planning.settle(run, job.id, result, now, "why"))
        elif not job.planned and job.leg != Leg():
            # A leg of an earlier attempt is planned as it was.
            self.change(run, lambda run, now: planning.plan(run, job.id, [job]))
        elif not job.planned:
            total = data.draw(st.integers(1, 3))
            fast, most = data.draw(st.booleans()), data.draw(st.sampled_from([None, 1, 2]))
            legs = [replace(job, leg=Leg({"n": n}, n, total, fast, most)) for n in range(total)]
            rules = data.draw(st.sampled_from(ENVIRONMENTS))

            def planned(run: Run, now: datetime) -> Run:
                return planning.plan(
                    run, job.id, [replace(leg, waits=gates(rules, now, "carl")) for leg in legs]
                )

            self.change(run, planned)
        elif job.caller is None:
            children = data.draw(definitions(2))
            self.change(run, lambda run, now: planning.call(run, job.id, children, {"a": 1}, now))
        else:
            self.change(run, lambda run, now: planning.settle(run, job.id, Result.FAILURE, now))

    @precondition(lambda self: self.model.jobs(lambda job: job.asked is not None))
    @rule(data=st.data(), goes_on=st.booleans())
    def answer(self, data: st.DataObject, goes_on: bool) -> None:
        run, job = self.any_of(data, lambda job: job.asked is not None)
        self.change(run, lambda run, now: planning.answer(run, job.id, goes_on))

    @precondition(lambda self: self.model.runs)
    @rule(
        data=st.data(),
        how=st.sampled_from([ending.cancel, ending.cancel, ending.end]),
        seldom=st.integers(0, 3),
    )
    def cancel(self, data: st.DataObject, how: Next, seldom: int) -> None:
        if seldom:
            return
        self.change(data.draw(st.sampled_from(list(self.model.runs.values()))), how)

    @precondition(lambda self: self.model.runs)
    @rule(data=st.data(), which=st.sampled_from(["all", "failed", "one", "resume"]))
    def rerun(self, data: st.DataObject, which: str) -> None:
        ended = [run for run in self.model.runs.values() if run.result is not None]
        run = data.draw(st.sampled_from(ended or list(self.model.runs.values())))
        if run.attempt >= MOST_ATTEMPTS:
            return
        one = data.draw(st.sampled_from([job.id for job in run.jobs]))

        def change(run: Run, now: datetime) -> Run:
            if which == "resume":
                failed = [run.job(id) for id in sorted(reruns.failed_jobs(run))]
                known = self.model.checkpoints
                found = {
                    job.id: reruns.fork_where_it_stopped(job, known.get((job.id, job.base), {}))
                    for job in failed
                }
                forks = {id: fork for id, fork in found.items() if fork is not None}
                return reruns.rerun(run, found.keys(), forks)
            chosen = {"all": None, "one": frozenset([one])}
            return reruns.rerun(run, chosen[which] if which in chosen else reruns.failed_jobs(run))

        self.change(run, change)

    @rule(seconds=SPANS)
    def time_passes(self, seconds: int) -> None:
        self.database.at += seconds * SECOND

    @rule(everything=st.integers(0, 9).map(lambda drawn: drawn == 9))
    def sweep(self, everything: bool) -> None:
        """The clock's round."""
        plans, performs, stirred = self.model.stranded(self.now, everything)
        due = self.store.stranded(everything)
        assert {one.job for one in due.plans} == plans
        assert {one.job for one in due.envelopes} == performs
        assert set(due.stirred) == stirred
        assert set(due.deliveries) == self.model.unjudged(self.now, everything)
        for run in due.stirred:
            self.change(self.model.runs[run], lambda run, now: run)

    # --- what is true after each ---

    @invariant()
    def the_store_holds_what_the_model_does(self) -> None:
        for run in self.model.runs.values():
            same(self.store.load(run.id), run)
        for _, job in self.model.jobs():
            known = self.model.checkpoints.get((job.id, job.base), {})
            if job.attempt:
                assert list(self.store.recall(job).items()) == list(known.items())


def with_ids(wanted: Run, stored: Run) -> Run:
    """A run as it was wanted, with the ids that the store gave to what is new, in the order of the jobs."""
    known = {job.id for job in wanted.jobs}
    fresh = iter(sorted(job.id for job in stored.jobs if job.id not in known))
    ids = [next(fresh) if job.id <= UNSAVED else job.id for job in wanted.jobs]
    placed = {job.id: id for job, id in zip(wanted.jobs, ids, strict=True) if job.id < UNSAVED}
    jobs = (
        replace(
            job,
            id=id,
            caller=placed.get(job.caller or 0, job.caller),
            made_in=wanted.attempt if job.id <= UNSAVED else job.made_in,
        )
        for job, id in zip(wanted.jobs, ids, strict=True)
    )
    return replace(wanted, jobs=tuple(jobs))


def same(stored: Run, wanted: Run) -> None:
    """Says first what differs: a run is long."""
    for found, job in zip(stored.jobs, wanted.jobs, strict=True):
        for name in Job.__slots__:
            assert getattr(found, name) == getattr(job, name), f"{name} of job {job.id}"
    assert stored == wanted


@contextmanager
def a_database(url: str) -> Iterator[SetDatabase]:
    database = SetDatabase(url)
    database.create()
    try:
        yield database
    finally:
        database.close()


def drive(database: SetDatabase, **given: Any) -> None:
    run_state_machine_as_test(
        lambda: Machine(database),  # type: ignore[arg-type]
        settings=settings(deadline=None, phases=UNSHORTENED, **given),
    )


@contextmanager
def in_memory() -> Iterator[SetDatabase]:
    """On SQLite. Each command is a durable transaction, and none of these has to outlive the power."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=memory) as folder,
        a_database(f"sqlite:///{Path(folder) / 'runner.db'}") as database,
    ):
        yield database


def test_sqlite_does_with_runs_what_the_state_machine_says() -> None:
    with in_memory() as database:
        drive(database, max_examples=60, stateful_step_count=40)


def test_postgresql_does_with_runs_what_the_state_machine_says() -> None:
    with postgres_database() as url, a_database(url) as database:
        drive(database, max_examples=15, stateful_step_count=30)


@pytest.fixture(scope="module")
def waiting() -> Iterator[SetDatabase]:
    with in_memory() as database:
        yield database


@settings(phases=UNSHORTENED)
@given(data=st.data())
def test_waits_and_what_ends_them_come_in_any_order(waiting: SetDatabase, data: st.DataObject) -> None:
    """As the machine does it, with those commands alone: among all of them they are rare."""
    machine = Machine(waiting)
    try:
        machine.deliver()
        (delivery,) = machine.model.deliveries
        busy = a_job("busy", id=UNSAVED, phase=Waiting())
        machine._admit(delivery, (busy, replace(busy, key="other", position=1)))
        for _ in range(14):
            commands = ["suspend", "begin", "begin", "choose", "choose", "send", "send"]
            match data.draw(st.sampled_from([*commands, "claim", "claim", "judge", "pass", "pause"])):
                case "suspend" if any(map(machine.model.holds, machine.leases)):
                    awaited = data.draw(st.sampled_from([Awaited.SIGNAL, Awaited.SIGNAL, Awaited.APPROVAL]))
                    machine.suspend(data=data, awaited=awaited, span=10, relative=True, name="a")
                case "begin" if any(map(machine.model.holds, machine.leases)):
                    machine.begin_waits(data=data, waits=data.draw(st.lists(WAITS, min_size=1, max_size=3)))
                case "choose" if any(
                    machine.model.holds(one) and machine.joint(one) for one in machine.leases
                ):
                    machine.choose_waits(data=data, suspended=data.draw(st.integers(0, 2)) > 0)
                case "pause":
                    machine.pause(data=data, on=data.draw(st.booleans()))
                case "send":
                    machine.send(data=data, name="a", key=data.draw(st.sampled_from("12345")))
                case "claim" if machine.model.jobs(is_claimable):
                    machine.claim(data=data, worker="worker-1")
                case "judge" if machine.model.jobs(is_judged):
                    machine.judge(data=data, word=Word.APPROVED, by="anna")
                case "pass":
                    machine.time_passes(seconds=data.draw(st.sampled_from([1, 11])))
                    machine.sweep(everything=False)
            machine.the_store_holds_what_the_model_does()
    finally:
        machine.teardown()
