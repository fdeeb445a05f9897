import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from runner.engine.control import cancel, rerun
from runner.engine.heart import Heart, Hold
from runner.engine.perform import perform
from runner.engine.ports import Command, Exit
from runner.errors import DatabaseUnavailable, Rejected, Unavailable
from runner.model.leasing import claim
from runner.model.run import Finished, Lease, Queued
from runner.model.step import Result
from tests.builders import LENGTH, a_route
from tests.engine.conftest import TWO_STEPS, Bench
from tests.fakes import FakeWorkspace


def write(command: Command, variable: str, text: str) -> None:
    Path(command.env[variable]).write_text(text)


def scripts(bench: Bench) -> list[str]:
    return [Path(command.argv[-1]).name for command in bench.executor.commands]


def lose_the_database_in_step_two(bench: Bench) -> None:
    """One step is recorded; the worker gets no further."""
    fine = bench.executor.act

    def dies(command: Command) -> Exit:
        if command.env["RUNNER_STEP"] == "2":
            raise DatabaseUnavailable("away")
        return Exit(0)

    bench.executor.act = dies
    with pytest.raises(DatabaseUnavailable):
        bench.work()
    bench.executor.act = fine


def test_a_job_does_its_steps_in_order_and_ends(bench: Bench) -> None:
    run = bench.a_run()

    bench.work()

    assert bench.store.load(run.id).result is Result.SUCCESS
    assert scripts(bench) == ["_runner_step-1.sh", "_runner_step-2.sh"]
    assert bench.executor.sandboxes[0].closed
    assert bench.bell.reported == [run.id, run.id]


def test_a_message_whose_route_is_not_the_runs_is_refused_with_both(bench: Bench) -> None:
    run = bench.a_run()
    forged = replace(bench.bell.rung[0], route=a_route("9" * 40))

    with pytest.raises(Rejected, match=f"(?s){'9' * 40}.*{run.route.commit}"):
        perform(forged, bench.station)

    assert bench.store.load(run.id) == run


def test_a_message_that_comes_again_does_nothing(bench: Bench) -> None:
    bench.a_run()
    bench.bell.rung *= 3

    bench.work()

    assert len(bench.executor.commands) == 2


def test_a_failed_step_ends_the_job_and_skips_what_needs_it(bench: Bench) -> None:
    bench.executor.act = lambda command: Exit(3)
    text = TWO_STEPS + "  ship:\n    needs: build\n    runs-on: linux\n    steps: [{run: ship}]\n"
    run = bench.a_run(text)

    bench.work()

    ended = bench.store.load(run.id)
    assert [job.phase.result for job in ended.jobs if isinstance(job.phase, Finished)] == [
        Result.FAILURE,
        Result.SKIPPED,
    ]
    assert len(bench.executor.commands) == 1


def test_a_step_that_may_fail_does_not_end_the_job(bench: Bench) -> None:
    bench.executor.act = lambda command: Exit(1)
    run = bench.a_run(TWO_STEPS.replace("run: one", "run: one\n        continue-on-error: true"))

    bench.work()

    first, second = bench.store.recall(run.jobs[0]).values()
    assert (first.outcome.result, first.outcome.conclusion) == (Result.FAILURE, Result.SUCCESS)
    assert second.outcome.conclusion is Result.FAILURE


def test_what_a_step_writes_reaches_the_steps_after_it(bench: Bench) -> None:
    def act(command: Command) -> Exit:
        if command.env["RUNNER_STEP"] == "1":
            write(command, "GITHUB_OUTPUT", "version=7\n")
            write(command, "GITHUB_ENV", "KEPT=yes\n")
            write(command, "GITHUB_PATH", "/opt/first\n/opt/second\n")
        return Exit(0)

    bench.executor.act = act
    text = TWO_STEPS.replace("run: one", "id: made\n        run: one")
    bench.a_run(
        text.replace("run: two", "run: two\n        env: {SEEN: '${{ steps.made.outputs.version }}'}")
    )

    bench.work()

    env = bench.executor.commands[1].env
    assert (env["SEEN"], env["KEPT"], env["PATH"]) == ("7", "yes", "/opt/second:/opt/first:/usr/bin:/bin")


