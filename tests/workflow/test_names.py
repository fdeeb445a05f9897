"""What a name stands for, held against what Python itself makes of the same function."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from textwrap import indent
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.workflow.load import read_workflow

REBINDS = (
    "step = other",
    "step: object = other",
    "import step",
    "import step.inner",
    "import step.inner as step",
    "import os as step",
    "from step import inner as step",
    "for step in [other]: pass",
    "with other as step: pass",
    "try: 1 / 0\nexcept ZeroDivisionError as step: pass",
    "def step(): pass",
    "class step: pass",
    "del step",
    "[step := other for _ in '1']",
    "[step for step in 'ab']",
    "match other:\n    case step: pass",
    "match [other]:\n    case [*step]: pass",
    "def more(given=(step := other)): pass",
    "def more(given: (step := other)): pass",
    "@(step := other.same)\ndef more(): pass",
    "class More((step := object)): pass",
    "class More:\n    step = other",
    "class More:\n    nonlocal step\n    step = other",
    "class More:\n    def more(self):\n        nonlocal step\n        step = other\nMore().more()",
    "(lambda: (step := other))()",
)
HEADS = (
    "def inner():",
    "def inner():\n    nonlocal step",
    "def inner():\n    global step",
    "def inner(step=other):",
    "def inner(*step):",
    "def inner(**step):",
    "def inner(given=lambda: step):",
)
LOOKS = "step.slep"
LOOKS_LATER = ("(lambda: step.slep)()", "(lambda step=other: step.slep)()", "(lambda *step: step.slep)()")


DECORATOR = '@workflow(on="push")'
HEAD = f"from runner.sdk import workflow\n{DECORATOR}\nasync def deploy(event, step):\n"


class Steps:
    """Notes the lines from which `slep` is looked for."""

    def __init__(self) -> None:
        self.lines = set[int]()

    def __getattr__(self, name: str) -> None:
        if name == "slep":
            self.lines.add(sys._getframe(1).f_lineno)
        raise AttributeError(name)


class Other:
    def __enter__(self) -> "Other":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def same(self, what: Callable[..., Any]) -> Callable[..., Any]:
        return what


def block(lines: list[str]) -> str:
    """Each of them runs, whatever those before it have raised."""
    return indent("\n".join("with tried:\n" + indent(line, "    ") for line in [*lines, "pass"]), "    ")


def function(parts: tuple[str, list[str]]) -> str:
    head, body = parts
    return f"{head}\n{block(body)}\ninner()"


def functions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(HEADS), st.lists(inner, max_size=4)).map(function)


def parts(rebind: str) -> st.SearchStrategy[list[str]]:
    """Bodies of a function in which the name is looked for, and is bound anew in that way, or is not."""
    lines = st.sampled_from((rebind, LOOKS, *LOOKS_LATER))
    return st.lists(st.recursive(lines, functions, max_leaves=6), min_size=1, max_size=4)


@contextmanager
def module_of_that_name() -> Iterator[None]:
    """There is one that can be imported as `step`, and as `step.inner`."""
    sys.modules["step"], sys.modules["step.inner"] = outer, inner = ModuleType("step"), ModuleType("inner")
    vars(outer)["inner"] = inner
    try:
        yield
    finally:
        del sys.modules["step"], sys.modules["step.inner"]


def looked_for(body: list[str]) -> tuple[set[int], set[int]]:
    """The lines where `slep` is said to be missing of the steps, and those where that is so."""
    text = f"{HEAD}{block(body)}"
    problems = read_workflow(".runner/workflows/a.py", text.encode()).problems
    said = {problem.line for problem in problems if "slep" in problem.message}
    try:
        code = compile(text.replace(DECORATOR, ""), "a.py", "exec")
    except SyntaxError:
        # Of the names in it Python asks more than its parser does.
        return set(), set()
    steps, space = Steps(), dict[str, Any](other=Other(), tried=suppress(Exception))
    exec(code, space)
    with module_of_that_name(), suppress(StopIteration):
        space["deploy"](None, steps).send(None)
    return said, steps.lines


@pytest.mark.parametrize("rebind", REBINDS)
@given(data=st.data())
def test_no_method_is_said_to_be_missing_of_what_is_not_the_steps(rebind: str, data: st.DataObject) -> None:
    said, missing = looked_for(data.draw(parts(rebind)))

    assert said <= missing


@pytest.mark.parametrize("head", ["def inner():", "def inner(given=lambda: step):"])
def test_it_is_said_of_the_steps(head: str) -> None:
    said, missing = looked_for([LOOKS, LOOKS_LATER[0], function((head, [LOOKS]))])

    assert len(said) == 3
    assert said == missing
