"""What a workflow in Python may rely on, through the whole engine: one sentence each."""

import json
import logging
from datetime import timedelta
from itertools import pairwise

import pytest

from runner.broker import EMBEDDED, celery_app, job_queue, route_headers
from runner.engine import control
from runner.model.audit import Act
from runner.model.run import Queued, Suspended
from runner.model.step import Result
from tests.scenarios.engine import FILES
from tests.scenarios.flows import HEAD, Flows, until
from tests.workspaces.origin import git

# --- steps -------------------------------------------------------------------------------------


def test_a_step_runs_once_and_what_it_gave_is_remembered(flows: Flows) -> None:
    run = flows.begun(
        """
        one = await step.do("one", lambda: note("one") and os.urandom(8).hex())
        two = await step.sh("two", "echo two >> RECORD; echo value=$RANDOM$RANDOM >> $GITHUB_OUTPUT")
        await step.sleep("nap", 0.1)
        await step.do("three", lambda: note("three"))
        return {"one": one, "two": two["value"]}
        """
    )

    outputs = flows.succeeded(run)

    assert flows.notes() == ["one", "two", "three"]
    assert flows.job(run).attempt == 2
    done = flows.steps(run)
    assert list(done) == ["one#1", "two#1", "nap#1", "three#1"]
    assert outputs == {
        "one": json.loads(done["one#1"].outcome.value or ""),
        "two": done["two#1"].outcome.outputs["value"],
    }


def test_steps_of_one_name_are_steps_of_their_own(flows: Flows) -> None:
    run = flows.begun(
        """
        found = [await step.do("same", lambda: note(number)) for number in range(3)]
        await step.sleep("nap", 0.1)
        return {"found": found}
        """
    )

    assert flows.succeeded(run) == {"found": "[0, 1, 2]"}
    assert flows.notes() == ["0", "1", "2"]
    assert list(flows.steps(run)) == ["same#1", "same#2", "same#3", "nap#1"]


def test_a_step_that_fails_is_tried_again_after_its_delay_until_it_succeeds(flows: Flows) -> None:
    run = flows.begun(
        """
        def flaky():
            note("tried")
            if len(notes()) < 3:
                raise ValueError("not yet")
            return "done"

        return {"came": await step.do("flaky", flaky, retry={"max-attempts": 5, "delay": 0.1})}
        """
    )

    assert flows.succeeded(run) == {"came": "done"}
    assert flows.notes() == ["tried"] * 3
    done = flows.steps(run)
    tries = [done["flaky#1~1"], done["flaky#1~2"], done["flaky#1"]]
    assert all(
        after.finished - before.finished >= timedelta(seconds=0.1) for before, after in pairwise(tries)
    )


def test_a_step_fails_once_it_was_tried_as_often_as_it_may_be(flows: Flows) -> None:
    run = flows.begun(
        """
        def never():
            note("tried")
            raise ValueError("not ever")

        await step.do("never", never, retry={"max-attempts": 2})
        """
    )

    assert flows.failed(run) == "step never: ValueError: not ever; tried 2 times"
    assert flows.steps(run)["never#1"].outcome.reason == "ValueError: not ever; tried 2 times"
    assert flows.notes() == ["tried"] * 2


def test_what_must_not_be_tried_again_is_not(flows: Flows) -> None:
    run = flows.begun(
        """
        def never():
            note("tried")
            raise NonRetryable("no such account")

        try:
            await step.do("never", never, retry={"max-attempts": 9})
        except StepFailed as error:
            return {"type": error.type}
        """
    )

    assert flows.succeeded(run) == {"type": "NonRetryable"}
    assert flows.notes() == ["tried"]


def test_the_step_that_was_first_is_first_whenever_the_workflow_is_run_again(flows: Flows) -> None:
    run = flows.begun(
        """
        racing = [step.sh(f"racer {number}", "sleep 0.0$RANDOM", timeout=60) for number in range(3)]
        order = []

        async def follow(handle):
            await handle
            order.append(handle.name)

        await step.gather(*map(follow, racing))
        first = await step.do("first", lambda: order)
        await step.sleep("nap", 0.1)
        assert order == first, (order, first)
        return {"order": order}
        """
    )

    order = json.loads(flows.succeeded(run)["order"])

    assert [f"{name}#1" for name in order] == list(flows.steps(run))[:3]


