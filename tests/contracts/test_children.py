"""Runs that steps have started, on every database that we promise to work on."""

import importlib
import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text, update

from runner.engine import control
from runner.engine.ports import Arrival, NewRun, Verdict
from runner.engine.sweep import sweep
from runner.errors import LeaseLost
from runner.model import ending, pauses
from runner.model.audit import Act
from runner.model.children import Start
from runner.model.ending import cancel
from runner.model.leasing import begin_waits, claim, conclude, leave_waits, suspend_for_any
from runner.model.lifecycle import decide
from runner.model.limits import Limits
from runner.model.reruns import rerun
from runner.model.run import Envelope, Job, Lease, Queued, Run, Running, Suspended
from runner.model.source import Delivery, Repository
from runner.model.step import Result
from runner.model.stops import Stop
from runner.model.waits import Awaited, Wait, Word
from runner.store import Database, SqlRepositories, SqlRetention, SqlStore
from runner.store.children import out_of_step
from runner.store.tables import children, jobs, runs
from tests.builders import LENGTH, NOON, a_new_run, a_route, an_event
from tests.fakes import RecordingDispatcher

HOUR = timedelta(hours=1)


@dataclass
class World:
    """A run whose only job is a program's, and what its step `call#1` starts."""

    database: Database
    store: SqlStore
    parent: Run
    lease: Lease

    def start(self) -> Delivery:
        event = an_event(kind="workflow_dispatch")
        arrival = Arrival(event, "step", "digest", start=Start(self.lease, "call#1"))
        ((delivery, _),) = self.store.receive_all([arrival])
        return delivery

    def settled(self, delivery: Delivery, *runs: NewRun, reason: str = "") -> tuple[Run, ...]:
        status = "admitted" if runs else "ignored"
        return self.store.settle(delivery.id, Verdict(status, reason, a_route(), runs=runs))

    def child(self, delivery: Delivery, **given: object) -> Run:
        (made,) = self.settled(delivery, replace(a_new_run(workflow="child.yml"), **given))  # type: ignore[arg-type]
        return made

    def waits(self, delivery: Delivery, length: timedelta | None = HOUR, rests: bool = True) -> Job:
        wait = Wait("call#1", Awaited.RUN, NOON, name=delivery.id, message="child.yml")

        def change(run: Run, now: datetime) -> Run:
            job = begin_waits(run.jobs[0], self.lease, now, [(wait, length)])
            return decide(run.with_job(self._rest(job, now) if rests else job), now)

        return self.store.update(self.parent.id, change).after.jobs[0]

    def _rest(self, job: Job, now: datetime) -> Job:
        return suspend_for_any(job, self.lease, now, {"call#1"})

    def ended(self, run: Run, result: Result = Result.SUCCESS) -> tuple[int, ...]:
        """End a run; gives who has to hear of it."""
        lease = claimed(self.store, run)

        def change(run: Run, now: datetime) -> Run:
            return decide(run.with_job(conclude(run.jobs[0], lease, result, now, outputs={"a": "1"})), now)

        return self.store.update(run.id, change).stirred

    def ended_parent(self) -> None:
        def end(run: Run, now: datetime) -> Run:
            return decide(ending.end(run, now), now)

        self.store.update(self.parent.id, end)

    def told(self) -> Job:
        return self.store.update(self.parent.id, decide).after.jobs[0]

    def due(self) -> tuple[int, ...]:
        """Whom the clock has hear of another run, some while later."""

        def later(connection) -> None:  # type: ignore[no-untyped-def]
            connection.execute(update(children).where(children.c.ring_at.is_not(None)).values(ring_at=0))

        self.database.writing(later)
        return self.store.stranded().stirred


def claimed(store: SqlStore, run: Run) -> Lease:
    made = store.update(
        run.id, lambda run, now: run.with_job(claim(run.jobs[0], "worker-1", now, LENGTH))
    ).after
    phase = made.jobs[0].phase
    assert isinstance(phase, Running)
    return phase.lease


@pytest.fixture
def world(database: Database) -> World:
    SqlRepositories(database).add(Repository("git", "octo/hello", "/srv/hello.git"), "secret")
    store = SqlStore(database, LENGTH)
    guid = str(uuid4())
    delivery, _ = store.receive(an_event(), guid, guid)
    new = a_new_run(workflow="parent.py")
    new = replace(new, jobs=tuple(replace(job, steps=()) for job in new.jobs))
    (parent,) = store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(new,)))
    return World(database, store, parent, claimed(store, parent))


