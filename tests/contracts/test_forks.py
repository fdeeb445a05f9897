"""What a fork has of the job that it goes on from, on every database."""

from dataclasses import replace
from datetime import datetime
from functools import partial

import pytest

from runner.engine.ports import NewRun, Verdict
from runner.errors import Rejected
from runner.model.leasing import claim, conclude
from runner.model.lifecycle import decide
from runner.model.planning import call, settle
from runner.model.reruns import failed_jobs, fork_where_it_stopped, rerun
from runner.model.run import UNSAVED, Finished, Job, Lease, Ready, Run, Running, StepName
from runner.model.source import Repository
from runner.model.step import Annotation, Outcome, Result
from runner.store import Database, SqlRepositories, SqlStore
from runner.store.read_models import ForkView
from runner.store.views import Views
from tests.builders import LENGTH, a_checkpoint, a_route, an_event

STEPS = tuple(StepName(str(number), f"Run {number}") for number in (1, 2, 3))
FAILURE = Outcome(Result.FAILURE, Result.FAILURE, 1)


@pytest.fixture
def store(database: Database) -> SqlStore:
    SqlRepositories(database).add(Repository("git", "octo/hello", "/srv/hello.git"), "secret")
    return SqlStore(database, LENGTH)


@pytest.fixture
def views(database: Database) -> Views:
    return Views(database)


def stored(store: SqlStore, *jobs: Job) -> Run:
    delivery, _ = store.receive(an_event(), "guid", "guid")
    verdict = Verdict("admitted", route=a_route(), runs=(NewRun("ci.yml", "ci", jobs),))
    (run,) = store.settle(delivery.id, verdict)
    return run


def a_build(**given: object) -> Job:
    fields: dict[str, object] = {"steps": STEPS} | given
    return Job(UNSAVED, "build", "build", (), ("linux",), **fields)  # type: ignore[arg-type]


def take(store: SqlStore, run: Run, job: int) -> Lease:
    def change(run: Run, now: datetime) -> Run:
        return run.with_job(claim(run.job(job), "worker-1", now, LENGTH))

    phase = store.update(run.id, change).after.job(job).phase
    assert isinstance(phase, Running)
    return phase.lease


def end(store: SqlStore, run: Run, lease: Lease, result: Result = Result.FAILURE) -> Run:
    def change(run: Run, now: datetime) -> Run:
        return decide(run.with_job(conclude(run.job(lease.job), lease, result, now)), now)

    return store.update(run.id, change).after


def resumed(store: SqlStore, run: Run) -> Run:
    def change(run: Run, now: datetime) -> Run:
        chosen = failed_jobs(run)
        found = {id: fork_where_it_stopped(run.job(id), recalled[id]) for id in chosen}
        return decide(rerun(run, chosen, {id: fork for id, fork in found.items() if fork}), now)

    recalled = {job.id: store.recall(job) for job in run.jobs}
    return store.update(run.id, change).after


def a_failed_run(store: SqlStore) -> Run:
    run = stored(store, a_build())
    lease = take(store, run, run.jobs[0].id)
    said = Annotation("notice", "seen")
    first = Outcome(Result.SUCCESS, Result.SUCCESS, 0, {"word": "kept"}, annotations=(said,))
    store.record(lease, a_checkpoint(lease, "1~1", outcome=FAILURE))
    store.record(lease, a_checkpoint(lease, "1", outcome=first, snapshot="1.1"))
    store.record(lease, a_checkpoint(lease, "2~1", outcome=FAILURE, snapshot="1.1"))
    store.record(lease, a_checkpoint(lease, "2", outcome=FAILURE, snapshot="1.2", kept=False))
    return end(store, run, lease)


def test_a_fork_recalls_what_came_before_its_step_and_no_more(store: SqlStore) -> None:
    run = a_failed_run(store)
    old = store.recall(run.jobs[0])

    again = resumed(store, run)

    new = again.jobs[0]
    assert store.load(run.id) == again
    assert new.forked is not None
    assert (new.forked.step, new.attempt) == ("2", 1)
    found = store.recall(new)
    assert list(found) == ["1~1", "1"]
    assert found["1"].outcome == old["1"].outcome
    assert {one.job for one in found.values()} == {new.id}
    assert store.recall(run.jobs[0]) == old
    assert not old["2"].kept


def test_what_a_fork_does_itself_comes_after_that(store: SqlStore) -> None:
    again = resumed(store, a_failed_run(store))
    lease = take(store, again, again.jobs[0].id)
    store.record(lease, a_checkpoint(lease, "2"))

    found = store.recall(again.jobs[0])

    assert [(key, done.attempt) for key, done in found.items()] == [("1~1", 1), ("1", 1), ("2", 2)]


def test_a_fork_of_a_fork_has_what_both_did(store: SqlStore) -> None:
    once = resumed(store, a_failed_run(store))
    lease = take(store, once, once.jobs[0].id)
    store.record(lease, a_checkpoint(lease, "2"))
    store.record(lease, a_checkpoint(lease, "3", outcome=FAILURE))

    twice = resumed(store, end(store, once, lease))

    assert list(store.recall(twice.jobs[0])) == ["1~1", "1", "2"]
    assert twice.jobs[0].forked is not None
    assert [attempt for _, attempt in twice.jobs[0].forked.line] == [2, 1]
    assert store.load(twice.id) == twice


def test_what_a_program_took_back_is_known_as_that_when_it_is_to_go_on(store: SqlStore) -> None:
    run = stored(store, a_build(steps=()))
    lease = take(store, run, run.jobs[0].id)
    store.record(lease, a_checkpoint(lease, "ship#1"))
    store.record(lease, a_checkpoint(lease, "smoke#1", outcome=FAILURE))
    store.record(lease, a_checkpoint(lease, "rollback ship#1", outcome=replace(FAILURE, takes_back=True)))

    with pytest.raises(Rejected, match=r"taken back what it had done \(rollback ship\)"):
        resumed(store, end(store, run, lease))