def test_the_clock_and_chance_are_the_same_whenever_the_workflow_is_run_again(flows: Flows) -> None:
    run = flows.begun(
        """
        async def drawn():
            return [step.now().isoformat(), step.random(), str(step.uuid())]

        await step.do("begin", lambda: None)
        now = await drawn()
        first = await step.do("first", lambda: now)
        await step.sleep("nap", 0.1)
        assert now == first, (now, first)
        assert step.now().isoformat() > now[0]
        """
    )

    flows.succeeded(run)


# --- waits -------------------------------------------------------------------------------------


def test_a_workflow_sleeps_without_a_worker_and_for_as_long_as_it_was_told(flows: Flows) -> None:
    run = flows.begun('await step.sleep("nap", 0.3)')

    asleep = flows.asleep(run)
    flows.succeeded(run)

    (wait,) = asleep.waits
    nap = flows.steps(run)["nap#1"]
    assert wait.due == wait.since + timedelta(seconds=0.3)
    assert nap.finished - nap.started >= timedelta(seconds=0.3)


def test_a_workflow_sleeps_until_an_instant_and_not_at_all_where_that_is_past(flows: Flows) -> None:
    run = flows.begun(
        """
        await step.sleep_until("past", step.now() - timedelta(days=1))
        until = step.now() + timedelta(seconds=0.5)
        await step.sleep_until("then", until)
        assert step.now() >= until
        """
    )

    flows.succeeded(run)

    assert [wait.key for wait in flows.job(run).waits] == ["then#1"]
    assert list(flows.steps(run)) == ["past#1", "then#1"]


def test_an_event_is_taken_that_came_before_anybody_waited_for_it(flows: Flows) -> None:
    run = flows.begun(
        """
        await step.sleep("nap", 0.5)
        got = await step.wait_for_event("order", type="order")
        return {"payload": got.payload, "by": got.sender}
        """
    )
    flows.tell(run, "order", {"tea": 2})

    assert flows.succeeded(run) == {"payload": '{"tea": 2}', "by": "ada"}


def test_an_event_is_taken_that_comes_while_it_is_waited_for(flows: Flows) -> None:
    run = flows.begun(
        """
        got = await step.wait_for_event("order", type="order", timeout="1 hour")
        return {"payload": got.payload}
        """
    )
    flows.asleep(run)
    flows.tell(run, "tea", "is not what it waits for")
    flows.tell(run, "order", "coffee")

    assert flows.succeeded(run) == {"payload": "coffee"}


def test_an_event_that_does_not_come_in_time_is_an_error_that_may_be_caught(flows: Flows) -> None:
    run = flows.begun(
        """
        try:
            await step.wait_for_event("order", type="order", timeout=0.2)
        except TimedOut as error:
            return {"name": error.name}
        """
    )

    assert flows.succeeded(run) == {"name": "order"}


# --- what people may do ------------------------------------------------------------------------


def test_a_run_that_is_paused_goes_on_from_there_when_it_is_resumed(flows: Flows) -> None:
    run = flows.begun(
        """
        await step.do("one", lambda: note("one"))
        got = await step.wait_for_event("order", type="order")
        await step.do("two", lambda: note("two"))
        return {"payload": got.payload}
        """
    )
    flows.asleep(run)
    flows.ask(control.pause, run, "look first", act=Act("ada", "run.pause"))
    flows.tell(run, "order", "tea")

    paused = flows.job(run)
    assert isinstance(paused.phase, Suspended | Queued)
    assert paused.attempt == 1
    flows.ask(control.unpause, run, act=Act("ada", "run.resume"))

    assert flows.succeeded(run) == {"payload": "tea"}
    assert flows.notes() == ["one", "two"]


def test_a_run_that_is_terminated_does_nothing_more(flows: Flows) -> None:
    run = flows.begun(
        """
        await step.do("one", lambda: note("one"))
        await step.sleep("nap", "1 hour")
        await step.do("two", lambda: note("two"))
        """
    )
    flows.asleep(run)
    flows.ask(control.cancel, run)

    assert flows.engine.ended(run).result is Result.CANCELLED
    assert flows.notes() == ["one"]


def test_a_run_that_is_restarted_remembers_nothing(flows: Flows) -> None:
    run = flows.begun('return {"drawn": await step.do("one", lambda: note("one") and os.urandom(8).hex())}')
    first = flows.succeeded(run)

    flows.ask(control.rerun, run)
    second = flows.succeeded(run)

    assert flows.notes() == ["one", "one"]
    assert first != second
    assert flows.run(run).attempt == 2