def test_a_step_starts_one_run_however_often_it_asks(world: World) -> None:
    first = world.start()
    child = world.child(first)

    assert world.start().id == first.id
    assert child.parent is not None
    assert (child.parent.run, child.parent.job, child.parent.step) == (
        world.parent.id,
        world.lease.job,
        "call#1",
    )


def test_who_has_lost_the_job_starts_nothing(world: World) -> None:
    stale = replace(world, lease=replace(world.lease, attempt=world.lease.attempt - 1))

    with pytest.raises(LeaseLost):
        stale.start()

    # Nothing of it was stored: whoever has the job starts it for the first time.
    ((_, new),) = world.store.receive_all(
        [Arrival(an_event(), "step", "digest", start=Start(world.lease, "call#1"))]
    )
    assert new


def test_the_end_of_a_child_wakes_who_waits_for_it(world: World) -> None:
    delivery = world.start()
    child = world.child(delivery)
    assert isinstance(world.waits(delivery).phase, Suspended)

    assert world.ended(child) == (world.parent.id,)

    job = world.told()
    assert isinstance(job.phase, Queued)
    answer = job.waits[0].answer
    assert answer is not None
    assert answer.word is Word.ENDED
    assert answer.payload == {"run": child.id, "number": 1, "result": "success", "outputs": {"a": "1"}}
    assert world.due() == ()


def test_the_clock_tells_who_was_not_told_of_an_end(world: World) -> None:
    delivery = world.start()
    child = world.child(delivery)
    world.waits(delivery)

    # Whoever ended it died before he could tell anybody.
    world.ended(child)

    assert world.due() == (world.parent.id,)
    assert world.due() == (world.parent.id,)
    assert isinstance(world.told().phase, Queued)
    assert world.due() == ()


@pytest.mark.parametrize("rests", [True, False])
def test_a_child_that_has_ended_before_the_wait_begins_is_heard_of_then(world: World, rests: bool) -> None:
    delivery = world.start()
    world.ended(world.child(delivery), Result.FAILURE)
    assert world.told().waits == ()

    world.waits(delivery, rests=rests)

    (wait,) = world.told().waits
    assert wait.answer is not None
    assert wait.answer.payload["result"] == "failure"


def test_a_child_that_is_run_again_meanwhile_is_heard_of_as_it_had_ended(world: World) -> None:
    delivery = world.start()
    child = world.child(delivery)
    world.ended(child)
    again = world.store.update(child.id, lambda run, now: decide(rerun(run), now)).after
    claimed(world.store, again)

    world.waits(delivery)

    (wait,) = world.told().waits
    assert wait.answer is not None
    assert wait.answer.payload == {"run": child.id, "number": 1, "result": "success", "outputs": {"a": "1"}}
    assert world.store.load(child.id).attempt == 2


def test_a_child_is_kept_for_as_long_as_its_parent_may_ask_what_it_gave(world: World) -> None:
    delivery = world.start()
    child = world.child(delivery)
    world.ended(child)
    # Of the newest one of a workflow and branch more is kept.
    world.ended(one_more(world))
    retention = SqlRetention(world.database, Limits(keep_runs=1))
    long_ago(world)

    assert retention.forget(9) == []
    world.waits(delivery)
    assert retention.forget(9) == []
    world.ended_parent()

    assert [one.run for one in retention.forget(9)] == [child.id]


def one_more(world: World) -> Run:
    """A later run of the same workflow and branch as the child, which nobody waits for."""
    guid = str(uuid4())
    delivery, _ = world.store.receive(an_event(kind="workflow_dispatch"), guid, guid)
    return world.child(delivery)


def long_ago(world: World) -> None:
    def work(connection: Connection) -> None:
        connection.execute(update(runs).values(created_at=0))
        connection.execute(update(jobs).where(jobs.c.finished_at.is_not(None)).values(finished_at=0))

    world.database.writing(work)


def test_what_starts_no_run_says_why(world: World) -> None:
    delivery = world.start()
    world.waits(delivery)

    world.settled(delivery, reason="the queue is full")

    assert world.due() == (world.parent.id,)
    (wait,) = world.told().waits
    assert wait.answer is not None
    assert (wait.answer.word, wait.answer.comment) == (Word.FAILED, "the queue is full")


def test_a_child_that_is_no_workflow_has_ended_at_once(world: World) -> None:
    delivery = world.start()
    world.waits(delivery)

    world.child(delivery, jobs=(), problems=("child.yml:1:1: no jobs",))

    (wait,) = world.told().waits
    assert wait.answer is not None
    assert (wait.answer.payload["result"], wait.answer.comment) == ("failure", "child.yml:1:1: no jobs")