def test_nobody_can_take_over_the_engines_own_names(bench: Bench) -> None:
    run = bench.a_run(TWO_STEPS.replace("run: one", "run: one\n        env: {GITHUB_SHA: forged, CI: 'no'}"))

    bench.work()

    env = bench.executor.commands[0].env
    assert (env["GITHUB_SHA"], env["CI"]) == (run.route.commit, "no")


def test_nothing_of_the_workers_environment_reaches_a_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "secret")
    bench.a_run()

    bench.work()

    assert "CANARY" not in bench.executor.commands[0].env
    assert os.environ["CANARY"] == "secret"


def test_the_next_attempt_goes_on_after_the_last_checkpoint(bench: Bench) -> None:
    run = bench.a_run()
    message = bench.bell.rung[0]
    lose_the_database_in_step_two(bench)

    bench.store.stranded(everything=True)
    perform(message, bench.station)

    assert bench.store.load(run.id).result is Result.SUCCESS
    assert scripts(bench) == ["_runner_step-1.sh", "_runner_step-2.sh", "_runner_step-2.sh"]
    assert [command.env["RUNNER_ATTEMPT"] for command in bench.executor.commands] == ["1", "1", "2"]


def test_a_job_whose_files_are_gone_starts_over_and_says_so(bench: Bench) -> None:
    bench.a_run()
    lose_the_database_in_step_two(bench)
    bench.workspaces.gone = True
    job = bench.store.load(1).jobs[0]

    perform(bench.store.stranded(everything=True).envelopes[0], bench.station)

    assert scripts(bench) == [
        "_runner_step-1.sh",
        "_runner_step-2.sh",
        "_runner_step-1.sh",
        "_runner_step-2.sh",
    ]
    assert b"starts over" in bench.logs.printed[job.id, 2, "0"]
    assert bench.store.load(1).result is Result.SUCCESS


def test_a_definition_that_differs_from_what_was_recorded_stops_as_diverged(bench: Bench) -> None:
    bench.a_run()
    lose_the_database_in_step_two(bench)
    bench.write(TWO_STEPS.replace("run: one", "run: other"))

    perform(bench.store.stranded(everything=True).envelopes[0], bench.station)

    phase = bench.store.load(1).jobs[0].phase
    assert isinstance(phase, Finished)
    assert "asks for" in phase.reason
    assert phase.result is Result.FAILURE


def test_a_worker_that_lost_its_lease_in_a_step_writes_nothing(bench: Bench) -> None:
    run = bench.a_run()

    def stolen(command: Command) -> Exit:
        bench.store.stranded(everything=True)
        bench.store.update(
            run.id, lambda run, now: run.with_job(claim(run.jobs[0], "worker-2", now, timedelta(minutes=1)))
        )
        return Exit(0)

    bench.executor.act = stolen
    bench.work()

    assert bench.store.recall(run.jobs[0]) == {}
    assert bench.store.load(run.id).jobs[0].attempt == 2


def test_a_worker_that_slept_past_its_lease_begins_no_step(bench: Bench) -> None:
    class Slept(Heart):
        @contextmanager
        def hold(self, lease: Lease, claimed: float) -> Iterator[Hold]:
            with super().hold(lease, claimed) as hold:
                held.append(hold)
                yield hold

    def sleep(command: Command) -> Exit:
        held[0].deadline = time.monotonic()
        return Exit(0)

    held: list[Hold] = []
    run = bench.a_run()
    bench.executor.act = sleep
    heart = Slept(bench.store, LENGTH)
    perform(bench.bell.rung.pop(0), replace(bench.station, heart=heart))
    heart.close()

    assert scripts(bench) == ["_runner_step-1.sh"]
    assert bench.store.load(run.id).result is None


def test_a_worker_that_leaves_hands_its_job_back(bench: Bench) -> None:
    run = bench.a_run()

    def leaving(command: Command) -> Exit:
        bench.station.heart.release()
        return Exit(137, "stop")

    bench.executor.act = leaving
    perform(bench.bell.rung.pop(0), bench.station)

    (job,) = bench.store.load(run.id).jobs
    assert isinstance(job.phase, Queued)
    assert [message.job for message in bench.bell.rung] == [job.id]


