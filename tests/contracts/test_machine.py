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
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from runner.engine.ports import Change, NewRun, Renewal, Verdict
from runner.errors import LeaseLost, Rejected
from runner.model import lifecycle, reruns
from runner.model.lifecycle import UNSAVED, decide
from runner.model.run import (
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
from runner.model.waits import Answer, Awaited, Signal, Wait, Word
from runner.store import Database, SqlRepositories, SqlStore
from runner.store.tables import metadata
from tests.builders import LENGTH, NOON, a_checkpoint, a_job, a_route, an_event
from tests.servers import postgres_database

Next = Callable[[Run, datetime], Run]
SECOND = timedelta(seconds=1)
FIRST_RING, RAREST_RING = 5 * SECOND, 60 * SECOND
MOST_RUNS, MOST_JOBS, MOST_ATTEMPTS = 4, 24, 3
KEYS = ("1", "2", "2~1", "3")
SPANS = st.sampled_from([1, 4, 5, 6, 29, 30, 31, 61, 301])
"""Seconds around what leases, rings and delays last."""


class SetDatabase(Database):
    """One whose clock a test sets."""

    at = NOON

    def now(self, connection: Connection) -> datetime:
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


@dataclass
class Model:
    runs: dict[int, Run] = field(default_factory=dict)
    rings: dict[int, datetime | None] = field(default_factory=dict)
    checkpoints: dict[tuple[int, int], dict[str, Checkpoint]] = field(default_factory=dict)
    deliveries: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    """Of those that nobody has judged yet: when they came, and when the clock rings for them."""
    inboxes: dict[tuple[int, int], list[Signal]] = field(default_factory=dict)
    """What was said to each attempt of a run and nobody was given yet, in its order."""
    said: set[tuple[int, int, str, str]] = field(default_factory=set)

    def say(self, run: Run, signal: Signal) -> bool:
        """Whether it is no copy of one that came before."""
        known = (run.id, run.attempt, signal.name, signal.key)
        if known in self.said:
            return False
        self.said.add(known)
        self.inboxes.setdefault((run.id, run.attempt), []).append(replace(signal, number=len(self.said)))
        return True

    def told(self, run: Run, now: datetime) -> Run:
        """A run as it is once its jobs were given what is in its inbox."""
        inbox = self.inboxes.get((run.id, run.attempt), [])
        after, given = lifecycle.deliver(run, inbox, now)
        self.inboxes[run.id, run.attempt] = [signal for signal in inbox if signal.number not in given]
        return decide(after, now) if given else run

    def follows(self, before: Run | None, after: Run, now: datetime) -> None:
        """A run is stored: what changed of it is due as its phase says; and the laws."""
        former = {job.id: job for job in before.jobs} if before else {}
        for job in after.jobs:
            if former.get(job.id) != job:
                self.rings[job.id] = ring_of(job)
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

    def jobs(self, which: Callable[[Job], bool] = lambda job: True) -> list[tuple[Run, Job]]:
        return [(run, job) for run in self.runs.values() for job in run.jobs if which(job)]

    def job(self, job_id: int) -> Job | None:
        return next((job for _, job in self.jobs() if job.id == job_id), None)

    def renew(self, leases: list[Lease], now: datetime) -> Renewal:
        lost, cancelled = set[Lease](), set[Lease]()
        for lease in leases:
            job = self.job(lease.job)
            if job is None or not self.holds(lease):
                lost.add(lease)
                continue
            if job.cancelled:
                cancelled.add(lease)
            run = next(run for run in self.runs.values() if run.has(lease.job))
            assert isinstance(job.phase, Running)
            longer = replace(job.phase.lease, until=now + LENGTH)
            self.runs[run.id] = run.with_job(replace(job, phase=Running(longer)))
            if job.asked is None:
                self.rings[job.id] = now + LENGTH
        return Renewal(frozenset(lost), frozenset(cancelled))

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
            if job.cancelled:
                stirred.add(run.id)
            due = job.wakes if isinstance(job.phase, Suspended) else None
            due = job.phase.due if isinstance(job.phase, Queued) else due
            if due is not None and due > now:
                continue
            (plans if isinstance(job.phase, Ready) or job.asked is not None else performs).add(job.id)
            if isinstance(job.phase, Running):
                self.rings[job.id] = now + FIRST_RING
                if everything:
                    over = replace(job.phase.lease, until=min(job.phase.lease.until, now))
                    self.runs[run.id] = self.runs[run.id].with_job(replace(job, phase=Running(over)))
            else:
                phase = job.phase
                since = phase.since if isinstance(phase, Queued | Ready | Suspended) else now
                since = job.asked or since
                self.rings[job.id] = later(now, since)
        return plans, performs, stirred

    def unjudged(self, now: datetime, everything: bool) -> set[str]:
        due = {one for one, (_, ring) in self.deliveries.items() if ring <= now or everything}
        for one in due:
            came = self.deliveries[one][0]
            self.deliveries[one] = (came, later(now, came))
        return due


def later(now: datetime, since: datetime) -> datetime:
    return now + min(max(FIRST_RING, now - since), RAREST_RING)


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


BUSY = a_job("busy", id=UNSAVED, phase=Waiting())
CLAIMED = Queued | Running | Suspended
"""The phases in which somebody may be rung for a job."""


def is_running(job: Job) -> bool:
    return isinstance(job.phase, Running)


class Machine(RuleBasedStateMachine):
    def __init__(self, database: SetDatabase) -> None:
        super().__init__()
        self.database = database
        database.at = NOON
        SqlRepositories(database).add(Repository("git", "octo/hello", "/srv/hello.git"), "secret")
        self.store = SqlStore(database, LENGTH)
        self.model = Model()
        self.leases: list[Lease] = []
        self._guids = count()

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
        assert made.fresh == (signal is None or self.model.say(wanted, signal))
        wanted = self.model.told(with_ids(wanted, made.after), self.now)
        after = with_ids(wanted, made.after)
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

    @initialize(jobs=st.one_of(st.just((BUSY, replace(BUSY, key="other", position=1))), definitions()))
    def begin(self, jobs: tuple[Job, ...]) -> None:
        """Mostly with jobs that workers have already: most commands are theirs."""
        self.deliver()
        (delivery,) = self.model.deliveries
        self._admitted(delivery, jobs)
        for run, job in self.model.jobs(lambda job: isinstance(job.phase, Queued)):
            self._claimed(self.model.runs[run.id], job, "worker-1")

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
        self._admitted(data.draw(st.sampled_from(list(self.model.deliveries))), jobs)

    def _admitted(self, delivery: str, jobs: tuple[Job, ...]) -> None:
        verdict = Verdict("admitted", route=a_route(), runs=(NewRun("ci.yml", "ci", jobs),))
        (run,) = self.store.settle(delivery, verdict)
        number = len(self.model.runs) + 1
        born = Run(run.id, number, 1, a_route(), delivery, "ci.yml", "ci", self.now, jobs)
        wanted = with_ids(decide(born, self.now), run)
        same(run, wanted)
        assert self.store.settle(delivery, verdict) == (), "a delivery is judged once"
        del self.model.deliveries[delivery]
        self.model.follows(None, wanted, self.now)

    @precondition(lambda self: self.model.jobs(lambda job: isinstance(job.phase, CLAIMED)))
    @rule(data=st.data(), worker=st.sampled_from(["worker-1", "worker-2"]))
    def claim(self, data: st.DataObject, worker: str) -> None:
        free = self.model.jobs(lambda job: isinstance(job.phase, Queued) and job.asked is None)
        if free and data.draw(st.integers(0, 4)) > 0:
            self._claimed(*free[data.draw(st.integers(0, len(free) - 1))], worker)
        else:
            self._claimed(*self.any_of(data, lambda job: isinstance(job.phase, CLAIMED)), worker)

    def _claimed(self, run: Run, job: Job, worker: str) -> None:
        made = self.of_job(run, lambda run, now: lifecycle.claim(run.job(job.id), worker, now, LENGTH))
        if made is not None:
            phase = made.after.job(job.id).phase
            # Whoever was cancelled may have ended by deciding.
            if isinstance(phase, Running):
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
            lambda job, now: lifecycle.conclude(
                job, lease, result, now, "why", outputs=outputs, tolerated=tolerated
            ),
        )

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), begun=st.booleans())
    def hand_back(self, data: st.DataObject, begun: bool) -> None:
        lease = self.any_lease(data)
        postponed = partial(lifecycle.postpone, reason="no disk", begun=begun)
        how: Callable[..., Job] = lifecycle.release if data.draw(st.booleans()) else postponed
        self.under(lease, lambda job, now: how(job, lease, at=now))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), seconds=st.sampled_from([0, 1, 10, 100_000]), whole=st.booleans())
    def try_again(self, data: st.DataObject, seconds: int, whole: bool) -> None:
        lease, delay = self.any_lease(data), seconds * SECOND

        def change(job: Job, now: datetime) -> Job:
            if whole:
                return lifecycle.retry(job, lease, now, delay, Result.FAILURE, "it failed")
            return lifecycle.wait(job, lease, now, delay, "tried once")

        self.under(lease, change)

    @precondition(lambda self: any(map(self.model.holds, self.leases)))
    @rule(
        data=st.data(),
        awaited=st.sampled_from([Awaited.SIGNAL, Awaited.SIGNAL, Awaited.TIME, Awaited.APPROVAL]),
        name=st.sampled_from("aab"),
        seconds=st.sampled_from([None, 1, 10, 100_000]),
    )
    def suspend(self, data: st.DataObject, awaited: Awaited, name: str, seconds: int | None) -> None:
        lease = self.any_lease(data)
        length = seconds * SECOND if seconds is not None else None
        if awaited is Awaited.TIME:
            length = length or SECOND

        def change(job: Job, now: datetime) -> Job:
            wait = Wait(f"{len(job.waits)}", awaited, now, name=name, message="why", approvers=("anna",))
            return lifecycle.suspend(job, lease, now, wait, length)

        self.under(lease, change)

    @precondition(lambda self: self.model.runs)
    @rule(data=st.data(), name=st.sampled_from("aab"), key=st.sampled_from("12345"))
    def signal(self, data: st.DataObject, name: str, key: str) -> None:
        going = [run for run in self.model.runs.values() if run.result is None]
        run = data.draw(st.sampled_from(going or list(self.model.runs.values())))
        said = Signal(name, key, "bert", {"key": key})
        self.change(run, lambda run, now: lifecycle.check_listening(run), said)

    @precondition(lambda self: self.model.jobs(lambda job: isinstance(job.phase, Suspended)))
    @rule(
        data=st.data(),
        word=st.sampled_from([Word.APPROVED, Word.REJECTED]),
        by=st.sampled_from(["anna", "bert"]),
    )
    def judge(self, data: st.DataObject, word: Word, by: str) -> None:
        run, job = self.any_of(data, lambda job: isinstance(job.phase, Suspended))
        chosen = data.draw(st.sampled_from([None, [job.id]]))

        def change(run: Run, now: datetime) -> Run:
            return lifecycle.settle_waits(run, Awaited.APPROVAL, Answer(word, now, by, "so"), chosen)

        self.change(run, change)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def start_over(self, data: st.DataObject) -> None:
        lease = self.any_lease(data)
        self.under(lease, lambda job, now: lifecycle.start_over(job, lease))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), key=st.sampled_from(KEYS))
    def record(self, data: st.DataObject, key: str) -> None:
        lease = self.any_lease(data)
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
            self.change(run, lambda run, now: lifecycle.settle(run, job.id, result, now))
        elif data.draw(st.integers(0, 4)) == 0 or len(run.jobs) > MOST_JOBS:
            result = data.draw(st.sampled_from([Result.SKIPPED, Result.FAILURE]))
            self.change(run, lambda run, now: lifecycle.settle(run, job.id, result, now, "why"))
        elif not job.planned:
            total = data.draw(st.integers(1, 3))
            fast, most = data.draw(st.booleans()), data.draw(st.sampled_from([None, 1, 2]))
            legs = [replace(job, leg=Leg({"n": n}, n, total, fast, most)) for n in range(total)]
            self.change(run, lambda run, now: lifecycle.plan(run, job.id, legs))
        elif job.caller is None:
            children = data.draw(definitions(2))
            self.change(run, lambda run, now: lifecycle.call(run, job.id, children, {"a": 1}, now))
        else:
            self.change(run, lambda run, now: lifecycle.settle(run, job.id, Result.FAILURE, now))

    @precondition(lambda self: self.model.jobs(lambda job: job.asked is not None))
    @rule(data=st.data(), goes_on=st.booleans())
    def answer(self, data: st.DataObject, goes_on: bool) -> None:
        run, job = self.any_of(data, lambda job: job.asked is not None)
        self.change(run, lambda run, now: lifecycle.answer(run, job.id, goes_on))

    @precondition(lambda self: self.model.runs)
    @rule(data=st.data(), how=st.sampled_from([lifecycle.cancel, lifecycle.cancel, lifecycle.end]))
    def cancel(self, data: st.DataObject, how: Next) -> None:
        self.change(data.draw(st.sampled_from(list(self.model.runs.values()))), how)

    @precondition(lambda self: self.model.runs)
    @rule(data=st.data(), which=st.sampled_from(["all", "failed", "one"]))
    def rerun(self, data: st.DataObject, which: str) -> None:
        ended = [run for run in self.model.runs.values() if run.result is not None]
        run = data.draw(st.sampled_from(ended or list(self.model.runs.values())))
        if run.attempt >= MOST_ATTEMPTS:
            return
        one = data.draw(st.sampled_from([job.id for job in run.jobs]))

        def change(run: Run, now: datetime) -> Run:
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
    jobs = (
        replace(job, id=next(fresh), made_in=wanted.attempt) if job.id == UNSAVED else job
        for job in wanted.jobs
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
        settings=settings(deadline=None, **given),
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


@given(data=st.data())
def test_waits_and_what_ends_them_come_in_any_order(waiting: SetDatabase, data: st.DataObject) -> None:
    """As the machine does it, with those commands alone: among all of them they are rare."""
    machine = Machine(waiting)
    try:
        machine.begin(jobs=(BUSY, replace(BUSY, key="other", position=1)))
        for _ in range(12):
            match data.draw(st.sampled_from(["suspend", "signal", "signal", "claim", "judge", "pass"])):
                case "suspend" if any(map(machine.model.holds, machine.leases)):
                    awaited = data.draw(st.sampled_from([Awaited.SIGNAL, Awaited.SIGNAL, Awaited.APPROVAL]))
                    seconds = data.draw(st.sampled_from([None, 10]))
                    machine.suspend(data=data, awaited=awaited, name="a", seconds=seconds)
                case "signal":
                    machine.signal(data=data, name="a", key=data.draw(st.sampled_from("12345")))
                case "claim" if machine.model.jobs(lambda job: isinstance(job.phase, CLAIMED)):
                    machine.claim(data=data, worker="worker-1")
                case "judge" if machine.model.jobs(lambda job: isinstance(job.phase, Suspended)):
                    machine.judge(data=data, word=Word.APPROVED, by="anna")
                case "pass":
                    machine.time_passes(seconds=data.draw(st.sampled_from([1, 11])))
                    machine.sweep(everything=False)
            machine.the_store_holds_what_the_model_does()
    finally:
        machine.teardown()


@pytest.fixture(scope="module")
def waiting() -> Iterator[SetDatabase]:
    with in_memory() as database:
        yield database