def test_a_child_is_cancelled_with_its_parent(world: World) -> None:
    delivery = world.start()
    child = world.child(delivery)
    world.waits(delivery)

    stirred = world.store.update(world.parent.id, lambda run, now: decide(cancel(run, now), now)).stirred

    assert stirred == (child.id,)
    assert world.due() == (child.id,)
    assert world.store.update(child.id, decide).after.result is Result.CANCELLED
    assert world.due() == ()


def test_a_child_is_cancelled_that_its_step_has_left(world: World) -> None:
    delivery = world.start()
    child = world.child(delivery)
    world.waits(delivery, rests=False)

    def leave(run: Run, now: datetime) -> Run:
        return run.with_job(leave_waits(run.jobs[0], world.lease, now, {"call#1"}))

    assert world.store.update(world.parent.id, leave).stirred == (child.id,)
    assert world.store.update(child.id, decide).after.result is Result.CANCELLED


def paused(world: World, run: Run) -> str:
    """Why a run stands still."""
    return world.store.load(run.id).stopped


def pause(world: World, run: Run, by: str, why: str = "") -> None:
    bell = RecordingDispatcher()
    control.pause(run.id, why, store=world.store, dispatcher=bell, act=Act(by, "pause"))


def unpause(world: World, run: Run) -> None:
    bell = RecordingDispatcher()
    control.unpause(run.id, store=world.store, dispatcher=bell, act=Act("ada", "unpause"))


def below(world: World, child: Run) -> Run:
    """What a step of a child has started."""
    lease = claimed(world.store, child)
    ((delivery, _),) = world.store.receive_all(
        [Arrival(an_event(kind="workflow_dispatch"), "below", "below", start=Start(lease, "call#1"))]
    )
    return world.child(delivery)


def test_what_steps_wait_for_is_paused_with_their_run_and_goes_on_with_it(world: World) -> None:
    child = world.child(world.start())
    grandchild = below(world, child)

    pause(world, world.parent, "ada", "wait")
    pause(world, world.parent, "bert")

    for one in (child, grandchild):
        assert paused(world, one).startswith(f"paused with run {world.parent.id} by ada since ")
        assert paused(world, one).endswith(": wait")
    job = world.store.load(grandchild.id).jobs[0]
    assert world.store.claim(Envelope(grandchild.route, grandchild.id, job.id, job.labels), take) is None

    unpause(world, world.parent)

    assert (paused(world, child), paused(world, grandchild)) == ("", "")


def take(run: Run, job: int, now: datetime) -> Run:
    return run.with_job(claim(run.job(job), "worker-1", now, LENGTH))


@pytest.mark.parametrize("first", ["child", "parent"])
def test_a_child_that_was_paused_by_itself_stays_so_with_what_it_waits_for(world: World, first: str) -> None:
    child = world.child(world.start())
    grandchild = below(world, child)
    for one in (child, world.parent) if first == "child" else (world.parent, child):
        pause(world, one, "ada")

    unpause(world, world.parent)

    assert paused(world, child).startswith("paused by ada")
    assert paused(world, grandchild).startswith(f"paused with run {child.id} by ada")
    unpause(world, child)
    assert (paused(world, child), paused(world, grandchild)) == ("", "")


def test_a_child_of_a_paused_run_that_goes_on_by_itself_does_so_with_what_it_waits_for(world: World) -> None:
    child = world.child(world.start())
    grandchild = below(world, child)
    pause(world, world.parent, "ada")

    unpause(world, child)

    assert (paused(world, child), paused(world, grandchild)) == ("", "")
    assert paused(world, world.parent).startswith("paused by ada")


def test_a_child_that_comes_to_be_while_its_parent_is_paused_is_so_from_the_beginning(world: World) -> None:
    delivery = world.start()
    pause(world, world.parent, "ada")

    child = world.child(delivery)

    assert child.stopped == paused(world, child) != ""
    unpause(world, world.parent)
    assert paused(world, child) == ""


def swept(world: World) -> None:
    sweep(store=world.store, dispatcher=RecordingDispatcher())


def test_a_child_goes_on_whose_parent_does_though_nobody_lived_to_tell_it(world: World) -> None:
    delivery = world.start()
    pause(world, world.parent, "ada")
    child = world.child(delivery)
    grandchild = below(world, child)
    assert paused(world, grandchild) != ""

    assert world.store.update(world.parent.id, pauses.unpause).stirred == (child.id,)

    assert world.store.stranded().stirred == (child.id,)
    swept(world)
    assert (paused(world, child), paused(world, grandchild)) == ("", "")
    assert world.store.stranded().stirred == ()


