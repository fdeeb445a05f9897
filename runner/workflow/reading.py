"""Reading nodes as what a key asks for; a wrong one becomes a problem and what is read goes on."""

import math
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field

from runner.expr.functions import GIVEN, Signature
from runner.expr.template import OPEN, Template, parse_template
from runner.expr.values import ExpressionError, known, to_string
from runner.workflow.compose import Mapping, Node, Scalar, Sequence
from runner.workflow.document import Pos, Problem, problem_at
from runner.workflow.place import Source
from runner.workflow.schema import ALL_CONTEXTS, JOB_RESULTS, STEP_RESULTS, Scope, Words, cut, here, meant

MAX_PROBLEMS = 100
"""How many problems of one file are listed."""

MAX_CHARACTERS = 1024 * 1024
"""How much text of one file is read as expressions; only aliases can make it more than the file."""


class Enough(Exception):
    """The file is not worth reading further."""


@dataclass(frozen=True, slots=True)
class Names:
    """The jobs and earlier steps that an expression may name, by their names in lower case."""

    needs: Dictionary[str, str] = field(default_factory=dict)
    steps: Dictionary[str, str] = field(default_factory=dict)


NO_NAMES = Names()


class Reader:
    """One file being read, and the problems found so far."""

    def __init__(self, path: str, source: str, problems: list[Problem]) -> None:
        self._path = path
        self._source = Source(source)
        self._problems = problems
        self._characters = 0

    def problem(self, pos: Pos, message: str) -> None:
        self._problems.append(problem_at(self._path, pos, message))
        if len(self._problems) > MAX_PROBLEMS:
            raise Enough

    def wrong(self, node: Node, key: str, wanted: str) -> None:
        what = cut(key) if " " in key else f'"{cut(key)}"'
        if isinstance(node, Scalar) and OPEN in node.text:
            self.problem(node.pos, f"an expression in {what} is not supported yet; here must be {wanted}")
            return
        self.problem(node.pos, f"{what} is {described(node)}, but must be {wanted}")

    def fields(self, node: Node, key: str, words: Words) -> dict[str, Node]:
        """The values of a mapping by key, those that `words` allows now; the others are problems."""
        if not isinstance(node, Mapping):
            self.wrong(node, key, f"a mapping with {', '.join(words.now)}")
            return {}
        for name, _ in node.entries:
            if name.text in words.later:
                self.problem(name.pos, f'"{name.text}" is not supported yet')
            elif name.text not in words.now:
                hint = meant(name.text, (*words.now, *words.later))
                self.problem(name.pos, f'unknown key "{cut(name.text)}"{hint}')
        return {name.text: value for name, value in node.entries if name.text in words.now}

    def named(self, node: Node, key: str) -> list[tuple[Scalar, Node]]:
        """The entries of a mapping whose keys the author chose, which differ in more than case."""
        if not isinstance(node, Mapping):
            self.wrong(node, key, "a mapping")
            return []
        seen: dict[str, Scalar] = {}
        for name, _ in node.entries:
            first = seen.setdefault(name.text.lower(), name)
            if first is not name:
                what = (
                    f'"{cut(name.text)}" and "{cut(first.text)}" in line {first.pos.line} differ only in case'
                )
                self.problem(name.pos, what)
        return list(node.entries)

    def text(self, node: Node, key: str, wanted: str = "a text") -> str | None:
        """A text without expressions; a number or boolean counts as what it prints."""
        if not isinstance(node, Scalar) or node.value is None or node.text == "":
            self.wrong(node, key, wanted)
            return None
        if OPEN in node.text:
            self.wrong(node, key, wanted)
            return None
        return shown_scalar(node)

    def texts(self, node: Node, key: str) -> list[tuple[str, Pos]]:
        """One text or a list of them."""
        items = node.items if isinstance(node, Sequence) else (node,)
        if isinstance(node, Sequence) and not items:
            self.wrong(node, key, "a text or a list with at least one")
        found = ((self.text(item, key, "a text or a list of texts"), item.pos) for item in items)
        return [(text, pos) for text, pos in found if text is not None]

    def minutes(self, node: Node, key: str) -> float | None:
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            minutes = known(value)
            if isinstance(minutes, float) and 0 < minutes < math.inf:
                return minutes
        self.wrong(node, key, "a number of minutes above 0")
        return None

    def boolean(self, node: Node, key: str) -> bool:
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        self.wrong(node, key, "true or false")
        return False

    def template(self, node: Node, key: str, scope: Scope, names: Names = NO_NAMES) -> Template | None:
        if not isinstance(node, Scalar):
            self.wrong(node, key, "a text")
            return None
        self._characters += len(node.text)
        if self._characters > MAX_CHARACTERS:
            self.problem(node.pos, f"aliases repeat more than {MAX_CHARACTERS} characters of text")
            raise Enough
        try:
            template = parse_template(shown_scalar(node))
        except ExpressionError as error:
            self.problem(self._source.locate(node, error.offset), str(error))
            return None
        if template.literal is None:
            self._check(node, template, scope, names)
        return template

    def templates(self, node: Node, key: str, scope: Scope, names: Names = NO_NAMES) -> dict[str, Template]:
        """A mapping of environment variables."""
        found: dict[str, Template] = {}
        for name, value in self.named(node, key):
            if not name.text or "=" in name.text or "\0" in name.text:
                self.problem(name.pos, f'"{cut(name.text)}" cannot be the name of an environment variable')
            elif (template := self.template(value, name.text, scope, names)) is not None:
                found[name.text] = template
        return found

    def _check(self, node: Scalar, template: Template, scope: Scope, names: Names) -> None:
        for call in template.calls():
            if (complaint := misplaced(call.signature, scope)) is not None:
                self.problem(self._source.locate(node, call.offset), complaint)
        for reference in template.references():
            found = self._misnamed(reference.path, scope, names)
            if found is not None:
                part, message = found
                self.problem(self._source.locate(node, reference.offsets[part]), message)

    def _misnamed(self, path: tuple[str, ...], scope: Scope, names: Names) -> tuple[int, str] | None:
        """Which part of a path names nothing, and what to say about it."""
        context = path[0].lower()
        if context in scope.contexts.later:
            return 0, f'the context "{path[0]}" is not supported yet{here(scope.contexts.now)}'
        if context not in scope.contexts.now:
            verb = (
                f'"{path[0]}" cannot be used here'
                if context in ALL_CONTEXTS
                else f'no context named "{cut(path[0])}"'
            )
            return 0, f"{verb}{here(scope.contexts.now) or '; here is no context at all'}"
        if context == "steps" and len(path) > 1:
            return misnamed(path, names.steps, "no step before this one has the id", STEP_RESULTS)
        if context == "needs" and len(path) > 1:
            return misnamed(path, names.needs, 'this job\'s "needs" does not name', JOB_RESULTS)
        return None


