"""The words in which a file's language is described: one description says what may stand where.

From it a file is checked (`conform`), expressions are told what they may use, misspelled keys find the
nearest known one, and editors get a JSON Schema (`jsonschema`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Check = Callable[[str], str | None]
"""Says what is wrong with a text, None where nothing is."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression in one place may use."""

    contexts: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A text; numbers and booleans count as what they print. Without a `scope` it has no expressions."""

    scope: Scope | None = None
    filled: bool = False
    choices: tuple[str, ...] = ()
    check: Check | None = None
    means: str = "a text"


@dataclass(frozen=True, slots=True)
class Condition:
    """An `if`: an expression with or without `${{ }}`."""

    scope: Scope
    bare: bool = False
    """Whether `${{ }}` may not be written."""


@dataclass(frozen=True, slots=True)
class Flag:
    scope: Scope | None = None


@dataclass(frozen=True, slots=True)
class Amount:
    """A number. `above` is what it must be greater than, `most` what it may be."""

    scope: Scope | None = None
    above: float | None = None
    most: float | None = None
    whole: bool = False
    means: str = "a number"


@dataclass(frozen=True, slots=True)
class Null:
    """Nothing: the key stands alone."""


@dataclass(frozen=True, slots=True)
class Anything:
    """Any value, with expressions in it."""

    scope: Scope


@dataclass(frozen=True, slots=True)
class Many:
    """A list; with a `scope`, one expression may give the whole of it."""

    item: "Shape"
    scope: Scope | None = None
    filled: bool = True
    means: str = ""


@dataclass(frozen=True, slots=True)
class Named:
    """A mapping whose keys the author chooses, which differ in more than case."""

    item: "Shape"
    scope: Scope | None = None
    check: Check | None = None
    filled: bool = False
    items: "Mapping[str, Shape]" = field(default_factory=dict)
    """Keys that mean something of their own."""
    means: str = ""


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping whose keys are known. `ours` are those that GitHub does not have."""

    name: str
    keys: "Mapping[str, Shape]"
    needs: tuple[str, ...] = ()
    scope: Scope | None = None
    filled: bool = False
    ours: tuple[str, ...] = ()
    loose: bool = False
    """Whether GitHub takes no notice of keys that it does not know."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """A mapping of one of several kinds, told apart by which of these keys is in it (the first)."""

    name: str
    by: Mapping[str, Fields]


@dataclass(frozen=True, slots=True)
class Valued:
    """A mapping of one of several kinds, told apart by the beginning of what is under one key."""

    name: str
    key: str
    by: Mapping[str, Fields]


@dataclass(frozen=True, slots=True)
class Either:
    """One of several shapes, each for another kind of node."""

    shapes: "tuple[Shape, ...]"


Shape = Text | Condition | Flag | Amount | Null | Anything | Many | Named | Fields | Kinds | Valued | Either


def either(*shapes: Shape) -> Either:
    return Either(shapes)


def described(shape: Shape) -> str:
    """What to write there, in a message."""
    match shape:
        case Text(choices=choices, means="a text") if choices:
            return " or ".join(choices)
        case Text(means=means) | Amount(means=means):
            return means
        case Many(means=means) | Named(means=means) if means:
            return means
        case Condition():
            return "a condition"
        case Flag():
            return "true or false"
        case Null():
            return "nothing"
        case Anything():
            return "a value"
        case Many(item):
            return f"a list of {plural(described(item))}"
        case Named(filled=filled):
            return "a mapping with at least one entry" if filled else "a mapping"
        case Fields(name="event"):
            return "a mapping of events to filters"
        case Fields(keys=keys):
            return f"a mapping with {', '.join(list(keys)[:12])}"
        case Kinds(by=by):
            return f"a mapping with {' or '.join(list(by)[:2])}"
        case Valued(key=key):
            return f"a mapping with {key}"
        case Either(shapes):
            return " or ".join(described(one) for one in shapes if not isinstance(one, Null))


def plural(words: str) -> str:
    return f"{words.removeprefix('a ')}s" if words.startswith("a ") and words.count(" ") == 1 else words
