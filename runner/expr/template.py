"""Texts with `${{ }}` in them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from runner.expr.syntax import Call, Compare, Context, Index, Literal, Logical, Node, Not, parse_part
from runner.expr.values import ExpressionError

OPEN, CLOSE = "${{", "}}"


class Reference(NamedTuple):
    """A path of properties that a template uses, such as ("steps", "build", "outputs", "x").

    It ends where the next property is computed; `.*` is "*". `offsets` say where each part stands.
    """

    path: tuple[str, ...]
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A text, cut into what is literal and what is an expression.

    Offsets of its expressions, and of errors when it is rendered, are indices into `text`.
    """

    text: str
    parts: tuple[str | Node, ...]

    @property
    def literal(self) -> str | None:
        """The text where there is no expression in it."""
        return self.text if all(isinstance(part, str) for part in self.parts) else None

    @property
    def expressions(self) -> tuple[Node, ...]:
        return tuple(part for part in self.parts if not isinstance(part, str))

    def references(self) -> tuple[Reference, ...]:
        """Every property path it uses, in order, whether or not evaluation would get there."""
        return tuple(reference for node in self.expressions for reference in references_in(node))

    def calls(self) -> tuple[Call, ...]:
        """Every function call in it, outermost first."""
        return tuple(call for node in self.expressions for call in calls_in(node))


def parse_template(text: str, contexts: Collection[str] | None = None) -> Template:
    """Read a text with any number of `${{ }}` in it.

    `contexts` are the names its expressions may use, None for any. Raises `ExpressionError`.
    """
    parts: list[str | Node] = []
    position = 0
    while (opening := text.find(OPEN, position)) >= 0:
        if opening > position:
            parts.append(text[position:opening])
        closing = find_close(text, opening)
        parts.append(parse_part(text, opening + len(OPEN), closing, contexts))
        position = closing + len(CLOSE)
    if position < len(text) or not parts:
        parts.append(text[position:])
    return Template(text, tuple(parts))


@dataclass(frozen=True, slots=True)
class Condition:
    """An `if`. Where it asks for no status itself, `success()` must hold too."""

    template: Template
    asks_status: bool


def parse_condition(text: str, contexts: Collection[str] | None = None) -> Condition:
    """Read an `if`: a bare expression, or a text with `${{ }}` in it.

    Text around `${{ }}` makes the whole a text, which is true unless empty.
    """
    if OPEN in text:
        template = parse_template(text.strip(), contexts)
    else:
        whole = text if text.strip() else "success()"
        template = Template(text, (parse_part(whole, 0, len(whole), contexts),))
    return Condition(template, any(call.signature.status for call in template.calls()))


def find_close(text: str, opening: int) -> int:
    """Where the expression ends; what stands between single quotes does not end it."""
    position = opening + len(OPEN)
    closing = text.find(CLOSE, position)
    while closing >= 0:
        quote = text.find("'", position, closing)
        if quote < 0:
            return closing
        after = text.find("'", quote + 1)
        if after < 0:
            break
        position = after + 1
        # Looked for again only where the quotes went over it, so that every character is passed once.
        if closing < position:
            closing = text.find(CLOSE, position)
    raise ExpressionError("this ${{ has no }} that closes it", opening, "parse")


def references_in(node: Node) -> Iterator[Reference]:
    keys: list[tuple[str, int]] = []
    base = node
    while isinstance(base, Index):
        match base.key:
            case None:
                keys.append(("*", base.offset))
            case Literal(offset, _, str(name)):
                keys.append((name, offset))
            case computed:
                keys.clear()
                yield from references_in(computed)
        base = base.target
    if isinstance(base, Context):
        keys.append((base.name, base.offset))
        names, offsets = zip(*reversed(keys), strict=True)
        yield Reference(names, offsets)
        return
    for child in children(base):
        yield from references_in(child)


def calls_in(node: Node) -> Iterator[Call]:
    if isinstance(node, Call):
        yield node
    for child in children(node):
        yield from calls_in(child)


def children(node: Node) -> tuple[Node, ...]:
    match node:
        case Index(_, _, target, key):
            return (target,) if key is None else (target, key)
        case Call(_, _, _, args):
            return args
        case Not(_, _, operand):
            return (operand,)
        case Compare(_, _, _, left, right):
            return (left, right)
        case Logical(_, _, _, operands):
            return operands
        case _:
            return ()