def misplaced(signature: Signature, scope: Scope) -> str | None:
    """Why a function cannot be called in one place; those that need no surroundings can anywhere."""
    name = signature.name
    if signature.status:
        return f'{name}() can only be used in "if"'
    if name in scope.functions.later:
        return f"{name}() is not supported yet"
    return f"{name}() cannot be used here" if name in GIVEN and name not in scope.functions.now else None


def misnamed(
    path: tuple[str, ...], names: Dictionary[str, str], complaint: str, results: tuple[str, ...]
) -> tuple[int, str] | None:
    if path[1] != "*" and path[1].lower() not in names:
        return 1, f'{complaint} "{cut(path[1])}"{here(names.values())}'
    if len(path) > 2 and path[2] != "*" and path[2].lower() not in results:
        return 2, f'unknown property "{cut(path[2])}"{meant(path[2], results)}'
    return None


def shown_scalar(node: Scalar) -> str:
    """The text of a scalar: as written where it is a text, else as GitHub prints its value."""
    return node.value if isinstance(node.value, str) else to_string(known(node.value))


def described(node: Node) -> str:
    match node:
        case Mapping():
            return "a mapping"
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


def only(fields: Dictionary[str, Node], key: str) -> Node | None:
    """The value of a key that is there and not left empty."""
    node = fields.get(key)
    return None if isinstance(node, Scalar) and node.value is None else node
