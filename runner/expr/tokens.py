"""The words of an expression."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from runner.expr.values import ExpressionError, Value, parse_number

TokenKind = Literal["literal", "word", "operator", "mark", "end"]

SPACE = re.compile(r"\s*")
STRING = re.compile(r"'(?:[^']|'')*'")
OPERATOR = re.compile(r"[!<>=]=|&&|\|\||[!<>]")
MARK = re.compile(r"[()\[\],*]")
NUMBER = re.compile(r"[-+.0-9][^\s()\[\],!<>=&|]*")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
# Up to where a human would read one word; used to show the whole of what cannot be read.
WORD = re.compile(r".[^\s()\[\],.!<>=&|]*", re.DOTALL)

CONSTANTS: dict[str, Value] = {
    "null": None,
    "true": True,
    "false": False,
    "NaN": math.nan,
    "Infinity": math.inf,
}


@dataclass(frozen=True, slots=True)
class Token:
    kind: TokenKind
    text: str
    offset: int
    value: Value = None


def tokens(text: str, start: int, end: int) -> list[Token]:
    """The words of `text[start:end]`, closed by an empty one that stands where the last one stands."""
    found: list[Token] = []
    while (offset := end_of(SPACE, text, start, end)) < end:
        token = next_token(text, offset, end, found[-1] if found else None)
        found.append(token)
        start = offset + len(token.text)
    found.append(Token("end", "", found[-1].offset if found else start))
    return found


def end_of(pattern: re.Pattern[str], text: str, offset: int, end: int) -> int:
    match = pattern.match(text, offset, end)
    return match.end() if match else offset


def next_token(text: str, offset: int, end: int, previous: Token | None) -> Token:
    after_dot = previous is not None and previous.text == "." and previous.kind == "mark"
    if match := OPERATOR.match(text, offset, end):
        return Token("operator", match[0], offset)
    if match := MARK.match(text, offset, end):
        return Token("mark", match[0], offset)
    if match := STRING.match(text, offset, end):
        return Token("literal", match[0], offset, match[0][1:-1].replace("''", "'"))
    if text[offset] == "." and not begins_operand(previous):
        return Token("mark", ".", offset)
    if (match := NUMBER.match(text, offset, end)) and not math.isnan(number := parse_number(match[0])):
        return Token("literal", match[0], offset, number)
    word = match or WORD.match(text, offset, end)
    raw = word[0] if word else text[offset]
    if NAME.fullmatch(raw) is None:
        raise ExpressionError(unreadable(raw, text[offset:end]), offset, "lex")
    if raw in CONSTANTS and not after_dot:
        return Token("literal", raw, offset, CONSTANTS[raw])
    return Token("word", raw, offset)


def begins_operand(previous: Token | None) -> bool:
    """Whether a value may come next, so that a dot is the beginning of a number."""
    return previous is None or previous.kind == "operator" or previous.text in ("(", "[", ",")


def unreadable(raw: str, rest: str) -> str:
    match raw[0]:
        case "'":
            return f"the text {shorten(rest)} has no closing quote"
        case '"':
            return f"unexpected {shorten(raw)}; a text stands between single quotes"
        case "=" | "&" | "|" as half:
            return f"unexpected {shorten(raw)}; did you mean {half * 2}?"
        case digit if digit.isdigit() or digit in "+-.":
            return f"{shorten(raw)} is not a number"
        case _:
            return f"unexpected {shorten(raw)}"


def shorten(raw: str) -> str:
    return raw if len(raw) <= 40 else f"{raw[:40]}…"
