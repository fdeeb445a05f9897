"""Concurrency groups on every database: whoever comes and ends at the same moment, they take turns."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from queue import SimpleQueue
from typing import Any

import pytest
from sqlalchemy import update

from runner.engine.advance import advance, tell
from runner.engine.ports import Dispatcher, NewRun, Verdict
from runner.engine.sweep import sweep
from runner.errors import BrokenDefinition, NotFound
from runner.model.ending import cancel
from runner.model.leasing import NotClaimable, claim, conclude
from runner.model.planning import call, plan, settle
from runner.model.reruns import failed_jobs, rerun
from runner.model.run import UNSAVED, Envelope, Finished, Job, Pending, Queued, Ready, Run, Running, Waiting
from runner.model.source import Repository
from runner.model.step import Result
from runner.model.turns import State, Turn
from runner.store import Database, SqlRepositories, SqlStore
from runner.store.tables import places
from runner.store.views import Views
from tests.builders import LENGTH, a_job, a_route, an_event
from tests.fakes import RecordingDispatcher

WORKERS = 4
PATIENCE = 60.0
END = None


@pytest.fixture
def store(database: Database) -> SqlStore:
    SqlRepositories(database).add(Repository("git", "octo/hello", "/srv/hello.git"), "secret")
    return SqlStore(database, LENGTH)


def a_turn(group: str = "deploy", **given: Any) -> Turn:
    return Turn(group, group.upper(), **given)


def a_member(key: str = "build", **given: object) -> Job:
    return a_job(key, **{"id": UNSAVED, "phase": Waiting()} | given)


def unplanned(key: str) -> Job:
    return a_member(key, dynamic=True, planned=False)


def admitted(
    store: SqlStore, guid: str, *jobs: Job, turn: Turn | None = None, bell: Dispatcher | None = None
) -> Run:
    """As `admit` does it."""
    delivery, _ = store.receive(an_event(), guid, guid)
    new = NewRun(
        ".runner/workflows/ci.yml",
        "ci",
        jobs or (a_member(),),
        turn=(lambda run: turn) if turn else None,
    )
    (run,) = store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(new,)))
    tell([run.id] if turn else [], store=store, dispatcher=bell or RecordingDispatcher())
    return store.load(run.id)


def performed(store: SqlStore, run: int, job: int, bell: Dispatcher, during: "Alone | None" = None) -> bool:
    """Claim a job and end it, whatever its turn; False where somebody else has it."""

    def begin(run: Run, now: datetime) -> Run:
        if not run.has(job) or run.job(job).cancelled:
            return run
        return run.with_job(claim(run.job(job), "worker", now, LENGTH))

    try:
        made = advance(run, begin, store=store, dispatcher=bell)
    except NotClaimable:
        return False
    phase = made.after.job(job).phase if made.after.has(job) else None
    if not isinstance(phase, Running) or made.before.job(job).phase == phase:
        return False
    lease = phase.lease
    with (during or Alone()).inside(made.after, job):
        cancelled = store.load(run).job(job).cancelled
    result = Result.CANCELLED if cancelled else Result.SUCCESS
    advance(
        run,
        lambda run, now: run.with_job(conclude(run.job(job), lease, result, now)),
        store=store,
        dispatcher=bell,
    )
    return True


@dataclass
class Alone:
    """Counts who is in which group at the same moment."""

    there: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def inside(self, run: Run, job: int) -> Iterator[None]:
        keys = [turn.key for turn in (run.turn, *run.job(job).turns) if turn]
        with self.lock:
            self.there.update(keys)
            for key in keys:
                self.most[key] = max(self.most[key], self.there[key])
        yield
        with self.lock:
            self.there.subtract(keys)


@dataclass
class Bell(RecordingDispatcher):
    """What is rung for waits here for whoever works."""

    work: SimpleQueue[tuple[str, Envelope] | None] = field(default_factory=SimpleQueue)

    def plan(self, envelope: Envelope) -> None:
        self.work.put(("plan", envelope))

    def perform(self, envelope: Envelope) -> None:
        self.work.put(("perform", envelope))


class Crowd:
    """Workers, each on a database of its own, who do whatever is rung for until all runs have ended."""

    def __init__(self, url: str, runs: int) -> None:
        self.bell, self.alone, self.left = Bell(), Alone(), runs
        self.databases = [Database(url) for _ in range(3)]
        self.stores = [SqlStore(database, LENGTH) for database in self.databases]
        self.ended: set[int] = set()
        self.lock = threading.Lock()

    def work(self, number: int) -> None:
        store = self.stores[number % len(self.stores)]
        while (message := self.bell.work.get()) is not END:
            kind, envelope = message
            if kind == "plan":
                advance(envelope.run, _planned(envelope.job), store=store, dispatcher=self.bell)
            else:
                performed(store, envelope.run, envelope.job, self.bell, self.alone)
            self.look(store)

    def look(self, store: SqlStore) -> None:
        with self.lock:
            known = {run for run in self.bell.reported if run not in self.ended}
            self.ended |= {run for run in known if store.load(run).result is not None}
            if len(self.ended) == self.left:
                self.go_home()

    def go_home(self) -> None:
        for _ in range(WORKERS):
            self.bell.work.put(END)

    def receives(self, push: Callable[[int], None]) -> None:
        """Push once for each run, all at the same time, and wait until all have ended."""
        with ThreadPoolExecutor(2 * WORKERS) as pool:
            workers = [pool.submit(self.work, number) for number in range(WORKERS)]
            pushes = [pool.submit(push, number) for number in range(self.left)]
            try:
                for one in (*pushes, *workers):
                    one.result(PATIENCE)
            finally:
                self.go_home()

    def close(self) -> None:
        for database in self.databases:
            database.close()


def _planned(job: int) -> Callable[[Run, datetime], Run]:
    def change(run: Run, now: datetime) -> Run:
        if not run.has(job) or not isinstance(run.job(job).phase, Ready):
            return run
        found = run.job(job)
        mode = found.key[1:]
        turn = a_turn(found.key[0], cancels=mode == "c", queues=mode == "q")
        return plan(run, job, [replace(found, turns=(turn,))])

    return change


@pytest.mark.parametrize("mode", [{}, {"queues": True}, {"cancels": True}], ids=["single", "max", "cancel"])
def test_runs_that_come_and_end_at_once_take_turns_and_all_end(
    store: SqlStore, migrated_url: str, mode: dict[str, Any]
) -> None:
    crowd = Crowd(migrated_url, 24)
    turn = a_turn(**mode)

    def push(number: int) -> None:
        store = crowd.stores[number % len(crowd.stores)]
        run = admitted(store, f"push-{number}", turn=turn, bell=crowd.bell)
        crowd.bell.report(run)
        crowd.look(store)

    crowd.receives(push)

    assert crowd.alone.most == {"DEPLOY": 1}
    runs = [crowd.stores[0].load(run) for run in sorted(crowd.ended)]
    assert runs[-1].result is Result.SUCCESS, "the newest is never replaced"
    if mode == {"queues": True}:
        assert {run.result for run in runs} == {Result.SUCCESS}
    for run in runs:
        assert run.turn is not None
        assert run.turn.reason or run.result is Result.SUCCESS, "nobody is cancelled without a reason"
    crowd.close()


def test_jobs_of_many_runs_that_cross_each_other_in_two_groups_all_end(
    store: SqlStore, migrated_url: str
) -> None:
    crowd = Crowd(migrated_url, 16)

    def push(number: int) -> None:
        store = crowd.stores[number % len(crowd.stores)]
        keys = ["aq", "bq"] if number % 2 else ["bq", "aq"]
        turn = a_turn("AB"[number % 2], queues=True) if number % 5 == 0 else None
        run = admitted(store, f"push-{number}", *map(unplanned, keys), turn=turn, bell=crowd.bell)
        # `admit` rings for what a new run begins with.
        for job in run.jobs if turn is None else ():
            crowd.bell.plan(Envelope(run.route, run.id, job.id, ()))
        crowd.bell.report(run)
        crowd.look(store)

    crowd.receives(push)

    assert set(crowd.alone.most.values()) == {1}
    assert {crowd.stores[0].load(run).result for run in crowd.ended} <= {Result.SUCCESS, Result.CANCELLED}
    crowd.close()


# --- what is stored, and when -----------------------------------------------------------------------


def test_a_run_that_was_admitted_and_not_let_in_is_let_in_by_the_clock(store: SqlStore) -> None:
    delivery, _ = store.receive(an_event(), "d", "d")
    new = NewRun("ci.yml", "ci", (a_member(),), turn=lambda run: a_turn(f"of-{run.id}"))
    (run,) = store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(new,)))
    assert store.load(run.id) == run
    assert run.held_back
    bell = RecordingDispatcher()
    rest = sweep(store=store, dispatcher=bell)
    assert rest is not None, "its ring has time"
    assert rest > timedelta()

    sweep(store=store, dispatcher=bell, everything=True)

    assert [envelope.run for envelope in bell.rung] == [run.id]
    assert store.load(run.id).turn == Turn(f"of-{run.id}", f"OF-{run.id}", state=State.HELD)


def test_what_a_run_did_to_others_is_stored_with_it_and_the_clock_sees_that_they_hear_it(
    store: SqlStore,
) -> None:
    first, second = (admitted(store, guid, turn=a_turn()) for guid in "ab")
    assert [type(run.jobs[0].phase) for run in (first, store.load(second.id))] != [Queued, Queued]

    # As of a process that dies before it can tell anybody.
    stirred = store.update(first.id, lambda run, now: _ended(run, now)).stirred
    assert stirred == (second.id,)
    assert store.load(second.id).held_back
    bell = RecordingDispatcher()
    sweep(store=store, dispatcher=bell, everything=True)

    assert [envelope.run for envelope in bell.rung] == [second.id]
    assert store.stranded(everything=True).stirred == (), "it is told once"


def _ended(run: Run, now: datetime) -> Run:
    job = claim(run.jobs[0], "w", now, LENGTH)
    assert isinstance(job.phase, Running)
    return run.with_job(conclude(job, job.phase.lease, Result.SUCCESS, now))


def test_a_run_hears_of_its_turn_with_any_change_of_it(store: SqlStore) -> None:
    first, second, third = (admitted(store, guid, turn=a_turn(queues=True)) for guid in "abc")
    store.update(first.id, lambda run, now: _ended(run, now))

    made = store.update(second.id, cancel)

    assert made.after.cancelled
    assert not made.after.held_back
    assert store.load(third.id).held_back


def test_a_group_that_cannot_be_known_is_a_problem_of_the_run(store: SqlStore) -> None:
    def turn(run: Run) -> Turn:
        raise BrokenDefinition(f"ci.yml: run {run.number} has an empty group")

    delivery, _ = store.receive(an_event(), "d", "d")
    new = NewRun("ci.yml", "ci", (a_member(),), turn=turn)

    (run,) = store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(new,)))

    assert store.load(run.id) == run
    assert (run.problems, run.result) == (("ci.yml: run 1 has an empty group",), Result.FAILURE)


def test_groups_of_other_repositories_are_other_groups(store: SqlStore) -> None:
    made = []
    for repo in ("octo/one", "octo/two"):
        delivery, _ = store.receive(an_event(repo=repo), repo, repo)
        new = NewRun("ci.yml", "ci", (a_member(),), turn=lambda run: a_turn())
        verdict = Verdict("admitted", route=a_route(repo=repo), runs=(new,))
        (run,) = store.settle(delivery.id, verdict)
        tell([run.id], store=store, dispatcher=RecordingDispatcher())
        made.append(store.load(run.id))

    assert [type(run.jobs[0].phase) for run in made] == [Queued, Queued]


def test_of_many_groups_only_those_of_a_run_are_read_for_it(store: SqlStore, database: Database) -> None:
    others = [admitted(store, f"other-{number}", turn=a_turn(f"g{number}")) for number in range(3)]
    first = admitted(store, "a", turn=a_turn())
    # What cannot be read at all would be an error.
    unread = {"key": "X", "state": "held"}
    ours = places.c.run.in_([run.id for run in others])
    database.writing(lambda connection: connection.execute(update(places).where(ours).values(turn=unread)))

    second = admitted(store, "b", turn=a_turn())
    store.update(first.id, lambda run, now: _ended(run, now))

    assert store.update(second.id, lambda run, now: run).after.held_back is False


def test_a_job_that_would_wait_for_what_waits_for_its_run_is_told_so(store: SqlStore) -> None:
    first = admitted(store, "a", unplanned("bq"), turn=a_turn("A"))
    second = admitted(store, "b", unplanned("aq"), turn=a_turn("B"))
    bell = RecordingDispatcher()

    (waits,), (ends,) = (
        advance(run.id, _planned(run.jobs[0].id), store=store, dispatcher=bell).after.jobs
        for run in (second, first)
    )

    assert isinstance(waits.phase, Pending)
    assert isinstance(ends.phase, Finished)
    assert ends.phase.reason.startswith("deadlock: ")


def test_whoever_gets_the_name_of_a_removed_repository_waits_for_nobody_of_it(
    store: SqlStore, database: Database
) -> None:
    repositories, bell = SqlRepositories(database), RecordingDispatcher()
    held, waits = (admitted(store, guid, turn=a_turn()) for guid in "ab")
    repositories.remove(repositories.get("git", "octo/hello"))
    repositories.add(Repository("git", "octo/hello", "/srv/other.git"), "secret")

    new = admitted(store, "c", turn=a_turn())
    sweep(store=store, dispatcher=bell, everything=True)

    assert (new.held_back, store.load(new.id).held_back) == (False, False)
    for former in (held, waits):
        with pytest.raises(NotFound):
            store.update(former.id, lambda run, now: _ended(run, now))


def test_a_rerun_stands_in_line_again(store: SqlStore) -> None:
    first = admitted(store, "a", turn=a_turn())
    store.update(first.id, lambda run, now: _ended(run, now))
    second = admitted(store, "b", turn=a_turn())

    again = store.update(first.id, lambda run, now: rerun(run)).after

    assert (store.load(first.id), again.held_back, second.held_back) == (again, True, False)


def test_a_called_workflow_of_which_a_job_runs_again_stands_in_line_before_that_goes_on(
    store: SqlStore,
) -> None:
    bell = RecordingDispatcher()
    run = admitted(store, "a", a_member("deploy", calls="deploy.yml", turns=(a_turn(),)))
    tell([run.id], store=store, dispatcher=bell)
    caller = run.jobs[0].id
    inside = [a_member("push"), a_member("report", needs=("push",))]

    def calls(run: Run, now: datetime) -> Run:
        return call(run, caller, inside, {}, now)

    push, report = advance(run.id, calls, store=store, dispatcher=bell).after.jobs[1:]
    assert performed(store, run.id, push.id, bell)
    advance(run.id, lambda run, now: fails(run, now, report.id), store=store, dispatcher=bell)
    advance(run.id, lambda run, now: settle(run, caller, Result.FAILURE, now), store=store, dispatcher=bell)
    other = admitted(store, "b", turn=a_turn())

    again = advance(run.id, lambda run, now: rerun(run, failed_jobs(run)), store=store, dispatcher=bell).after

    assert other.held_back is False
    waits, kept, new = store.load(run.id).jobs
    assert (kept.id, isinstance(waits.phase, Pending), new.phase) == (push.id, True, Waiting())
    assert again.attempt == 2
    advance(other.id, _ended, store=store, dispatcher=bell)
    waits, _, new = store.load(run.id).jobs
    assert (waits.phase, isinstance(new.phase, Queued)) == (Waiting(), True)
    assert performed(store, run.id, new.id, bell)
    assert isinstance(store.load(run.id).jobs[0].phase, Ready)


def fails(run: Run, now: datetime, job: int) -> Run:
    claimed = claim(run.job(job), "worker", now, LENGTH)
    assert isinstance(claimed.phase, Running)
    return run.with_job(conclude(claimed, claimed.phase.lease, Result.FAILURE, now))


# --- what is shown ----------------------------------------------------------------------------------


def test_a_run_and_a_job_that_wait_say_what_has_their_group(store: SqlStore, database: Database) -> None:
    views = Views(database)
    first, second, third = (admitted(store, guid, turn=a_turn(queues=True)) for guid in "abc")
    job = admitted(store, "d", unplanned("own"), bell=RecordingDispatcher())
    held = a_turn("Deploy", queues=True)
    planned = store.update(
        job.id, lambda run, now: plan(run, run.jobs[0].id, [replace(run.jobs[0], turns=(held,))])
    ).after
    advance(planned.id, lambda run, now: run, store=store, dispatcher=RecordingDispatcher())

    assert [views.run(one.id).reason for one in (first, second, third)] == [
        "",
        f'concurrency group "deploy" is held by run {first.id}',
        f'concurrency group "deploy" is held by run {first.id}; 1 more before it',
    ]
    assert [one.reason for one in views.run(second.id).jobs] == [views.run(second.id).reason]
    assert isinstance(store.load(job.id).jobs[0].phase, Pending)
    (shown,) = views.run(job.id).jobs
    assert (shown.status, shown.reason) == (
        "waiting",
        f'concurrency group "Deploy" is held by run {first.id}; 2 more before it',
    )


def test_a_run_that_another_one_cancelled_says_which(store: SqlStore, database: Database) -> None:
    first, second, third = (admitted(store, guid, turn=a_turn(cancels=guid == "c")) for guid in "abc")

    shown = [Views(database).run(one.id).reason for one in (first, second, third)]

    assert shown == [
        f'cancelled by run {third.id}, which is next in the concurrency group "deploy"',
        f'replaced by run {third.id} in the concurrency group "deploy"',
        "",
    ]