def test_a_child_stands_still_whose_parent_does_though_nobody_lived_to_tell_it(world: World) -> None:
    child = world.child(world.start())
    grandchild = below(world, child)
    stop = Stop("ada", NOON, "wait", world.parent.route.repo, world.parent.id)

    stirred = world.store.update(world.parent.id, lambda run, _now: pauses.pause(run, stop)).stirred
    assert stirred == (child.id, grandchild.id)

    assert world.store.stranded().stirred == (child.id,)
    swept(world)
    for one in (child, grandchild):
        assert paused(world, one).startswith(f"paused with run {world.parent.id} by ada")
    assert world.store.stranded().stirred == ()
    unpause(world, world.parent)
    assert (paused(world, child), paused(world, grandchild)) == ("", "")


def test_a_child_that_somebody_had_go_on_does_until_its_parent_is_paused_anew(world: World) -> None:
    child = world.child(world.start())
    pause(world, world.parent, "ada")
    unpause(world, child)
    swept(world)
    assert paused(world, child) == ""

    unpause(world, world.parent)
    pause(world, world.parent, "bert")

    assert paused(world, child).startswith(f"paused with run {world.parent.id} by bert")


def test_a_pause_that_is_asked_for_again_is_one_of_what_had_gone_on_by_itself_too(world: World) -> None:
    child = world.child(world.start())
    grandchild = below(world, child)
    pause(world, world.parent, "ada")
    for one in (child, grandchild):
        unpause(world, one)
    assert (paused(world, child), paused(world, grandchild)) == ("", "")

    pause(world, world.parent, "bert")

    for one in (child, grandchild):
        assert paused(world, one).startswith(f"paused with run {world.parent.id} by ada")
    unpause(world, grandchild)
    pause(world, child, "carl")
    assert paused(world, child).startswith("paused by carl")
    assert paused(world, grandchild).startswith(f"paused with run {child.id} by carl")


@pytest.mark.parametrize("seed", range(1, 7))
def test_who_finds_what_is_out_of_step_and_who_mends_it_agree(world: World, seed: int) -> None:
    chance, reason = random.Random(seed), str(seed)
    child = world.child(world.start())
    family = [world.parent.id, child.id, below(world, child).id]

    def wrong() -> list[int]:
        found = [run.id for run in map(world.store.load, family) if pauses.follow(run, NOON) != run]
        with world.database.reading() as connection:
            assert list(out_of_step(connection, 99)) == found
        return found

    def stands_still(run: Run, now: datetime) -> Run:
        return decide(pauses.pause(run, Stop("ada", now, reason, run.route.repo, run.id)), now)

    def goes_on(run: Run, now: datetime) -> Run:
        return decide(pauses.unpause(run, now), now)

    seen = 0
    for _ in range(16):
        # Whoever does it dies before he tells anybody; some hear of it as something else changes.
        world.store.update(chance.choice(family), chance.choice([stands_still, goes_on, decide]))
        seen += len(wrong())

    swept(world)
    assert seen
    assert wrong() == []


def test_a_child_that_was_left_before_it_began_never_does(world: World) -> None:
    delivery = world.start()
    # It has not even begun to wait: the worker died.
    world.store.update(world.parent.id, lambda run, now: decide(cancel(run, now), now))

    def end(run: Run, now: datetime) -> Run:
        return decide(run.with_job(conclude(run.jobs[0], world.lease, Result.CANCELLED, now)), now)

    world.store.update(world.parent.id, end)

    assert world.child(delivery).result is Result.CANCELLED
    assert world.due() == ()


def test_a_child_whose_end_nobody_heard_is_nobodys_when_the_parent_has_ended(world: World) -> None:
    delivery = world.start()
    world.ended(world.child(delivery))

    def end(run: Run, now: datetime) -> Run:
        return decide(run.with_job(conclude(run.jobs[0], world.lease, Result.FAILURE, now)), now)

    world.store.update(world.parent.id, end)

    assert world.due() == ()


def test_what_goes_on_below_a_paused_run_at_an_upgrade_does_so_after_it(world: World) -> None:
    child = world.child(world.start())
    grandchild = below(world, child)
    pause(world, world.parent, "ada")
    unpause(world, grandchild)
    migration = importlib.import_module("runner.store.migrations.versions.0033_free_of_pauses")

    def upgrade(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE children DROP COLUMN free"))
        with Operations.context(MigrationContext.configure(connection)):
            migration.upgrade()

    world.database.writing(upgrade)

    swept(world)
    assert paused(world, grandchild) == ""
    assert paused(world, child).startswith(f"paused with run {world.parent.id} by ada")
