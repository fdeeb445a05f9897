"""A repository's secrets and variables: what they may be called, and how large and how many they may be.

The rules are GitHub's: https://docs.github.com/actions/reference/secrets-reference and
https://docs.github.com/actions/reference/variables-reference.
"""

import re
from dataclasses import dataclass, field

from runner.errors import Rejected

VALUE_BYTES = 48 * 1024
"""The largest value, in UTF-8."""
LONGEST_NAME = 255
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = "GITHUB_"


@dataclass(frozen=True, slots=True)
class Kind:
    """`most` is how many a repository may have, `together` how many bytes all their values may have."""

    word: str
    most: int
    together: int


SECRET = Kind("secret", most=100, together=100 * VALUE_BYTES)
VARIABLE = Kind("variable", most=500, together=256 * 1024)


@dataclass(frozen=True, slots=True)
class Place:
    """Which secret of which registration of a repository: what is sealed for one opens nowhere else."""

    forge: str
    registration: str
    name: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """A value that only its key opens; `key` says which one that is."""

    key: str
    data: bytes = field(repr=False)


def checked_name(kind: Kind, name: str) -> str:
    """The name as it is kept, for names are the same whatever their case. Raises `Rejected`."""
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise Rejected(
            f"{name[:100]!a} cannot name a {kind.word}; use letters, digits and underscores, beginning with "
            f"no digit, and {LONGEST_NAME} of them at most"
        )
    if name.upper().startswith(_RESERVED):
        raise Rejected(f"the {kind.word} {name} cannot begin with {_RESERVED}, which is for GitHub's own")
    return name.upper()


def checked_value(kind: Kind, name: str, value: str) -> str:
    """Raises `Rejected`, which says nothing of the value but its size."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise Rejected(f"the value of the {kind.word} {name} is no text in UTF-8; base64 makes one") from None
    if size > VALUE_BYTES:
        raise Rejected(f"the value of the {kind.word} {name} has {size} bytes; {VALUE_BYTES} are the limit")
    if "\0" in value:
        raise Rejected(
            f"the value of the {kind.word} {name} holds a NUL character, which no environment can have; "
            "base64 makes a text of it"
        )
    if kind is SECRET and not value:
        raise Rejected(f"the value of the secret {name} is empty; `runner secret remove` takes one away")
    return value