def test_a_fork_shows_whose_each_of_its_steps_is(store: SqlStore, views: Views) -> None:
    run = a_failed_run(store)
    again = resumed(store, run)
    old, new = run.jobs[0].id, again.jobs[0].id
    lease = take(store, again, new)
    store.record(lease, a_checkpoint(lease, "2"))

    (job,) = views.run(run.id).jobs

    assert job.forked == ForkView(old, 1, "2")
    assert [(step.key, step.status, step.job, step.attempt) for step in job.steps] == [
        ("1", "success", old, 1),
        ("2", "success", new, 2),
        ("3", "running", new, 2),
    ]
    assert [one.attempt for one in job.steps[0].tries] == [1]
    (before,) = views.run(run.id, 1).jobs
    assert (before.forked, [step.status for step in before.steps]) == (
        None,
        ["success", "failure", "skipped"],
    )


def test_a_fork_that_is_cancelled_before_it_began_was_stopped_in_no_step(
    store: SqlStore, views: Views
) -> None:
    again = resumed(store, a_failed_run(store))

    def cancelled(run: Run, now: datetime) -> Run:
        return run.with_job(replace(run.jobs[0], phase=Finished(Result.CANCELLED, now, "it was cancelled")))

    store.update(again.id, cancelled)

    assert [step.status for step in views.run(again.id).jobs[0].steps] == ["success", "skipped", "skipped"]


def test_a_job_ended_well_or_not_once_its_run_has_ended(store: SqlStore, views: Views) -> None:
    run = a_failed_run(store)
    old = run.jobs[0].id

    assert views.ends([old, 999]) == {old: views.ends([old])[old]}
    found = views.ends([old])[old]
    assert found is not None
    assert not found.succeeded
    again = resumed(store, run)
    assert views.ends([old, again.jobs[0].id]) == {old: None, again.jobs[0].id: None}
    end(store, again, take(store, again, again.jobs[0].id), Result.SUCCESS)
    assert [one and one.succeeded for one in views.ends([old, again.jobs[0].id]).values()] == [False, True]


# --- called workflows --------------------------------------------------------------------------------


def a_run_that_calls(store: SqlStore) -> Run:
    """`deploy` calls a workflow whose `push` succeeded and whose `tell` failed."""
    run = stored(store, Job(UNSAVED, "deploy", "deploy", (), (), (), calls="deploy.yml"))
    caller = run.jobs[0].id
    inside = [
        Job(UNSAVED, key, f"deploy / {key}", needs, ("linux",), STEPS, position=at)
        for at, (key, needs) in enumerate({"push": (), "tell": ("push",), "log": ("tell",)}.items())
    ]
    run = store.update(
        run.id, lambda run, now: decide(call(run, caller, inside, {"to": "x"}, now), now)
    ).after
    run = end(store, run, take(store, run, run.jobs[1].id), Result.SUCCESS)
    run = end(store, run, take(store, run, run.jobs[2].id))
    return store.update(run.id, partial(returned, caller=caller, result=Result.FAILURE)).after


def returned(run: Run, now: datetime, caller: int, result: Result) -> Run:
    return decide(settle(run, caller, result, now), now)


def test_in_a_called_workflow_the_jobs_that_stay_are_those_that_they_were(
    store: SqlStore, views: Views
) -> None:
    run = a_run_that_calls(store)
    assert run.result is Result.FAILURE
    caller, push, tell, log = run.jobs

    again = resumed(store, run)

    new = again.jobs[0]
    assert store.load(run.id) == again
    assert (new.stands_for, new.inputs, again.attempt) == (caller.id, {"to": "x"}, 2)
    assert [(job.key, job.id == push.id) for job in again.called_by(new.id)] == [
        ("push", True),
        ("tell", False),
        ("log", False),
    ]
    shown = views.run(run.id)
    assert [(job.path, job.caller) for job in shown.jobs] == [
        ("deploy", None),
        ("deploy/push", new.id),
        ("deploy/tell", new.id),
        ("deploy/log", new.id),
    ]
    former = views.run(run.id, 1)
    assert [(job.id, job.caller, job.status) for job in former.jobs] == [
        (caller.id, None, "failure"),
        (push.id, caller.id, "success"),
        (tell.id, caller.id, "failure"),
        (log.id, caller.id, "skipped"),
    ]


def test_it_can_go_on_in_part_again_and_end(store: SqlStore, views: Views) -> None:
    once = resumed(store, a_run_that_calls(store))
    failed = end(store, once, take(store, once, once.jobs[2].id))
    failed = store.update(failed.id, partial(returned, caller=once.jobs[0].id, result=Result.FAILURE)).after

    twice = resumed(store, failed)

    caller, push, tell, log = twice.jobs
    assert store.load(twice.id) == twice
    assert (caller.stands_for, push.id) == (once.jobs[0].stands_for, once.jobs[1].id)
    assert {job.caller for job in (push, tell, log)} == {caller.id}
    run = end(store, twice, take(store, twice, tell.id), Result.SUCCESS)
    run = end(store, run, take(store, run, log.id), Result.SUCCESS)
    assert isinstance(run.job(caller.id).phase, Ready)
    run = store.update(run.id, partial(returned, caller=caller.id, result=Result.SUCCESS)).after
    assert run.result is Result.SUCCESS
    assert [views.run(run.id, attempt).status for attempt in (1, 2, 3)] == ["failure", "failure", "success"]
    assert [len(views.run(run.id, attempt).jobs) for attempt in (1, 2, 3)] == [4, 4, 4]
