"""What is known of an expression's value before it is evaluated, and what in it cannot be right.

Only what is sure is said: whatever is not known is `ANY`, and nothing is said of that.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from runner.expr.syntax import Call, Compare, Context, Index, Literal, Logical, Node, Not
from runner.expr.values import kind_of

MAX_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Type:
    """`kind` is any, null, boolean, number, string, array or object.

    An object has `members` that are known, and `others` for those that are not, None where there are no
    others; `lacks` begins what is said of a member that is not there.
    """

    kind: str
    members: Mapping[str, "Type"] = field(default_factory=dict)
    others: "Type | None" = None
    item: "Type | None" = None
    lacks: str = "there is no property"


ANY, NULL = Type("any"), Type("null")
BOOLEAN, NUMBER, STRING = Type("boolean"), Type("number"), Type("string")
PRIMITIVES = ("null", "boolean", "number", "string")


def an_object(
    members: Mapping[str, Type], others: Type | None = None, lacks: str = "there is no property"
) -> Type:
    """Members are found by their names in any case."""
    return Type("object", dict(members), others, lacks=lacks)


def object_of(others: Type) -> Type:
    return Type("object", others=others)


GIVES = {
    **dict.fromkeys(("contains", "startsWith", "endsWith"), BOOLEAN),
    **dict.fromkeys(("success", "failure", "cancelled", "always"), BOOLEAN),
    **dict.fromkeys(("format", "join", "toJSON", "hashFiles"), STRING),
}
"""What functions give; the others, anything."""

TAKES: Mapping[str, Sequence[tuple[str, ...]]] = {
    "startsWith": (PRIMITIVES, PRIMITIVES),
    "endsWith": (PRIMITIVES, PRIMITIVES),
    "format": (PRIMITIVES,),
    "fromJSON": (PRIMITIVES,),
    "join": ((*PRIMITIVES, "array"), PRIMITIVES),
    "contains": ((*PRIMITIVES, "array"), (*PRIMITIVES, "array", "object")),
}
"""What functions can do something with, by position; other values make them give nothing of use."""

FORMAT_PIECE = re.compile(r"\{\{|\}\}|\{([0-9]{1,4})\}|[{}]")

Complaint = tuple[int, str, bool]
"""Where, what, and whether the expression can have no value at all because of it."""


class Typing:
    """Types of expressions where these contexts are there; collects what cannot be right."""

    def __init__(self, contexts: Mapping[str, Type]) -> None:
        self._contexts = contexts
        self.complaints: list[Complaint] = []

    def of(self, node: Node) -> Type:
        match node:
            case Literal(_, _, value):
                return Type(kind_of(value).lower())
            case Context(_, _, name):
                return self._contexts.get(name.lower(), ANY)
            case Index(_, _, target, key):
                return self._index(node, self.of(target), key)
            case Not(_, _, operand):
                self.of(operand)
                return BOOLEAN
            case Compare(_, _, _, left, right):
                self.of(left)
                self.of(right)
                return BOOLEAN
            case Logical(_, _, _, operands):
                found = [self.of(operand) for operand in operands]
                return (
                    found[0]
                    if all(one.kind == found[0].kind and one.kind in PRIMITIVES for one in found)
                    else ANY
                )
            case Call():
                return self._call(node)
            case _:
                return ANY

    def _index(self, node: Index, target: Type, key: Node | None) -> Type:
        if key is None:
            return Type("array", item=ANY, lacks="items")
        wanted = self.of(key)
        name = key.value if isinstance(key, Literal) and isinstance(key.value, str) else None
        if target.kind in ("string", "number", "boolean"):
            self.complaints.append((node.offset, f"a {target.kind} has no properties", False))
            return NULL
        if target.kind == "array":
            return (target.item or ANY) if target.lacks != "items" and wanted.kind == "number" else ANY
        if target.kind != "object" or name is None:
            return ANY
        return self._member(node, target, name)

    def _member(self, node: Index, target: Type, name: str) -> Type:
        lowered = name.lower()
        for member, one in target.members.items():
            if member.lower() == lowered:
                return one
        if target.others is None:
            self.complaints.append(
                (node.offset, f'{target.lacks} "{name[:60]}"{hint(name, target.members)}', False)
            )
            return ANY
        return target.others

    def _call(self, call: Call) -> Type:
        name = call.signature.name
        types = [self.of(arg) for arg in call.args]
        for position, taken in enumerate(TAKES.get(name, ())[: len(types)]):
            found = types[position].kind
            if found != "any" and found not in taken:
                what = f"{name} can do nothing with an {found} in place {position + 1}"
                self.complaints.append((call.args[position].offset, what, False))
        if name == "format":
            self._format(call)
        if name == "fromJSON":
            self._json(call)
        return GIVES.get(name, ANY)

    def _format(self, call: Call) -> None:
        pattern = call.args[0]
        if not isinstance(pattern, Literal) or not isinstance(pattern.value, str):
            return
        for match in FORMAT_PIECE.finditer(pattern.value):
            if match[0] in ("{", "}"):
                what = "this is no format; write a literal brace twice, and {0} for a value"
                self.complaints.append((pattern.offset, what, True))
                return
            if match[1] is not None and int(match[1]) >= len(call.args) - 1:
                what = f"the format asks for {match[0]}, but there are {len(call.args) - 1} values"
                self.complaints.append((pattern.offset, what, True))
                return

    def _json(self, call: Call) -> None:
        text = call.args[0]
        if isinstance(text, Literal) and isinstance(text.value, str):
            try:
                json.loads(text.value)
            except (ValueError, RecursionError) as error:
                self.complaints.append((text.offset, f"this is no JSON: {error}", False))


def hint(name: str, members: Mapping[str, Type]) -> str:
    near = get_close_matches(name.lower()[:60], [member.lower() for member in members], n=1)
    if near:
        return f'; did you mean "{next(member for member in members if member.lower() == near[0])}"?'
    known = ", ".join(sorted(members)[:MAX_SHOWN])
    return f"; here you can use {known}" if known else ""
