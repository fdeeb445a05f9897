"""What each reader promises of any bytes whatever: it answers, soon, and its errors are our own."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from runner.engine.commands import BadCommandFile, parse_lines, parse_pairs
from runner.engine.definitions import unsaved_jobs
from runner.engine.masks import Masks
from runner.engine.matchers import BadMatcher, Matchers
from runner.engine.output import StepOutput
from runner.expr.evaluate import Functions, evaluate, holds, render
from runner.expr.template import parse_condition, parse_template
from runner.expr.types import Typing
from runner.expr.values import ExpressionError, to_string
from runner.workflow import supported
from runner.workflow.compose import Mapping, Node, Scalar, Sequence, compose
from runner.workflow.document import InvalidWorkflow, Problem, Steps
from runner.workflow.load import Reading, built, is_workflow, load_action, read_action, read_workflow
from runner.workflow.outline import outline
from runner.workflow.place import PYTHON_BREAK, Source
from runner.workflow.plan import planned, stages
from runner.workflow.surroundings import ALWAYS
from tests.fuzz import words
from tests.fuzz.planning import PATH, World, reasons

LONGEST = 1.0
"""Seconds of the processor that one input may take."""

LONGEST_MESSAGE = 5000

CONTEXTS = {
    "github": {"ref": "refs/heads/main", "event": {"x": [{"name": "a", "n": 1}, {"name": ""}, 3, None]}},
    "steps": {"a": {"outputs": {"b": "c", "B2": "\ud800"}, "outcome": "success"}},
    "needs": {"a": {"result": "success"}, "b": {"result": "failure"}},
    "matrix": {"a": 1.5, "list": [1, [2, [3]]], "none": None},
    "env": {"a": "x" * 100, "é": "É"},
}
FUNCTIONS: Functions = {
    "hashfiles": lambda *patterns: "0" * 64,
    **dict.fromkeys(("success", "always"), lambda: True),
    **dict.fromkeys(("failure", "cancelled"), lambda: False),
}


class Broken(AssertionError):
    """A promise was not kept."""


class TooSlow(Broken):
    """It took longer than a caller would wait."""


def read_as_yaml(data: bytes) -> None:
    text, problems = data.decode(errors="replace"), list[Problem]()
    root = compose("a.yml", text, problems)
    check_problems(problems, data)
    if root is None:
        return
    source = Source(text)
    for scalar in scalars_in(root):
        if not 0 <= scalar.start <= scalar.end <= len(text):
            raise Broken(f"{scalar} stands nowhere in the file")
        source.locate(scalar, len(scalar.text) // 2)


def scalars_in(node: Node) -> Iterator[Scalar]:
    match node:
        case Scalar():
            yield node
        case Sequence():
            for item in node.items:
                yield from scalars_in(item)
        case Mapping():
            for key, value in node.entries:
                yield key
                yield from scalars_in(value)


def read_as_workflow(data: bytes) -> None:
    # The file is found wherever it names another one, so that it also calls itself.
    reading = read_workflow(".github/workflows/a.yml", data, lambda name: data if len(name) < 100 else None)
    check_reading(reading, data)
    outline(reading.root)
    if not reading.errors:
        workflow = built(reading)
        stages(workflow)
        for job in workflow.jobs:
            planned(job, CONTEXTS)
    with suppress(InvalidWorkflow):
        supported.load("a.yml", data)


def read_as_python(data: bytes) -> None:
    path = ".runner/workflows/a.py"
    is_workflow(path, data)
    reading = read_workflow(path, data, lambda name: data if len(name) < 100 else None)
    check_reading(reading, data)
    for scalar in scalars_in(reading.root) if reading.root is not None else ():
        text = data.decode()
        if not 0 <= scalar.start <= scalar.end <= len(text):
            raise Broken(f"{scalar} stands nowhere in the file")
        Source(text, PYTHON_BREAK).locate(scalar, len(scalar.text) // 2)
    outline(reading.root)
    if not reading.errors:
        (job,) = built(reading).jobs
        planned(job, CONTEXTS)
        if not isinstance(job.body, Steps) or job.body.function != job.key:
            raise Broken(f"{job} is no function")
    with suppress(InvalidWorkflow):
        supported.load(path, data)


def read_as_action(data: bytes) -> None:
    reading = read_action("action.yml", data)
    check_reading(reading, data)
    if not reading.errors:
        load_action("action.yml", data)


def check_reading(reading: Reading, data: bytes) -> None:
    check_problems(reading.problems, data)
    if reading.root is None and not reading.errors:
        raise Broken("there is no value and no error")


def check_problems(problems: Iterable[Problem], data: bytes) -> None:
    # Also what only YAML takes for the end of a line.
    lines = 1 + sum(map(data.count, (b"\n", b"\r", b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xc2\x85")))
    for problem in problems:
        if not (1 <= problem.line <= lines and 1 <= problem.col <= len(data) + 1):
            raise Broken(f"{problem} stands nowhere in the file")
        if not is_one_line(problem):
            raise Broken(f"{problem} is not one line")


def is_one_line(problem: Problem) -> bool:
    return problem.message.isprintable() and 0 < len(problem.message) <= LONGEST_MESSAGE


def read_as_expression(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        template = parse_template(text)
        for expression in template.expressions:
            Typing(ALWAYS).of(expression)
        render(template, CONTEXTS, FUNCTIONS).encode()
    except ExpressionError as error:
        check_offset(error, text)
    try:
        holds(parse_condition(text), CONTEXTS, FUNCTIONS)
        to_string(evaluate(text, CONTEXTS, FUNCTIONS))
    except ExpressionError as error:
        check_offset(error, text)


def check_offset(error: ExpressionError, text: str) -> None:
    if not 0 <= error.offset <= len(text):
        raise Broken(f"{error} stands nowhere in the text") from error


def read_as_env_file(data: bytes) -> None:
    text = data.decode("utf-8-sig", errors="replace")
    try:
        for name, value in parse_pairs(text, "GITHUB_ENV").items():
            if not name or "\n" in name or "\0" in name + value:
                raise Broken(f"{name!r} is no variable")
        if any(not line or "\n" in line or "\0" in line for line in parse_lines(text, "GITHUB_PATH")):
            raise Broken("a line is none")
    except BadCommandFile as error:
        if len(str(error)) > LONGEST_MESSAGE:
            raise Broken("the error repeats what was written") from error


MATCHER = b'{"problemMatcher": [{"owner": "m", "pattern": [{"regexp": "^(.+):(.*)$", "message": 1}]}]}'


def read_as_spoken(data: bytes) -> None:
    """What a step prints: every line is shown, hidden or a command, and none is shown twice."""
    shown = bytearray()
    output = StepOutput(shown.extend, Masks(["secret-1"]), Matchers(), lambda path: MATCHER)
    for start in range(0, len(data), 1000):
        output(data[start : start + 1000])
    output.end()
    if b"secret-1" in shown:
        raise Broken("a secret was shown")
    if b"::" not in data and b"##[" not in data and b"secret" not in data and bytes(shown) != data:
        raise Broken("what is no command was not shown as it was")


def read_as_matcher(data: bytes) -> None:
    """A problem matcher's file and, after a line of dashes, what a tool prints."""
    file, _, said = data.partition(b"\n---\n")
    matchers = Matchers()
    try:
        matchers.add(file)
    except BadMatcher as error:
        if len(str(error)) > LONGEST_MESSAGE:
            raise Broken("the error repeats what was written") from error
        return
    for line in said.decode(errors="surrogateescape").splitlines():
        found = matchers.match(line)
        if found is not None and (found.level not in ("error", "warning", "notice") or not found.message):
            raise Broken(f"{found} says nothing")
    again = Matchers()
    for change in matchers.added:
        again.restore(change)
    if bool(again) != bool(matchers):
        raise Broken("what was restored is something else")


