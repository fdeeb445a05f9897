"""The values of trees: what a definition says once its expressions are evaluated."""

import re
from collections.abc import Mapping, Sequence

from runner.errors import BrokenDefinition
from runner.expr.evaluate import HALF, NO_FUNCTIONS, Functions, evaluate, render
from runner.expr.template import OPEN, Template, parse_template
from runner.expr.values import Value, known, shown, to_string
from runner.workflow.document import Env, Tree

INSERT = re.compile(r"\$\{\{\s*insert\s*\}\}")


def settled(tree: Tree, contexts: Mapping[str, object], functions: Functions = NO_FUNCTIONS) -> Value:
    """The value of a tree; raises `ExpressionError`.

    Keys can be expressions too; `${{ insert }}` as a key adds all entries of the mapping under it.
    """
    match tree:
        case Template():
            if len(tree.expressions) == len(tree.parts) == 1:
                return evaluate(tree.expressions[0], contexts, functions)
            return render(tree, contexts, functions)
        case tuple():
            return [value for item in tree for value in items(item, contexts, functions)]
        case Mapping():
            found: dict[str, object] = {}
            for name, item in tree.items():
                value = settled(item, contexts, functions)
                if INSERT.fullmatch(name):
                    found |= dict(value) if isinstance(value, Mapping) else {}
                elif OPEN in name:
                    found[render(parse_template(name), contexts, functions)] = value
                else:
                    found[name] = value
            return found
        case _:
            return known(tree)


def items(tree: Tree, contexts: Mapping[str, object], functions: Functions) -> Sequence[object]:
    """What one item of a list gives: an expression that is a list gives all of its items."""
    value = settled(tree, contexts, functions)
    spread = isinstance(tree, Template) and isinstance(value, Sequence) and not isinstance(value, str)
    return value if spread and isinstance(value, Sequence) else [value]


def texts(env: Env, contexts: Mapping[str, object], functions: Functions = NO_FUNCTIONS) -> dict[str, str]:
    """Variables and their values, each as text; raises `BrokenDefinition` where they are no mapping."""
    value = settled(env, contexts, functions)
    if value is None or value == "":
        return {}
    if not isinstance(value, Mapping):
        raise BrokenDefinition(f"a mapping of names to values is needed, not {shown(to_string(value))}")
    return {name: HALF.sub("\ufffd", to_string(known(item))) for name, item in value.items()}
