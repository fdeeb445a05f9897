"""One file being read: its nodes, its expressions, and the problems found so far."""

from collections.abc import Collection
from copy import copy
from dataclasses import dataclass
from functools import lru_cache

from runner.expr.functions import GIVEN
from runner.expr.syntax import MAX_LENGTH, Call
from runner.expr.template import (
    OPEN,
    Condition,
    Template,
    calls_in,
    parse_condition,
    parse_template,
    references_in,
)
from runner.expr.values import ExpressionError, known, to_string
from runner.workflow.compose import Mapping, Node, Scalar, Sequence
from runner.workflow.document import Pos, Problem, problem_at
from runner.workflow.place import Source
from runner.workflow.scopes import EVERY_CONTEXT
from runner.workflow.shapes import Scope
from runner.workflow.words import cut, here, meant

MAX_PROBLEMS = 100
"""How many problems of one file are listed."""

MAX_CHARACTERS = 1024 * 1024
"""How much text of one file is read as expressions; only aliases can make it more than the file."""

SHORT = 200
"""Up to how many characters a text with expressions is remembered: the short ones are everywhere the same."""

known_template = lru_cache(maxsize=4096)(parse_template)
known_condition = lru_cache(maxsize=1024)(parse_condition)

Path = tuple[str | int, ...]
"""The keys and positions that lead to a value from the root."""


class Enough(Exception):
    """The file is not worth reading further."""


@dataclass(frozen=True, slots=True)
class Use:
    """Expressions in one value: where it stands, what they may use, and what the whole must come to."""

    node: Scalar
    template: Template
    scope: Scope
    path: Path
    wanted: str


class Reader:
    def __init__(self, path: str, source: Source, problems: list[Problem]) -> None:
        self.path = path
        self.uses: list[Use] = []
        self.extensions: list[tuple[Pos, str]] = []
        """Where the file uses what GitHub does not have."""
        self._source = source
        self._problems = problems
        self._characters = 0
        self._read: dict[int, tuple[Template | Condition | None, Scalar]] = {}

    def problem(self, pos: Pos, message: str, rule: str = "syntax", warning: bool = False) -> None:
        self._problems.append(problem_at(self.path, pos, message, rule, warning))
        if len(self._problems) > 2 * MAX_PROBLEMS:
            raise Enough

    def again(self, problems: list[Problem]) -> "Reader":
        """Another look at the same file, which adds to other problems."""
        other = copy(self)
        other._problems = problems
        return other

    def elsewhere(self, path: str, pos: Pos, message: str, rule: str) -> None:
        """A problem in another file, which comes to light by reading this one."""
        self._problems.append(problem_at(path, pos, message, rule))

    def wrong(self, node: Node, key: str, wanted: str) -> None:
        what = cut(key) if " " in key else f'"{cut(key)}"'
        if isinstance(node, Scalar) and node.value == "" and wanted.startswith("a text"):
            self.problem(node.pos, f"{what} must not be empty")
        else:
            self.problem(node.pos, f"{what} is {described(node)}, but must be {wanted}")

    def inside(
        self, node: Scalar, offset: int, message: str, warning: bool = False, rule: str = "expression"
    ) -> None:
        """A problem at one character of a value."""
        self.problem(self._source.locate(node, offset), message, rule, warning)

    def template(self, node: Scalar) -> Template | None:
        """The text with its expressions; None, and a problem the first time, where it is none."""
        found = self._read.get(id(node))
        if found is None:
            found = self._read[id(node)] = (self._parsed(node), node)
        return found[0] if isinstance(found[0], Template) else None

    def condition(self, node: Scalar) -> Condition | None:
        found = self._read.get(id(node))
        if found is None:
            found = self._read[id(node)] = (self._parsed(node, condition=True), node)
        return found[0] if isinstance(found[0], Condition) else None

    def _parsed(self, node: Scalar, condition: bool = False) -> Template | Condition | None:
        text = shown_scalar(node)
        if condition and OPEN not in text:
            text = node.text if node.value is not None else ""
        short = len(text) <= SHORT
        try:
            if condition:
                return known_condition(text) if short else parse_condition(text)
            return known_template(text) if short else parse_template(text)
        except ExpressionError as error:
            self.inside(node, error.offset, str(error))
            return None

    def use(self, node: Scalar, template: Template, scope: Scope, path: Path, wanted: str) -> None:
        """Note the expressions of a value, and say what they may not use where they stand."""
        if not template.expressions:
            return
        self._characters += len(node.text)
        if self._characters > MAX_CHARACTERS:
            self.problem(node.pos, f"aliases repeat more than {MAX_CHARACTERS} characters of text")
            raise Enough
        self.uses.append(Use(node, template, scope, path, wanted))
        if len(node.text) > MAX_LENGTH:
            self.problem(node.pos, f"a text with expressions in it is limited to {MAX_LENGTH} characters")
        for expression in template.expressions:
            for call in calls_in(expression):
                if (complaint := misplaced(call, scope)) is not None:
                    self.inside(node, call.offset, complaint)
            for reference in references_in(expression):
                if reference.path[0].lower() not in scope.contexts:
                    self.inside(
                        node, reference.offsets[0], unknown_context(reference.path[0], scope.contexts)
                    )


def unknown_context(name: str, contexts: Collection[str]) -> str:
    verb = (
        f'"{name}" cannot be used here'
        if name.lower() in EVERY_CONTEXT
        else f'no context named "{cut(name)}"'
    )
    return f"{verb}{here(contexts) or '; here is no context at all'}"


def misplaced(call: Call, scope: Scope) -> str | None:
    """Why a function cannot be called in one place; those that need no surroundings can anywhere."""
    signature = call.signature
    name = signature.name
    if name not in GIVEN:
        return None
    if signature.status and call.args and "steps" in scope.contexts:
        return f'{name}() asks for jobs, and can only be given names in a job\'s "if"'
    if name in scope.functions:
        return None
    return f'{name}() can only be used in "if"' if signature.status else f"{name}() cannot be used here"


def shown_scalar(node: Scalar) -> str:
    """The text of a scalar: as written where it is a text, else as GitHub prints its value."""
    return node.value if isinstance(node.value, str) else to_string(known(node.value))


def described(node: Node) -> str:
    match node:
        case Mapping(_, entries):
            return "a mapping" if entries else "an empty mapping"
        case Sequence(_, items):
            return "a list" if items else "an empty list"
        case Scalar(_, None):
            return "empty"
        case Scalar(_, bool(value)):
            return "true" if value else "false"
        case Scalar(_, int() | float()):
            return f"the number {cut(node.text)}"
        case _:
            return f'the text "{cut(node.text)}"' if node.text else "an empty text"


def unknown_key(name: str, known_keys: Collection[str]) -> str:
    return f'unknown key "{cut(name)}"{meant(name, known_keys)}'


def value_at(node: Node | None, *keys: str) -> Node | None:
    """What stands under a path of keys; None where it leads nowhere, or to nothing."""
    for key in keys:
        found: Node | None = None
        if isinstance(node, Mapping):
            found = next((value for name, value in node.entries if name.text == key), None)
        node = found
    return None if isinstance(node, Scalar) and node.value is None else node


def entries_of(node: Node | None) -> tuple[tuple[Scalar, Node], ...]:
    return node.entries if isinstance(node, Mapping) else ()


def items_of(node: Node | None) -> tuple[Node, ...]:
    """The items of a list; a single text counts as a list of one."""
    if isinstance(node, Sequence):
        return node.items
    return (node,) if isinstance(node, Scalar) and node.value is not None else ()
