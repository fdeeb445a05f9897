"""Steps and jobs that are tried again, and what is done about workers that were lost."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from runner.engine.control import answer, cancel
from runner.engine.perform import perform
from runner.engine.ports import Change, Command, Exit
from runner.engine.retries import again, delay_of
from runner.engine.sweep import sweep
from runner.errors import DatabaseUnavailable
from runner.model.run import Finished, Job, Queued, Run, Running, Suspended
from runner.model.step import Result
from runner.model.waits import Awaited, Word
from runner.store import SqlStore
from runner.store.tables import jobs
from runner.workflow.document import Retry
from tests.engine.conftest import Bench
from tests.fakes import FakeExecutor

STEPS = """\
name: ci
on: push
jobs:
  build:
    runs-on: linux
    steps:
      - run: one
      - {run: two, retry: RETRY}
      - run: three
"""
WHOLE = """\
name: ci
on: push
jobs:
  build:
    runs-on: linux
    retry: RETRY
    steps: [{run: one}, {run: two}]
  after: {needs: build, runs-on: linux, steps: [{run: after}]}
"""


def failing(times: int, step: str = "2", code: int = 1) -> Callable[[Command], Exit]:
    left = [times]

    def act(command: Command) -> Exit:
        if command.env["RUNNER_STEP"] == step and left[0] and command.env["GITHUB_JOB"] == "build":
            left[0] -= 1
            return Exit(code)
        return Exit(0)

    return act


def ran(executor: FakeExecutor) -> list[str]:
    return [script.strip() for script in executor.scripts]


def job_of(bench: Bench, run: Run) -> Job:
    return bench.store.load(run.id).jobs[0]


def make_due(bench: Bench) -> None:
    """Let the time come that a job waits for."""
    due = update(jobs).where(jobs.c.due_at.is_not(None)).values(due_at=1, ring_at=1)
    bench.database.writing(lambda connection: connection.execute(due))
    bench.bell.rung += bench.store.stranded().envelopes


def lose(bench: Bench, step: str) -> None:
    """A worker dies while it runs a step."""
    fine = bench.executor.act

    def dies(command: Command) -> Exit:
        if command.env["RUNNER_STEP"] == step:
            raise DatabaseUnavailable("away")
        return fine(command)

    bench.executor.act = dies
    with pytest.raises(DatabaseUnavailable):
        bench.work()
    bench.executor.act = fine
    bench.bell.rung += bench.store.stranded(everything=True).envelopes


def test_a_step_is_tried_again_and_only_it(bench: Bench) -> None:
    bench.executor.act = failing(2)
    run = bench.a_run(STEPS.replace("RETRY", "{max-attempts: 3}"))

    bench.work()

    assert bench.store.load(run.id).result is Result.SUCCESS
    assert ran(bench.executor) == ["one", "two", "two", "two", "three"]
    done = bench.store.recall(run.jobs[0])
    assert [(key, one.attempt, one.outcome.exit_code) for key, one in done.items()] == [
        ("1", 1, 0),
        ("2~1", 1, 1),
        ("2~2", 2, 1),
        ("2", 3, 0),
        ("3", 3, 0),
    ]


def test_the_last_try_ends_it_and_says_how_often(bench: Bench) -> None:
    bench.executor.act = failing(9, code=7)
    run = bench.a_run(STEPS.replace("RETRY", "{max-attempts: 2}"))

    bench.work()

    assert bench.store.load(run.id).result is Result.FAILURE
    assert ran(bench.executor) == ["one", "two", "two"]
    assert bench.store.recall(run.jobs[0])["2"].outcome.reason == "exit code 7; tried 2 times"


def test_a_step_that_may_fail_is_tried_again_all_the_same(bench: Bench) -> None:
    bench.executor.act = failing(9)
    run = bench.a_run(STEPS.replace("RETRY", "{max-attempts: 2}, continue-on-error: true"))

    bench.work()

    assert bench.store.load(run.id).result is Result.SUCCESS
    assert ran(bench.executor) == ["one", "two", "two", "three"]


def test_a_delay_is_a_due_time_and_holds_no_worker(bench: Bench) -> None:
    bench.executor.act = failing(1)
    run = bench.a_run(STEPS.replace("RETRY", "{max-attempts: 3, delay: 5m}"))
    bench.work()

    phase = job_of(bench, run).phase
    assert isinstance(phase, Queued)
    assert phase.due is not None
    assert timedelta(minutes=4, seconds=58) < phase.due - phase.since <= timedelta(minutes=5)
    day = "" if phase.due.date() == phase.since.date() else "%Y-%m-%d "
    due = phase.due.strftime(f"{day}%H:%M:%S UTC")
    assert phase.reason == f"step 2 (Run two): exit code 1; tried 1 of 3 times, again at {due}"
    assert bench.executor.sandboxes[0].closed
    bench.bell.rung += bench.store.stranded(everything=True).envelopes
    bench.work()
    assert ran(bench.executor) == ["one", "two"], "it is not due"

    make_due(bench)
    # The database says that it is due, but the step knows better, as after a crash that forgot the wait.
    bench.work()
    assert ran(bench.executor) == ["one", "two"]
    assert isinstance(job_of(bench, run).phase, Queued)


class DyingStore:
    """Stands before a store; the worker behind it claims a job and records steps, and then dies."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def update(self, *args: Any, **given: Any) -> Change:
        raise DatabaseUnavailable("away")


