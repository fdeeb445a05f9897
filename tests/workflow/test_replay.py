"""Warnings about what a workflow's function would do otherwise when it is run again."""

from inspect import iscoroutinefunction, isfunction, signature
from textwrap import dedent, indent

import pytest

from runner.sdk import Step
from runner.workflow.load import read_workflow
from runner.workflow.replay import ASKS

PATH = ".runner/workflows/deploy.py"


def warnings(body: str, imports: str = "", step: str = "step") -> list[str]:
    """What is said of a function with this body, which begins in line 10."""
    head = [*dedent(imports).strip().split("\n"), "from runner.sdk import workflow"]
    head += [""] * (7 - len(head)) + ['@workflow(on="push")', f"async def deploy(event, {step}):"]
    text = "\n".join(head) + "\n" + indent(dedent(body), "    ")
    reading = read_workflow(PATH, text.encode())
    assert not reading.errors
    assert {problem.rule for problem in reading.problems} <= {"replay"}
    return [str(problem).removeprefix(f"{PATH}:") for problem in reading.problems]


@pytest.mark.parametrize(
    ("imports", "call", "said"),
    [
        (
            "import time",
            "time.time()",
            "goes on; step.now() gives the same, or call it in a step",
        ),
        ("import time as t", "t.monotonic()", "time.monotonic() gives another value"),
        ("import os.path", "os.urandom(3)", "os.urandom() gives another value"),
        ("from runner.sdk import *\nimport time", "time.time()", "time.time() gives another value"),
        ("from time import time as clock", "clock()", "time.time() gives another value"),
        ("import datetime", "datetime.datetime.now()", "datetime.datetime.now() gives another value"),
        (
            "from datetime import datetime",
            "datetime.utcnow()",
            "datetime.utcnow() gives another value",
        ),
        ("from datetime import date", "date.today()", "datetime.date.today() gives another value"),
        ("import random", "random.choice([1, 2])", "step.random() gives the same, or call it in a step"),
        ("from uuid import uuid4", "uuid4()", "step.uuid() gives the same, or call it in a step"),
        ("import os", "os.urandom(3)", "os.urandom() gives another value"),
        ("import secrets", "secrets.token_hex()", "secrets.token_hex() gives another value"),
        (
            "import time",
            "time.sleep(1)",
            "holds up the whole workflow; write: await step.sleep(...)",
        ),
    ],
)
def test_what_gives_another_value_each_time_is_told(imports: str, call: str, said: str) -> None:
    (found,) = warnings(f"x = {call}\nawait step.sh('a', f'echo {{x}}')", imports)

    assert found.startswith("10:9: ")
    assert said in found


def test_the_steps_are_called_what_the_function_calls_them() -> None:
    assert warnings("now = time.time()", "import time", step="s") == [
        "10:11: time.time() gives another value each time the workflow goes on; s.now() gives the same, or "
        "call it in a step"
    ]


@pytest.mark.parametrize(
    ("imports", "body"),
    [
        ("import time", "await step.do('a', lambda: time.time())"),
        ("import time", "await step.do('a', time.time)"),
        ("import random", "async def body():\n    return random.random()\nawait step.do('a', body)"),
        ("import random", "dice = random.Random(4)\ndice.random()"),
        ("import os", "await step.sh('a', os.environ['COMMAND'])"),
        ("import datetime", "datetime.datetime(2026, 1, 1)\ndatetime.timedelta(days=1)"),
        ("import time", "time = event.payload\ntime.time()"),
        ("from mine import time", "time.time()"),
        ("from . import random", "random.random()"),
        ("", "time.time()"),
        ("import time", "from mine import time\ntime.time()"),
        ("import time", "from . import time\ntime.time()"),
        ("try:\n    import mine.clock as time\nexcept ImportError:\n    import time", "time.time()"),
        ("import time\nfrom mine import *", "time.time()"),
        ("def helper():\n    import random\n    return random", "random.random()"),
        ("import os.path as time", "time.time()"),
    ],
)
def test_what_is_right_is_no_mistake(imports: str, body: str) -> None:
    assert warnings(body, imports) == []


def test_what_is_imported_in_the_function_is_known_there() -> None:
    (found,) = warnings("import time\nx = time.time()")

    assert found.startswith("11:9: time.time() gives another value")


def test_what_stands_before_the_bodies_of_functions_is_looked_at_too() -> None:
    (found,) = warnings("def helper(now=time.time()):\n    return time.time()", "import time")

    assert found.startswith("10:20: time.time() gives another value")


def test_a_step_that_nobody_waits_for_is_told() -> None:
    assert warnings("step.sh('a', 'make')\nif event:\n    step.sleep('b', 1)") == [
        "10:5: nobody waits for this step.sh(...); write await before it, or keep it and await it later",
        "12:9: nobody waits for this step.sleep(...); write await before it, or keep it and await it later",
    ]


@pytest.mark.parametrize(
    "body",
    [
        "a = step.sh('a', 'make')\nawait a",
        "await step.gather(step.sh('a', 'make'), step.do('b', dict))",
        "steps = [step.sh(one, one) for one in 'ab']\nawait step.gather(*steps)",
        "step.rollback('a', 'undo')",
        "return step.sh('a', 'make')",
        "step = Mine()\nstep.sh('a')\nstep.anything()",
        "def helper(step):\n    step.anything()",
        "import step.inner\nstep.sh('a')",
        "from mine import step\nstep.sh('a')",
        "def helper():\n    nonlocal step\n    step = event\nhelper()\nstep.sh('a')",
        "def helper(given=(step := event)):\n    pass\nstep.sh('a')",
    ],
)
def test_a_step_that_is_kept_or_asks_for_nothing_is_right(body: str) -> None:
    assert warnings(body) == []


