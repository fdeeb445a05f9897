"""What a plain scalar means in the core schema of YAML 1.2."""

import re

# No plain scalar that begins otherwise is anything but a text.
FIRST = "~nNtTfF+-.0123456789"

NULL = re.compile(r"~|null|Null|NULL|")
TRUE = re.compile(r"true|True|TRUE")
FALSE = re.compile(r"false|False|FALSE")
INTEGER = re.compile(r"[-+]?[0-9]{1,400}")
OCTAL = re.compile(r"0o[0-7]{1,400}")
HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,400}")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
NOT_A_NUMBER = re.compile(r"\.(?:nan|NaN|NAN)")


def resolve(text: str) -> bool | int | float | str | None:
    """What a plain scalar means in the core schema."""
    if text and text[0] not in FIRST:
        return text
    if NULL.fullmatch(text):
        return None
    if TRUE.fullmatch(text):
        return True
    if FALSE.fullmatch(text):
        return False
    for pattern, base in ((INTEGER, 10), (OCTAL, 8), (HEXADECIMAL, 16)):
        if pattern.fullmatch(text):
            return int(text, base)
    if FLOAT.fullmatch(text):
        return float(text)
    if (match := INFINITE.fullmatch(text)) is not None:
        return float(f"{match[1]}inf")
    return float("nan") if NOT_A_NUMBER.fullmatch(text) else text