def test_a_worker_that_dies_before_it_says_that_the_job_waits_makes_the_next_one_say_it(
    bench: Bench,
) -> None:
    bench.executor.act = failing(1)
    run = bench.a_run(STEPS.replace("RETRY", "{max-attempts: 3, delay: 5m}"))
    (message,) = bench.bell.rung
    bench.bell.rung.clear()

    with pytest.raises(DatabaseUnavailable):
        perform(message, replace(bench.station, store=DyingStore(bench.store)))
    assert isinstance(job_of(bench, run).phase, Running)

    bench.bell.rung += bench.store.stranded(everything=True).envelopes
    bench.work()

    job = job_of(bench, run)
    assert isinstance(job.phase, Queued)
    assert job.phase.due is not None
    assert (ran(bench.executor), job.attempt) == (["one", "two"], 2)


def test_only_the_exit_codes_that_are_named_are_tried_again(bench: Bench) -> None:
    bench.executor.act = failing(9, code=2)
    bench.a_run(STEPS.replace("RETRY", "{max-attempts: 5, on-exit-codes: [1, 75]}"))

    bench.work()

    assert ran(bench.executor) == ["one", "two"]


def test_a_job_is_tried_again_from_its_first_step(bench: Bench) -> None:
    bench.executor.act = failing(2, code=9)
    run = bench.a_run(WHOLE.replace("RETRY", "{max-attempts: 3}"))

    bench.work()

    ended = bench.store.load(run.id)
    assert ended.result is Result.SUCCESS
    assert ran(bench.executor) == ["one", "two"] * 3 + ["after"]
    assert [(one.attempt, one.result, one.reason) for one in ended.jobs[0].tried] == [
        (1, Result.FAILURE, "it failed (exit code 9); tried 1 of 3 times"),
        (2, Result.FAILURE, "it failed (exit code 9); tried 2 of 3 times"),
    ]


def test_a_job_that_failed_for_the_last_time_has_failed(bench: Bench) -> None:
    bench.executor.act = failing(9)
    run = bench.a_run(WHOLE.replace("RETRY", "{max-attempts: 2, delay: 1h, on-exit-codes: [1]}"))

    bench.work()
    make_due(bench)
    bench.work()

    ended = bench.store.load(run.id)
    assert [job.phase.result for job in ended.jobs if isinstance(job.phase, Finished)] == [
        Result.FAILURE,
        Result.SKIPPED,
    ]
    assert ran(bench.executor) == ["one", "two"] * 2


