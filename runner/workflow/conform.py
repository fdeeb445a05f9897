"""Does a file say what its language allows? Every deviation is a problem; so is every misused expression."""

import math
import re

from runner.expr.syntax import Call, Literal
from runner.expr.syntax import Node as Expression
from runner.expr.template import OPEN
from runner.workflow.compose import Mapping, Node, Scalar, Sequence
from runner.workflow.document import Pos
from runner.workflow.reading import Path, Reader, shown_scalar, unknown_key
from runner.workflow.shapes import (
    Amount,
    Anything,
    Condition,
    Either,
    Fields,
    Flag,
    Kinds,
    Many,
    Named,
    Null,
    Scope,
    Shape,
    Text,
    Valued,
    described,
)
from runner.workflow.words import cut, meant

PLACEHOLDER = re.compile(r"\{[0-9]+\}")
INSERT = re.compile(r"\$\{\{\s*insert\s*\}\}")


def conform(reader: Reader, node: Node, shape: Shape, name: str) -> None:
    """Say everything in which `node` deviates from `shape`; `name` is what to call it."""
    Conformance(reader).check(node, shape, name, (), node.pos)


class Conformance:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._problem = reader.problem

    def check(self, node: Node, shape: Shape, name: str, path: Path, key: Pos) -> None:
        """`key` is where to say that something is missing in it."""
        if self._is_dynamic(node, shape, path):
            return
        match shape:
            case Text():
                self._text(node, shape, name, path)
            case Condition():
                self._condition(node, shape, name, path)
            case Flag():
                self._plain(node, isinstance(node, Scalar) and isinstance(node.value, bool), shape, name)
            case Amount():
                self._plain(node, is_amount(node, shape), shape, name)
            case Many():
                self._many(node, shape, name, path)
            case Named():
                self._named(node, shape, name, path)
            case Fields():
                self._fields(node, shape, name, path, key)
            case Kinds():
                self._kinds(node, shape, name, path, key)
            case Valued():
                self._valued(node, shape, name, path, key)
            case Either():
                self._either(node, shape, name, path, key)
            case Anything(scope):
                self._anything(node, scope, path)
            case Null():
                self._plain(node, is_null(node), shape, name)

    def _is_dynamic(self, node: Node, shape: Shape, path: Path) -> bool:
        """Whether one expression stands for the whole of what is not only a text."""
        if not isinstance(node, Scalar) or OPEN not in node.text or isinstance(shape, WITHOUT_WHOLE):
            return False
        scope = scope_of(shape)
        if scope is None:
            return False
        template = self._reader.template(node)
        if template is None:
            return True
        if len(template.parts) > 1:
            if not isinstance(shape, Either):
                self._reader.wrong(node, str(path[-1]), f"{described(shape)}, or a single expression")
            return not isinstance(shape, Either)
        self._reader.use(node, template, scope, path, wanted_of(shape))
        return True

    def _plain(self, node: Node, fits: bool, shape: Shape, name: str) -> None:
        if not fits:
            self._wrong(node, name, shape)

    def _wrong(self, node: Node, name: str, shape: Shape) -> None:
        if isinstance(node, Scalar) and OPEN in node.text:
            self._problem(node.pos, f'an expression cannot stand in "{cut(name)}"; write {described(shape)}')
        else:
            self._reader.wrong(node, name, described(shape))

    def _text(self, node: Node, shape: Text, name: str, path: Path) -> None:
        if not isinstance(node, Scalar):
            self._wrong(node, name, shape)
            return
        text = shown_scalar(node)
        if OPEN in text:
            if shape.scope is None:
                self._wrong(node, name, shape)
            elif (template := self._reader.template(node)) is not None:
                self._reader.use(node, template, shape.scope, path, "text")
        elif shape.choices and text not in shape.choices:
            self._choice(node, text, shape, name)
        elif shape.filled and not text.strip():
            self._wrong(node, name, shape)
        elif shape.check is not None and (complaint := shape.check(text)) is not None:
            self._problem(node.pos, complaint, "value")

    def _choice(self, node: Scalar, text: str, shape: Text, name: str) -> None:
        if not isinstance(node.value, str) or not text:
            self._wrong(node, name, shape)
            return
        noun = shape.means.removeprefix("an ").removeprefix("a ")
        what = f'"{cut(name)}" cannot be "{cut(text)}"' if noun == "text" else f"unknown {noun} `{cut(text)}`"
        self._problem(node.pos, f"{what}{meant(text, shape.choices)}", "value")

    def _condition(self, node: Node, shape: Condition, name: str, path: Path) -> None:
        if not isinstance(node, Scalar):
            self._wrong(node, name, shape)
            return
        if shape.bare and OPEN in node.text:
            self._problem(node.pos, f'"{name}" is an expression as it is; leave out ${{{{ and }}}}')
            return
        condition = self._reader.condition(node)
        if condition is None:
            return
        if len(condition.template.parts) > 1 or is_formatted(condition.template.expressions[0]):
            what = (
                "text around ${{ }} makes a condition that is always true; put all of it between ${{ and }}"
            )
            self._problem(node.pos, what, "condition")
        self._reader.use(node, condition.template, shape.scope, path, "condition")

    def _many(self, node: Node, shape: Many, name: str, path: Path) -> None:
        if not isinstance(node, Sequence) or (shape.filled and not node.items):
            self._reader.wrong(node, name, described(shape))
            return
        noun = shape.item.name if isinstance(shape.item, Fields | Kinds) else ""
        for position, item in enumerate(node.items):
            self.check(
                item, shape.item, f"{noun} {position + 1}" if noun else name, (*path, position), item.pos
            )

    def _named(self, node: Node, shape: Named, name: str, path: Path) -> None:
        if not isinstance(node, Mapping) or (shape.filled and not node.entries):
            self._reader.wrong(node, name, described(shape))
            return
        seen: dict[str, Scalar] = {}
        for key, value in node.entries:
            first = seen.setdefault(key.text.lower(), key)
            if first is not key:
                what = (
                    f'"{cut(key.text)}" and "{cut(first.text)}" in line {first.pos.line} differ only in case'
                )
                self._problem(key.pos, what)
            self._named_entry(key, value, shape, path)

    def _named_entry(self, key: Scalar, value: Node, shape: Named, path: Path) -> None:
        here = (*path, key.text)
        if OPEN in key.text:
            if shape.scope is None:
                self._problem(key.pos, "a key cannot be an expression here")
            elif INSERT.fullmatch(key.text):
                self._anything(value, shape.scope, here)
                return
            elif (template := self._reader.template(key)) is not None:
                self._reader.use(key, template, shape.scope, (*path, "*"), "text")
        elif shape.check is not None and (complaint := shape.check(key.text)) is not None:
            self._problem(key.pos, complaint, "name")
        self.check(value, shape.items.get(key.text, shape.item), key.text, here, key.pos)

    def _fields(self, node: Node, shape: Fields, name: str, path: Path, key: Pos) -> None:
        if not isinstance(node, Mapping) or (shape.filled and not node.entries):
            self._reader.wrong(node, name, described(shape))
            return
        present = set()
        for word, value in node.entries:
            present.add(word.text)
            below = shape.keys.get(word.text)
            if below is None:
                self._problem(word.pos, unknown_key(word.text, shape.keys), warning=shape.loose)
                continue
            if word.text in shape.ours:
                self._reader.extensions.append((word.pos, word.text))
            self.check(value, below, word.text, (*path, word.text), word.pos)
        self._missing(shape, present, name, key)

    def _missing(self, shape: Fields, present: set[str], name: str, key: Pos) -> None:
        for needed in shape.needs:
            if needed not in present:
                one = f"{'an' if shape.name[0] in 'aeiou' else 'a'} {shape.name}"
                what = f'the {shape.name} "{cut(name)}"' if shape.name in NAMED_BY_KEY else one
                self._problem(key, f'{what} needs "{needed}"')

    def _kinds(self, node: Node, shape: Kinds, name: str, path: Path, key: Pos) -> None:
        if not isinstance(node, Mapping):
            self._reader.wrong(node, name, described(shape))
            return
        telling = next((word.text for word, _ in node.entries if word.text in shape.by), None)
        if telling is None:
            whole = {one: below for kind in shape.by.values() for one, below in kind.keys.items()}
            ours = tuple({one for kind in shape.by.values() for one in kind.ours})
            self._fields(node, Fields(shape.name, whole, ours=ours), name, path, key)
            self._problem(key, kinds_missing(shape, name))
            return
        kind = shape.by[telling]
        beside = [word for word, _ in node.entries if belongs_elsewhere(word.text, kind, shape)]
        for word in beside:
            self._problem(word.pos, f'"{word.text}" cannot stand beside "{telling}"')
        known = tuple(entry for entry in node.entries if entry[0] not in beside)
        self._fields(Mapping(node.pos, known), kind, name, path, key)

    def _valued(self, node: Node, shape: Valued, name: str, path: Path, key: Pos) -> None:
        if not isinstance(node, Mapping):
            self._reader.wrong(node, name, described(shape))
            return
        telling = next(((word, value) for word, value in node.entries if word.text == shape.key), None)
        if telling is None:
            self._problem(node.pos, f'{name} needs "{shape.key}"')
            return
        word, value = telling
        text = value.text if isinstance(value, Scalar) else ""
        kind = shape.by.get(text.lower())
        if kind is None:
            self._problem(value.pos, f'"{cut(text)}" cannot be "{shape.key}"{meant(text, shape.by)}', "value")
            return
        beside = [word for word, _ in node.entries if belongs_elsewhere(word.text, kind, shape)]
        for other in beside:
            self._problem(other.pos, f'"{other.text}" cannot stand beside {shape.key}: {text}')
        known = tuple(entry for entry in node.entries if entry[0] not in beside)
        self._fields(Mapping(node.pos, known), kind, name, path, word.pos)

    def _either(self, node: Node, shape: Either, name: str, path: Path, key: Pos) -> None:
        for one in shape.shapes:
            if is_kind(node, one):
                self.check(node, one, name, path, key)
                return
        self._wrong(node, name, shape)

    def _anything(self, node: Node, scope: Scope, path: Path) -> None:
        match node:
            case Scalar() if OPEN in node.text:
                if (template := self._reader.template(node)) is not None:
                    self._reader.use(node, template, scope, path, "value")
            case Sequence(_, items):
                for position, item in enumerate(items):
                    self._anything(item, scope, (*path, position))
            case Mapping(_, entries):
                for word, value in entries:
                    self._anything(value, scope, (*path, word.text))


