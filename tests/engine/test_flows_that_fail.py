# ruff: noqa: E501 - what a workflow does and what is said of it are compared side by side
"""Workflows in Python that go wrong by themselves: what people are told, and where it was."""

import json
import sys
from pathlib import Path

import pytest

from runner.engine.conversation import watch
from tests.engine.conftest import Bench
from tests.engine.flows import PATH, Flows

pytestmark = pytest.mark.slow("workflows in Python are processes of their own")


@pytest.fixture
def flows(bench: Bench, tmp_path: Path) -> Flows:
    return Flows(bench, tmp_path)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has as long to come from one step to the next."""
    monkeypatch.setattr(watch, "SECONDS", 2.0)
    monkeypatch.setattr(watch, "LAST_SECONDS", 5.0)


# --- before the first step ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import broken", "SyntaxError: unmatched ')' (.runner/workflows/broken.py, line 2)"),
        ("import far.off", "ImportError: far/off.py is no place"),
    ],
)
def test_a_file_that_cannot_be_loaded_says_so_with_its_own_lines(
    flows: Flows, before: str, said: str
) -> None:
    flows.bench.write("x = 1\n)\n", ".runner/workflows/broken.py")
    flows.bench.write("", "far/__init__.py")
    flows.bench.write("raise ImportError('far/off.py is no place')", "far/off.py")

    ended = flows.run("pass", before=before + "\n")

    assert (ended.result, ended.reason) == ("failure", said)
    assert f'File "{PATH}", line 1' in ended.log
    assert "_runner_sdk" not in ended.log


def test_a_name_that_is_no_function_once_the_file_has_run_is_named(flows: Flows) -> None:
    run = flows.pushed("pass")
    flows.bench.write(flows.bench.workspaces.files[PATH].decode() + "\ndel flow\n", PATH)
    flows.bench.work()

    assert flows.seen(run).reason == f"AttributeError: {PATH} has no function flow once it has been run"


def test_a_machine_without_python_is_told_so(flows: Flows, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    flows.executor.path = str(tmp_path / "bin")

    assert "there is no python3 to run it with" in flows.run("pass").reason


def test_a_python_that_is_too_old_is_told_so(flows: Flows, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    old = tmp_path / "bin" / "python3"
    lie = "import sys; sys.version_info = (3, 8, 1); import runpy; runpy.run_path(sys.argv[1], run_name='__main__')"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{lie}" "$@"\n')
    old.chmod(0o755)
    flows.executor.path = f"{old.parent}:/usr/bin:/bin"

    assert "its python3 is older than 3.9" in flows.run("pass").reason


# --- the workflow itself --------------------------------------------------------------------------------


def test_an_exception_is_told_with_its_line_and_none_of_our_frames(flows: Flows) -> None:
    ended = flows.run("""
        def inner():
            raise LookupError("nothing here")
        try:
            inner()
        except LookupError as error:
            raise RuntimeError("no way") from error
    """)

    assert ended.reason == "RuntimeError: no way"
    assert f'File "{PATH}", line {ended.line_of("nothing here")}, in inner' in ended.log
    assert 'raise LookupError("nothing here")' in ended.log
    assert "The above exception was the direct cause" in ended.log
    assert ended.log.count('File "') == 3
    assert "_runner_sdk" not in ended.log
    assert "asyncio/" not in ended.log


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit(4)", "SystemExit: 4"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("flow.__wrapped__ = None; await flow(event, step, 1)", "takes 2 positional arguments but 3 were given"),
        ("def deep(): deep()\ndeep()", "RecursionError: maximum recursion depth exceeded"),
        ("async with asyncio.TaskGroup() as group: group.create_task(asyncio.sleep('x'))", "TaskGroup (1 sub-exc"),
        ("asyncio.create_task(fatal())\nawait step.sleep('long', '1 hour')", "SystemExit: 9"),
        ("os.kill(os.getpid(), 2)\nawait step.sleep('long', '1 hour')", "KeyboardInterrupt"),
        ("return object()", "what the workflow returns is nothing that JSON knows: Object of type object is not"),
        ("return float('nan')", "what the workflow returns is nothing that JSON knows: Out of range float values"),
        ("return 'x' * 70_000_000", "the value of the workflow is too long"),
        ("return 'x' * 2_000_000", "the value of the workflow has 2000006 letters; 1048576 are the most"),
        ("await step.do('', note)", "ValueError: a step needs a name that says what it does, not ''"),
        ("await step.do('x' * 257, note)", "ValueError: the name of a step has 257 letters; 256 are the most"),
        ("await step.sh('x', 'y' * 2_000_000)", "step x asks for 2000"),
        ("await step.sh('x', 'y' * 70_000_000)", "TooLong: a message of 70"),
        ("step.do('x', lambda: time.sleep(60))", "the workflow ended before steps that it asked for: x; await them"),
        ("a = step.do('x', lambda: 1 / 0)\nawait step.sh('y', 'true')\nawait step.sh('z', 'sleep 0.2')",
         "step x failed, and the workflow never awaited it"),
        ("h = step.sleep('x', 60)\nh.cancel()\nawait h", "CancelledError"),
        ("threading.current_thread; t = []\nx = threading.Thread(target=lambda: t.append(ask(step)))\nx.start(); x.join()\n"
         "raise t[0]", "steps are asked for by the workflow itself, not by its threads"),
        ("await step.do('x', lambda: step.do('y', note))", "a step cannot be asked for within the body of another one"),
        ("async def body(): await step.sh('y', 'true')\nawait step.do('x', body)", "within the body of another one"),
        ("os._exit(3)", "the workflow's process ended before the workflow did: exit code 3"),
        ("os.kill(os.getpid(), 9)", "it was killed (exit code 137), as happens where it takes more memory"),
        ("await step.do('x', lambda: os._exit(3))", "ended before the workflow did while x ran: exit code 3"),
        ("for i in range(10_001): step.sleep(f'{i}', '1 hour')\nawait step.sleep('x', 1)",
         "the workflow asks for more than 10000 steps: .runner/workflows/flow.py:"),
    ],
)  # fmt: skip
def test_what_a_workflow_does_that_it_should_not_is_named(flows: Flows, body: str, said: str) -> None:
    before = """
        async def fatal():
            raise SystemExit(9)
        def ask(step):
            try:
                step.do("z", fatal)
            except RuntimeError as error:
                return error
    """

    ended = flows.run(body, before=before)

    assert said in ended.reason
    assert (ended.result, "internal" in ended.reason) == ("failure", False)


def test_exceptions_of_a_group_are_told_one_by_one(flows: Flows) -> None:
    ended = flows.run("""
        async def fails(what):
            raise LookupError(what)
        async def fail():
            async with asyncio.TaskGroup() as group:
                group.create_task(fails("left"))
                group.create_task(fails("right"))
        try:
            await step.do("x", fail)
        except StepFailed:
            await fail()
    """)

    said = "ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions): LookupError: left"
    assert ended.log_of("x#1").splitlines()[-1] == f"##[error]{said}"
    assert "LookupError: left" in ended.reason
    assert "LookupError: left" in ended.log
    assert "LookupError: right" in ended.log
    assert "taskgroups.py" not in ended.log


@pytest.mark.parametrize(
    ("body", "said", "line"),
    [
        ("await step.do('x', lambda: 1)\nwhile True: pass", "from one step to the next", "while True"),
        ("await step.do('x', lambda: 1)\ntime.sleep(60)", "from one step to the next", "sleep"),
        ("async def body(): time.sleep(60)\nawait step.do('x', body)", "from one step to the next", "def body"),
        ("await step.do('x', lambda: 1)\nawait asyncio.sleep(60)", "for what is no step", "asyncio.sleep"),
        ("await step.do('x', lambda: 1)\nasync with asyncio.timeout(60): await step.sleep('y', 60)",
         "for what is no step", "timeout"),
        ("await asyncio.Event().wait()", "waits for something that is no step", "Event"),
        ("await step.do('x', lambda: 1)\nawait asyncio.Event().wait()", "that is no step, and will not", "Event"),
    ],
)  # fmt: skip
def test_a_workflow_that_goes_nowhere_is_stopped_and_says_where_it_was(
    flows: Flows, hasty: None, body: str, said: str, line: str
) -> None:
    ended = flows.run(body)

    assert said in ended.reason
    assert f'File "{PATH}", line {ended.line_of(line)}' in ended.reason
    assert "_runner_sdk" not in ended.reason


@pytest.mark.parametrize(
    ("wait", "instead"),
    [
        ("step.wait_for_event('go', type='go')", "limit it by its timeout="),
        ("step.approve('go', 'may it?')", "limit it by its timeout="),
        ("step.sleep('go', '1 day')", "have step.wait_any wait for it and for a second step.sleep"),
    ],
)
@pytest.mark.parametrize(
    "around",
    [
        "await asyncio.wait_for(WAIT, 3600)",
        pytest.param(
            "async with asyncio.timeout(3600):\n    await WAIT",
            marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout came with 3.11"),
        ),
    ],
)
def test_a_timer_of_asyncio_around_a_wait_is_stopped_with_its_line_and_what_to_write_instead(
    flows: Flows, hasty: None, around: str, wait: str, instead: str
) -> None:
    ended = flows.run(around.replace("WAIT", wait))

    line = ended.line_of("'go'")
    assert ended.result == "failure"
    assert (
        f"what is no step while step go ({PATH}:{line}) waits, as with asyncio.timeout or asyncio.wait_for"
        in ended.reason
    )
    assert instead in ended.reason
    assert f'File "{PATH}", line {line}' in ended.reason


# --- bodies ---------------------------------------------------------------------------------------------


def test_a_step_that_fails_says_where_in_its_own_log_and_in_the_workflow(flows: Flows) -> None:
    ended = flows.run("""
        def body():
            raise LookupError("gone")
        try:
            await step.do("x", body)
        except StepFailed as error:
            return {"type": error.type, "told": str(error), "traceback": error.traceback}
    """)

    assert (ended.job.outputs["type"], ended.job.outputs["told"]) == (
        "LookupError",
        "step x: LookupError: gone",
    )
    where = f'File "{PATH}", line {ended.line_of("gone")}, in body'
    assert where in ended.job.outputs["traceback"]
    assert where in ended.log_of("x#1")
    assert "_runner_sdk" not in ended.log_of("x#1")


BODIES = {
    "sys.exit(4)": "SystemExit: 4",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "return {1, 2}": "its value is nothing that JSON knows",
    "return float('inf')": "its value is nothing that JSON knows",
    "return 'x' * 70_000_000": "its value has 70000002 bytes as JSON; the limit is 67108864",
    "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()": "Odd",
    "raise RuntimeError('x' * 80_000_000)": "RuntimeError: xxx",
    "raise RuntimeError('a\\0b \\ud800')": "RuntimeError: a",
    "raise asyncio.CancelledError": "ancelled",
}


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_whatever_a_body_does_is_how_its_step_ends(flows: Flows, kind: str) -> None:
    ended = flows.run(
        "said = []\n"
        + "".join(
            f"{kind} body():\n    {body}\n"
            "try:\n    await step.do('x', body)\n"
            "except StepFailed as error:\n    said.append(error.reason[:200])\n"
            for body in BODIES
        )
        + "return said"
    )

    assert ended.result == "success", ended.job
    said = json.loads(ended.job.outputs["result"])
    assert [part for part, reason in zip(BODIES.values(), said, strict=True) if part not in reason] == []


def test_what_a_body_prints_is_its_steps_log_however_much_it_is(flows: Flows) -> None:
    ended = flows.run("""
        def loud():
            print("x" * 9_000_000)
            sys.stderr.write("to stderr\\n")
            os.write(1, b"past us\\n")
        print("of the workflow")
        await step.do("loud", loud)
    """)

    assert ended.result == "success"
    assert ended.log_of("loud#1").endswith("x\nto stderr\n")
    assert len(ended.log_of("loud#1")) == 9_000_001 + len("to stderr\n")
    assert "past us\n" in ended.log
    assert "of the workflow\n" in ended.log


def test_a_process_that_a_body_forks_has_no_part_in_the_conversation(flows: Flows) -> None:
    ended = flows.run("""
        def forks():
            child = os.fork()
            if child == 0:
                print("of the child", flush=True)
                return "of the child"
            return os.waitpid(child, 0)[1]
        async def forks_too():
            child = os.fork()
            if child == 0:
                return "of the child"
            await asyncio.sleep(0.1)
            return os.waitpid(child, 0)[1]
        def many():
            import multiprocessing
            child = multiprocessing.get_context("fork").Process(target=print, args=("of another",))
            child.start()
            child.join()
            return child.exitcode
        return [await step.do("x", forks), await step.do("y", forks_too), await step.do("z", many)]
    """)

    assert ended.job.outputs == {"result": "[0, 0, 0]"}
    assert "of the child" in ended.log
    assert "of another" in ended.log


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_who_forked_a_process_sees_how_it_ended(flows: Flows, kind: str) -> None:
    ended = flows.run(f"""
        {kind} forks(ends):
            child = os.fork()
            if child == 0:
                print("of the child")
                ends()
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        def breaks():
            raise LookupError("broken")
        ends = [lambda: sys.exit(3), lambda: sys.exit("no way"), sys.exit, breaks]
        return [await step.do("x", lambda end=end: forks(end)) for end in ends]
    """)

    assert ended.job.outputs == {"result": "[3, 1, 0, 1]"}
    assert ended.log.count("of the child") == 4
    assert "no way" in ended.log
    assert "LookupError: broken" in ended.log
    assert "_runner_sdk" not in ended.log


def test_what_a_command_leaves_in_the_background_keeps_nobody_waiting(flows: Flows) -> None:
    ended = flows.run("""
        await step.sh("quiet", "sleep 60 & echo begun")
        await step.sh("chatty", "while :; do echo more; done & echo begun")
    """)

    assert ended.result == "success"
    assert ended.log_of("quiet#1") == "begun\n"


def test_context_variables_of_the_workflow_are_seen_by_its_bodies(flows: Flows) -> None:
    ended = flows.run("""
        import contextvars
        who = contextvars.ContextVar("who")
        who.set("the workflow")
        async def body():
            return who.get()
        return [await step.do("x", who.get), await step.do("y", body)]
    """)

    assert ended.job.outputs == {"result": '["the workflow", "the workflow"]'}


def test_a_module_of_the_repository_that_is_too_long_is_named(flows: Flows) -> None:
    flows.bench.write("x = '" + "y" * 5_000_000 + "'", ".runner/workflows/huge.py")

    assert "huge.py has 5000006 bytes; 4194304 are the most" in flows.run("import huge").reason