def test_a_job_that_waits_to_be_tried_again_is_cancelled_at_once_and_in_order(bench: Bench) -> None:
    bench.executor.act = failing(9)
    text = STEPS.replace("RETRY", "{max-attempts: 3, delay: 1h}")
    run = bench.a_run(text.replace("- run: three", "- {run: tidy, if: always()}"))
    bench.work()

    cancel(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    assert bench.store.load(run.id).result is Result.CANCELLED
    assert ran(bench.executor) == ["one", "two", "tidy"]


def test_where_no_worker_comes_time_ends_what_was_cancelled(bench: Bench) -> None:
    bench.executor.act = failing(9)
    run = bench.a_run(STEPS.replace("RETRY", "{max-attempts: 3, delay: 1h}"))
    bench.work()
    cancel(run.id, store=bench.store, dispatcher=bench.bell)
    assert bench.store.load(run.id).result is None

    long_ago = update(jobs).values(queued_at=1, ring_at=1)
    bench.database.writing(lambda connection: connection.execute(long_ago))
    sweep(store=bench.store, dispatcher=bench.bell)

    ended = bench.store.load(run.id)
    assert ended.result is Result.CANCELLED
    assert "no worker was there" in str(ended.jobs[0].phase)


def test_a_step_that_may_have_run_is_not_run_again_where_it_says_so(bench: Bench) -> None:
    text = STEPS.replace("retry: RETRY", "on-lost: fail").replace(
        "- run: three", "- {run: three, if: always()}"
    )
    run = bench.a_run(text)
    lose(bench, "2")

    bench.work()

    assert ran(bench.executor) == ["one", "two", "three"]
    assert bench.store.load(run.id).result is Result.FAILURE
    assert bench.store.recall(run.jobs[0])["2"].outcome.reason == (
        "its worker was lost while the step may have run, and on-lost is fail"
    )


def test_a_step_after_the_one_that_may_have_run_runs(bench: Bench) -> None:
    run = bench.a_run(STEPS.replace("retry: RETRY", "on-lost: fail"))
    lose(bench, "1")

    bench.work()

    assert ran(bench.executor) == ["one", "one", "two", "three"]
    assert bench.store.load(run.id).result is Result.SUCCESS


def test_nor_by_its_retry_or_its_jobs(bench: Bench) -> None:
    run = bench.a_run(
        STEPS.replace("retry: RETRY", "on-lost: fail, retry: {max-attempts: 3}").replace(
            "    runs-on: linux", "    runs-on: linux\n    retry: {max-attempts: 3}"
        )
    )
    lose(bench, "2")

    bench.work()

    assert (ran(bench.executor), bench.store.load(run.id).result) == (["one", "two"], Result.FAILURE)


@pytest.mark.parametrize(("key", "scripts"), [("2", ["one", "two"]), ("3", ["one", "two", "three"])])
def test_nor_where_its_files_are_gone_and_the_job_would_start_over(
    bench: Bench, key: str, scripts: list[str]
) -> None:
    run = bench.a_run(STEPS.replace("retry: RETRY", "on-lost: fail"))
    lose(bench, key)
    bench.workspaces.gone = True

    bench.work()

    assert (ran(bench.executor), bench.store.load(run.id).result) == (scripts, Result.FAILURE)
    assert "step 2 (Run two) may have run, and on-lost is fail" in str(job_of(bench, run).phase)


def test_a_job_starts_over_where_what_must_not_run_twice_has_not_begun(bench: Bench) -> None:
    text = STEPS.replace("retry: RETRY", "id: x").replace("- run: three", "- {run: three, on-lost: fail}")
    run = bench.a_run(text)
    lose(bench, "2")
    bench.workspaces.gone = True

    bench.work()

    assert bench.store.load(run.id).result is Result.SUCCESS
    assert ran(bench.executor) == ["one", "two", "one", "two", "three"]


@pytest.mark.parametrize(
    ("word", "scripts", "result"),
    [
        (Word.AGAIN, ["one", "two", "two", "three"], Result.SUCCESS),
        (Word.DONE, ["one", "two", "three"], Result.SUCCESS),
        (Word.FAILED, ["one", "two"], Result.FAILURE),
    ],
)
def test_a_person_says_what_becomes_of_a_step_that_may_have_run(
    bench: Bench, word: Word, scripts: list[str], result: Result
) -> None:
    run = bench.a_run(STEPS.replace("retry: RETRY", "on-lost: ask"))
    lose(bench, "2")
    bench.work()
    assert ran(bench.executor) == ["one", "two"]
    assert isinstance(job_of(bench, run).phase, Suspended)
    waits = "its worker was lost while the step may have run: step 2 (Run two)"
    assert job_of(bench, run).awaits[0].message == waits

    answer(run.id, Awaited.RESUMPTION, word, store=bench.store, dispatcher=bench.bell, by="anna")
    bench.work()

    assert (ran(bench.executor), bench.store.load(run.id).result) == (scripts, result)


def test_each_loss_is_asked_about(bench: Bench) -> None:
    run = bench.a_run(STEPS.replace("retry: RETRY", "on-lost: ask"))
    lose(bench, "2")
    bench.work()
    answer(run.id, Awaited.RESUMPTION, Word.AGAIN, store=bench.store, dispatcher=bench.bell, by="anna")
    lose(bench, "2")
    bench.work()
    assert len(job_of(bench, run).waits) == 2
    assert isinstance(job_of(bench, run).phase, Suspended)


def test_nobody_is_asked_any_more_once_it_is_cancelled(bench: Bench) -> None:
    run = bench.a_run(STEPS.replace("retry: RETRY", "on-lost: ask, if: always()"))
    lose(bench, "2")
    bench.work()
    cancel(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()
    assert (ran(bench.executor), bench.store.load(run.id).result) == (["one", "two"], Result.CANCELLED)


def test_it_may_fail_where_the_step_may(bench: Bench) -> None:
    run = bench.a_run(STEPS.replace("retry: RETRY", "on-lost: fail, continue-on-error: true"))
    lose(bench, "2")

    bench.work()

    assert bench.store.load(run.id).result is Result.SUCCESS
    assert ran(bench.executor) == ["one", "two", "three"]


def test_workers_are_counted_that_are_lost_where_each_one_starts_the_job_over(bench: Bench) -> None:
    run = bench.a_run(STEPS.replace("RETRY", "{max-attempts: 9}"))
    bench.workspaces.gone = True
    for _ in range(3):
        lose(bench, "2")

    bench.work()

    assert "poisoned" in str(job_of(bench, run).phase)


def test_workers_that_were_lost_long_before_it_starts_over_do_not_count(bench: Bench) -> None:
    run = bench.a_run(STEPS.replace("RETRY", "{max-attempts: 9}"))
    for step in ("1", "2", "3"):
        lose(bench, step)
    bench.workspaces.gone = True

    lose(bench, "1")
    bench.work()

    assert bench.store.load(run.id).result is Result.SUCCESS
    assert job_of(bench, run).lost == (1, 2, 3, 4)


def test_what_a_job_says_of_lost_workers_holds_for_each_of_its_steps(bench: Bench) -> None:
    run = bench.a_run(WHOLE.replace("retry: RETRY", "on-lost: fail"))
    lose(bench, "1")

    bench.work()

    assert (ran(bench.executor), bench.store.load(run.id).result) == (["one"], Result.FAILURE)


def test_a_step_with_which_three_workers_were_lost_is_poison(bench: Bench) -> None:
    run = bench.a_run(STEPS.replace("RETRY", "{max-attempts: 9}"))
    for _ in range(3):
        lose(bench, "2")

    bench.work()

    job = job_of(bench, run)
    assert isinstance(job.phase, Finished)
    assert (job.phase.result, job.phase.reason) == (
        Result.FAILURE,
        "poisoned: 3 workers were lost with it at step 2 (Run two), one after another",
    )
    assert (job.lost, ran(bench.executor)) == ((1, 2, 3), ["one", "two", "two", "two"])


def test_workers_that_were_lost_with_steps_that_went_well_in_the_end_do_not_count(bench: Bench) -> None:
    run = bench.a_run(STEPS.replace("RETRY", "{max-attempts: 9}"))
    for step in ("1", "1", "2", "2", "3", "3"):
        lose(bench, step)

    bench.work()

    assert bench.store.load(run.id).result is Result.SUCCESS
    assert job_of(bench, run).lost == (1, 2, 3, 4, 5, 6)


def test_a_message_for_a_job_that_waits_does_nothing(bench: Bench) -> None:
    bench.executor.act = failing(1)
    run = bench.a_run(STEPS.replace("RETRY", "{max-attempts: 3, delay: 5m}"))
    message = bench.bell.rung[0]
    bench.work()
    waits = bench.store.load(run.id)

    perform(message, bench.station)

    assert bench.store.load(run.id) == waits


policies = st.builds(
    Retry,
    max_attempts=st.integers(1, 1000),
    delay=st.floats(0, 10**7),
    backoff=st.sampled_from(["constant", "linear", "exponential"]),
    max_delay=st.none() | st.floats(0, 10**7),
    jitter=st.booleans(),
)


@given(policies, st.integers(1, 10**6), st.text())
def test_a_delay_is_never_longer_than_it_may_be_and_the_same_each_time(
    policy: Retry, failed: int, salt: str
) -> None:
    delay = delay_of(policy, failed, salt)

    assert timedelta() <= delay <= timedelta(days=365)
    assert delay_of(policy, failed, salt) == delay
    if policy.max_delay is not None:
        assert delay <= timedelta(seconds=policy.max_delay) + timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        ("constant", [10, 10, 10, 10]),
        ("linear", [10, 20, 30, 40]),
        ("exponential", [10, 20, 40, 60]),
    ],
)
def test_delays_grow_as_the_policy_says(backoff: str, delays: list[int]) -> None:
    policy = Retry(9, 10, backoff, max_delay=60)

    assert [delay_of(policy, failed, "").total_seconds() for failed in (1, 2, 3, 4)] == delays


def test_jitter_waits_between_the_half_and_the_whole_and_tells_steps_apart() -> None:
    policy = Retry(9, 100, jitter=True)
    delays = {delay_of(policy, 1, str(salt)).total_seconds() for salt in range(100)}

    assert len(delays) == 100
    assert 50 <= min(delays) < 60
    assert 90 < max(delays) <= 100


def test_without_a_policy_nothing_is_tried_again() -> None:
    assert not again(None, 1, 1)
    assert [again(Retry(3), failed, 1) for failed in (1, 2, 3)] == [True, True, False]