def test_a_worker_that_leaves_rings_again_for_what_it_was_rung_for(bench: Bench) -> None:
    run = bench.a_run()
    ring = bench.bell.rung.pop(0)
    bench.station.heart.drain()

    perform(replace(ring, labels=()), bench.station)

    assert bench.bell.rung == [ring]
    assert bench.executor.commands == []
    assert isinstance(bench.store.load(run.id).jobs[0].phase, Queued)


def test_a_worker_that_drains_hands_its_job_back_before_the_next_step(bench: Bench) -> None:
    run = bench.a_run()

    def draining(command: Command) -> Exit:
        bench.station.heart.drain()
        return Exit(0)

    bench.executor.act = draining
    perform(bench.bell.rung.pop(0), bench.station)

    (job,) = bench.store.load(run.id).jobs
    assert isinstance(job.phase, Queued)
    assert job.lost == ()
    assert list(bench.store.recall(job)) == ["1"]
    assert [message.job for message in bench.bell.rung] == [job.id]


def test_a_worker_that_drains_ends_a_job_whose_last_step_it_ran(bench: Bench) -> None:
    run = bench.a_run(TWO_STEPS.replace("      - run: two\n", ""))

    def draining(command: Command) -> Exit:
        bench.station.heart.drain()
        return Exit(0)

    bench.executor.act = draining
    perform(bench.bell.rung.pop(0), bench.station)

    assert bench.store.load(run.id).result is Result.SUCCESS


