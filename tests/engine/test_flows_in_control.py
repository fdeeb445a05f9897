# ruff: noqa: E501 - what a workflow does and what is said of it are compared side by side
"""Workflows in Python under control: cancelled, timed out, handed back, lost, tried again, taken back."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.engine import control
from runner.engine.control import cancel, force_cancel, rerun, resume
from runner.engine.heart import Heart
from runner.errors import Rejected
from runner.model.audit import Act
from runner.model.run import Queued, Run
from runner.model.waits import Awaited, Signal, Word
from runner.store.views import Views
from tests.builders import LENGTH
from tests.engine.conftest import Bench
from tests.engine.flows import PATH, PATIENCE, Flows
from tests.engine.test_stops import heard

pytestmark = pytest.mark.slow("workflows in Python are processes of their own")


@pytest.fixture
def flows(bench: Bench, tmp_path: Path) -> Iterator[Flows]:
    made = Flows(bench, tmp_path)
    yield made
    for sandbox in made.executor.sandboxes:
        sandbox.stop()


def cancelled(flows: Flows, run: int) -> None:
    cancel(run, store=flows.bench.store, dispatcher=flows.bench.bell)


TAKES_BACK = """
    await step.do("one", lambda: note("one"), rollback=lambda value: note(f"not-{value}"))
    await step.sh("two", "echo two >> RECORD", rollback="echo not-two >> RECORD")
    step.rollback("three", lambda value: note("not-three"))
    """


# --- taking back ----------------------------------------------------------------------------------------


def test_what_was_done_is_taken_back_in_reverse_and_each_is_a_step(flows: Flows) -> None:
    ended = flows.run(TAKES_BACK + "raise RuntimeError('no')")

    assert (ended.result, ended.reason) == ("failure", "RuntimeError: no")
    assert flows.notes() == ["one", "two", "not-three", "not-two", "not-one"]
    assert list(ended.steps)[2:] == ["three#1", "rollback two#1", "rollback one#1"]
    assert [done.outcome.takes_back for done in ended.steps.values()] == [False, False, True, True, True]


def test_what_cannot_be_taken_back_is_told_and_the_rest_is(flows: Flows) -> None:
    ended = flows.run("""
        await step.do("one", lambda: note("one"), rollback=lambda value: note("not-one"))
        await step.do("two", lambda: note("two"), rollback=lambda value: 1 / 0)
        await step.do("three", lambda: note("three"), rollback="exit 4")
        raise RuntimeError("no")
    """)

    assert flows.notes() == ["one", "two", "three", "not-one"]
    assert ended.reason == (
        "RuntimeError: no; "
        "and to take back what was done: step rollback three: the command ended with exit code 4; "
        "and to take back what was done: step rollback two: ZeroDivisionError: division by zero"
    )


def test_a_cancel_while_a_body_runs_ends_it_and_takes_back_what_was_done(flows: Flows) -> None:
    run = flows.pushed(TAKES_BACK + "await step.sh('long', 'echo long >> RECORD; exec sleep 60')")
    thread = flows.aside(run)
    flows.until("long")

    cancelled(flows, run.id)
    cancelled(flows, run.id)
    thread.join(PATIENCE)

    assert (flows.seen(run).result, flows.seen(run).reason) == ("cancelled", "cancelled")
    assert flows.notes() == ["one", "two", "long", "not-three", "not-two", "not-one"]


def test_a_cancel_while_it_waits_takes_back_what_was_done(flows: Flows) -> None:
    run = flows.pushed(TAKES_BACK + "await step.sleep('long', '1 hour')")
    flows.bench.work()
    assert flows.seen(run).waits

    cancelled(flows, run.id)
    flows.bench.work()

    assert flows.seen(run).result == "cancelled"
    assert flows.notes() == ["one", "two", "not-three", "not-two", "not-one"]


def test_a_cancel_ends_a_workflow_that_gets_to_no_step_and_says_where_it_was(
    flows: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.engine.conversation.watch.SECONDS", 1.0)
    run = flows.pushed("note('begun')\nwhile True: await asyncio.sleep(0)")
    thread = flows.aside(run)
    flows.until("begun")

    cancelled(flows, run.id)
    thread.join(PATIENCE)

    ended = flows.seen(run)
    assert ended.result == "cancelled"
    assert "the workflow was stopped" in ended.reason
    assert f'File "{PATH}", line {ended.line_of("while True")}' in ended.reason


def test_a_forced_cancel_takes_nothing_back(flows: Flows) -> None:
    run = flows.pushed(TAKES_BACK + "await step.sh('long', 'echo long >> RECORD; exec sleep 60')")
    thread = flows.aside(run)
    flows.until("long")

    force_cancel(run.id, store=flows.bench.store, dispatcher=flows.bench.bell)
    thread.join(PATIENCE)

    assert flows.seen(run).result == "cancelled"
    assert flows.notes() == ["one", "two", "long"]


def test_taking_back_goes_on_with_the_rest_after_a_crash_in_the_midst_of_it(flows: Flows) -> None:
    run = flows.pushed("""
        await step.do("one", lambda: note("one"), rollback=lambda value: note("not-one"))
        def waits(value):
            note("not-two")
            if not os.path.exists("RECORD.go"):
                time.sleep(60)
        await step.do("two", lambda: note("two"), rollback=waits)
        await step.do("three", lambda: note("three"), rollback=lambda value: note("not-three"))
        raise RuntimeError("no")
    """)
    flows.aside(run)
    flows.until("not-two")
    flows.record.with_suffix(".go").touch()
    flows.loses_its_worker(run)
    flows.bench.work()

    assert (flows.seen(run).result, flows.seen(run).reason) == ("failure", "RuntimeError: no")
    assert flows.notes() == ["one", "two", "three", "not-three", "not-two", "not-two", "not-one"]


def test_so_it_does_after_a_cancel(flows: Flows) -> None:
    run = flows.pushed("""
        def waits(value):
            note("not-one")
            if not os.path.exists("RECORD.go"):
                time.sleep(60)
        await step.do("one", lambda: note("one"), rollback=waits)
        await step.do("two", lambda: note("two"), rollback=lambda value: note("not-two"))
        await step.sleep("long", "1 hour")
    """)
    flows.bench.work()
    cancelled(flows, run.id)
    flows.aside(run)
    flows.until("not-one")
    flows.record.with_suffix(".go").touch()
    flows.loses_its_worker(run)
    flows.bench.work()

    assert (flows.seen(run).result, flows.seen(run).reason) == ("cancelled", "cancelled")
    assert flows.notes() == ["one", "two", "not-two", "not-one", "not-one"]


def test_a_job_out_of_time_has_some_minutes_to_take_back_what_was_done(flows: Flows) -> None:
    ended = flows.run(
        "await step.do('one', lambda: note('one'), rollback='sleep 1; echo not-one >> RECORD')\n"
        "await step.sh('long', 'exec sleep 60')",
        options="timeout_minutes=0.1",
    )

    assert (ended.result, ended.reason) == ("timed_out", "the job ran longer than its timeout-minutes")
    assert flows.notes() == ["one", "not-one"]


# --- time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "step.sh('x', 'exec sleep 60', timeout=0.2)",
        "step.do('x', lambda: asyncio.sleep(60), timeout=0.2)",
        "step.wait_for_event('x', type='go', timeout=0.2)",
        "step.approve('x', timeout=0.2)",
    ],
)
def test_a_step_out_of_time_is_told_so(flows: Flows, body: str) -> None:
    run = flows.pushed(f"try:\n    await {body}\nexcept TimedOut as error:\n    return error.reason")
    flows.bench.work()

    ended = flows.ends(run)

    assert ended.result == "success", ended.reason
    assert [result for _, result in ended.results] == ["timed_out"]


def test_what_a_step_out_of_time_began_is_gone_when_it_is_told(flows: Flows) -> None:
    ended = flows.run("""
        try:
            await step.sh(
                "x",
                "trap '' TERM; (setsid sh -c 'echo $$ >> RECORD; trap \"\" TERM; while :; do sleep 60; done' &); sleep 60",
                timeout=3,
            )
        except TimedOut:
            return os.path.exists(f"/proc/{open('RECORD').read().strip()}/cwd")
    """)

    assert flows.notes() != []
    assert ended.job.outputs == {"result": "false"}


def test_a_body_that_cannot_be_stopped_is_not_waited_for(
    flows: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.engine.conversation.watch.ENDING_SECONDS", 0.2)
    ended = flows.run("""
        def endless():
            note("begun")
            time.sleep(60)
        try:
            await step.do("x", endless, timeout=1, retry={"max-attempts": 2})
        except TimedOut as error:
            return error.reason
    """)

    assert ended.job.outputs == {"result": "the step was stopped after 1 second; tried 2 times"}
    assert flows.notes() == ["begun", "begun"]


# --- hand-back ------------------------------------------------------------------------------------------


def test_a_worker_that_drains_lets_what_runs_end_and_hands_the_job_back(flows: Flows) -> None:
    run = flows.pushed("""
        await step.sh("one", "echo one >> RECORD; until [ -e RECORD.go ]; do sleep 0.02; done; echo end >> RECORD")
        await step.do("two", lambda: note("two"))
    """)
    thread = flows.aside(run)
    flows.until("one")

    flows.bench.station.heart.drain()
    flows.record.with_suffix(".go").touch()
    thread.join(PATIENCE)

    assert flows.notes() == ["one", "end"]
    assert isinstance(flows.seen(run).job.phase, Queued)
    assert flows.seen(run).results == [("one#1", "success")]
    assert flows.seen(run).job.lost == ()


def test_a_worker_that_goes_down_hands_the_job_back_as_its_last_step_left_it(flows: Flows) -> None:
    run = flows.pushed("""
        await step.do("one", lambda: note("one"))
        await step.do("two", lambda: note("two") and time.sleep(60))
    """)
    thread = flows.aside(run)
    flows.until("two")

    flows.bench.station.heart.release()
    thread.join(PATIENCE)

    ended = flows.seen(run)
    assert isinstance(ended.job.phase, Queued)
    assert (ended.job.lost, ended.results) == ((), [("one#1", "success")])


def test_a_paused_run_stands_still_after_its_step_and_goes_on_later(flows: Flows) -> None:
    run = flows.pushed("""
        await step.sh("one", "echo one >> RECORD; until [ -e RECORD.go ]; do sleep 0.02; done")
        await step.do("two", lambda: note("two"))
    """)
    ports: Any = {"store": flows.bench.store, "dispatcher": flows.bench.bell}
    thread = flows.aside(run)
    flows.until("one")
    control.pause(run.id, "hold on", act=Act("ada", "pause"), **ports)
    heard(flows.bench)
    flows.record.with_suffix(".go").touch()
    thread.join(PATIENCE)
    assert flows.notes() == ["one"]

    control.unpause(run.id, act=Act("ada", "unpause"), **ports)
    ended = flows.ends(run)

    assert ended.result == "success"
    assert flows.notes() == ["one", "two"]


# --- losses ---------------------------------------------------------------------------------------------

RUNS_TWO = """
    def body(name):
        def run():
            note(name)
            if not os.path.exists("RECORD.go"):
                time.sleep(60)
            return name
        return run
    return await step.gather(
        step.do("a", body("a"), on_lost={a!r}),
        step.do("b", body("b"), on_lost={b!r}),
        cancel=False,
    )
    """


def lost_in_two(flows: Flows, a: str, b: str, options: str = "") -> int:
    run = flows.pushed(RUNS_TWO.replace("{a!r}", a).replace("{b!r}", b), options)
    flows.aside(run)
    flows.until("a")
    flows.until("b")
    flows.record.with_suffix(".go").touch()
    flows.loses_its_worker(run)
    flows.bench.work()
    return run.id


@pytest.mark.parametrize("options", ["", "retry={'max-attempts': 3}"])
def test_a_body_that_may_have_run_fails_where_on_lost_says_so(flows: Flows, options: str) -> None:
    run = lost_in_two(flows, "'fail'", "None", options)

    ended = flows.seen(flows.bench.store.load(run))
    assert ended.result == "failure"
    assert "its worker was lost while the step may have run, and on-lost is fail" in ended.reason
    assert ended.results == [("a#1", "failure"), ("b#1", "success")]
    assert flows.notes().count("a") == 1


def test_on_lost_of_the_job_is_that_of_its_steps(flows: Flows) -> None:
    run = lost_in_two(flows, "None", "'retry'", options="on_lost='fail'")

    ended = flows.seen(flows.bench.store.load(run))
    assert "its worker was lost" in ended.reason
    assert flows.notes().count("b") == 2


@pytest.mark.parametrize(
    ("word", "result", "value"),
    [
        (Word.AGAIN, "success", '["a", "b"]'),
        (Word.DONE, "success", '[null, "b"]'),
        (Word.FAILED, "failure", None),
    ],
)
def test_a_person_says_what_becomes_of_a_body_that_may_have_run(
    flows: Flows, word: Word, result: str, value: str | None
) -> None:
    run = lost_in_two(flows, "'ask'", "None")
    ended = flows.seen(flows.bench.store.load(run))
    assert ended.waits
    assert ended.results == [("b#1", "success")]
    assert [(wait.awaited, wait.message) for wait in ended.job.awaits] == [
        (Awaited.RESUMPTION, "its worker was lost while the step may have run: step a")
    ]

    control.answer(
        run, Awaited.RESUMPTION, word, by="ada", store=flows.bench.store, dispatcher=flows.bench.bell
    )
    ended = flows.ends(ended.run)

    assert ended.result == result
    assert ended.job.outputs.get("result") == value
    assert flows.notes().count("a") == (2 if word is Word.AGAIN else 1)


def test_what_a_person_says_counts_though_a_former_version_noted_no_beginning(flows: Flows) -> None:
    run, store = lost_in_two(flows, "'ask'", "None"), flows.bench.store
    store.update(run, lambda run, _now: run.with_job(replace(run.jobs[0], begun={})))

    control.answer(run, Awaited.RESUMPTION, Word.DONE, by="ada", store=store, dispatcher=flows.bench.bell)
    ended = flows.ends(store.load(run))

    assert ended.job.outputs.get("result") == '[null, "b"]'
    assert flows.notes().count("a") == 1


def test_what_a_worker_of_a_former_version_may_have_begun_is_not_run_again(flows: Flows) -> None:
    run = flows.pushed(RUNS_TWO.replace("{a!r}", "'fail'").replace("{b!r}", "None"))
    flows.aside(run)
    flows.until("a")
    flows.until("b")
    flows.record.with_suffix(".go").touch()
    flows.bench.database.writing(lambda one: one.exec_driver_sql("UPDATE jobs SET begun = NULL"))
    flows.loses_its_worker(run)

    flows.bench.work()

    ended = flows.seen(flows.bench.store.load(run.id))
    assert ended.results == [("a#1", "failure"), ("b#1", "success")]
    assert flows.notes().count("a") == 1


def test_a_step_that_was_not_begun_when_the_worker_was_lost_is_no_suspect(flows: Flows) -> None:
    run = flows.pushed("""
        await step.do("a", lambda: (note("a"), os.path.exists("RECORD.go") or time.sleep(60)) and 1)
        await step.do("b", lambda: note("b"), on_lost="fail")
    """)
    flows.aside(run)
    flows.until("a")
    flows.record.with_suffix(".go").touch()
    flows.loses_its_worker(run)
    flows.bench.work()

    assert flows.seen(run).result == "success"
    assert flows.notes() == ["a", "a", "b"]


def test_a_step_that_had_failed_and_was_to_be_tried_again_when_the_worker_was_lost_is_no_suspect(
    flows: Flows,
) -> None:
    run = flows.pushed("""
        def fails_first():
            note("fails")
            if not os.path.exists("RECORD.go"):
                raise RuntimeError("no")
        await step.gather(
            step.do("long", lambda: (note("long"), os.path.exists("RECORD.go") or time.sleep(60)) and 1),
            step.do("fails", fails_first, on_lost="fail", retry={"max-attempts": 2, "delay": 1}),
        )
    """)
    flows.aside(run)
    flows.until("long")
    flows.until("fails")
    end = time.monotonic() + PATIENCE
    while "fails#1~1" not in flows.seen(run).steps:
        assert time.monotonic() < end
        time.sleep(0.005)
    flows.record.with_suffix(".go").touch()
    flows.loses_its_worker(run)

    assert flows.ends(run).result == "success"
    assert sorted(flows.notes()) == ["fails", "fails", "long", "long"]


def test_a_job_whose_files_are_gone_does_not_start_over_where_nothing_may_run_twice(flows: Flows) -> None:
    run = flows.pushed(
        "await step.do('one', lambda: note('one'))\nawait step.do('two', lambda: note('two') and time.sleep(60))",
        options="on_lost='fail'",
    )
    flows.aside(run)
    flows.until("two")
    flows.loses_its_worker(run)
    flows.bench.workspaces.gone = True
    flows.bench.work()

    assert flows.seen(run).reason == (
        "the job cannot start over: no snapshot on this machine; step one has run, and on-lost is fail"
    )
    assert flows.notes() == ["one", "two"]


def test_three_losses_at_the_same_point_are_the_end(flows: Flows) -> None:
    run = flows.pushed("""
        await step.do("fine", lambda: note("fine"))
        await step.do("kills", lambda: note("kills") and time.sleep(60))
    """)
    for times in (1, 2, 3):
        flows.aside(run)
        flows.until("kills", times)
        flows.loses_its_worker(run)
    flows.bench.work()

    ended = flows.seen(run)
    assert ended.result == "failure"
    assert ended.reason.startswith("poisoned: 3 workers were lost with it after step fine")


# --- several at once ------------------------------------------------------------------------------------


def test_gather_gives_the_others_up_when_one_fails(flows: Flows) -> None:
    ended = flows.run("""
        try:
            await step.gather(
                step.sh("long", "echo $$ >> RECORD; exec sleep 60"),
                step.sleep("wait", "1 hour"),
                step.sh("fails", "sleep 0.3; exit 3"),
            )
        except StepFailed as error:
            await step.sh("after", "kill -0 $(head -1 RECORD) 2>/dev/null && echo alive >> RECORD; true")
            return f"{error.name} {error.exit_code}"
    """)

    assert ended.job.outputs == {"result": "fails 3"}
    assert [key for key, _ in ended.results] == ["fails#1", "after#1"]


def test_gather_without_cancel_lets_all_end_and_then_fails(flows: Flows) -> None:
    ended = flows.run("""
        await step.gather(
            step.do("fails", lambda: 1 / 0),
            step.sh("slow", "sleep 0.3; echo slow >> RECORD"),
            step.gather(step.do("in", lambda: note("in")), step.sh("too", "sleep 0.1")),
            cancel=False,
        )
    """)

    assert ended.result == "failure"
    assert ended.reason == "step fails: ZeroDivisionError: division by zero"
    assert sorted(ended.results) == [
        ("fails#1", "failure"), ("in#1", "success"), ("slow#1", "success"), ("too#1", "success")
    ]  # fmt: skip


def test_the_order_is_the_same_on_replay_and_what_is_given_up_waits_no_more(flows: Flows) -> None:
    run = flows.pushed("""
        async def branch(name, after):
            await step.sh(f"{name} first", f"until [ -e RECORD{after} ]; do sleep 0.02; done")
            order.append(name)
            open(f"RECORD.{name}", "w").close()
            await step.sleep(f"{name} rests", 0.2)
            order.append(name)
        order = []
        tasks = [asyncio.create_task(branch(name, seconds)) for name, seconds in (("a", ".c"), ("b", ""), ("c", ".b"))]
        for task in tasks:
            await task
        place, value = await step.wait_any(step.sleep("never", "1 hour"), step.sleep("soon", 0.1))
        before = list(order)
        await step.sleep("last", 0.1)
        return [before, order, place]
    """)
    flows.record.touch()
    flows.bench.work()

    ended = flows.ends(run)

    assert ended.job.outputs == {
        "result": '[["b", "c", "a", "b", "c", "a"], ["b", "c", "a", "b", "c", "a"], 1]'
    }
    assert ended.job.awaits == ()
    assert ended.job.attempt > 2


def test_a_handle_can_be_given_up(flows: Flows) -> None:
    ended = flows.run("""
        handle = step.sh("long", "exec sleep 60")
        await step.do("short", lambda: note("short"))
        handle.cancel()
        place, _ = await step.wait_any(handle, step.do("other", lambda: note("other")))
        return place
    """)

    assert ended.job.outputs == {"result": "1"}
    assert [key for key, _ in ended.results] == ["short#1", "other#1"]


def test_tasks_that_go_on_by_themselves_end_with_the_workflow(flows: Flows) -> None:
    ended = flows.run("""
        async def goes_on():
            while True:
                try:
                    await step.do("again", lambda: note("again"))
                    await step.sleep("rests", 60)
                except asyncio.CancelledError:
                    note("stopped")
                    raise
        task = asyncio.create_task(goes_on())
        await step.sh("one", "until [ -e RECORD ]; do sleep 0.02; done", rollback="echo not-one >> RECORD")
        raise RuntimeError("no")
    """)

    assert ended.reason == "RuntimeError: no"
    assert flows.notes() == ["again", "stopped", "not-one"]


# --- tries ----------------------------------------------------------------------------------------------


def test_a_step_is_tried_as_often_as_it_says_and_says_so(flows: Flows) -> None:
    run = flows.pushed("""
        async def branch():
            await step.sh("x", "echo x >> RECORD; exit 3", retry={"max-attempts": 3, "delay": 0.5})
        try:
            await step.gather(branch(), step.sleep("long", 1.5), cancel=False)
        except StepFailed as error:
            return [str(error), error.exit_code]
    """)
    flows.bench.work()
    assert flows.seen(run).waits, "a delay holds no worker"

    ended = flows.ends(run)

    said = '["step x: the command ended with exit code 3; tried 3 times", 3]'
    assert ended.job.outputs == {"result": said}
    assert flows.notes() == ["x", "x", "x"]


@pytest.mark.parametrize(
    ("body", "times"),
    [
        ("step.do('x', final, retry={'max-attempts': 5})", 1),
        ("step.sh('x', 'echo x >> RECORD; exit 3', retry={'max-attempts': 5, 'on-exit-codes': [4]})", 1),
        ("step.sh('x', 'echo x >> RECORD; exit 4', retry={'max-attempts': 2, 'on-exit-codes': [4]})", 2),
        (
            "step.do('x', lambda: 1 / int(note('0')), retry={'max-attempts': 2, 'jitter': True, 'delay': 0.01})",
            2,
        ),
    ],
)
def test_what_is_final_is_not_tried_again(flows: Flows, body: str, times: int) -> None:
    before = "def final():\n    note('final')\n    raise NonRetryable('never')\n"
    ended = flows.ends(flows.pushed(f"await {body}", before=before))

    assert ended.result == "failure"
    assert len(flows.notes()) == times


def test_a_lost_try_is_not_counted(flows: Flows) -> None:
    run = flows.pushed("""
        def body():
            note("try")
            if not os.path.exists("RECORD.go"):
                time.sleep(60)
            raise RuntimeError("no")
        await step.do("x", body, retry={"max-attempts": 2})
    """)
    flows.aside(run)
    flows.until("try")
    flows.record.with_suffix(".go").touch()
    flows.loses_its_worker(run)
    flows.bench.work()

    assert flows.seen(run).reason == "step x: RuntimeError: no; tried 2 times"
    assert flows.notes() == ["try", "try", "try"]


def test_a_job_is_tried_again_afresh_with_the_exit_code_that_it_failed_for(flows: Flows) -> None:
    run = flows.pushed(
        "await step.do('one', lambda: note('one'))\nawait step.sh('x', 'exit 3')",
        options="retry={'max-attempts': 2, 'on-exit-codes': [3]}",
    )

    ended = flows.ends(run)

    assert ended.result == "failure"
    assert flows.notes() == ["one", "one"]


def test_a_rerun_is_afresh_and_resume_goes_on_where_it_failed(flows: Flows) -> None:
    run = flows.pushed("""
        await step.do("one", lambda: note("one"))
        await step.sh("two", "echo two >> RECORD; test -e RECORD.go")
    """)
    ports: Any = {"store": flows.bench.store, "dispatcher": flows.bench.bell}
    flows.bench.work()
    assert flows.seen(run).result == "failure"

    rerun(run.id, **ports)
    flows.bench.work()
    flows.record.with_suffix(".go").touch()
    resume(run.id, **ports)
    flows.bench.work()

    assert flows.seen(run).result == "success"
    assert flows.notes() == ["one", "two", "one", "two", "two"]


def test_what_took_back_what_it_did_is_not_resumed_and_a_failure_that_was_caught_stays_so(
    flows: Flows,
) -> None:
    ports: Any = {"store": flows.bench.store, "dispatcher": flows.bench.bell}
    undone = flows.run(TAKES_BACK + "raise RuntimeError('no')")
    caught = flows.pushed("""
        try:
            await step.sh("probe", "echo probe >> RECORD; exit 1")
        except Exception:
            await step.sh("ship", "echo ship >> RECORD")
        await step.sh("smoke", "echo smoke >> RECORD; test -e RECORD.go")
    """)
    flows.bench.work()

    with pytest.raises(Rejected, match=r"taken back what it had done \(three\); rerun the job"):
        resume(undone.run.id, **ports)
    flows.record.write_text("")
    flows.record.with_suffix(".go").touch()
    resume(caught.id, **ports)
    flows.bench.work()

    assert flows.seen(caught).result == "success"
    assert flows.notes() == ["smoke"]


def test_sets_come_in_the_same_order_again_and_commands_know_nothing_of_it(flows: Flows) -> None:
    run = flows.pushed("""
        for name in {"one", "two", "three", "four", "five", "six", "seven"}:
            await step.do(name, lambda: os.environ.get("PYTHONHASHSEED"))
            await step.sleep("a moment", 0.001)
        return await step.do("last", lambda: os.environ.get("PYTHONHASHSEED"))
    """)
    flows.bench.work()

    assert flows.ends(run).result == "success"
    assert flows.seen(run).job.outputs == {}


# --- divergence -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("await step.sh(f'x', f'echo {count}')",
         ["asks for `sh x: echo 2`, where attempt 1 had asked for `sh x: echo 1` (.runner/workflows/flow.py:13)"]),
        ("await step.do(f'x{count}', lambda: 1)",
         ["had asked for: `do x1` (.runner/workflows/flow.py:13); instead it asks for `do x2`"]),
        ("if count == 1: await step.do('x', lambda: 1)",
         ["it asks no more for what attempt 1 had asked for: `do x` (.runner/workflows/flow.py:13); instead"]),
        ("if count == 1: await step.do('x', lambda: 1)\nelse: raise RuntimeError('odd')",
         ["it asks no more for what attempt 1 had asked for: `do x`"]),
        ("if count > 1: return\nawait step.do('x', lambda: 1)",
         ["for what attempt 1 had asked for: `do x` (.runner/workflows/flow.py:14); instead it asks for nothing"]),
        ("if count > 1: await step.do('wait', lambda: 1)",
         ["asks for `do wait`, where an earlier attempt had waited", "under the same name"]),
        ("try: await step.sh('x', f'exit {count}', retry={'max-attempts': 3, 'delay': 0.1})\nexcept StepFailed: pass",
         ["asks for `sh x: exit 2`, where attempt 1 had asked for `sh x: exit 1`"]),
    ],
)  # fmt: skip
def test_a_workflow_that_asks_for_something_else_has_diverged(
    flows: Flows, body: str, said: list[str]
) -> None:
    run = flows.pushed(
        "note('run')\ncount = len(open('RECORD').readlines())\n" + body + "\nawait step.sleep('wait', 0.2)"
    )

    ended = flows.ends(run)

    assert ended.result == "failure"
    assert ended.reason.startswith("the workflow diverged: "), ended.reason
    for part in said:
        assert part in ended.reason
    assert "Rerun the run to start afresh" in ended.reason


def test_what_was_heard_is_not_carried_on_and_is_heard_again_where_its_step_has_to_be(flows: Flows) -> None:
    run = flows.pushed("""
        heard = []
        for _ in range(3):
            heard.append((await step.wait_for_event("go", type="go")).payload)
            await step.do("note", lambda: note("heard"))
        return heard
    """)
    ports: Any = {"store": flows.bench.store, "dispatcher": flows.bench.bell}
    for number in (1, 2):
        control.signal(run.id, Signal("go", str(number), "ada", {"n": number}), **ports)
    flows.bench.work()

    assert [wait.answer and wait.answer.payload for wait in flows.seen(run).job.waits] == [None] * 3
    flows.bench.workspaces.gone = True
    control.signal(run.id, Signal("go", "3", "ada", {"n": 3}), **ports)
    flows.bench.work()

    assert flows.notes() == ["heard"] * 5
    assert json.loads(flows.seen(run).job.outputs["result"]) == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_a_signal_that_was_sent_before_and_one_that_is_sent_later_are_both_heard(flows: Flows) -> None:
    run = flows.pushed("""
        first = await step.wait_for_event("first", type="go")
        second = await step.wait_for_event("second", type="go")
        return [first.payload, second.payload]
    """)
    ports: Any = {"store": flows.bench.store, "dispatcher": flows.bench.bell}
    for number in (1, 2):
        control.signal(run.id, Signal("go", str(number), "ada", {"n": number}), **ports)
        flows.bench.work()

    assert flows.ends(run).job.outputs == {"result": '[{"n": 1}, {"n": 2}]'}


@pytest.mark.parametrize("on_lost", ["fail", "ask"])
def test_a_job_does_not_go_back_before_a_step_that_must_not_run_twice(flows: Flows, on_lost: str) -> None:
    flows.bench.workspaces.changing = range(1, 100)
    run = flows.pushed(f"""
        await step.do("one", lambda: note("one"))
        await step.do("two", lambda: note("two"), on_lost="{on_lost}")
        await step.do("three", lambda: note("three") and time.sleep(60))
    """)
    flows.aside(run)
    flows.until("three")
    flows.loses_its_worker(run)
    flows.bench.workspaces.lost = {"1.2"}
    flows.bench.work()

    assert flows.seen(run).reason == (
        f"the job cannot go back: the snapshot 1.2 is damaged; step two has run, and on-lost is {on_lost}"
    )
    assert flows.notes() == ["one", "two", "three"]


def test_what_a_lost_worker_may_have_run_is_known_also_after_steps_that_run_again(flows: Flows) -> None:
    flows.bench.workspaces.changing = range(1, 100)
    run = flows.pushed("""
        await step.do("one", lambda: note("one"))
        await step.do("two", lambda: note("two"))
        await step.do("three", lambda: note("three") and time.sleep(60), on_lost="fail")
    """)
    flows.aside(run)
    flows.until("three")
    flows.loses_its_worker(run)
    flows.bench.workspaces.lost = {"1.2"}
    flows.bench.work()

    ended = flows.seen(run)
    assert "its worker was lost while the step may have run, and on-lost is fail" in ended.reason
    assert "goes back to its files as step one left them" in ended.log
    assert "done again for want of them: step two\n" in ended.log
    assert flows.notes() == ["one", "two", "three", "two"]


GOES_BACK = """
    def body(name):
        return lambda: note(name) and time.sleep(60 if open("RECORD.slow").read() == name else 0)
    await step.do("one", body("one"))
    await step.do("two", body("two"), on_lost="retry")
    await step.do("three", body("three"), ON_LOST)
    return await step.do("four", body("four"))
    """


def left_on_the_way_back(flows: Flows, options: str, on_lost: str, how: str) -> Run:
    """A run that lost its worker in step three, went back before step two, and was left in that again."""
    flows.bench.workspaces.changing = range(1, 100)
    slow = flows.record.with_suffix(".slow")
    run = flows.pushed(GOES_BACK.replace("ON_LOST", on_lost), options)
    slow.write_text("three")
    flows.aside(run)
    flows.until("three")
    flows.loses_its_worker(run)
    flows.bench.workspaces.lost = {"1.2"}
    slow.write_text("two")
    thread = flows.aside(run)
    flows.until("two", 2)
    slow.write_text("")
    if how == "lost":
        flows.loses_its_worker(run)
    else:
        flows.bench.station.heart.release()
        thread.join(20)
        flows.bench.station = replace(flows.bench.station, heart=Heart(flows.bench.store, LENGTH))
    return run


@pytest.mark.parametrize("how", ["lost", "goes down"])
@pytest.mark.parametrize(("options", "on_lost"), [("", "on_lost='fail'"), ("on_lost='fail'", "on_lost=None")])
def test_what_a_lost_worker_may_have_run_is_known_however_the_next_one_ends_on_the_way_back(
    flows: Flows, options: str, on_lost: str, how: str
) -> None:
    run = left_on_the_way_back(flows, options, on_lost, how)

    ended = flows.ends(run)

    assert ended.result == "failure"
    assert "its worker was lost while the step may have run, and on-lost is fail" in ended.reason
    assert flows.notes().count("three") == 1


def test_a_person_is_asked_once_about_what_a_lost_worker_may_have_run_however_often_the_job_goes_back(
    flows: Flows,
) -> None:
    run = left_on_the_way_back(flows, "", "on_lost='ask'", "lost")
    ended = flows.goes_on(run)
    flows.bench.workspaces.lost |= {"3.1"}

    assert [wait.message for wait in ended.job.awaits] == [
        "its worker was lost while the step may have run: step three"
    ]
    ports: Any = {"store": flows.bench.store, "dispatcher": flows.bench.bell}
    control.answer(run.id, Awaited.RESUMPTION, Word.AGAIN, by="ada", **ports)
    ended = flows.ends(run)

    assert ended.result == "success"
    assert flows.notes() == ["one", "two", "three", "two", "two", "two", "three", "four"]


def test_a_program_that_goes_back_is_answered_what_it_waited_for_and_runs_what_was_never_begun(
    flows: Flows,
) -> None:
    flows.bench.workspaces.changing = range(1, 100)
    run = flows.pushed("""
        await step.do("one", lambda: (note("one"), os.path.exists("RECORD.go") or time.sleep(60)) and 1)
        await step.do("two", lambda: note("two"))
        await step.wait_for_event("go", type="go")
        await step.sleep("nap", 0.05)
        await step.do("three", lambda: note("three"), on_lost="fail")
    """)
    flows.aside(run)
    flows.until("one")
    flows.record.with_suffix(".go").touch()
    flows.loses_its_worker(run)
    flows.bench.work()
    flows.bench.workspaces.lost = {"2.2"}
    go = Signal("go", "1", "ada", None)
    control.signal(run.id, go, store=flows.bench.store, dispatcher=flows.bench.bell)
    flows.bench.work()
    flows.bench.workspaces.lost |= {"3.1", "3.2"}

    assert flows.ends(run).result == "success"
    assert flows.notes() == ["one", "one", "two", "two", "two", "three"]


def test_each_answer_says_which_step_of_the_program_it_was_to(flows: Flows) -> None:
    run = flows.pushed("""
        await step.sleep("nap", 0.001)
        await step.wait_for_event("hear", type="go")
        await step.approve("ship it")
        await step.approve("ship it", "really?")
    """)
    ports: dict[str, Any] = {"store": flows.bench.store, "dispatcher": flows.bench.bell}
    control.signal(run.id, Signal("go", "1", "ada"), **ports)
    for _ in range(2):
        while not any(wait.awaited is Awaited.APPROVAL for wait in flows.goes_on(run).job.hears):
            pass
        control.answer(run.id, Awaited.APPROVAL, Word.APPROVED, by="ada", **ports)

    waits = Views(flows.bench.database).run(run.id).jobs[0].waits
    assert [(one.subject, one.by) for one in waits] == [
        ('step 1 "nap"', ""),
        ('signal "go" of step 2 "hear"', "ada"),
        ('approval of step 3 "ship it"', "ada"),
        ('approval of step 4 "ship it (2)"', "ada"),
    ]