WITHOUT_WHOLE = Text | Condition | Anything | Null | Kinds | Valued
NAMED_BY_KEY = ("job", "input", "output", "secret", "service")


def belongs_elsewhere(word: str, kind: Fields, shape: Kinds | Valued) -> bool:
    """Whether a key is one of another kind of mapping only."""
    return word not in kind.keys and any(word in other.keys for other in shape.by.values())


def kinds_missing(shape: Kinds, name: str) -> str:
    if shape.name == "job":
        return f'the job "{cut(name)}" needs "runs-on" and "steps", or "uses"'
    return f'{name} needs "run" or "uses"'


def scope_of(shape: Shape) -> Scope | None:
    """What an expression for the whole of it may use."""
    if isinstance(shape, Either):
        return next(filter(None, (scope_of(one) for one in shape.shapes if not isinstance(one, Text))), None)
    return None if isinstance(shape, Anything | Null | Kinds | Valued | Condition) else shape.scope


def is_formatted(node: Expression) -> bool:
    """Whether it is a `format` with text around its values, which is a text that is never empty."""
    if not isinstance(node, Call) or node.signature.name != "format":
        return False
    pattern = node.args[0]
    text = pattern.value if isinstance(pattern, Literal) else None
    return isinstance(text, str) and bool(PLACEHOLDER.sub("", text).strip())


def is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def is_kind(node: Node, shape: Shape) -> bool:
    """Whether a node is to be read as this one of several shapes."""
    match shape:
        case Null():
            return is_null(node)
        case Many():
            return isinstance(node, Sequence)
        case Named() | Fields() | Kinds() | Valued():
            return isinstance(node, Mapping)
        case _:
            return isinstance(node, Scalar) and not is_null(node)


def is_amount(node: Node, shape: Amount) -> bool:
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if shape.whole and value != value // 1:
        return False
    try:
        number = float(value)
    except OverflowError:
        return False
    above, most = shape.above, shape.most
    return math.isfinite(number) and (above is None or number > above) and (most is None or number <= most)


def wanted_of(shape: Shape) -> str:
    match shape:
        case Flag():
            return "boolean"
        case Amount():
            return "number"
        case Many():
            return "list"
        case Either():
            return "value"
        case _:
            return "mapping"
