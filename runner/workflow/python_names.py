"""What the names in a Python file stand for, as far as its text says."""

import ast
from collections.abc import Iterable, Iterator

Inner = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Scope = Inner | ast.ClassDef
TYPE_PARAMETERS = ("TypeVar", "ParamSpec", "TypeVarTuple")
"""Of the tree, as newer Pythons have it; their `name` is bound like a variable's."""


def own(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """What a function with that body runs itself; of functions and classes within it, what makes them."""
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(_making(node) if isinstance(node, Scope) else ast.iter_child_nodes(node))


def _making(scope: Scope) -> Iterator[ast.AST]:
    """What is run where a function or a class stands, and not where it is called: it may bind names there."""
    if isinstance(scope, ast.ClassDef):
        yield from (*scope.decorator_list, *scope.bases, *scope.keywords)
        return
    given = scope.args
    yield from (*given.defaults, *(one for one in given.kw_defaults if one is not None))
    if not isinstance(scope, ast.Lambda):
        each = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
        said = (*(one.annotation for one in each if one is not None), scope.returns)
        yield from (*scope.decorator_list, *(one for one in said if one is not None))


def bound(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that stand for something else than what is imported under them."""
    found: set[str] = set()
    for node in nodes:
        match node:
            case ast.Name(name, ast.Store() | ast.Del()) | ast.arg(name):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(str(name)):
                found.add(name)
            case ast.MatchMapping(rest=str(name)):
                found.add(name)
            case ast.Global(names) | ast.Nonlocal(names):
                found.update(names)
            case _ if type(node).__name__ in TYPE_PARAMETERS:
                found.add(vars(node)["name"])
    return found


def imported(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """Each name that is imported, with what it stands for; that is empty where the text does not say.

    All that a module has goes by the name of `*`.
    """
    for node in nodes:
        match node:
            case ast.Import(names):
                for one in names:
                    first = one.name.partition(".")[0]
                    yield (one.asname, one.name) if one.asname else (first, first)
            case ast.ImportFrom(module=module, names=names, level=level):
                place = f"{module}." if module and not level else ""
                yield from ((one.asname or one.name, place and f"{place}{one.name}") for one in names)


def reached(function: ast.AsyncFunctionDef, parameter: str) -> list[ast.AST]:
    """What a function and those within it run where its parameter stands for what the function was given."""
    if any(isinstance(node, ast.Nonlocal) and parameter in node.names for node in ast.walk(function)):
        return []
    found: list[ast.AST] = []
    waiting: list[Iterable[ast.AST]] = [function.body]
    while waiting:
        nodes = list(own(waiting.pop()))
        if parameter in bound(nodes) or parameter in (name for name, _ in imported(nodes)):
            continue
        found += nodes
        waiting += [
            _body(node) for node in nodes if isinstance(node, Inner) and parameter not in _given(node)
        ]
    return found


def _body(inner: Inner) -> Iterable[ast.AST]:
    return [inner.body] if isinstance(inner, ast.Lambda) else inner.body


def _given(inner: Inner) -> set[str]:
    """The names that a function binds before its body runs."""
    types: list[ast.AST] = getattr(inner, "type_params", [])
    return bound([*types, *ast.walk(inner.args)])