# --- whose code it is --------------------------------------------------------------------------


def test_a_message_for_another_commit_or_for_none_loads_nothing(
    flows: Flows, caplog: pytest.LogCaptureFixture
) -> None:
    # Nobody listens where it rings by itself.
    text = HEAD.replace('"linux"', '"elsewhere"').replace("RECORD", str(flows.record))
    run = flows.pushed("own", {f"{FILES}/flow.py": text + '    await step.do("one", lambda: note("one"))\n'})
    job, route = flows.job(run), flows.run(run).route
    right = route_headers(route)
    app = celery_app(EMBEDDED, [job_queue(("linux",))])

    def ring(headers: dict[str, str]) -> None:
        queue = job_queue(("linux",))
        app.send_task(
            "runner.perform", (run, job.id), queue=queue, headers=headers, ignore_result=True, declare=[]
        )

    with caplog.at_level(logging.WARNING, "runner.worker"):
        ring({})
        ring({"forge": route.forge, "repo": route.repo})
        ring({**right, "commit": "9" * 40})
        ring({**right, "repo": f"{flows.folder.name}/another"})
        refused = until(lambda: found if len(found := refusals(caplog)) == 4 else None, "four refusals")
    assert sum("carries no route" in why for why in refused) == 2
    assert sum(route.commit in why for why in refused) == 2
    assert flows.job(run).attempt == 0
    ring(right)

    flows.succeeded(run)
    assert flows.notes() == ["one"]


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [one for one in caplog.records if one.getMessage() == "message refused"]
    return [str(one.__dict__["error"]) for one in found]


def test_repositories_with_the_same_names_in_them_each_get_their_own_code_at_once(flows: Flows) -> None:
    body = """
        from tools import whose

        mine = await step.do("whose", lambda: note(whose()))
        await step.wait_for_event("go", type="go")
        return {"whose": mine, "again": whose(), "repo": event.route.repo}
        """
    names = ("left", "right")
    runs = {
        name: flows.begun(body, {"tools.py": f'def whose():\n    return "{name}"\n'}, name) for name in names
    }
    for run in runs.values():
        flows.asleep(run)
    for run in runs.values():
        flows.tell(run, "go", None)

    for name, run in runs.items():
        repo = f"{flows.folder.name}/{name}"
        assert flows.succeeded(run) == {"whose": name, "again": name, "repo": repo}
    assert sorted(flows.notes()) == ["left", "right"]


def test_the_runs_own_code_goes_on_though_its_branch_and_its_files_have_changed_meanwhile(
    flows: Flows,
) -> None:
    run = flows.begun(
        """
        from package import tools
        import docker.client.version
        import json.tool

        await step.sh("spoil", "echo 'broken (' > package/tools.py; rm -r .runner; cat package/tools.py")
        await step.wait_for_event("go", type="go")
        import late

        spoiled = await step.do("look", lambda: open("package/tools.py").read())
        deep = docker.client.version.number
        return {"tools": tools.version, "late": late.version, "deep": deep, "spoiled": spoiled.strip()}
        """,
        {
            "package/__init__.py": "",
            "package/tools.py": "version = 1\n",
            "late.py": "version = 1\n",
            # Folders without `__init__.py` are packages, too, whatever else is in them.
            "docker/client/version.py": "number = 1\n",
            "docker/image": "0" * 2_000_000,
            "json/tool.py": "raise ValueError('not ours')\n",
        },
    )
    flows.asleep(run)
    origin = flows.folder / "flow"
    git(origin, "checkout", "--quiet", "--orphan", "other")
    for path in ("package/tools.py", "late.py", f"{FILES}/flow.py"):
        (origin / path).write_text("version = 2\n")
    git(origin, "commit", "--quiet", "--all", "--message", "another history")
    git(origin, "branch", "--force", "main", "other")
    git(origin, "branch", "--delete", "--force", "main")
    git(origin, "reflog", "expire", "--expire=now", "--all")
    git(origin, "gc", "--quiet", "--prune=now")

    flows.tell(run, "go", None)

    assert flows.succeeded(run) == {"tools": "1", "late": "1", "deep": "1", "spoiled": "broken ("}
