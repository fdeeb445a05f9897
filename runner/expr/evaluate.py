"""Values of expressions and of the texts they stand in."""

import math
import re
from collections.abc import Callable, Mapping, Sequence

from runner.expr.functions import ITEM_WORK, MAX_TEXT, NAME_WORK, Budget, Unsuitable
from runner.expr.syntax import Call, Compare, Context, Index, Literal, Logical, Node, Not, parse
from runner.expr.template import Condition, Template, parse_condition
from runner.expr.values import (
    ExpressionError,
    Filtered,
    Value,
    equal,
    fold,
    greater,
    is_primitive,
    is_truthy,
    known,
    to_number,
    to_string,
)

HALF = re.compile("[\ud800-\udfff]")

Functions = Mapping[str, Callable[..., object]]

NO_FUNCTIONS: Functions = {}


SUCCESS = parse("success()")


class Missing:
    """What is found where there is nothing; a property that is there may be null."""


MISSING = Missing()


def evaluate(
    expression: str | Node, contexts: Mapping[str, object], functions: Functions = NO_FUNCTIONS
) -> Value:
    """The value of an expression.

    `functions` are those the language leaves to its surroundings (`hashFiles`, `success`, …), by any
    spelling of their names; what they raise is passed on. Everything else that goes wrong is an
    `ExpressionError`.
    """
    node = parse(expression, contexts.keys()) if isinstance(expression, str) else expression
    return Evaluation(contexts, functions).value(node)


def render(template: Template, contexts: Mapping[str, object], functions: Functions = NO_FUNCTIONS) -> str:
    """The text of a template, each expression replaced by the text of its value.

    What comes out can always be encoded, though JSON lets half a character into a value.
    """
    if template.literal is not None:
        return template.literal
    evaluation, pieces, length = Evaluation(contexts, functions), [], 0
    for part in template.parts:
        pieces.append(part if isinstance(part, str) else to_string(evaluation.value(part)))
        length += len(pieces[-1])
        if length > MAX_TEXT:
            raise ExpressionError(f"the text becomes longer than {MAX_TEXT} characters", 0)
    return HALF.sub("\ufffd", "".join(pieces))


def holds(
    condition: str | Condition, contexts: Mapping[str, object], functions: Functions = NO_FUNCTIONS
) -> bool:
    """Whether an `if` is met; see `parse_condition`."""
    if isinstance(condition, str):
        condition = parse_condition(condition, contexts.keys())
    template, evaluation = condition.template, Evaluation(contexts, functions)
    if not condition.asks_status and not is_truthy(evaluation.value(SUCCESS)):
        return False
    if len(template.parts) == 1:
        return is_truthy(evaluation.value(template.expressions[0]))
    return is_truthy(render(template, contexts, functions))


