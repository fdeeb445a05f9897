"""A Python file with one decorated function -> the nodes of the YAML file that would say the same.

Nothing of it is run: what stands between the parentheses of `@workflow(...)` is written out, or a problem.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NoReturn

from runner.workflow.compose import MAX_DEPTH, MAX_NODES, Mapping, Node, Scalar, Sequence, Stop
from runner.workflow.document import Pos, Problem, Steps, Workflow, problem_at
from runner.workflow.language import PYTHON_JOB, PYTHON_WORKFLOW
from runner.workflow.place import PYTHON
from runner.workflow.python_text import Lines, Nodes, parse
from runner.workflow.replay import mistakes
from runner.workflow.words import cut, meant

SUFFIX = ".py"
FOLDER = (".runner", "workflows")
SDK = ("runner", "sdk")
DECORATOR = "workflow"
IMPORT = "from runner.sdk import workflow"
SIGNATURE = re.compile(rb"\brunner[\s\\]*\.[\s\\]*sdk\b|\bfrom[\s\\]+runner[\s\\]+import\b")

OF_WORKFLOW = tuple(key for key in PYTHON_WORKFLOW.keys if key != "jobs")
KEYS = (*OF_WORKFLOW, *PYTHON_JOB.keys)
INSTEAD = {
    "jobs": "the function is the one job",
    "steps": "the function asks for its steps, as in: await step.sh(...)",
    "needs": "the function is the only job, and waits for no other",
    "strategy": "a loop in the function makes its combinations",
    "uses": "what a workflow runs is in its function",
    "defaults": "each step says where and how it runs",
    "if": "the function decides by what the event says",
    "with": "inputs belong to workflow_dispatch and workflow_call in `on`",
    "secrets": "secrets are handed over in `env`",
}
MAX_DIGITS = 400
MAX_MISTAKES = 100
HALF = re.compile("[\ud800-\udfff]")

Function = ast.AsyncFunctionDef | ast.FunctionDef | ast.ClassDef


def is_python(path: str) -> bool:
    return path.endswith(SUFFIX)


def compose_python(path: str, text: str, problems: list[Problem]) -> Node | None:
    """What the decorator says as the root of a workflow, None where it says nothing to go by."""
    nodes = parse(path, text, problems)
    return None if nodes is None else Composer(path, text, problems).compose(nodes)


def as_function(workflow: Workflow) -> Workflow:
    """The workflow of a file in Python: its one job is a function that asks for the steps."""
    return replace(
        workflow, jobs=tuple(replace(job, body=_asking(job.key, job.body)) for job in workflow.jobs)
    )


def _asking(key: str, body: object) -> Steps:
    assert isinstance(body, Steps)
    return replace(body, function=key)


def may_be_workflow(text: bytes) -> bool:
    """Whether a Python file names what makes a workflow, whatever else it is."""
    return DECORATOR.encode() in text and SIGNATURE.search(text) is not None


def has_workflow(path: str, text: str) -> bool:
    """Whether something in a Python file is decorated as a workflow, or it cannot be read."""
    nodes = parse(path, text, [])
    return nodes is None or bool(Decorated.all_of(nodes))


@dataclass(frozen=True, slots=True)
class Decorated:
    """A function, or what stands in its place, with the decorator that makes a workflow of it."""

    function: Function
    decorator: ast.expr
    outermost: bool

    @classmethod
    def all_of(cls, nodes: Nodes) -> "list[Decorated]":
        names = set(_imported(nodes))
        top = {id(one) for node in nodes[:1] if isinstance(node, ast.Module) for one in node.body}
        found = [
            cls(node, one, id(node) in top)
            for node in nodes
            if isinstance(node, Function)
            for one in node.decorator_list
            if _dotted(one.func if isinstance(one, ast.Call) else one) in names
        ]
        return sorted(found, key=lambda one: (one.decorator.lineno, one.decorator.col_offset))


def _imported(nodes: Nodes) -> Iterator[tuple[str, ...]]:
    """The names under which the file knows the decorator."""
    for node in nodes:
        match node:
            case ast.ImportFrom(module="runner.sdk", names=names, level=0):
                yield from ((one.asname or DECORATOR,) for one in names if one.name in (DECORATOR, "*"))
            case ast.ImportFrom(module="runner", names=names, level=0):
                yield from ((one.asname or one.name, DECORATOR) for one in names if one.name == "sdk")
            case ast.Import(names):
                for one in names:
                    if one.name == "runner.sdk":
                        yield (*((one.asname,) if one.asname else SDK), DECORATOR)


def _dotted(node: ast.expr) -> tuple[str, ...]:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else ()


@dataclass(slots=True)
class Composer:
    """Makes nodes of what is written out in one file."""

    path: str
    text: str
    problems: list[Problem]
    lines: Lines = field(init=False)
    _nodes: int = 0

    def __post_init__(self) -> None:
        self.lines = Lines(self.text)

    def compose(self, nodes: Nodes) -> Node | None:
        known, found = len(self.problems), Decorated.all_of(nodes)
        try:
            if not found:
                what = f"no function here is decorated with @workflow(...); that comes with: {IMPORT}"
                self._stop(Pos(1, 1), what)
            for one in found[1:]:
                first = found[0].decorator.lineno
                self._problem(
                    one.decorator, f"a file has one workflow, and that in line {first} is one already"
                )
            for one in found:
                self._function(one)
            root = self._root(found[0])
        except Stop:
            return None
        if len(self.problems) > known:
            return None
        self._warn(found[0].function, nodes)
        return root

    def _warn(self, function: Function, nodes: Nodes) -> None:
        assert isinstance(function, ast.AsyncFunctionDef)
        for where, what in islice(mistakes(function, nodes), MAX_MISTAKES):
            self.problems.append(problem_at(self.path, self.lines.pos(where), what, "replay", warning=True))

    def _problem(self, where: Pos | ast.expr | ast.stmt | ast.keyword, message: str) -> None:
        pos = where if isinstance(where, Pos) else self.lines.pos(where)
        self.problems.append(problem_at(self.path, pos, message, "python"))

    def _stop(self, where: Pos | ast.expr, message: str) -> NoReturn:
        self._problem(where, message)
        raise Stop

    def _function(self, one: Decorated) -> None:
        function, name = one.function, self._name(one.function)
        if not one.outermost:
            self._problem(name.pos, f'"{cut(name.text)}" must stand at the left margin, in no other block')
        if not isinstance(function, ast.AsyncFunctionDef):
            what = "a class" if isinstance(function, ast.ClassDef) else "no async function"
            wanted = f"write: async def {cut(name.text)}(event, step)"
            self._problem(name.pos, f'"{cut(name.text)}" is {what}; {wanted}')
            return
        given = function.args
        if len(given.posonlyargs) + len(given.args) != 2 or given.vararg or given.kwonlyargs or given.kwarg:
            what = f'"{cut(name.text)}" is called with the event and the steps; write (event, step)'
            self._problem(name.pos, what)

    def _name(self, function: Function) -> Scalar:
        """The name of a function, where it stands."""
        start = self.lines.start(function)
        if (found := re.compile(r"(?:async|def|class|[\s\\])+").match(self.text, start)) is not None:
            start = found.end()
        pos = self.lines.at(start, function.lineno)
        return Scalar(pos, function.name, function.name, start, start + len(function.name), "")

    def _root(self, one: Decorated) -> Node:
        name, decorator = self._name(one.function), one.decorator
        pos = self.lines.pos(decorator)
        whole: dict[str, tuple[Scalar, Node]] = {}
        job: dict[str, tuple[Scalar, Node]] = {}
        for key, value in self._said(decorator):
            part = whole if key.text in OF_WORKFLOW else job
            if key.text in part:
                line = part[key.text][0].pos.line
                self._problem(key.pos, f'"{cut(key.text)}" is already given in line {line}')
            else:
                part[key.text] = (key, value)
        self_named = (replace(name, text="name", value="name"), name)
        body = Mapping(name.pos, ((name, Mapping(name.pos, tuple(job.values()))),))
        jobs = (replace(name, text="jobs", value="jobs"), body)
        entries = {"name": self_named, **whole, "jobs": jobs}
        return Mapping(pos, tuple(entries.values()))

    def _said(self, decorator: ast.expr) -> Iterator[tuple[Scalar, Node]]:
        """What stands between the parentheses, by the keys of YAML."""
        if not isinstance(decorator, ast.Call):
            self._problem(decorator, 'a workflow says what starts it; write @workflow(on="push")')
            return
        for one in decorator.args:
            self._problem(one, 'everything is said by its name, as in on="push"')
        for given in decorator.keywords:
            if given.arg is None:
                self._problem(given, f"write the names out; {NOT_RUN}")
                continue
            key = given.arg.removesuffix("_").replace("_", "-")
            if key in INSTEAD:
                self._problem(given, f'"{given.arg}" has no place here: {INSTEAD[key]}')
            elif given.arg.replace("_", "-") not in KEYS:
                known = [one.replace("-", "_") for one in KEYS]
                self._problem(given, f'unknown name "{cut(given.arg)}"{meant(given.arg, known)}')
            elif (value := self._value(given.value, given.arg, 1)) is not None:
                yield self._key(given, given.arg), value

    def _key(self, given: ast.keyword, name: str) -> Scalar:
        start, key = self.lines.start(given), name.replace("_", "-")
        return Scalar(self.lines.pos(given), key, key, start, start + len(name), "")

    def _value(self, value: ast.expr, name: str, depth: int) -> Node | None:
        """What is written out there; None, and a problem, where it is not."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._stop(value, f"the workflow has more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            self._stop(value, f"the workflow is more than {MAX_DEPTH} levels deep")
        pos = self.lines.pos(value)
        match value:
            case ast.Constant(str(text)):
                return self._text(value, text)
            case ast.Constant(bool() | None as known):
                text = "" if known is None else "true" if known else "false"
                return self._plain(value, known, text)
            case ast.Constant(int() | float() as number):
                return self._number(value, number, name)
            case ast.UnaryOp(ast.USub() | ast.UAdd() as sign, ast.Constant(int() | float() as number)) if (
                not isinstance(number, bool)
            ):
                return self._number(value, -number if isinstance(sign, ast.USub) else number, name)
            case ast.List(items) | ast.Tuple(items):
                found = (self._value(item, name, depth + 1) for item in items)
                return Sequence(pos, tuple(item for item in found if item is not None))
            case ast.Dict(keys, values):
                return Mapping(pos, tuple(self._entries(zip(keys, values, strict=True), name, depth)))
            case _:
                self._problem(value, f'{_described(value)} cannot stand in "{cut(name)}": {NOT_RUN}')
                return None

    def _entries(
        self, entries: Iterable[tuple[ast.expr | None, ast.expr]], name: str, depth: int
    ) -> Iterator[tuple[Scalar, Node]]:
        lines: dict[str, int] = {}
        for key, value in entries:
            if key is None:
                self._problem(value, f'** cannot stand in "{cut(name)}": {NOT_RUN}')
            elif not isinstance(key, ast.Constant) or not isinstance(key.value, str):
                self._problem(key, f'a key in "{cut(name)}" must be a text in quotes')
            elif key.value in lines:
                line = lines[key.value]
                self._problem(key, f'the key "{cut(key.value)}" is already given in line {line}')
            else:
                lines[key.value] = key.lineno
                found = self._value(value, key.value, depth + 1)
                if found is not None:
                    yield self._text(key, key.value), found

    def _text(self, node: ast.expr, text: str) -> Scalar:
        if HALF.search(text) is not None:
            self._problem(node, "the text has half of a character, which nothing can store")
        return Scalar(self.lines.pos(node), text, text, self.lines.start(node), self.lines.end(node), PYTHON)

    def _plain(self, node: ast.expr, value: bool | int | float | None, text: str) -> Scalar:
        return Scalar(self.lines.pos(node), value, text, self.lines.start(node), self.lines.end(node), "")

    def _number(self, node: ast.expr, value: int | float, name: str) -> Scalar | None:
        if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
            self._problem(node, f'the number in "{cut(name)}" has more than {MAX_DIGITS} digits')
            return None
        return self._plain(node, value, str(value))


NOT_RUN = "the file is read before it is run, so write the value out"


def _described(node: ast.expr) -> str:
    match node:
        case ast.Name(name):
            return f"the name {cut(name)}"
        case ast.Constant(value):
            return "..." if value is ... else f"a {type(value).__name__}"
        case ast.JoinedStr():
            return "an f-string"
        case ast.Call():
            return "a call"
        case ast.Set():
            return "a set"
        case ast.Starred():
            return "*"
        case ast.Attribute() | ast.Subscript():
            return "a part of something else"
        case ast.BinOp() | ast.BoolOp() | ast.UnaryOp() | ast.Compare() | ast.IfExp():
            return "a calculation"
        case ast.Lambda():
            return "a function"
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return "a loop"
        case _:
            return "an expression"