def test_a_method_that_the_steps_do_not_have_is_told_with_what_was_meant() -> None:
    found = warnings("await step.wait_for_events('a')\nawait step.xyz()")

    assert found[0] == '10:11: the steps have no "wait_for_events"; did you mean "wait_for_event"?'
    assert found[1].startswith('11:11: the steps have no "xyz"; here you can use approve, ')


def test_of_very_many_mistakes_some_are_told() -> None:
    assert len(warnings("step.xyz()\n" * 10_000)) == 100


def test_every_method_that_gives_what_has_to_be_awaited_is_known() -> None:
    public = {name: one for name, one in vars(Step).items() if isfunction(one) and not name.startswith("_")}
    given = {name: str(signature(one).return_annotation) for name, one in public.items()}

    assert {name for name in public if "Handle" in given[name] or iscoroutinefunction(public[name])} == ASKS


def test_what_a_method_does_not_take_is_told_with_what_was_meant() -> None:
    found = warnings("""\
        await step.sh("a", "make", retires={"max-attempts": 3}, timeout="1 h")
        async def ship(to):
            await step.do("b", lambda: step.now(at=1), rolback="undo")
        await step.gather(ship("a"), canceled=True)
        await step.wait_for_event("c", kind="go")
    """)

    assert found[0] == '10:32: step.sh(...) takes no "retires"; did you mean "retry"?'
    assert found[1] == '12:45: step.now(...) takes no "at"'
    assert found[2] == '12:52: step.do(...) takes no "rolback"; did you mean "rollback"?'
    assert found[3] == '13:34: step.gather(...) takes no "canceled"; did you mean "cancel"?'
    assert found[4].startswith('14:36: step.wait_for_event(...) takes no "kind"; here you can use ')
    assert len(found) == 5


def test_what_a_method_needs_or_has_no_place_for_is_told() -> None:
    assert warnings("""\
        await step.sh("make")
        await step.sleep("a", 1, 2)
        await step.sh("a", "make", name="b")
        await step.wait_for_event("a")
    """) == [
        "10:11: step.sh(...) cannot be called like this: missing a required argument: 'command'",
        "11:11: step.sleep(...) cannot be called like this: too many positional arguments",
        "12:11: step.sh(...) cannot be called like this: multiple values for argument 'name'",
        "13:11: step.wait_for_event(...) cannot be called like this: missing a required argument: 'type'",
    ]


def test_a_method_that_there_is_not_is_told_wherever_the_steps_are_reached_for() -> None:
    found = warnings("""\
        slow = step.slep
        async def ship():
            def nap():
                return step.slep("b", 1)
            await nap()
        await step.do("a", lambda: step.slep)
    """)

    assert found == [
        f'{at}: the steps have no "slep"; did you mean "sleep"?' for at in ("10:12", "13:20", "15:32")
    ]


@pytest.mark.parametrize(
    "body",
    [
        "await step.sh('a', 'make', **event.payload)\nawait step.sh(**event.payload)",
        "await step.sh(*event.payload)\nawait step.sh('a', *event.payload, env={})",
        "await step.sh(name='a', command='make', rollback=None)",
        "await step.uses('a', 'actions/checkout@v4', **{'with': {}})\nawait step.uses('a', 'b', surely=1)",
        "del event.sh\nstep.sh()",
        "event.do = 1\nstep.do()",
        "step.sleep = print\nstep.sleep('a', 1)",
        "def helper():\n    event.sh = print\nstep.sh('a', 'make')",
        "step.mine = print\nstep.mine('a')\nlen(step.undone)\nstep._asker",
        "def helper(step):\n    step.sh(a=1)\n    return lambda: step.slep",
        "await step.do('a', lambda step=event: step.slep)",
        "def helper():\n    step = event\n    def inner():\n        return step.slep",
        "def helper():\n    nonlocal step\n    step = event\nhelper()\nstep.slep(1)",
        "def helper():\n    global step\n    step.slep(1)",
        "def helper():\n    import os as step\n    step.slep(1)",
        "try:\n    pass\nexcept ValueError as step:\n    step.slep(1)",
        "match event:\n    case [*step]:\n        step.slep(1)\n    case {**step}:\n        step.slep(1)",
        "match event:\n    case step:\n        step.slep(1)",
        "class Mine:\n    def step(self):\n        step.slep(1)",
        "[step.slep for step in event]",
        "event.step.slep(1)\nevent.slep(1)",
        "import step.inner\nstep.slep(1)",
        "def helper():\n    import step.inner\n    step.slep(1)",
        "class Mine:\n    def helper(self):\n        nonlocal step\n        step = event\nstep.slep(1)",
        "class Mine:\n    nonlocal step\n    step = event\nstep.slep(1)",
        "@(step := event)\ndef helper():\n    pass\nstep.slep(1)",
        "class Mine((step := event)):\n    pass\nstep.slep(1)",
        "def helper(given: (step := event)) -> None:\n    pass\nstep.slep(1)",
        "class Mine:\n    def helper(self):\n        step.mine = 1\nstep.mine()",
        "def helper(*step):\n    step.slep\ndef other(**step):\n    step.slep",
        "def helper(*, step=event):\n    step.slep",
    ],
)
def test_what_may_be_something_else_than_the_steps_is_left_alone(body: str) -> None:
    assert warnings(body) == []
