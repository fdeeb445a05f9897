"""What an expression is made of, and how GitHub turns one kind of value into another."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from runner.errors import BrokenDefinition

Value = None | bool | float | str | Sequence[object] | Mapping[str, object]

Kind = Literal["Null", "Boolean", "Number", "String", "Array", "Object"]

Stage = Literal["lex", "parse", "eval"]

# Only one part of it can take a digit, so that a text that is no number is seen to be none in one go.
DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,16}")
OCTAL = re.compile(r"0o[0-7]{1,20}")

# .NET's invariant casing leaves these alone; Unicode would make them I and S.
OWN_UPPERCASE = frozenset("ıſ")

MAX_SHOWN = 60


class ExpressionError(BrokenDefinition):
    """An expression cannot be read or evaluated.

    `offset` is a 0-based index into the text that was parsed. `stage` says how far it came: not made
    of tokens, not a sentence, or without a value.
    """

    def __init__(self, message: str, offset: int, stage: Stage = "eval") -> None:
        super().__init__(message)
        self.offset = offset
        self.stage = stage


class Filtered(list[object]):
    """What `.*` gives: an array whose own properties are those of its items."""


def known(value: object) -> Value:
    """A value of the language from what a context holds; whatever it does not know is its text."""
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        return number_of(value)
    if isinstance(value, Mapping | list | tuple):
        return value
    return str(value)


def number_of(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def kind_of(value: Value) -> Kind:
    match value:
        case None:
            return "Null"
        case bool():
            return "Boolean"
        case float() | int():
            return "Number"
        case str():
            return "String"
        case Mapping():
            return "Object"
        case _:
            return "Array"


def is_primitive(value: Value) -> bool:
    return value is None or isinstance(value, bool | float | str)


def is_truthy(value: Value) -> bool:
    """Falsy are null, false, 0, NaN and the empty string; the string `false` is not."""
    if isinstance(value, float):
        return value != 0 and not math.isnan(value)
    return not is_primitive(value) or bool(value)


def parse_number(text: str) -> float:
    """The number a string stands for, NaN where it stands for none; nothing at all is 0."""
    text = text.strip()
    if not text:
        return 0.0
    if DECIMAL.fullmatch(text):
        return float(text)
    if HEXADECIMAL.fullmatch(text):
        return float(int(text, 16))
    if OCTAL.fullmatch(text):
        return float(int(text, 8))
    return {"Infinity": math.inf, "-Infinity": -math.inf}.get(text, math.nan)


def to_number(value: Value) -> float:
    match value:
        case None:
            return 0.0
        case bool() | float() | int():
            return float(value)
        case str():
            return parse_number(value)
        case _:
            return math.nan


def to_string(value: Value) -> str:
    """The text of a value; an object has none but the name of its kind."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() | int():
            return format_number(float(value))
        case str():
            return value
        case _:
            return kind_of(value)


def shown(text: str) -> str:
    """A text quoted for a message, or its length.

    It may be a secret, and of those no part is known again and hidden: it is there whole or not at all.
    """
    return f"'{text}'" if len(text) <= MAX_SHOWN else f"a text of {len(text)} characters"


def format_number(number: float) -> str:
    """As .NET prints a double under G15."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return "0" if number == 0 else f"{number:.15G}"


def fold(text: str) -> str:
    """Text as GitHub compares it: each character's own upper case, never more than one character."""
    if text.isascii():
        return text.upper()
    return "".join(map(upper, text))


def upper(character: str) -> str:
    raised = character.upper()
    return raised if len(raised) == 1 and character not in OWN_UPPERCASE else character


def order(text: str) -> bytes:
    """A key under which folded texts sort as .NET sorts them: by UTF-16 code unit."""
    return fold(text).encode("utf-16-be", "surrogatepass")


def equal(left: Value, right: Value) -> bool:
    """Loose equality: unlike kinds meet as numbers, texts regardless of case, objects by identity."""
    left, right = coerced(left, right)
    if kind_of(left) != kind_of(right):
        return False
    if isinstance(left, str) and isinstance(right, str):
        return fold(left) == fold(right)
    return left == right if is_primitive(left) else left is right


def greater(left: Value, right: Value) -> bool:
    left, right = coerced(left, right)
    match left, right:
        case str(), str():
            return order(left) > order(right)
        case bool() | float() | int(), bool() | float() | int():
            return kind_of(left) == kind_of(right) and left > right
        case _:
            return False


def coerced(left: Value, right: Value) -> tuple[Value, Value]:
    """Both sides of a comparison, as one kind where GitHub makes them one."""
    if kind_of(left) == kind_of(right):
        return left, right
    if is_weak(left) or (isinstance(left, str) and isinstance(right, float)):
        left = to_number(left)
    if is_weak(right) or (isinstance(right, str) and isinstance(left, float)):
        right = to_number(right)
    if isinstance(left, str) and isinstance(right, float):
        left = to_number(left)
    return left, right


def is_weak(value: Value) -> bool:
    return value is None or isinstance(value, bool)
