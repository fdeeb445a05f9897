"""What in a workflow's function is surely a mistake, as it is run again from its beginning: warnings.

Most of it is looked for in the function itself only: what stands in the functions within it are most often
bodies of steps, in which that is right.
"""

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeGuard

from runner.workflow.asking import misused, rebound
from runner.workflow.python_names import bound, imported, own, reached

NOW, CHANCE, ONE = "{step}.now()", "{step}.random()", "{step}.uuid()"
ANEW: Mapping[str, Mapping[str, str]] = {
    "time": dict.fromkeys(
        ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"), NOW
    ),
    "datetime.datetime": dict.fromkeys(("now", "utcnow", "today"), NOW),
    "datetime.date": {"today": NOW},
    "random": dict.fromkeys(
        ("random", "randint", "randrange", "choice", "choices", "sample", "shuffle", "uniform"), CHANCE
    ),
    "secrets": dict.fromkeys(("token_hex", "token_bytes", "token_urlsafe", "choice", "randbelow"), ONE),
    "os": {"urandom": CHANCE},
    "uuid": {"uuid1": ONE, "uuid4": ONE},
}
"""What gives another value each time, by its module or class, and what gives the same."""
ASKS = frozenset(
    {
        *("do", "sh", "sleep", "sleep_until", "wait_for_event", "approve", "gather", "wait_any"),
        *("run_workflow", "uses", "artifact", "download", "cache", "save_cache"),
    }
)
"""What the steps are asked for, and has to be waited for."""

SDK = "runner.sdk.*"

Found = tuple[ast.expr | ast.keyword, str]


def mistakes(function: ast.AsyncFunctionDef, nodes: Sequence[ast.AST]) -> Iterator[Found]:
    """What is surely wrong in a workflow's function, and where; `nodes` are those of its file."""
    step = [*function.args.posonlyargs, *function.args.args][1].arg
    itself = list(own(function.body))
    set_here = rebound(function)
    if reached(function, step):
        yield from _left(itself, step, ASKS - set_here)
    yield from misused(function, step, set_here)
    names = _known(itself, nodes)
    for node in itself:
        if isinstance(node, ast.Call):
            place, _, last = _full(node.func, names).rpartition(".")
            if (instead := ANEW.get(place, {}).get(last)) is not None:
                said = f"{place}.{last}() gives another value each time the workflow goes on"
                yield node, f"{said}; {instead.format(step=step)} gives the same, or call it in a step"
            elif (place, last) == ("time", "sleep"):
                yield node, f"time.sleep() holds up the whole workflow; write: await {step}.sleep(...)"


def _left(itself: Sequence[ast.AST], step: str, asks: Collection[str]) -> Iterator[Found]:
    for node in itself:
        match node:
            case ast.Expr(ast.Call(method) as call) if _is_of(method, step) and method.attr in asks:
                said = f"nobody waits for this {step}.{method.attr}(...)"
                yield call, f"{said}; write await before it, or keep it and await it later"


def _is_of(method: ast.expr, step: str) -> TypeGuard[ast.Attribute]:
    return (
        isinstance(method, ast.Attribute) and isinstance(method.value, ast.Name) and method.value.id == step
    )


def _known(itself: Sequence[ast.AST], nodes: Sequence[ast.AST]) -> Mapping[str, str]:
    """What is imported for the function, by the names that stand for nothing else anywhere in the file."""
    said: dict[str, set[str]] = {}
    for name, full in imported(nodes):
        said.setdefault(name, set()).add(full)
    if said.pop("*", {SDK}) != {SDK}:
        # What else that brings may have any name.
        return {}
    module = [one for node in nodes[:1] if isinstance(node, ast.Module) for one in own(node.body)]
    here = {name for name, _ in imported([*itself, *module])} - bound(nodes)
    return {name: full for name in here for full in said.get(name, ()) if len(said[name]) == 1}


def _full(function: ast.expr, names: Mapping[str, str]) -> str:
    """The name under which everybody knows a function; empty where it is not known."""
    parts: list[str] = []
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    known = names.get(function.id, "") if isinstance(function, ast.Name) else ""
    return ".".join([known, *reversed(parts)]) if known else ""
