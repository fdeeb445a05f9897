"""Which calls of the steps' methods in a workflow's function would surely raise.

They are held against the methods that the function will be given. What stands for something else than its
second parameter, or may, is left alone, and so are calls with `**`.
"""

import ast
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from inspect import Parameter, Signature, isfunction, signature
from pkgutil import resolve_name

from runner.workflow.python_names import reached
from runner.workflow.words import cut, meant

NO_METHODS = ("undone",)
"""What the steps have besides methods."""

Misused = tuple[ast.expr | ast.keyword, str]


def rebound(function: ast.AsyncFunctionDef) -> set[str]:
    """The attributes that a workflow's function, and those within it, set or delete.

    Of whatever: it may be the steps by another name.
    """
    return {one.attr for one in ast.walk(function) if isinstance(one, ast.Attribute) and not _is_read(one)}


def misused(function: ast.AsyncFunctionDef, step: str, own: Collection[str]) -> Iterator[Misused]:
    """What is wrong with how a workflow's function, and those within it, ask for steps, and where.

    What it has for the methods in `own` is not known.
    """
    nodes = reached(function, step)
    of_step = [node for node in nodes if isinstance(node, ast.Attribute) and _is_name(node.value, step)]
    calls = {id(node.func): node for node in nodes if isinstance(node, ast.Call)}
    for one in of_step:
        name = one.attr
        if name in own or name in NO_METHODS or name.startswith("_"):
            continue
        known, call = _methods().get(name), calls.get(id(one))
        if known is None:
            yield one, f'the steps have no "{cut(name)}"{meant(name, sorted(_methods()))}'
        elif call is not None:
            yield from _of_call(call, f"{step}.{name}(...)", known)


def _is_read(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Load)


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


@cache
def _methods() -> Mapping[str, Signature]:
    """The methods of the steps, as they are called."""
    # Whoever loads no workflow in Python does not need what they are made of.
    methods = vars(resolve_name("runner.sdk.steps:Step"))
    public = {name: one for name, one in methods.items() if isfunction(one) and not name.startswith("_")}
    return {name: _as_called(signature(one)) for name, one in public.items()}


def _as_called(method: Signature) -> Signature:
    return method.replace(parameters=list(method.parameters.values())[1:])


def _of_call(call: ast.Call, shown: str, known: Signature) -> Iterator[Misused]:
    names = [given.arg for given in call.keywords if given.arg is not None]
    if len(names) < len(call.keywords):
        return
    parameters = known.parameters.values()
    takes = [one.name for one in parameters if one.kind is not Parameter.VAR_POSITIONAL]
    any_name = any(one.kind is Parameter.VAR_KEYWORD for one in parameters)
    strange = [given for given in call.keywords if given.arg not in takes and not any_name]
    for given in strange:
        yield given, f'{shown} takes no "{cut(given.arg)}"{meant(str(given.arg), takes)}'
    if strange or any(isinstance(one, ast.Starred) for one in call.args):
        return
    try:
        known.bind(*call.args, **dict.fromkeys(names))
    except TypeError as error:
        yield call, f"{shown} cannot be called like this: {error}"
