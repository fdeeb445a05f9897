"""What the engine needs of a store, on every database that we promise to work on."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import select, update

from runner.engine.ports import Change, Stranded, Verdict
from runner.errors import LeaseLost, NotFound, Rejected
from runner.model.ending import cancel
from runner.model.environment import Deployment
from runner.model.leasing import FIRST_DELAY, begin_try, claim, conclude, postpone, retry, start_over, wait
from runner.model.lifecycle import decide
from runner.model.planning import answer, pin
from runner.model.reruns import failed_jobs, rerun
from runner.model.run import UNSAVED, Begun, Finished, Lease, Leg, Queued, Run, Running, Waiting
from runner.model.source import Repository
from runner.model.step import Exports, Outcome, Result
from runner.store import Database, SqlRepositories, SqlStore, SqlWorkers
from runner.store.database import micros, micros_of
from runner.store.reasons import SOON
from runner.store.tables import jobs
from runner.store.tables import workers as table_of_workers
from runner.store.views import Views
from runner.store.workers import PRESENCE
from tests.builders import LENGTH, NOON, a_checkpoint, a_new_run, a_route, an_event


@pytest.fixture
def store(database: Database) -> SqlStore:
    SqlRepositories(database).add(Repository("git", "octo/hello", "/srv/hello.git"), "secret")
    return SqlStore(database, LENGTH)


def a_stored_run(store: SqlStore, *keys: str, guid: str = "d1", **needs: tuple[str, ...]) -> Run:
    delivery, _ = store.receive(an_event(), guid, guid)
    (run,) = store.settle(
        delivery.id, Verdict("admitted", route=a_route(), runs=(a_new_run(*keys, needs=needs),))
    )
    return run


def claimed(
    store: SqlStore, run: Run, worker: str = "worker-1", length: timedelta = LENGTH, place: int = 0
) -> Lease:
    def change(run: Run, now: datetime) -> Run:
        return run.with_job(claim(run.jobs[place], worker, now, length))

    phase = store.update(run.id, change).after.jobs[place].phase
    assert isinstance(phase, Running)
    return phase.lease


def test_a_delivery_is_stored_once_whatever_id_its_copies_carry(store: SqlStore) -> None:
    first, new = store.receive(an_event(), "guid-1", "digest-1")
    assert new

    same_id = store.receive(an_event(), "guid-1", "digest-2")
    same_bytes = store.receive(an_event(), "guid-2", "digest-1")

    assert [(copy.id, new) for copy, new in (same_id, same_bytes)] == [(first.id, False)] * 2


def test_twenty_copies_at_once_are_one_delivery(store: SqlStore) -> None:
    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(lambda n: store.receive(an_event(), f"guid-{n}", "digest"), range(20)))

    assert len({delivery.id for delivery, _ in made}) == 1
    assert [new for _, new in made].count(True) == 1


def test_a_delivery_comes_back_as_it_was_stored(store: SqlStore) -> None:
    event = an_event(
        payload={"commits": [{"message": "ümläut \u2603"}]}, before="2" * 40, default_branch="main"
    )

    stored, _ = store.receive(event, "guid", "digest")

    assert store.delivery(stored.id) == stored
    assert stored.event == event


def test_a_delivery_is_settled_once(store: SqlStore) -> None:
    delivery, _ = store.receive(an_event(), "guid", "digest")
    verdict = Verdict("admitted", route=a_route(), runs=(a_new_run(),))

    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: store.settle(delivery.id, verdict), range(3)))

    assert sorted(len(runs) for runs in made) == [0, 0, 1]
    assert len(store.delivery(delivery.id).runs) == 1


def test_a_name_that_is_registered_again_is_another_registration(database: Database) -> None:
    repositories = SqlRepositories(database)
    registrations = set()
    for _ in range(3):
        repositories.add(Repository("git", "octo/again", "/srv/again.git"), "secret")
        found = repositories.get("git", "octo/again")
        registrations.add(found.registration)
        repositories.remove(found)

    assert len(registrations) == 3


def test_runs_are_numbered_by_workflow_however_many_are_made_at_once(store: SqlStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: a_stored_run(store, guid=f"guid-{n}"), range(8)))

    assert sorted(run.number for run in made) == list(range(1, 9))


def test_a_new_run_is_decided_before_anybody_sees_it(store: SqlStore) -> None:
    run = a_stored_run(store, "build", "test", test=("build",))

    loaded = store.load(run.id)

    assert loaded == run
    assert [type(job.phase) for job in loaded.jobs] == [Queued, Waiting]


def test_a_title_is_asked_for_once_the_run_has_its_id_and_number(store: SqlStore) -> None:
    delivery, _ = store.receive(an_event(), "guid", "digest")
    named = replace(a_new_run(), title=lambda run: f"{run.name} {run.id}/{run.number} \u2713")
    unnamed = replace(a_new_run(workflow="b.yml"), title=lambda run: "")

    made = store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(named, unnamed)))

    assert [run.title for run in made] == [f"ci {made[0].id}/1 \u2713", ""]
    assert [store.load(run.id) for run in made] == list(made)


def test_a_run_keeps_the_commits_that_it_is_bound_to(store: SqlStore) -> None:
    new = replace(a_new_run(), pins={"o/a@v1": "a" * 40})
    delivery, _ = store.receive(an_event(), "d1", "d1")
    (run,) = store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(new,)))
    assert store.load(run.id).pins == run.pins == {"o/a@v1": "a" * 40}

    made = store.update(run.id, lambda run, now: pin(run, {"o/a@v1": "b" * 40, "o/b@v1": "b" * 40}))

    assert store.load(run.id).pins == made.after.pins == {"o/a@v1": "a" * 40, "o/b@v1": "b" * 40}


def test_many_that_bind_a_version_at_once_agree_on_the_first(store: SqlStore) -> None:
    run = a_stored_run(store)

    def bind(number: int) -> str:
        found = {"o/a@v1": f"{number:040x}"}
        return store.update(run.id, lambda run, now: pin(run, found)).after.pins["o/a@v1"]

    with ThreadPoolExecutor(8) as pool:
        seen = set(pool.map(bind, range(8)))

    assert seen == {store.load(run.id).pins["o/a@v1"]}


def test_a_repository_is_shared_where_somebody_said_so(database: Database) -> None:
    repositories = SqlRepositories(database)
    repositories.add(Repository("git", "octo/shared", "/srv/a.git", shared=True), "secret")
    repositories.add(Repository("git", "octo/own", "/srv/b.git"), "secret")

    assert [repositories.get("git", name).shared for name in ("octo/shared", "octo/own")] == [True, False]
    assert {one.name: one.shared for one in Views(database).repositories()} == {
        "octo/shared": True,
        "octo/own": False,
    }


def test_what_does_not_exist_is_named(store: SqlStore) -> None:
    with pytest.raises(NotFound, match="no run 77"):
        store.load(77)
    with pytest.raises(NotFound, match="no delivery 77"):
        store.delivery("77")


def test_a_claim_among_many_is_given_once_and_raises_the_fence(store: SqlStore) -> None:
    run = a_stored_run(store)

    def attempt(name: int) -> bool:
        try:
            claimed(store, run, f"worker-{name}")
        except Rejected:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(attempt, range(8))).count(True) == 1
    assert store.load(run.id).jobs[0].attempt == 1


def test_a_change_that_raises_leaves_the_run_as_it_was(store: SqlStore) -> None:
    run = a_stored_run(store)

    with pytest.raises(ZeroDivisionError):
        store.update(run.id, lambda run, now: replace(run, cancelled=bool(1 / 0)))

    assert store.load(run.id) == run


def test_a_checkpoint_comes_back_as_it_was_recorded(store: SqlStore) -> None:
    run = a_stored_run(store)
    lease = claimed(store, run)
    outcome = Outcome(
        Result.FAILURE,
        Result.SUCCESS,
        3,
        {"k": "v\n"},
        Exports({"A": "b"}, ("/bin",)),
        "# done",
        "exit code 3",
    )

    store.record(lease, a_checkpoint(lease, outcome=outcome))

    assert store.recall(store.load(run.id).jobs[0]) == {"1": a_checkpoint(lease, outcome=outcome)}


def test_checkpoints_keep_the_order_in_which_they_were_recorded_whatever_the_workers_clocks_say(
    store: SqlStore,
) -> None:
    run = a_stored_run(store)
    lease = claimed(store, run)

    for number in range(12):
        at = NOON - timedelta(minutes=number)
        store.record(lease, a_checkpoint(lease, key=str(number), started=at, finished=at))

    assert list(store.recall(store.load(run.id).jobs[0])) == [str(number) for number in range(12)]


def test_a_worker_thought_dead_writes_nothing(store: SqlStore) -> None:
    run = a_stored_run(store)
    old = claimed(store, run, "worker-1", length=timedelta(0))
    new = claimed(store, run, "worker-2")

    with pytest.raises(LeaseLost):
        store.record(old, a_checkpoint(old))
    store.record(new, a_checkpoint(new))

    assert [found.attempt for found in store.recall(store.load(run.id).jobs[0]).values()] == [2]


def test_nothing_is_recorded_for_a_job_that_has_ended(store: SqlStore) -> None:
    run = a_stored_run(store)
    lease = claimed(store, run)
    store.update(run.id, lambda run, now: run.with_job(conclude(run.jobs[0], lease, Result.SUCCESS, now)))

    with pytest.raises(LeaseLost):
        store.record(lease, a_checkpoint(lease))


def test_a_job_that_starts_over_recalls_nothing_and_may_record_the_same_keys_again(store: SqlStore) -> None:
    run = a_stored_run(store)
    first = claimed(store, run, length=timedelta(0))
    store.record(first, a_checkpoint(first))
    second = claimed(store, run)
    store.update(run.id, lambda run, now: run.with_job(start_over(run.jobs[0], second)))

    assert store.recall(store.load(run.id).jobs[0]) == {}
    store.record(second, a_checkpoint(second))
    assert list(store.recall(store.load(run.id).jobs[0])) == ["1"]


def test_what_began_and_has_no_end_is_known_after_a_job_has_gone_back_and_no_more_once_it_is_tried_again(
    store: SqlStore,
) -> None:
    run = a_stored_run(store)
    first = claimed(store, run, length=timedelta(0))
    for key, on_lost, done in (("a#1~1", "fail", ()), ("b#1~1", "ask", ()), ("c#1~1", "ask", ("b#1",))):
        store.update(
            run.id,
            lambda run, now, new=(key, on_lost, done): run.with_job(begin_try(run.jobs[0], first, *new)),  # type: ignore[misc]
        )
    second = claimed(store, run)

    def go_back(run: Run, now: datetime) -> Run:
        return run.with_job(start_over(run.jobs[0], second, 0, {"c#1~1"}))

    store.update(run.id, go_back)
    assert store.load(run.id).jobs[0].begun == {"a#1~1": Begun(first.attempt, "fail")}

    def fail(run: Run, now: datetime) -> Run:
        return run.with_job(retry(run.jobs[0], second, now, timedelta(0), Result.FAILURE, "no"))

    store.update(run.id, fail)
    assert store.load(run.id).jobs[0].begun == {}


def test_a_renewal_extends_what_is_held_and_names_what_is_lost_or_cancelled(store: SqlStore) -> None:
    kept, lost, unwanted = (a_stored_run(store, guid=f"g{n}") for n in range(3))
    leases = [claimed(store, run, length=timedelta(seconds=1)) for run in (kept, lost, unwanted)]
    store.update(
        lost.id, lambda run, now: run.with_job(conclude(run.jobs[0], leases[1], Result.SUCCESS, now))
    )
    store.update(unwanted.id, cancel)

    renewal = store.renew(leases)

    assert (set(renewal.lost), set(renewal.cancelled)) == ({leases[1]}, {leases[2]})
    phase = store.load(kept.id).jobs[0].phase
    assert isinstance(phase, Running)
    assert phase.lease.until > leases[0].until + LENGTH / 2


def test_a_rerun_has_jobs_of_its_own_and_leaves_the_former_ones(store: SqlStore) -> None:
    run = a_stored_run(store)
    lease = claimed(store, run)
    store.record(lease, a_checkpoint(lease))
    ended = store.update(
        run.id, lambda run, now: run.with_job(conclude(run.jobs[0], lease, Result.FAILURE, now))
    ).after

    again = store.update(run.id, lambda run, now: rerun(run)).after

    assert again.attempt == 2
    assert again.jobs[0].id != ended.jobs[0].id
    assert store.load(run.id) == again
    assert list(store.recall(ended.jobs[0])) == ["1"]


def test_a_run_is_known_as_each_of_its_attempts_was_left(store: SqlStore) -> None:
    run = a_stored_run(store, "build", "test")
    for place, result in enumerate((Result.SUCCESS, Result.FAILURE)):
        lease = claimed(store, run, place=place)
        run = store.update(run.id, partial(ended_with, lease=lease, result=result)).after
    again = store.update(run.id, lambda run, now: rerun(run, failed_jobs(run))).after
    newest = store.update(run.id, cancel).after

    assert store.load(run.id, 1) == run
    assert store.load(run.id, 2) == store.load(run.id) == newest != again
    for attempt in (0, 3):
        with pytest.raises(NotFound, match=f"run {run.id} has no attempt {attempt}; it has 2"):
            store.load(run.id, attempt)


def test_where_a_job_has_deployed_to_and_that_it_may_fail_is_kept_with_it(store: SqlStore) -> None:
    run = a_stored_run(store)
    lease, place = claimed(store, run), Deployment("production", "https://eu.test/")
    assert (store.load(run.id).jobs[0].deployed, store.load(run.id).jobs[0].tolerant) == (None, False)

    def end(run: Run, now: datetime) -> Run:
        job = conclude(run.jobs[0], lease, Result.FAILURE, now, deployed=place)
        return run.with_job(replace(job, tolerant=True))

    store.update(run.id, end)

    job = store.load(run.id).jobs[0]
    assert (job.deployed, job.tolerant) == (place, True)


def test_a_rerun_in_part_keeps_the_jobs_that_are_not_run_again(store: SqlStore) -> None:
    run = a_stored_run(store, "build", "test", "lint")
    for place, result in enumerate((Result.SUCCESS, Result.FAILURE, Result.SUCCESS)):
        lease = claimed(store, run, place=place)
        store.record(lease, a_checkpoint(lease))
        run = store.update(run.id, partial(ended_with, lease=lease, result=result)).after

    again = store.update(run.id, lambda run, now: rerun(run, failed_jobs(run))).after

    assert store.load(run.id) == again
    assert [job.key for job in again.jobs] == ["build", "test", "lint"]
    build, test, lint = again.jobs
    assert (build, lint) == (run.jobs[0], run.jobs[2])
    assert test.id not in {job.id for job in run.jobs}
    assert [list(store.recall(job)) for job in (build, test, lint)] == [["1"], [], ["1"]]
    done = store.update(run.id, lambda run, now: run.with_job(replace(test, phase=build.phase))).after
    assert store.update(run.id, lambda run, now: rerun(run, {build.id})).after.jobs[1:] == done.jobs[1:]


def test_who_waits_for_a_run_sees_all_that_the_one_before_did_to_it(store: SqlStore) -> None:
    run = a_stored_run(store)
    holding, seen = threading.Event(), list[bool]()

    def cancels(run: Run, now: datetime) -> Run:
        holding.set()
        # The other one can only be given time to come and wait.
        threading.Event().wait(0.3)
        return cancel(run, now)

    def looks(run: Run, now: datetime) -> Run:
        seen.append(run.cancelled)
        return run

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.update, run.id, cancels)
        assert holding.wait(30)
        store.update(run.id, looks)
        first.result()

    assert seen[-1] is True


def test_many_cancels_at_once_are_one(store: SqlStore) -> None:
    run = a_stored_run(store)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: store.update(run.id, cancel), range(16)))

    assert [change.before.cancelled for change in made].count(False) == 1
    assert store.load(run.id).cancelled


def test_what_waits_for_its_time_is_not_rung_for_where_everything_else_is(store: SqlStore) -> None:
    run = a_stored_run(store)
    lease = claimed(store, run)
    later = partial(waits, lease=lease, delay=timedelta(hours=1))
    store.update(run.id, later)

    assert store.stranded(everything=True).envelopes == ()


def test_a_job_that_is_tried_again_at_once_still_says_why(store: SqlStore) -> None:
    run = a_stored_run(store)

    made = store.update(run.id, partial(waits, lease=claimed(store, run), delay=timedelta()))

    (job,) = made.after.jobs
    assert isinstance(job.phase, Queued)
    assert (job.phase.due, job.phase.reason) == (None, "it failed")
    assert store.load(run.id) == made.after


def waits(run: Run, now: datetime, lease: Lease, delay: timedelta) -> Run:
    return run.with_job(wait(run.job(lease.job), lease, now, delay, "it failed"))


def ended_with(run: Run, now: datetime, lease: Lease, result: Result) -> Run:
    return run.with_job(conclude(run.job(lease.job), lease, result, now))


def test_a_job_that_is_asked_whether_it_goes_on_is_rung_for_until_it_has_answered(
    store: SqlStore, impatient: None
) -> None:
    delivery, _ = store.receive(an_event(), "guid", "digest")
    new = a_new_run()
    new = replace(new, jobs=(replace(new.jobs[0], conditional=True),))
    (run,) = store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(new,)))
    lease = claimed(store, run)
    store.update(run.id, cancel)
    store.renew([lease])
    asked = store.load(run.id).jobs[0]
    assert asked.asked is not None

    first = store.stranded()
    store.renew([lease])
    again = store.stranded(everything=True)

    assert [one.job for one in first.plans] == [one.job for one in again.plans] == [asked.id]
    assert first.envelopes == again.envelopes == ()
    answered = store.update(run.id, lambda run, now: answer(run, asked.id, True)).after
    assert store.load(run.id) == answered
    assert answered.jobs[0].asked is None
    assert [one.job for one in store.stranded().envelopes] == [asked.id]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("due", "rows", "runs"):
        monkeypatch.setattr(f"runner.store.{room}.FIRST_RING", timedelta(0))
    return


def test_what_nobody_works_on_is_rung_for(store: SqlStore, impatient: None) -> None:
    delivery, _ = store.receive(an_event(), "guid", "digest")
    assert store.stranded().deliveries == (delivery.id,)

    (run,) = store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(a_new_run(),)))
    due = store.stranded()

    assert due.deliveries == ()
    assert [(found.run, found.job, found.route) for found in due.envelopes] == [
        (run.id, run.jobs[0].id, run.route)
    ]


def test_a_queued_job_says_which_label_no_worker_serves(store: SqlStore, database: Database) -> None:
    workers, views = SqlWorkers(database), Views(database)
    delivery, _ = store.receive(an_event(), "guid", "digest")
    new = a_new_run()
    new = replace(new, jobs=(replace(new.jobs[0], labels=("linux", "gpu")),))
    (run,) = store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(new,)))

    def reason() -> str:
        (job,) = views.run(run.id).jobs
        assert job.queued_at is not None
        return job.reason.removesuffix(f"; queued since {job.queued_at:%Y-%m-%d %H:%M:%S} UTC")

    assert reason() == "no worker is running"
    workers.announce("worker-1", ("linux",))
    workers.announce("worker-1", ("linux", "x64"))
    assert reason() == "no worker serves the label gpu"
    workers.announce("worker-2", ("gpu",))
    assert reason() == "no worker serves the labels linux, gpu together"
    workers.announce("worker-2", ("gpu", "linux"))
    assert reason() == ""
    workers.leave("worker-2")
    assert reason() == "no worker serves the label gpu"
    claimed(store, run)
    assert views.run(run.id).jobs[0].reason == ""


def test_a_job_that_no_worker_has_taken_for_a_while_says_that_none_is_free(
    store: SqlStore, database: Database
) -> None:
    run = a_stored_run(store)
    SqlWorkers(database).announce("worker-1", ("linux",))
    views = Views(database)
    assert views.run(run.id).jobs[0].reason == ""

    earlier = update(jobs).values(queued_at=jobs.c.queued_at - micros_of(2 * SOON))
    database.writing(lambda connection: connection.execute(earlier))

    reason = views.run(run.id).jobs[0].reason
    assert reason.startswith("no worker that serves its labels is free; queued since ")


def test_a_worker_that_says_no_more_is_not_there_any_more(store: SqlStore, database: Database) -> None:
    run = a_stored_run(store)
    workers, views = SqlWorkers(database), Views(database)
    workers.announce("worker-1", ("linux",))
    assert views.run(run.id).jobs[0].reason == ""

    late = update(table_of_workers).values(until=table_of_workers.c.until - micros_of(PRESENCE))
    database.writing(lambda connection: connection.execute(late))

    assert views.run(run.id).jobs[0].reason.startswith("no worker is running")


def test_a_postponed_job_comes_back_as_it_was_stored_and_is_rung_for_when_it_is_due(
    store: SqlStore, database: Database
) -> None:
    run = a_stored_run(store)
    lease = claimed(store, run)
    made = store.update(
        run.id, lambda run, now: run.with_job(postpone(run.jobs[0], lease, now, "the forge is away"))
    ).after

    assert store.load(run.id) == made
    assert store.stranded().envelopes == ()
    (shown,) = Views(database).run(run.id).jobs
    assert (shown.status, shown.started_at) == ("queued", None)
    SqlWorkers(database).announce("worker-1", ("linux",))
    assert (
        Views(database)
        .run(run.id)
        .jobs[0]
        .reason.startswith("the forge is away; tried 1 of 6 times, again at ")
    )
    soon = micros_of(FIRST_DELAY)
    passing = update(jobs).values(due_at=jobs.c.due_at - soon, ring_at=jobs.c.ring_at - soon)
    database.writing(lambda connection: connection.execute(passing))
    assert [found.run for found in store.stranded().envelopes] == [run.id]
    claimed(store, run)
    assert store.load(run.id).jobs[0].tries == 1


def test_work_that_has_waited_long_is_still_rung_for_every_minute(
    store: SqlStore, database: Database
) -> None:
    a_stored_run(store)
    half_a_day_ago = update(jobs).values(queued_at=jobs.c.queued_at - 12 * 3600 * 10**6, ring_at=0)
    database.writing(lambda connection: connection.execute(half_a_day_ago))

    assert len(store.stranded().envelopes) == 1
    with database.reading() as connection:
        row = connection.execute(select(jobs.c.ring_at, jobs.c.queued_at)).one()
    assert row.ring_at - row.queued_at < (12 * 3600 + 120) * 10**6


def test_a_lease_that_is_over_only_by_what_the_clock_says_since_is_left_alone(
    store: SqlStore, database: Database
) -> None:
    run = a_stored_run(store)
    claimed(store, run)
    believed = database.time()
    jumped = update(jobs).values(lease_until=micros(believed) + 1, ring_at=micros(believed) + 1)
    database.writing(lambda connection: connection.execute(jumped))

    assert store.stranded(at=believed) == Stranded(rest=timedelta(microseconds=1))
    assert [found.run for found in store.stranded().envelopes] == [run.id]


def test_a_job_whose_worker_is_lost_is_rung_for_less_often_the_longer_nobody_goes_on_with_it(
    store: SqlStore, database: Database
) -> None:
    claimed(store, a_stored_run(store))
    a_while_ago = update(jobs).values(lease_until=jobs.c.lease_until - 600 * 10**6, ring_at=0)
    database.writing(lambda connection: connection.execute(a_while_ago))

    assert len(store.stranded().envelopes) == 1
    with database.reading() as connection:
        again = connection.execute(select(jobs.c.ring_at)).scalar_one()
    assert 50 * 10**6 < again - micros(database.time()) <= 60 * 10**6


def test_a_lease_that_ran_out_is_rung_for_and_one_that_holds_is_not(store: SqlStore) -> None:
    lost, held = a_stored_run(store, guid="a"), a_stored_run(store, guid="b")
    claimed(store, lost, length=timedelta(0))
    claimed(store, held)

    assert [found.run for found in store.stranded().envelopes] == [lost.id]


def test_a_fresh_message_is_given_time_before_another_is_sent(store: SqlStore) -> None:
    a_stored_run(store)

    assert store.stranded().envelopes == ()


def test_several_clocks_share_the_rings_among_them(store: SqlStore, impatient: None) -> None:
    runs = {a_stored_run(store, guid=f"guid-{n}").id for n in range(20)}
    together = threading.Barrier(4)

    def sweep(_: int) -> list[int]:
        together.wait()
        return [found.run for found in store.stranded().envelopes]

    with ThreadPoolExecutor(4) as pool:
        rung = [run for part in pool.map(sweep, range(4)) for run in part]

    assert set(rung) == runs


def test_when_no_worker_is_alive_everything_unfinished_is_due(store: SqlStore) -> None:
    run = a_stored_run(store)
    claimed(store, run)

    due = store.stranded(everything=True)

    assert [found.run for found in due.envelopes] == [run.id]
    assert claimed(store, run, "worker-2").attempt == 2


def test_finished_work_is_never_due(store: SqlStore) -> None:
    run = a_stored_run(store)
    lease = claimed(store, run)
    made: Change = store.update(
        run.id, lambda run, now: run.with_job(conclude(run.jobs[0], lease, Result.SUCCESS, now))
    )

    assert isinstance(made.after.jobs[0].phase, Finished)
    assert store.stranded(everything=True).envelopes == ()


def test_every_job_that_does_not_move_says_why(store: SqlStore, database: Database) -> None:
    run = a_stored_run(store, "build", "test", "ship", ship=("build", "test"))
    SqlWorkers(database).announce("worker-1", ("linux",))
    lost = claimed(store, run, length=timedelta(0))

    def reasons() -> list[str]:
        return [job.reason for job in Views(database).run(run.id).jobs]

    first, second, third = reasons()
    assert first.startswith("worker worker-1 has fallen silent: its lease ended at 20")
    assert (second, third) == ("", "needs build, test")
    store.update(run.id, lambda run, now: run.with_job(conclude(run.jobs[0], lost, Result.SUCCESS, now)))
    assert reasons() == ["", "", "needs test"]


def test_a_leg_says_how_many_others_of_its_matrix_have_begun(store: SqlStore, database: Database) -> None:
    run = a_stored_run(store, "build")

    def change(run: Run, now: datetime) -> Run:
        legs = [
            replace(
                run.jobs[0], id=id, leg=Leg({"n": n}, n, 2, max_parallel=1), phase=Waiting(), dynamic=True
            )
            for n, id in enumerate((run.jobs[0].id, UNSAVED))
        ]
        return decide(replace(run, jobs=tuple(legs)), now)

    store.update(run.id, change)
    SqlWorkers(database).announce("worker-1", ("linux",))
    assert [job.reason for job in Views(database).run(run.id).jobs] == [
        "",
        "1 of its legs has begun, and max-parallel is 1",
    ]