def read_as_plan(data: bytes) -> None:
    """A definition's matrices, conditions, names, labels, calls and outputs, as the engine evaluates them."""
    try:
        workflow = supported.load(PATH, data)
    except InvalidWorkflow:
        return
    world = World(data, workflow, unsaved_jobs(workflow))
    longest = world.to_its_end(cancelled_after=len(data) % 20)
    if longest > LONGEST:
        raise TooSlow(f"planning took {longest:.2f} s")
    for reason in reasons(world.run):
        if reason.startswith("internal error") or "cannot be stored" in reason:
            raise Broken(reason)
    for job in world.run.jobs:
        if "\0" in job.name or not all(job.labels):
            raise Broken(f"{job.name!r} {job.labels} cannot be shown")


@dataclass(frozen=True, slots=True)
class Target:
    """A reader; `share` is which part of all inputs it is given."""

    read: Callable[[bytes], None]
    words: tuple[str, ...]
    seeds: tuple[bytes, ...]
    share: float

    def take(self, data: bytes) -> float:
        """Read one input; how many seconds it took. Raises what the reader may not raise."""
        given = spelled(data, self.words)
        begun = time.process_time()
        self.read(given)
        took = time.process_time() - begun
        if took > LONGEST:
            raise TooSlow(f"{len(given)} bytes took {took:.2f} s")
        return took


TARGETS = {
    "yaml": Target(read_as_yaml, words.WORKFLOW, words.WORKFLOWS, 0.15),
    "workflow": Target(read_as_workflow, words.WORKFLOW, words.WORKFLOWS, 0.1),
    "python": Target(read_as_python, words.PYTHON, words.PYTHONS, 0.1),
    "action": Target(read_as_action, words.WORKFLOW, words.ACTIONS, 0.05),
    "expression": Target(read_as_expression, words.EXPRESSION, words.EXPRESSIONS, 0.3),
    "env-file": Target(read_as_env_file, words.ENV_FILE, words.ENV_FILES, 0.15),
    "spoken": Target(read_as_spoken, words.SPOKEN, words.LINES, 0.1),
    "matcher": Target(read_as_matcher, words.MATCHER, words.MATCHERS, 0.1),
    "plan": Target(read_as_plan, words.PLAN, words.PLANS, 0.05),
}


def spelled(data: bytes, known: tuple[str, ...]) -> bytes:
    """The input that some bytes stand for.

    No text begins with a byte from 0x80 to 0xBF: each byte after such a one is a word. So a fuzzer that
    knows nothing of the language soon writes sentences of it.
    """
    if not data or not 0x80 <= data[0] < 0xC0:
        return data
    return "".join(known[byte % len(known)] for byte in data[1:]).encode()
