"""What counts of a job that goes back to an older snapshot, on every database that we promise to work on."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.errors import LeaseLost
from runner.model.leasing import retry, start_over
from runner.model.run import Lease, Run, StepName
from runner.model.step import Checkpoint, Outcome, Result
from runner.store import Database, SqlStore
from runner.store.views import Views
from tests.builders import a_checkpoint
from tests.contracts.test_store import a_stored_run, claimed, store
from tests.crash import invariants

__all__ = ["store"]

ACTS = st.lists(
    st.one_of(
        st.sampled_from(["step", "step", "step", "lost", "retry"]),
        st.integers(0, 4),
    ),
    max_size=14,
)
"""A step is done, a worker is lost, the job is tried again, or goes back to so many checkpoints."""
THREE = tuple(StepName(key, f"Run {key}") for key in "123")
guids = count()


def goes_back(run: Run, now: datetime, lease: Lease, carried: int) -> Run:
    return run.with_job(start_over(run.jobs[0], lease, carried))


def is_tried_again(run: Run, now: datetime, lease: Lease) -> Run:
    return run.with_job(retry(run.jobs[0], lease, now, timedelta(), Result.FAILURE, "why"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS)
def test_what_came_before_still_counts_and_what_comes_after_is_done_again(
    store: SqlStore, database: Database, acts: list[str | int]
) -> None:
    run = a_stored_run(store, guid=f"back-{next(guids)}")
    lease, counting, all_done = claimed(store, run, length=timedelta(0)), list[Checkpoint](), 0
    for act in acts:
        if act == "step":
            done = a_checkpoint(lease, str(len(counting) + 1), snapshot=f"{lease.attempt}.{len(counting)}")
            store.record(lease, done)
            counting.append(done)
            all_done += 1
            continue
        if act == "retry":
            store.update(run.id, partial(is_tried_again, lease=lease))
            counting = []
        # One that goes back does so before its first step.
        lease = claimed(store, run, length=timedelta(0))
        if isinstance(act, int):
            store.update(run.id, partial(goes_back, lease=lease, carried=act))
            counting = counting[:act]
        found = store.recall(store.load(run.id).jobs[0])
        assert list(found.values()) == counting
        assert list(found) == [one.key for one in counting]
    invariants.check(database)
    rows = [one for one in invariants.read(database).checkpoints if one.job == run.jobs[0].id]
    assert len({(one.key, one.attempt) for one in rows}) == all_done, "nothing that was done is forgotten"


def test_nobody_goes_back_under_a_stale_fence(store: SqlStore) -> None:
    run = a_stored_run(store)
    old = claimed(store, run, length=timedelta(0))
    store.record(old, a_checkpoint(old))
    claimed(store, run)

    with pytest.raises(LeaseLost):
        store.update(run.id, partial(goes_back, lease=old, carried=1))

    assert store.load(run.id).jobs[0].base == 0


def test_people_see_what_was_done_before_its_files_were_lost(store: SqlStore, database: Database) -> None:
    run = a_stored_run(store)
    store.update(run.id, lambda run, now: run.with_job(replace(run.jobs[0], steps=THREE)))
    first = claimed(store, run, length=timedelta(0))
    for key in ("1", "2"):
        store.record(first, a_checkpoint(first, key))
    slow = Outcome(Result.SUCCESS, Result.SUCCESS, 0, reason="it took long")
    store.record(first, a_checkpoint(first, "3", outcome=slow))
    second = claimed(store, run, length=timedelta(0))
    store.update(run.id, partial(goes_back, lease=second, carried=2))
    store.record(second, a_checkpoint(second, "3"))
    third = claimed(store, run)
    store.update(run.id, partial(goes_back, lease=third, carried=1))

    (job,) = Views(database).run(run.id).jobs

    seen = {step.key: (step.status, [(one.attempt, one.reason) for one in step.tries]) for step in job.steps}
    assert seen == {
        "1": ("success", []),
        "2": ("running", [(1, "its files were lost")]),
        "3": ("queued", [(1, "it took long; its files were lost"), (2, "its files were lost")]),
    }
