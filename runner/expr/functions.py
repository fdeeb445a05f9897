"""The functions of the language: one table of names, arities and meanings."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from runner.expr.values import Value, equal, fold, format_number, is_primitive, known, shown, to_string

MAX_TEXT = 4 * 1024 * 1024
"""The longest text, in characters, that an expression may produce."""

MAX_WORK = 4 * MAX_TEXT
"""How many characters and items one evaluation may handle altogether."""

# What takes so many times as long as a character of ASCII counts as that many.
ITEM_WORK = 48
NAME_WORK = 4
FOREIGN_WORK = 8

MAX_JSON_DEPTH = 100

ANYTHING = 255

FORMAT_PIECE = re.compile(r"\{\{|\}\}|\{([0-9]{1,4})\}|[{}]|[^{}]+")


class Unsuitable(Exception):
    """A function cannot work with what it was given; the evaluator adds where."""


class Budget:
    """The work one evaluation may still do, so that no expression can keep a server busy."""

    def __init__(self) -> None:
        self._left = MAX_WORK

    def spend(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise Unsuitable(f"the expression handles more than {MAX_WORK} characters")

    def comparison(self, *values: object) -> None:
        """Spend what it takes to compare these regardless of case."""
        for value in values:
            if isinstance(value, str):
                self.spend(len(value) * (1 if value.isascii() else FOREIGN_WORK))

    def text(self, text: str) -> str:
        """The same text, where it is no longer than a text may be."""
        if len(text) > MAX_TEXT:
            raise Unsuitable(f"the expression gives a text longer than {MAX_TEXT} characters")
        self.spend(len(text))
        return text


Body = Callable[[Sequence[Value], Budget], Value]


@dataclass(frozen=True, slots=True)
class Signature:
    """How often a function takes an argument, and what it does.

    `body` is None where the caller of the evaluator provides the function, and for `case`, which does
    not evaluate all it is given.
    """

    name: str
    least: int
    most: int
    body: Body | None = None
    status: bool = False


def contains(args: Sequence[Value], budget: Budget) -> Value:
    where, what = args
    if is_primitive(where):
        text = budget.text(to_string(where))
        budget.comparison(text, what)
        return is_primitive(what) and fold(to_string(what)) in fold(text)
    if isinstance(where, Mapping):
        return False
    for item in where if isinstance(where, Sequence) else ():
        budget.spend(ITEM_WORK)
        budget.comparison(item, what)
        if equal(known(item), what):
            return True
    return False


def starts_with(args: Sequence[Value], budget: Budget) -> Value:
    text, start = args
    if not (is_primitive(text) and is_primitive(start)):
        return False
    budget.comparison(text, start)
    return fold(budget.text(to_string(text))).startswith(fold(budget.text(to_string(start))))


def ends_with(args: Sequence[Value], budget: Budget) -> Value:
    text, end = args
    if not (is_primitive(text) and is_primitive(end)):
        return False
    budget.comparison(text, end)
    return fold(budget.text(to_string(text))).endswith(fold(budget.text(to_string(end))))


def format_text(args: Sequence[Value], budget: Budget) -> Value:
    pattern, pieces, length = to_string(args[0]), [], 0
    for match in FORMAT_PIECE.finditer(pattern):
        budget.spend(ITEM_WORK)
        piece = format_piece(match, pattern, args)
        length += len(piece)
        if length > MAX_TEXT:
            break
        pieces.append(piece)
    return budget.text("".join(pieces))


def format_piece(match: re.Match[str], pattern: str, args: Sequence[Value]) -> str:
    piece = match[0]
    if piece in ("{{", "}}"):
        return piece[0]
    if piece in ("{", "}"):
        raise Unsuitable(f"{shown(pattern)} is no format; write a literal brace twice, and {{0}} for a value")
    if match[1] is None:
        return piece
    if int(match[1]) >= len(args) - 1:
        raise Unsuitable(f"{shown(pattern)} asks for {piece}, which is not among {len(args) - 1} values")
    return to_string(args[int(match[1]) + 1])


def join(args: Sequence[Value], budget: Budget) -> Value:
    items = args[0]
    if is_primitive(items):
        return to_string(items)
    if not isinstance(items, Sequence):
        return ""
    separator = to_string(args[1]) if len(args) > 1 and is_primitive(args[1]) else ","
    budget.spend(len(items) * (ITEM_WORK + len(separator)))
    return budget.text(separator.join(budget.text(to_string(known(item))) for item in items))


def to_json(args: Sequence[Value], budget: Budget) -> Value:
    pieces: list[str] = []
    write_json(args[0], 0, pieces, budget)
    return budget.text("".join(pieces))


def write_json(value: object, depth: int, pieces: list[str], budget: Budget) -> None:
    if depth > MAX_JSON_DEPTH:
        raise Unsuitable(f"toJSON is limited to a depth of {MAX_JSON_DEPTH}")
    value = known(value)
    match value:
        case str():
            pieces.append(json.dumps(budget.text(value), ensure_ascii=False))
        case float():
            pieces.append(format_number(value))
        case None | bool():
            pieces.append(json.dumps(value))
        case Mapping():
            write_items(
                [(f"{quoted(key)}: ", item) for key, item in value.items()], "{}", depth, pieces, budget
            )
        case _:
            write_items([("", item) for item in value], "[]", depth, pieces, budget)


def write_items(
    items: list[tuple[str, object]], brackets: str, depth: int, pieces: list[str], budget: Budget
) -> None:
    if not items:
        pieces.append(brackets)
        return
    indent = "  " * depth
    pieces.append(brackets[0])
    for position, (label, item) in enumerate(items):
        budget.spend(len(label) + len(indent) + ITEM_WORK)
        pieces.append(f"{',' if position else ''}\n{indent}  {label}")
        write_json(item, depth + 1, pieces, budget)
    pieces.append(f"\n{indent}{brackets[1]}")


def quoted(key: object) -> str:
    return json.dumps(str(key), ensure_ascii=False)


def from_json(args: Sequence[Value], budget: Budget) -> Value:
    text = budget.text(to_string(args[0]))
    # Each character can be a value.
    budget.spend(len(text))
    try:
        # Every number of the language is a double, and an int of 5,000 digits would raise.
        value = json.loads(text.removeprefix("\ufeff"), parse_int=float)
        check_depth(value)
    except (ValueError, RecursionError) as error:
        raise Unsuitable(f"fromJSON cannot read {shown(text)}: {error}") from None
    return known(value)


def check_depth(value: object) -> None:
    level, depth = [value], 0
    while level:
        if depth > MAX_JSON_DEPTH:
            raise ValueError(f"it is more than {MAX_JSON_DEPTH} levels deep")
        depth += 1
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = below


SIGNATURES: Mapping[str, Signature] = {
    signature.name.lower(): signature
    for signature in (
        Signature("contains", 2, 2, contains),
        Signature("startsWith", 2, 2, starts_with),
        Signature("endsWith", 2, 2, ends_with),
        Signature("format", 1, ANYTHING, format_text),
        Signature("join", 1, 2, join),
        Signature("toJSON", 1, 1, to_json),
        Signature("fromJSON", 1, 1, from_json),
        Signature("case", 3, ANYTHING),
        Signature("hashFiles", 1, ANYTHING),
        Signature("success", 0, ANYTHING, status=True),
        Signature("failure", 0, ANYTHING, status=True),
        Signature("cancelled", 0, 0, status=True),
        Signature("always", 0, 0, status=True),
    )
}
"""Every function GitHub knows, by its name in lower case."""

GIVEN = frozenset(s.name for s in SIGNATURES.values() if s.body is None and s.name != "case")
"""The functions that whoever evaluates an expression has to provide."""
