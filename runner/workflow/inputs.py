"""What a person or a program gives a workflow, compared with the inputs that it declares."""

import math
from collections.abc import Callable, Mapping

from runner.errors import Rejected
from runner.expr.template import Template
from runner.expr.values import Value, known, parse_number, to_string
from runner.workflow.document import Input
from runner.workflow.words import cut, here, meant

EMPTY: Mapping[str, Value] = {"boolean": False, "number": 0.0}
"""What an input is that nobody gave and that has no default; any other type is an empty text."""


class WrongInputs(Rejected):
    """What was given is not what the workflow takes; lists everything that is wrong."""


def read_inputs(declared: Mapping[str, Input], given: Mapping[str, object]) -> dict[str, Value]:
    """Every declared input with its value, of its type. Raises `WrongInputs`.

    A boolean and a number may also be given as text, which is all that a command line has.
    """
    wrong = [f'there is no input "{cut(name)}"{_instead(name, declared)}' for name in given.keys() - declared]
    values: dict[str, Value] = {}
    for name, declaration in declared.items():
        try:
            values[name] = _value(declaration, given.get(name))
        except ValueError as error:
            wrong.append(f'the input "{cut(name)}" {error}')
    if wrong:
        raise WrongInputs("; ".join(sorted(wrong)))
    return values


def as_texts(values: Mapping[str, Value]) -> dict[str, str]:
    """The same as text, as `github.event.inputs` has them."""
    return {name: to_string(value) for name, value in values.items()}


def _instead(name: str, declared: Mapping[str, Input]) -> str:
    return meant(name, declared) if declared else "; it takes none"


def _value(declaration: Input, given: object) -> Value:
    """Raises `ValueError`, saying what is wrong with what was given."""
    kind, value = declaration.type, known(given)
    if value is None or (value == "" and kind != "string"):
        value = _default(declaration)
    if declaration.required and value in (None, ""):
        raise ValueError(f"is required{_choices(declaration)}")
    if value is None:
        return EMPTY.get(kind, "")
    if not isinstance(value, bool | float | str):
        raise ValueError("must be a text, a number, true or false; give one of these")
    return READ.get(kind, to_string)(value) if kind != "choice" else _choice(declaration, to_string(value))


def _default(declaration: Input) -> Value:
    default = declaration.default
    if isinstance(default, Template):
        return default.text
    return default if isinstance(default, bool | float | str) else None


def _boolean(value: Value) -> Value:
    text = to_string(value).lower()
    if text not in ("true", "false"):
        raise ValueError(f'must be true or false, not "{cut(text)}"')
    return text == "true"


def _number(value: Value) -> Value:
    number = parse_number(value) if isinstance(value, str) and value.strip() else value
    if isinstance(number, bool) or not isinstance(number, float) or not math.isfinite(number):
        raise ValueError(f'must be a number, not "{cut(to_string(value))}"')
    return number


READ: Mapping[str, Callable[[Value], Value]] = {"boolean": _boolean, "number": _number}


def _choice(declaration: Input, text: str) -> Value:
    if text not in declaration.options and text != "":
        raise ValueError(f'cannot be "{cut(text)}"{_choices(declaration)}')
    return text


def _choices(declaration: Input) -> str:
    return here(declaration.options)
