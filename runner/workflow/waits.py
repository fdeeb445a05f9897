"""What must be so of the steps that wait, as far as their file says it."""

from collections.abc import Callable

from runner.expr.template import OPEN
from runner.workflow.built_in import BadWait, amount, check_given, instant, signal_name, wait_named
from runner.workflow.compose import Node, Scalar
from runner.workflow.reading import Reader, entries_of, shown_scalar, value_at

CHECKS: dict[str, Callable[[str], object]] = {
    "for": lambda text: amount("for", text),
    "timeout": lambda text: amount("timeout", text),
    "until": instant,
    "signal": signal_name,
}


def check_wait(reader: Reader, step: Node, within: bool = False) -> None:
    """Say what is wrong with a step that waits; `within`: it is one of an action."""
    uses = value_at(step, "uses")
    if not isinstance(uses, Scalar):
        return
    try:
        kind = wait_named(uses.text)
        if kind is None:
            return
        if within:
            raise BadWait(f"runner/{kind} is a step of a job; an action cannot wait")
        given = entries_of(value_at(step, "with"))
        if not any(OPEN in name.text for name, _ in given):
            check_given(kind, [name.text for name, _ in given])
    except BadWait as error:
        reader.problem(uses.pos, str(error), "wait")
        return
    for name, value in given:
        check = CHECKS.get(name.text.lower())
        if check is not None and isinstance(value, Scalar) and OPEN not in value.text:
            try:
                check(shown_scalar(value).strip())
            except BadWait as error:
                reader.problem(value.pos, str(error), "wait")
    for key, _ in entries_of(step):
        if key.text in ("retry", "on-lost"):
            reader.problem(key.pos, f'a step that waits is never done twice, and has no "{key.text}"', "wait")
