"""What the names in a Python file stand for, as far as its text says."""

import ast
from collections.abc import Iterable, Iterator

Inner = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def own(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """What a function with that body runs itself; of functions and classes within it, that they are there."""
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Inner | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))


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
    return found


def reached(function: ast.AsyncFunctionDef, parameter: str) -> list[ast.AST]:
    """What a function and those within it run where its parameter stands for what the function was given."""
    found: list[ast.AST] = []
    waiting: list[Iterable[ast.AST]] = [function.body]
    while waiting:
        nodes = list(own(waiting.pop()))
        if any(isinstance(node, ast.Nonlocal) and parameter in node.names for node in nodes):
            return []
        imported = {one.asname or one.name for node in nodes for one in _imports(node)}
        if parameter in bound(nodes) | imported:
            continue
        found += nodes
        waiting += [
            _body(node) for node in nodes if isinstance(node, Inner) and parameter not in _given(node)
        ]
    return found


def _imports(node: ast.AST) -> list[ast.alias]:
    return node.names if isinstance(node, ast.Import | ast.ImportFrom) else []


def _body(inner: Inner) -> Iterable[ast.AST]:
    return [inner.body] if isinstance(inner, ast.Lambda) else inner.body


def _given(inner: Inner) -> set[str]:
    return {node.arg for node in ast.walk(inner.args) if isinstance(node, ast.arg)}