def test_a_cancelled_run_ends_its_jobs_and_begins_none(bench: Bench) -> None:
    run = bench.a_run()

    cancel(run.id, store=bench.store, dispatcher=bench.bell)
    cancel(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    assert bench.store.load(run.id).result is Result.CANCELLED
    assert bench.executor.commands == []


def test_a_rerun_does_every_step_again_at_the_same_commit(bench: Bench) -> None:
    run = bench.a_run()
    bench.work()

    rerun(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    again = bench.store.load(run.id)
    assert (again.attempt, again.result, again.route) == (2, Result.SUCCESS, run.route)
    assert [command.env["GITHUB_RUN_ATTEMPT"] for command in bench.executor.commands] == ["1", "1", "2", "2"]
    assert list(bench.store.recall(run.jobs[0])) == ["1", "2"]


def test_a_step_out_of_time_fails_and_says_how_long_it_had(bench: Bench) -> None:
    bench.executor.act = lambda command: Exit(143, "timeout")
    run = bench.a_run(TWO_STEPS.replace("run: one", "run: one\n        timeout-minutes: 2"))

    bench.work()

    (first,) = bench.store.recall(run.jobs[0]).values()
    assert first.outcome.result is Result.TIMED_OUT
    assert "2 minutes" in first.outcome.reason
    assert bench.executor.commands[0].timeout == 120
    assert bench.store.load(run.id).result is Result.TIMED_OUT


def test_a_bug_of_ours_ends_the_job_and_is_named(bench: Bench) -> None:
    def bug(command: Command) -> Exit:
        raise ZeroDivisionError("of ours")

    bench.executor.act = bug
    run = bench.a_run()

    bench.work()

    phase = bench.store.load(run.id).jobs[0].phase
    assert isinstance(phase, Finished)
    assert phase.reason == "internal error: ZeroDivisionError"


def test_an_executor_that_is_not_there_is_named_with_those_that_are(bench: Bench) -> None:
    run = bench.a_run(TWO_STEPS.replace("runs-on: linux", "runs-on: linux\n    container: debian:12"))

    bench.work()

    phase = bench.store.load(run.id).jobs[0].phase
    assert isinstance(phase, Finished)
    assert "no executor 'docker'; there are fake" in phase.reason


def test_a_full_disk_ends_no_job_it_goes_on_when_there_is_room(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(command: Command) -> Exit:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("runner.model.leasing.FIRST_DELAY", timedelta(0))
    run = bench.a_run()
    bench.executor.act = full
    bench.work()
    (job,) = bench.store.load(run.id).jobs
    assert isinstance(job.phase, Queued)
    assert (
        "machine of the worker worker-1 is in trouble: No space left on device; tried 1" in job.phase.reason
    )

    bench.executor.act = lambda command: Exit(0)
    perform(bench.store.stranded(everything=True).envelopes[0], bench.station)

    assert bench.store.load(run.id).result is Result.SUCCESS


def test_a_job_whose_own_files_fill_the_disk_fails_after_some_tries_and_is_out_of_the_way_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: FakeWorkspace, check: object) -> str:
        raise Unavailable("the workspace cannot be saved") from OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr("runner.model.leasing.FIRST_DELAY", timedelta(0))
    monkeypatch.setattr(FakeWorkspace, "save", full)
    run = bench.a_run()
    gone: list[bool] = []
    monkeypatch.setattr(
        FakeWorkspace, "close", lambda self: gone.append(bench.store.load(run.id).result is None)
    )
    bench.work()
    while bench.store.load(run.id).result is None:
        perform(bench.store.stranded(everything=True).envelopes[0], bench.station)

    phase = bench.store.load(run.id).jobs[0].phase
    assert isinstance(phase, Finished)
    assert "cannot be saved; tried 6 times" in phase.reason
    assert gone == [True] * 6


def test_a_job_that_is_cancelled_while_its_files_are_kept_stops(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(self: FakeWorkspace, check: Callable[[], None]) -> str:
        for hold in bench.station.heart._held():
            hold.cancel()
        check()
        raise AssertionError("it was told to stop")

    monkeypatch.setattr(FakeWorkspace, "save", slow)
    run = bench.a_run()

    bench.work()

    assert bench.store.load(run.id).result is Result.CANCELLED


def test_a_job_whose_time_is_up_while_its_files_are_kept_has_run_too_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(self: FakeWorkspace, check: Callable[[], None]) -> str:
        time.sleep(0.01)
        check()
        return "base"

    monkeypatch.setattr(FakeWorkspace, "save", slow)
    run = bench.a_run(TWO_STEPS.replace("runs-on: linux", "runs-on: linux\n    timeout-minutes: 0.0001"))

    bench.work()

    assert bench.store.load(run.id).result is Result.TIMED_OUT


def away(repo: object, route: object, **given: object) -> None:
    raise Unavailable("octo/hello does not answer")


def test_a_job_that_cannot_begin_is_tried_again_and_says_why_it_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.model.leasing.FIRST_DELAY", timedelta(0))
    run = bench.a_run()
    with monkeypatch.context() as patched:
        patched.setattr(bench.workspaces, "fetch", away)
        bench.work()
    (job,) = bench.store.load(run.id).jobs
    assert isinstance(job.phase, Queued)
    assert job.phase.reason.startswith("octo/hello does not answer; tried 1 of 6 times, again at ")
    assert bench.logs.printed[job.id, 1, "end"] == (
        b"##[warning]the job cannot begin: octo/hello does not answer\n"
    )

    perform(bench.store.stranded(everything=True).envelopes[0], bench.station)

    ended = bench.store.load(run.id)
    assert (ended.result, ended.jobs[0].attempt) == (Result.SUCCESS, 2)


def test_a_job_that_can_never_begin_fails_after_its_last_try(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.model.leasing.FIRST_DELAY", timedelta(0))
    run = bench.a_run()
    monkeypatch.setattr(bench.workspaces, "fetch", away)
    bench.work()

    while due := bench.store.stranded(everything=True).envelopes:
        perform(due[0], bench.station)

    (job,) = bench.store.load(run.id).jobs
    assert isinstance(job.phase, Finished)
    assert (job.phase.result, job.phase.reason) == (
        Result.FAILURE,
        "octo/hello does not answer; tried 6 times",
    )
    assert job.attempt == 6


def test_what_breaks_under_a_step_is_no_beginning_and_ends_the_job(bench: Bench) -> None:
    def broken(command: Command) -> Exit:
        raise Unavailable("the sandbox ended under the step")

    bench.executor.act = broken
    run = bench.a_run()

    bench.work()

    assert bench.store.load(run.id).result is Result.FAILURE


def test_a_job_that_waits_to_begin_again_rings_for_nobody_before_its_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.a_run()
    message = bench.bell.rung[0]
    monkeypatch.setattr(bench.workspaces, "fetch", away)
    bench.work()

    perform(message, bench.station)

    assert bench.bell.rung == []
    assert bench.store.load(run.id).jobs[0].attempt == 1
