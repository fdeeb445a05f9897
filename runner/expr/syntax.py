"""Expressions as trees: the nodes, each with its position, and the parser that makes them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from runner.expr.functions import ANYTHING, SIGNATURES, Signature
from runner.expr.tokens import Token, tokens
from runner.expr.values import ExpressionError, Value

MAX_LENGTH = 21_000
"""The longest expression in characters, as on GitHub."""

MAX_DEPTH = 50
"""The deepest tree, as on GitHub; parentheses alone add nothing."""

# Parentheses add nothing to the tree, but each costs the parser three frames of Python's stack, of which a
# worker leaves us some eight hundred.
MAX_NESTING = 150

POWER = {"||": 1, "&&": 2, "==": 3, "!=": 3, "<": 4, "<=": 4, ">": 4, ">=": 4}


@dataclass(frozen=True, slots=True)
class Node:
    """`offset` is a 0-based index into the text that was parsed; `depth` counts the levels below."""

    offset: int
    depth: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    value: Value


@dataclass(frozen=True, slots=True)
class Context(Node):
    name: str


@dataclass(frozen=True, slots=True)
class Index(Node):
    """`target.key`, `target[key]`, or `target.*` where `key` is None."""

    target: Node
    key: Node | None


@dataclass(frozen=True, slots=True)
class Call(Node):
    signature: Signature
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    operand: Node


@dataclass(frozen=True, slots=True)
class Compare(Node):
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Logical(Node):
    """`&&` or `||` over any number of operands; a chain of one operator is one node."""

    operator: str
    operands: tuple[Node, ...]


def parse(text: str, contexts: Collection[str] | None = None) -> Node:
    """The tree of an expression that stands alone; `contexts` are the names it may use, None for any."""
    return parse_part(text, 0, len(text), contexts)


def parse_part(text: str, start: int, end: int, contexts: Collection[str] | None = None) -> Node:
    """The tree of the expression `text[start:end]`, with offsets into the whole of `text`."""
    if end - start > MAX_LENGTH:
        raise ExpressionError(f"the expression is longer than {MAX_LENGTH} characters", start, "parse")
    return Parser(tokens(text, start, end), contexts).whole()


class Parser:
    def __init__(self, words: Sequence[Token], contexts: Collection[str] | None) -> None:
        self._words = words
        self._next = 0
        self._nesting = 0
        self._inside = 0
        self._contexts = contexts

    def whole(self) -> Node:
        if self._words[0].kind == "end":
            raise ExpressionError("an expression is missing here", self._words[0].offset, "parse")
        node = self._binary(1)
        if self._peek.kind != "end":
            raise self._unexpected()
        return node

    @property
    def _peek(self) -> Token:
        return self._words[self._next]

    def _take(self) -> Token:
        token = self._peek
        self._next += token.kind != "end"
        return token

    def _at(self, mark: str) -> bool:
        return self._peek.kind == "mark" and self._peek.text == mark

    def _expect(self, mark: str) -> None:
        if not self._at(mark):
            raise self._unexpected(mark)
        self._take()

    def _unexpected(self, wanted: str = "") -> ExpressionError:
        token, wish = self._peek, f"; here belongs {wanted}" if wanted else ""
        if token.kind == "end":
            last = self._words[self._next - 1].text
            return ExpressionError(
                f"the expression ends too early, after {last}{wish}", token.offset, "parse"
            )
        return ExpressionError(f"unexpected {token.text}{wish}", token.offset, "parse")

    def _depth(self, offset: int, *below: Node) -> int:
        depth = 1 + max((node.depth for node in below), default=0)
        if depth > MAX_DEPTH:
            raise too_deep(offset)
        return depth

    def _part(self) -> Node:
        """An argument or a key. Too many inside each other are refused before the stack is full of them."""
        self._inside += 1
        if self._inside > MAX_DEPTH:
            raise too_deep(self._peek.offset)
        node = self._binary(1)
        self._inside -= 1
        return node

    def _binary(self, least: int) -> Node:
        """One operand, and every operator after it that binds at least as tightly as `least`."""
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise ExpressionError("too many parentheses inside each other", self._peek.offset, "parse")
        left = self._operand()
        while self._peek.kind == "operator" and (power := POWER.get(self._peek.text, 0)) >= least:
            operator = self._take()
            left = self._combined(left, operator, self._binary(power + 1))
        self._nesting -= 1
        return left

    def _combined(self, left: Node, operator: Token, right: Node) -> Node:
        depth = self._depth(operator.offset, right)
        if POWER[operator.text] > 2:
            depth = self._depth(operator.offset, left, right)
            return Compare(operator.offset, depth, operator.text, left, right)
        if isinstance(left, Logical) and left.operator == operator.text:
            depth = max(left.depth, depth)
            return Logical(left.offset, depth, operator.text, (*left.operands, right))
        depth = self._depth(operator.offset, left, right)
        return Logical(operator.offset, depth, operator.text, (left, right))

    def _operand(self) -> Node:
        negations = []
        while self._peek.kind == "operator" and self._peek.text == "!":
            negations.append(self._take().offset)
        node = self._primary()
        while self._at(".") or self._at("["):
            node = self._property(node)
        for offset in reversed(negations):
            node = Not(offset, self._depth(offset, node), node)
        return node

    def _primary(self) -> Node:
        token = self._peek
        if token.kind == "literal":
            self._take()
            return Literal(token.offset, 1, token.value)
        if token.kind == "word":
            self._take()
            return self._call(token) if self._at("(") else self._context(token)
        if not self._at("("):
            raise self._unexpected()
        self._take()
        node = self._binary(1)
        self._expect(")")
        return node

    def _context(self, token: Token) -> Node:
        if self._contexts is not None and token.text.lower() not in map(str.lower, self._contexts):
            known = ", ".join(sorted(self._contexts))
            hint = f"; here you can use {known}" if known else ""
            raise ExpressionError(f'no context named "{token.text}"{hint}', token.offset, "parse")
        return Context(token.offset, 1, token.text)

    def _property(self, target: Node) -> Node:
        bracket = self._take().text == "["
        offset = self._peek.offset
        key: Node | None
        if self._at("*"):
            self._take()
            key = None
        elif bracket:
            key = self._part()
        elif self._peek.kind == "word":
            key = Literal(offset, 1, self._take().text)
        else:
            raise self._unexpected("the name of a property")
        if bracket:
            self._expect("]")
        return Index(offset, self._depth(offset, target, *((key,) if key else ())), target, key)

    def _call(self, name: Token) -> Node:
        signature = SIGNATURES.get(name.text.lower())
        if signature is None:
            raise ExpressionError(unknown_function(name.text), name.offset, "parse")
        args: list[Node] = []
        self._take()
        while not self._at(")"):
            if args:
                self._expect(",")
            args.append(self._part())
        self._take()
        if (problem := wrong_count(signature, len(args))) is not None:
            raise ExpressionError(problem, name.offset, "parse")
        return Call(name.offset, self._depth(name.offset, *args), signature, tuple(args))


def too_deep(offset: int) -> ExpressionError:
    return ExpressionError(f"the expression is more than {MAX_DEPTH} levels deep", offset, "parse")


def unknown_function(name: str) -> str:
    near = get_close_matches(name.lower(), SIGNATURES, n=1)
    if near:
        return f'no function named "{name}"; did you mean {SIGNATURES[near[0]].name}?'
    return f'no function named "{name}"; there are {", ".join(s.name for s in SIGNATURES.values())}'


def wrong_count(signature: Signature, count: int) -> str | None:
    """What is wrong with calling it with that many arguments."""
    if signature.name == "case" and count >= signature.least and count % 2 == 0:
        return "case takes a condition and a value any number of times, then one value for all else"
    if signature.least <= count <= signature.most:
        return None
    if signature.least == signature.most:
        wanted = str(signature.least)
    elif signature.most == ANYTHING:
        wanted = f"{signature.least} or more"
    else:
        wanted = f"{signature.least} to {signature.most}"
    return f"{signature.name} takes {wanted} arguments, not {count}"
