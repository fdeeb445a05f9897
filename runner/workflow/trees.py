"""The values of trees: what a definition says once its expressions are evaluated."""

import re
from collections.abc import Mapping

from runner.expr.evaluate import NO_FUNCTIONS, Functions, evaluate, render
from runner.expr.template import OPEN, Template, parse_template
from runner.expr.values import Value, known
from runner.workflow.document import Tree

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
            return [settled(item, contexts, functions) for item in tree]
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