class Evaluation:
    def __init__(self, contexts: Mapping[str, object], functions: Functions) -> None:
        self._contexts = contexts
        self._functions = functions
        self._budget = Budget()

    def value(self, node: Node) -> Value:
        match node:
            case Literal(_, _, value):
                return value
            case Context(_, _, name):
                return self._context(node, name)
            case Index(_, _, target, key):
                return self._index(node, self.value(target), key)
            case Not(_, _, operand):
                return not is_truthy(self.value(operand))
            case Compare(_, _, operator, left, right):
                return self._compare(node, operator, self.value(left), self.value(right))
            case Logical(_, _, operator, operands):
                return self._logical(operator, operands)
            case Call():
                return self._call(node)
            case _:
                raise TypeError(node)

    def _spend(self, node: Node, amount: int) -> None:
        try:
            self._budget.spend(amount)
        except Unsuitable as error:
            raise ExpressionError(str(error), node.offset) from None

    def _context(self, node: Node, name: str) -> Value:
        found = item(self._contexts, name)
        if isinstance(found, Missing):
            here = ", ".join(sorted(self._contexts))
            raise ExpressionError(f'no context named "{name}"; here you can use {here}', node.offset)
        return known(found)

    def _logical(self, operator: str, operands: tuple[Node, ...]) -> Value:
        """The operand that decides, itself; those after it are not evaluated."""
        value: Value = None
        for operand in operands:
            value = self.value(operand)
            if is_truthy(value) is (operator == "||"):
                break
        return value

    def _compare(self, node: Node, operator: str, left: Value, right: Value) -> bool:
        try:
            self._budget.comparison(left, right)
        except Unsuitable as error:
            raise ExpressionError(str(error), node.offset) from None
        match operator:
            case "==":
                return equal(left, right)
            case "!=":
                return not equal(left, right)
            case ">":
                return greater(left, right)
            case "<":
                return greater(right, left)
            case ">=":
                return equal(left, right) or greater(left, right)
            case _:
                return equal(left, right) or greater(right, left)

    def _index(self, node: Node, target: Value, key: Node | None) -> Value:
        if key is None:
            found = members(target)
            self._spend(node, len(found))
            return found
        wanted = self.value(key)
        if not isinstance(target, Filtered):
            found_one = self._member(node, target, wanted)
            return None if isinstance(found_one, Missing) else found_one
        self._spend(node, ITEM_WORK * len(target))
        each = (self._member(node, known(one), wanted) for one in target)
        return Filtered(one for one in each if not isinstance(one, Missing))

    def _member(self, node: Node, target: Value, wanted: Value) -> Value | Missing:
        if isinstance(target, Mapping) and is_primitive(wanted) and to_string(wanted) not in target:
            # It may be there in another case, for which all names are looked through.
            self._spend(node, NAME_WORK * len(target))
        return member(target, wanted)

    def _call(self, call: Call) -> Value:
        name = call.signature.name
        if name == "case":
            return self._case(call)
        args = [self.value(arg) for arg in call.args]
        self._spend(call, 1 + sum(len(arg) for arg in args if isinstance(arg, str)))
        if call.signature.body is not None:
            try:
                return call.signature.body(args, self._budget)
            except Unsuitable as error:
                raise ExpressionError(str(error), call.offset) from None
        given = item(self._functions, name)
        if not callable(given):
            raise ExpressionError(f"{name} cannot be used here", call.offset)
        return known(given(*args))

    def _case(self, call: Call) -> Value:
        for position in range(0, len(call.args) - 1, 2):
            condition = self.value(call.args[position])
            if not isinstance(condition, bool):
                raise ExpressionError("a condition of case must be true or false", call.args[position].offset)
            if condition:
                return self.value(call.args[position + 1])
        return self.value(call.args[-1])


def members(target: Value) -> Filtered:
    """What `.*` gives: the values of an object, the items of an array, nothing for anything else."""
    if isinstance(target, Filtered):
        return Filtered(below for one in target for below in members_once(known(one)))
    return Filtered(members_once(target))


def members_once(target: Value) -> Sequence[object]:
    if is_primitive(target):
        return ()
    if isinstance(target, Mapping):
        return tuple(target.values())
    return target if isinstance(target, Sequence) else ()


def member(target: Value, key: Value) -> Value | Missing:
    """One property of an object or one item of an array, by GitHub's coercions of the key."""
    if isinstance(target, Mapping):
        found = item(target, to_string(key)) if is_primitive(key) else MISSING
        return found if isinstance(found, Missing) else known(found)
    if is_primitive(target) or not isinstance(target, Sequence):
        return MISSING
    position = to_number(key)
    if math.isnan(position) or not 0 <= position < len(target):
        return MISSING
    return known(target[int(position)])


def item(mapping: Mapping[str, object], name: str) -> object | Missing:
    """What an object has under a name, regardless of case; the exact spelling first."""
    if name in mapping:
        return mapping[name]
    folded = fold(name)
    for key, value in mapping.items():
        if len(key) == len(name) and fold(key) == folded:
            return value
    return MISSING
